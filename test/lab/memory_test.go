package lab_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
)

func TestLimitMemory(t *testing.T) {
	l := lab.New(t, lab.Options{})
	hosts, err := l.Hosts(t.Context(), "a")
	must(t, err)
	h := hosts[0]
	const limit = 8 << 20

	// It waits for a line, then needs ever more memory.
	cmd, err := h.Command(t.Context(), "sh", "-c", "read -r _; exec tail /dev/zero")
	must(t, err)
	input, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	glutton := awaitProcess(t, h, "sh")
	m, err := h.LimitMemory(glutton, limit)
	must(t, err)
	_, err = fmt.Fprintln(input)
	must(t, err)
	if err := cmd.Wait(); err == nil {
		t.Error("it ended in good order")
	}
	must(t, lab.Await(within(t, patience), 10*time.Millisecond, func() error {
		n, err := m.Kills()
		if err == nil && n != 1 {
			err = fmt.Errorf("%d were killed", n)
		}
		return err
	}))
	must(t, m.Release())

	// Who needs no more lives, and is let go.
	cmd, err = h.Command(t.Context(), "sleep", "60")
	must(t, err)
	must(t, cmd.Start())
	sleeper := awaitProcess(t, h, "sleep")
	m, err = h.LimitMemory(sleeper, limit)
	must(t, err)
	if n, err := m.Kills(); n != 0 || err != nil {
		t.Errorf("%d were killed, %v", n, err)
	}
	must(t, m.Release())
	if !sleeper.Alive() {
		t.Error("it did not live through a limit that it kept")
	}
	must(t, sleeper.Kill())
	_ = cmd.Wait() // it was killed
}

func awaitProcess(t *testing.T, h *lab.Host, name string) (p lab.Process) {
	t.Helper()
	must(t, lab.Await(within(t, patience), 10*time.Millisecond, func() (err error) {
		p, err = h.Process(t.Context(), name)
		return err
	}))
	return p
}
