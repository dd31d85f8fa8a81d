package figures

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Page is where tables go: into a file between two lines, or where there is no such file, as after
// a run that measured a part, into one of their own.
type Page struct{ File, Begin, End string }

const loneFile = "tables.md"

// Put writes the text into the page in dir.
func (p Page) Put(dir, text string) error {
	page := filepath.Join(dir, p.File)
	old, err := os.ReadFile(page)
	if errors.Is(err, os.ErrNotExist) {
		return os.WriteFile(filepath.Join(dir, loneFile), []byte(text), 0o644)
	}
	if err != nil {
		return err
	}
	text, err = p.Between(string(old), text)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

// Between replaces what is between the marks of a page.
func (p Page) Between(page, text string) (string, error) {
	head, rest, begins := strings.Cut(page, p.Begin)
	_, tail, ends := strings.Cut(rest, p.End)
	if !begins || !ends {
		return "", fmt.Errorf("the marks %q and %q are not both there", p.Begin, p.End)
	}
	return head + p.Begin + "\n\n" + text + "\n" + p.End + tail, nil
}
