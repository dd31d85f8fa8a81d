package seeds

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Read returns the seeds of a file: one number on a line, and what follows a # is a comment.
func Read(path string) ([]uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		n, err := strconv.ParseUint(line, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		out = append(out, n)
	}
	return out, nil
}
