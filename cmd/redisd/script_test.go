package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/redisd/redisd/internal/slotfile"
)

// patience is how long a test waits for what must come; it is reached only by a failure.
const patience = 60 * time.Second

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMain lets the scripts, and the demo, run this test binary as redisd.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"redisd": main}) }

// TestScript is the command line as its user sees it, see testdata/script. Beside testscript's own
// commands there are:
//
//	exits CODE PROGRAM [ARG...]      runs it, and its exit code must be this one
//	await PATTERN PROGRAM [ARG...]   runs it until what it prints matches
//	occupy NETWORK ADDRESS           listens there until the script ends
//	json [NAME=]PATH...              these are in the JSON on standard output; NAME is set
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Setup: setup, UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Condition: condition,
		Cmds:      map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "await": await, "occupy": occupy, "json": jsonCmd, "state": stateCmd},
	})
}

// stateCmd makes the state of a node: "state DIR CLUSTER [MACHINE]". An empty name makes one that
// is damaged.
func stateCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: state DIR CLUSTER [MACHINE]")
	}
	f, err := slotfile.Open(filepath.Join(ts.MkAbs(args[0]), "state"), 0o600)
	ts.Check(err)
	defer f.Close()
	value := fmt.Sprintf(`{"id": "0badcafe", "cluster": %q, "machine": %q}`, args[1], strings.Join(args[2:], ""))
	if args[1] == "" {
		value = `{"id": "0bad`
	}
	ts.Check(f.Write([]byte(value), true))
}

// scripts counts them.
var scripts atomic.Int32

// setup makes a script independent of the host's own redisd, gives it a good secret, puts its
// directory into its configurations, and has the demo in $DEMO: a short path, for the sockets in
// it. $NET is the network of loopback addresses, and $PORT4 and $PORT6 are ports, that no other
// script or run of this test uses.
func setup(env *testscript.Env) error {
	env.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(env.WorkDir, "no-bus"))
	env.Setenv("GORACE", "atexit_sleep_ms=0") // for a test binary with the race detector
	tmp, err := os.MkdirTemp("", "rd")
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(tmp) })
	env.Setenv("TMPDIR", tmp)
	env.Setenv("DEMO", filepath.Join(tmp, filepath.Base(demoDir())))
	pid, n := os.Getpid(), int(scripts.Add(1))
	vars := map[string]string{
		"WORK": env.WorkDir, "NET": fmt.Sprintf("127.%d.%d", 80+pid/250%10*10+n, pid%250),
		"PORT4": strconv.Itoa(16000 + pid%1000), "PORT6": strconv.Itoa(17000 + pid%1000),
	}
	for name, value := range vars {
		env.Setenv(name, value)
	}
	env.Setenv("REDISD_TEST_ADDRESS", ownAddress())
	files, err := filepath.Glob(filepath.Join(env.WorkDir, "*.toml"))
	if err != nil {
		return err
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(os.Expand(string(text), func(name string) string { return vars[name] })), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "secret"), []byte(strings.Repeat("secret", 6)+"\n"), 0o600)
}

// condition knows [outside]: this host has an address in a network, which is then in
// $REDISD_TEST_ADDRESS.
func condition(name string) (bool, error) {
	if name != "outside" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return ownAddress() != "", nil
}

func ownAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr().String()
		}
	}
	return ""
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, is := errors.AsType[*exec.ExitError](err)
		if !is {
			ts.Fatalf("run %s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await PATTERN PROGRAM [ARG...]")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for limit := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if pattern.MatchString(ts.ReadFile("stdout") + ts.ReadFile("stderr")) {
			return
		}
		if time.Now().After(limit) {
			ts.Fatalf("not matched in %v: %s (%v)", patience, args[0], err)
		}
	}
}

func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: occupy NETWORK ADDRESS")
	}
	if strings.HasPrefix(args[0], "udp") {
		c, err := net.ListenPacket(args[0], args[1])
		ts.Check(err)
		ts.Defer(func() { c.Close() })
		return
	}
	l, err := net.Listen(args[0], args[1])
	ts.Check(err)
	ts.Defer(func() { l.Close() })
}

func jsonCmd(ts *testscript.TestScript, neg bool, args []string) {
	var doc any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &doc))
	for _, arg := range args {
		name, path, named := strings.Cut(arg, "=")
		if !named {
			path = arg
		}
		v := doc
		for key := range strings.SplitSeq(path, ".") {
			list, _ := v.([]any)
			table, _ := v.(map[string]any)
			i, err := strconv.Atoi(key)
			there := err == nil && i < len(list)
			if there {
				v = list[i]
			} else if v, there = table[key]; !there {
				ts.Fatalf("there is no %s in the JSON", path)
			}
		}
		if named {
			ts.Setenv(name, fmt.Sprint(v))
		}
	}
}
