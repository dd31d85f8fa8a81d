package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Require skips the test, loudly, where no lab can be had; with CI set in the environment it fails
// it instead, because there a skipped test is a test that nobody ever runs.
func Require(t testing.TB) {
	t.Helper()
	err := available()
	if err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("this test needs the lab: %v", err)
	}
	fmt.Fprintf(os.Stderr, "\n*** NOT TESTED: %s needs the lab: %v\n\n", t.Name(), err)
	t.Skipf("NOT TESTED: needs the lab: %v", err)
}

// available names everything that is missing, not only the first.
func available() error {
	var missing []error
	if os.Geteuid() != 0 {
		missing = append(missing, errors.New("root is needed"))
	}
	for _, command := range []string{"systemd-nspawn", "nsenter", "ip", "nft", "mkfs.ext4", "e2fsck", "debootstrap"} {
		if _, err := exec.LookPath(command); err != nil {
			missing = append(missing, fmt.Errorf("%s is not installed (test/lab/setup.sh installs it)", command))
		}
	}
	return errors.Join(missing...)
}
