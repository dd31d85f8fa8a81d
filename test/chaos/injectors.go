package chaos

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// StateDir has a disk of its own, to be filled and to hang.
const StateDir = "/var/lib/redisd"

// injection is a fault at a host, or at all, about to happen.
type injection struct {
	c       *cluster.Cluster
	host    *lab.Host // the primary, where it is everyone's
	primary *lab.Host
	lasts   time.Duration
	note    func(format string, args ...any) // for the story
	later   func(verification)               // has it done when all is well again
}

// verification looks on the primary for what a fault's own clients had been told, and adds to what
// was seen.
type verification func(ctx context.Context, primary *goredis.Client, s *Seen) error

// mend ends a fault; nil where there is nothing to end.
type mend func(ctx context.Context) error

// An injector looks up what it needs and returns the fault itself, so that this takes no time.
type injector func(ctx context.Context, in injection) (func(ctx context.Context) (mend, error), error)

// injectors are the kinds by their names.
var injectors = map[string]injector{
	"redis-server killed":       killed("redis-server"),
	"redis-server hangs":        paused("redis-server"),
	"redis-server crash-loops":  crashLoop,
	"out of memory":             outOfMemory,
	"busy script":               busyScript,
	"snapshots":                 snapshots,
	"AOF rewrite":               rewrite,
	"full resync":               copyWritten.inject,
	"full copy being loaded":    copyLoaded.inject,
	"rewrite after a full copy": copyKept.inject,
	"dataset loads long":        loads,
	"redis-sentinel killed":     killed("redis-sentinel"),
	"redis-sentinel hangs":      paused("redis-sentinel"),
	"agent killed":              killed("redisd"),
	"agent killed in a loop":    killLoop,
	"agent hangs":               paused("redisd"),
	"agent restarted":           command("systemctl", "restart", "redisd"),
	"agent upgraded":            upgraded,

	"writing script":         writingScript,
	"clients paused":         pausedClients("ALL"),
	"writes paused":          pausedClients("WRITE"),
	"connections full":       fullConnections,
	"transactions and waits": carefulClients,
	"keys that expire":       expiring,

	"fence lifted":             config("min-replicas-to-write", "0"),
	"fence set":                config("min-replicas-to-write", "1000000"),
	"replica writable":         config("replica-read-only", "no"),
	"masterauth changed":       config("masterauth", "open barley"),
	"append-only file off":     config("appendonly", "no"),
	"password changed":         user("default", "resetpass", ">open barley"),
	"port changed":             config("port", "7000"),
	"agents' user deleted":     userDeleted("redisd-agent"),
	"agents' password changed": user("redisd-agent", "resetpass", ">open barley"),
	"replicas' user off":       user("redisd-replica", "off"),

	"switchover":     switchover,
	"stop and start": between(systemctl("stop"), systemctl("start")),
	"reboot":         between((*lab.Host).Reboot, nil),

	"power loss":                          between((*lab.Host).PowerOff, (*lab.Host).PowerOn),
	"host paused":                         between((*lab.Host).Freeze, (*lab.Host).Thaw),
	"blackout":                            blackout(false),
	"blackout, the primary returns later": blackout(true),

	"cable pulled":   between(pull, plug),
	"address goes":   addressGoes,
	"link flaps":     flap,
	"network silent": between((*lab.Host).Silence, (*lab.Host).Unsilence),
	"cut from the other nodes": peers(
		func(ctx context.Context, h *lab.Host, others []lab.End) error { return h.CutFrom(ctx, others...) },
		func(ctx context.Context, h *lab.Host, others []lab.End) error { return h.HealFrom(ctx, others...) }),
	"cut from the primary": cutFromPrimary,
	"sends to no other node": peers(
		func(ctx context.Context, h *lab.Host, others []lab.End) error { return h.CutTo(ctx, others...) },
		func(ctx context.Context, h *lab.Host, others []lab.End) error { return h.HealTo(ctx, others...) }),
	"hears no other node": peers(
		func(ctx context.Context, h *lab.Host, others []lab.End) error {
			return each(others, func(o lab.End) error { return o.(*lab.Host).CutTo(ctx, h) })
		},
		func(ctx context.Context, h *lab.Host, others []lab.End) error {
			return each(others, func(o lab.End) error { return o.(*lab.Host).HealTo(ctx, h) })
		}),
	"UDP 7946 blocked": port("udp", 7946),
	"TCP 7946 blocked": port("tcp", 7946),
	"TCP 6379 blocked": port("tcp", 6379),
	"deaf":             deaf,
	"5 % loss":         netem(lab.Impairment{Loss: 0.05}),
	"50 ms delay":      netem(lab.Impairment{Delay: 50 * time.Millisecond}),

	"disk full":           between(disk((*lab.Host).FillDisk), disk((*lab.Host).FreeDisk)),
	"disk hangs":          between(disk((*lab.Host).FreezeDisk), disk((*lab.Host).ThawDisk)),
	"disk stutters":       stutter,
	"disk read-only":      readOnly,
	"processor hogged":    hogged,
	"all processors busy": hogged,
}

