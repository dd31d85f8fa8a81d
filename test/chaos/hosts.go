package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redisd/redisd/test/lab"
)

// The faults of hosts, their agents and their disks that need more than a method of the lab.

// deaf: gossip neither comes nor goes, and all else does.
func deaf(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	const gossip = 7946
	protos := []string{"udp", "tcp"}
	return func(ctx context.Context) (mend, error) {
		err := each(protos, func(p string) error {
			return errors.Join(in.host.BlockPort(ctx, p, gossip), in.host.BlockPortOut(ctx, p, gossip))
		})
		return func(ctx context.Context) error {
			return each(protos, func(p string) error {
				return errors.Join(in.host.UnblockPort(ctx, p, gossip), in.host.UnblockPortOut(ctx, p, gossip))
			})
		}, err
	}, nil
}

// addressGoes takes the host's own address away, as a DHCP client does whose lease has ended, and
// gives it back.
func addressGoes(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	ip := func(verb string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := in.host.Run(ctx, "ip", "address", verb, in.host.Addr().String()+"/24", "dev", "host0")
			return err
		}
	}
	return func(ctx context.Context) (mend, error) { return ip("replace"), ip("del")(ctx) }, nil
}

// killLoop kills each agent soon after it was started.
func killLoop(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	const every = 100 * time.Millisecond
	return func(ctx context.Context) (mend, error) {
		killed := 0
		for end := time.Now().Add(in.lasts); time.Now().Before(end); pause(ctx, every) {
			p, err := agentOf(ctx, in.host)
			if err == nil && p.Kill() == nil {
				killed++
			}
		}
		in.note("the agent was killed %d times", killed)
		if killed < 2 {
			return nil, fmt.Errorf("the agent was killed %d times: no loop", killed)
		}
		return nil, nil
	}, nil
}

// agentOf is the agent itself, not a command under the same name.
func agentOf(ctx context.Context, h *lab.Host) (lab.Process, error) {
	all, err := h.Processes(ctx, "redisd")
	if err != nil {
		return lab.Process{}, err
	}
	for _, p := range all {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.MachinePID))
		if err == nil && bytes.HasPrefix(line, []byte("/usr/bin/redisd\x00agent")) {
			return p, nil
		}
	}
	return lab.Process{}, fmt.Errorf("%s has no agent", h.Name())
}

// stutter has the disk hang for a second again and again: a slow one.
func stutter(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	const hangs, works = time.Second, 300 * time.Millisecond
	return func(ctx context.Context) (mend, error) {
		for end := time.Now().Add(in.lasts); time.Now().Before(end); pause(ctx, works) {
			if err := in.host.FreezeDisk(StateDir); err != nil {
				return nil, err
			}
			pause(ctx, hangs)
			if err := in.host.ThawDisk(StateDir); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}, nil
}

// readOnly has the disk refuse all writes, as a file system does after an I/O error, until somebody
// powers the host off, checks the disk, and powers it on.
func readOnly(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	return func(ctx context.Context) (mend, error) {
		return func(ctx context.Context) error {
			out, err := in.host.Shell(ctx, "echo it is writable >"+StateDir+"/.chaos")
			if err == nil {
				err = fmt.Errorf("the disk did not stay read-only: %s", strings.TrimSpace(out))
			} else {
				err = nil
			}
			return errors.Join(err, in.host.PowerOff(ctx), in.host.PowerOn(ctx))
		}, in.host.FailDisk(StateDir)
	}, nil
}
