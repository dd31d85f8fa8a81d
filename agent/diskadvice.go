package agent

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// diskAdvice says what is wrong with the disk of dir, as far as the kernel tells, and what to do.
func diskAdvice(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Sprintf("see to the disk of %s (%v)", dir, err)
	}
	return adviceFor(dir, st.Flags&unix.ST_RDONLY != 0, st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize))
}

// adviceFor is diskAdvice for a file system with so many bytes free of so many.
func adviceFor(dir string, readOnly bool, free, size uint64) string {
	switch {
	case readOnly:
		return "the disk of " + dir + " is read-only: see `dmesg`, repair it, and mount it for writing again"
	case free < size/100 || free < 16<<20:
		return "the disk is full: free some space below " + dir
	}
	return "see `dmesg`, and whether " + dir + " can be written"
}