// process is the redis-server, redis-sentinel or agent of a host.
func process(ctx context.Context, h *lab.Host, name string) (lab.Process, error) {
	if name != "redisd" {
		return h.Process(ctx, name)
	}
	// Its commands have its name, but came later.
	all, err := h.Processes(ctx, name)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s has no process %s", h.Name(), name)
	}
	if err != nil {
		return lab.Process{}, err
	}
	return all[0], nil
}

func killed(name string) injector {
	return func(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
		p, err := process(ctx, in.host, name)
		return func(context.Context) (mend, error) { return nil, p.Kill() }, err
	}
}

func paused(name string) injector {
	return func(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
		p, err := process(ctx, in.host, name)
		resume := func(context.Context) error {
			if !p.Alive() {
				in.note("the %s that hung on %s is gone", name, in.host.Name())
				return nil
			}
			return p.Resume()
		}
		return func(context.Context) (mend, error) { return resume, p.Pause() }, err
	}
}

// crashLoop has each redis-server end as soon as it has been started.
func crashLoop(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
	const (
		alive = 50 * time.Millisecond
		look  = 20 * time.Millisecond
	)
	first, err := process(ctx, in.host, "redis-server")
	return func(ctx context.Context) (mend, error) {
		killed := 1
		if err := first.Kill(); err != nil {
			return nil, err
		}
		for end := time.Now().Add(in.lasts); time.Now().Before(end); pause(ctx, look) {
			p, err := in.host.Process(ctx, "redis-server")
			if err != nil {
				continue // not started again yet
			}
			pause(ctx, alive)
			if p.Kill() == nil {
				killed++
			}
		}
		in.note("redis-server was killed %d times", killed)
		if killed == 1 {
			return nil, errors.New("redis-server was not started again: no loop")
		}
		return nil, nil
	}, err
}

// upgraded installs the package that is there already, as a later version and with another program
// in it.
func upgraded(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
	const repack = `dir=$(mktemp -d /root/next.XXXXXX)
dpkg-deb -R /root/redisd.deb "$dir"
version=$(dpkg-deb -f /root/redisd.deb Version)+$(date +%s)
sed -i "s/^Version:.*/Version: $version/" "$dir/DEBIAN/control"
echo "$version" >>"$dir/usr/bin/redisd"
dpkg-deb -Znone -b "$dir" /root/next.deb >/dev/null
rm -r "$dir"
echo "$version"`
	version, err := in.host.Shell(ctx, repack)
	return func(ctx context.Context) (mend, error) {
		out, err := in.host.Run(ctx, "dpkg", "-i", "/root/next.deb")
		in.note("upgraded to %s: %s", strings.TrimSpace(version), out)
		return nil, err
	}, err
}

func cutFromPrimary(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	return func(ctx context.Context) (mend, error) {
		return func(ctx context.Context) error { return in.host.HealFrom(ctx, in.primary) }, in.host.CutFrom(ctx, in.primary)
	}, nil
}

func command(args ...string) injector {
	return func(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
		return func(ctx context.Context) (mend, error) {
			_, err := in.host.Run(ctx, args...)
			return nil, err
		}, nil
	}
}

