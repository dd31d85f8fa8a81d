package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/redis"
)

// bareServer runs a redis-server without data in a folder of its own, reached by a unix socket
// there, and ends it after use. With files it gets these, and conf beside its own few directives.
func bareServer(ctx context.Context, binary, conf string, files map[string][]byte, use func(ctx context.Context, socket string) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp("", "redisd-trial")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, confMode); err != nil {
			return err
		}
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.CommandContext(ctx, binary, "-")
	cmd.Dir = dir
	// It ends with this process, whatever ends that: for the kernel, with the thread that
	// started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdin = strings.NewReader(fmt.Sprintf("port 0\ndir %q\nunixsocket %q\n%s", dir, socket, conf))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Wait() }()
	defer cancel()
	said, ready := awaitReady(out)
	if !ready {
		return errors.Join(ctx.Err(), &bareError{said})
	}
	return use(ctx, socket)
}

// bareError is what a redis-server said that ended before it was ready.
type bareError struct{ said string }

func (e *bareError) Error() string {
	lines := strings.Split(strings.TrimSpace(e.said), "\n")
	return "try it with redis-server: " + lines[len(lines)-1]
}

// awaitReady reads what a redis-server prints until it accepts connections, or ends.
func awaitReady(out io.Reader) (said string, ready bool) {
	var all bytes.Buffer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all.Write(append(lines.Bytes(), '\n'))
		if strings.Contains(strings.ToLower(lines.Text()), "ready to accept connections") || strings.Contains(lines.Text(), "now ready to accept") {
			return all.String(), true
		}
	}
	return all.String(), false
}

// aclError is how redis-server speaks of a line of its file of users (acl.c, ACLLoadFromFile).
var aclError = regexp.MustCompile(`users\.acl:(\d+): (.*?)\.? WARNING`)

// aclWord is the rule that it names, where that is neither a command nor a pattern, and may be what
// somebody took for the form of a password.
var aclWord = regexp.MustCompile(`Error in applying operation '[^-+~&%@].*?': `)

// trialOfUsers has redis-server say whether it would start with these users: it does not start with
// one whom it does not understand. Modules bring commands, so it gets them, too.
func trialOfUsers(ctx context.Context, cfg config.Config, users []confgen.User) error {
	var names []string
	var acl bytes.Buffer
	for _, u := range users {
		names = append(names, u.Name)
		fmt.Fprintf(&acl, "user %s %s\n", u.Name, strings.Join(u.Rules, " "))
	}
	conf := "aclfile " + confgen.ACLFileName + "\n"
	if modules := cfg.Redis.Directives["loadmodule"]; modules != "" {
		conf += "loadmodule " + strings.ReplaceAll(modules, "\n", "\nloadmodule ") + "\n"
	}
	err := bareServer(ctx, cfg.Redis.Binary, conf, map[string][]byte{confgen.ACLFileName: acl.Bytes()}, func(context.Context, string) error { return nil })
	var refused *bareError
	if !errors.As(err, &refused) {
		return err
	}
	m := aclError.FindStringSubmatch(refused.said)
	if m == nil {
		return err
	}
	n := 0
	_, _ = fmt.Sscan(m[1], &n)
	if n < 1 || n > len(names) {
		return err
	}
	return usersMistake(cfg, fmt.Sprintf("redis-server refuses the user %s: %s", names[n-1], aclWord.ReplaceAllString(m[2], "")))
}

// Defaults are the values of all directives by redis-server's own default: what it runs with that
// is told nothing.
func Defaults(ctx context.Context, binary string) (values map[string]string, err error) {
	err = bareServer(ctx, binary, "", nil, func(ctx context.Context, socket string) error {
		values, err = redis.ConfigAt(ctx, socket)
		return err
	})
	return values, err
}
