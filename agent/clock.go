package agent

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// now reads the clock that all of the agent's timing uses: monotonic, and running on while the host
// is suspended. In a virtual machine that was paused it has stood still with the hypervisor's clock
// (kvm-clock): see docs/GUARANTEES.md.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("read CLOCK_BOOTTIME: " + err.Error()) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}

// bootID tells readings of the clock before a reboot from those after it.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})

// every calls f at that pace until ctx ends.
func every(ctx context.Context, pace time.Duration, f func(at time.Time)) error {
	t := time.NewTicker(pace)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case at := <-t.C:
			f(at)
		}
	}
}
