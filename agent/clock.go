package agent

import (
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// now reads the clock that all of the agent's timing uses: monotonic, and
// running on while the host is suspended, so that a lease lapses in a frozen
// virtual machine too.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("read CLOCK_BOOTTIME: " + err.Error()) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}

// beat ticks at the multiples of a period of the clock. What the watchers and the
// rounds do several times a second then falls together: to wake an idle processor
// costs more than most of what is done.
type beat struct {
	*time.Timer
	every time.Duration
}

func newBeat(every time.Duration) beat {
	return beat{time.NewTimer(toNext(every)), every}
}

// again waits for the next multiple, after one was received from C.
func (b beat) again() { b.in(b.every) }

// in waits for the next multiple of another period instead.
func (b beat) in(every time.Duration) { b.Reset(toNext(every)) }

func toNext(every time.Duration) time.Duration { return every - now()%every }

// bootID tells readings of the clock before a reboot from those after it.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})