// between is a fault with a beginning and an end that a host has methods for.
func between(begin, end func(*lab.Host, context.Context) error) injector {
	return func(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
		return func(ctx context.Context) (mend, error) {
			if end == nil {
				return nil, begin(in.host, ctx)
			}
			return func(ctx context.Context) error { return end(in.host, ctx) }, begin(in.host, ctx)
		}, nil
	}
}

func systemctl(verb string) func(*lab.Host, context.Context) error {
	return func(h *lab.Host, ctx context.Context) error {
		_, err := h.Run(ctx, "systemctl", verb, "redisd")
		return err
	}
}

func pull(h *lab.Host, _ context.Context) error { return h.Cut() }
func plug(h *lab.Host, _ context.Context) error { return h.Heal() }

func disk(do func(*lab.Host, string) error) func(*lab.Host, context.Context) error {
	return func(h *lab.Host, _ context.Context) error { return do(h, StateDir) }
}

// switchover is asked for on another host than the primary: the longer way.
func switchover(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	on := in.c.Host(in.c.Others(in.host.Name())[0])
	return func(ctx context.Context) (mend, error) {
		out, err := on.Run(ctx, "redisd", "switchover")
		in.note("redisd switchover: %s", out)
		return nil, err
	}, nil
}

// blackout takes the power from all hosts at once and gives it back to all, or to the primary later
// than to the others.
func blackout(late bool) injector {
	return func(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
		var others []*lab.Host
		for _, name := range in.c.Others(in.host.Name()) {
			others = append(others, in.c.Host(name))
		}
		all := append([]*lab.Host{in.host}, others...)
		on := func(ctx context.Context) error {
			return parallel(all, func(h *lab.Host) error { return h.PowerOn(ctx) })
		}
		return func(ctx context.Context) (mend, error) {
			err := in.c.Lab.PowerOff(ctx, all...)
			if late {
				err = errors.Join(err, parallel(others, func(h *lab.Host) error { return h.PowerOn(ctx) }))
				on = in.host.PowerOn
			}
			return on, err
		}, nil
	}
}

// flap ends with the link up.
func flap(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	const period = 600 * time.Millisecond
	return func(ctx context.Context) (mend, error) {
		for end := time.Now().Add(in.lasts); time.Now().Before(end); {
			if err := in.host.Cut(); err != nil {
				return nil, err
			}
			pause(ctx, period/2)
			if err := in.host.Heal(); err != nil {
				return nil, err
			}
			pause(ctx, period/2)
		}
		return nil, nil
	}, nil
}

func peers(begin, end func(context.Context, *lab.Host, []lab.End) error) injector {
	return func(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
		var others []lab.End
		for _, name := range in.c.Others(in.host.Name()) {
			others = append(others, in.c.Host(name))
		}
		return func(ctx context.Context) (mend, error) {
			return func(ctx context.Context) error { return end(ctx, in.host, others) }, begin(ctx, in.host, others)
		}, nil
	}
}

func port(proto string, number int) injector {
	return between(
		func(h *lab.Host, ctx context.Context) error { return h.BlockPort(ctx, proto, number) },
		func(h *lab.Host, ctx context.Context) error { return h.UnblockPort(ctx, proto, number) })
}

func netem(i lab.Impairment) injector {
	return between(
		func(h *lab.Host, _ context.Context) error { return h.Netem(i) },
		func(h *lab.Host, _ context.Context) error { return h.ClearNetem() })
}

// hogged has as many loops on the host as this machine has processors, which it shares with all
// other hosts: these are as busy.
func hogged(_ context.Context, in injection) (func(context.Context) (mend, error), error) {
	return func(ctx context.Context) (mend, error) {
		var wg sync.WaitGroup
		for range runtime.NumCPU() {
			wg.Go(func() {
				// The loop ends when its time is over, which is an error to whoever ran it.
				_, _ = in.host.Run(ctx, "timeout", fmt.Sprintf("%.1f", in.lasts.Seconds()), "sh", "-c", "while :; do :; done")
			})
		}
		wg.Wait()
		return nil, nil
	}, nil
}

func each[E any](list []E, do func(E) error) error {
	var errs []error
	for _, e := range list {
		errs = append(errs, do(e))
	}
	return errors.Join(errs...)
}

func parallel[E any](list []E, do func(E) error) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, e := range list {
		wg.Go(func() { errs[i] = do(e) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
