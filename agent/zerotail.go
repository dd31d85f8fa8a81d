package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// cutZeroTail takes the zeros off the end of the append-only file that redis-server was writing to
// when the power went, and says how many: a file system may have a file's new size on disk before
// what was written there. redis-server can do with a command that is cut off at the end of the file
// (aof-load-truncated), but refuses one with zeros there, on every host that lost its power.
// Nothing is lost by it: a command ends with a line break, never with a zero.
func cutZeroTail(redisDir string) (cut int64, err error) {
	dir := filepath.Join(redisDir, "appendonlydir")
	manifest, err := os.ReadFile(filepath.Join(dir, "appendonly.aof.manifest"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	name := lastIncrement(string(manifest))
	if err != nil || name == "" {
		return 0, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // redis-server says what it thinks of that
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end, err := endOfContent(f, info.Size())
	if err != nil || end == info.Size() {
		return 0, err
	}
	return info.Size() - end, errors.Join(f.Truncate(end), f.Sync())
}

// lastIncrement is the file that a manifest of Redis names as the one that is appended to: the last
// of type i.
func lastIncrement(manifest string) string {
	name := ""
	for line := range strings.Lines(manifest) {
		fields := strings.Fields(line)
		if len(fields) == 6 && fields[0] == "file" && fields[4] == "type" && fields[5] == "i" &&
			filepath.Base(fields[1]) == fields[1] {
			name = fields[1]
		}
	}
	return name
}

// endOfContent is the size that a file has without the zeros at its end.
func endOfContent(f *os.File, size int64) (int64, error) {
	chunk := make([]byte, 64<<10)
	for end := size; end > 0; {
		from := max(0, end-int64(len(chunk)))
		part := chunk[:end-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		for len(part) > 0 && part[len(part)-1] == 0 {
			part = part[:len(part)-1]
		}
		if len(part) > 0 {
			return from + int64(len(part)), nil
		}
		end = from
	}
	return 0, nil
}
