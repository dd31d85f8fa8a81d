package figures

import (
	"fmt"
	"strings"
)

// Between replaces what is between the marks of a page.
func Between(page, begin, end, text string) (string, error) {
	head, rest, begins := strings.Cut(page, begin)
	_, tail, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return "", fmt.Errorf("the marks %q and %q are not both there", begin, end)
	}
	return head + begin + "\n\n" + text + "\n" + end + tail, nil
}
