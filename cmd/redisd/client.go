package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
)

// answerWithin is how long an agent may take to answer a question: it asks the others for a second
// at most.
const answerWithin = 10 * time.Second

// get asks the agent on this host.
func (a *app) get(ctx context.Context, path string, result any) error {
	return a.request(ctx, answerWithin, http.MethodGet, path, nil, result)
}

// post has the agent on this host do something that takes as long as within.
func (a *app) post(ctx context.Context, within time.Duration, path string, body, result any) error {
	return a.request(ctx, within+answerWithin, http.MethodPost, path, body, result)
}

func (a *app) request(parent context.Context, within time.Duration, method, path string, body, result any) error {
	socket := a.socketPath()
	ctx, cancel := context.WithTimeout(parent, within)
	defer cancel()
	resp, err := a.send(ctx, socket, method, path, body)
	switch {
	case parent.Err() != nil:
		return errInterrupted
	case err != nil:
		return errors.Join(a.noAnswer(socket, within, err), a.identityTrouble())
	}
	defer resp.Body.Close()
	if err := problemOf(resp); err != nil {
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(result); err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	return nil
}

// send sends a question over the socket, on a connection of its own.
func (a *app) send(ctx context.Context, socket, method, path string, body any) (*http.Response, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://redisd"+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	return client.Do(req)
}

// errCutShort: an answer of several lines ended before the last of them.
var errCutShort = errors.New("its answer was cut short")

// follow has the agent do something, and reads its answer line by line until one was the last.
func follow[L any](parent context.Context, a *app, within time.Duration, path string, body any, last func(L) bool) error {
	ctx, cancel := context.WithTimeout(parent, within)
	defer cancel()
	socket := a.socketPath()
	resp, err := a.send(ctx, socket, http.MethodPost, path, body)
	switch {
	case parent.Err() != nil:
		return errInterrupted
	case err != nil:
		return errors.Join(a.noAnswer(socket, within, err), a.identityTrouble())
	}
	defer resp.Body.Close()
	if err := problemOf(resp); err != nil {
		return err
	}
	lines := json.NewDecoder(resp.Body)
	for {
		var l L
		if err := lines.Decode(&l); err != nil {
			return fmt.Errorf("%w: %w", errCutShort, err)
		}
		if last(l) {
			return nil
		}
	}
}

// problemOf is what an answer says went wrong.
func problemOf(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var p agent.Problem
	text, _ := io.ReadAll(resp.Body)
	if json.Unmarshal(text, &p) == nil && p.Error != "" {
		return errors.New(p.Error)
	}
	return fmt.Errorf("the agent answered %s", resp.Status)
}

var errInterrupted = errors.New("interrupted")

// noAnswer says why there was none, and what to do about that.
func (a *app) noAnswer(socket string, within time.Duration, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no agent runs on this host (nothing listens on %s): `systemctl start redisd` starts it, `journalctl -u redisd` says why it ended%s", socket, a.whoAnswers())
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("may not speak to the agent (%s: %w): run this as root, or as a member of the group redis", socket, fs.ErrPermission)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the agent on %s did not answer within %v: see `systemctl status redisd` and `journalctl -u redisd`", socket, within)
	}
	return fmt.Errorf("ask the agent on %s: %w", socket, err)
}

// socketPath is where the agent of this host listens. A missing or broken configuration must not
// keep anybody from asking the running agent.
func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	socket := config.DefaultOf(a.instance()).SocketPath()
	if cfg, err := a.readConfig(); err == nil {
		socket = cfg.SocketPath()
	}
	if demo := demoSocket(); !config.Further(a.instance()) && dial(socket) != nil && ownedByMe(filepath.Dir(demo)) && dial(demo) == nil {
		return demo // a demo runs, and no agent does
	}
	return socket
}

// dial reports whether somebody listens on the socket.
func dial(socket string) error {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// ownedByMe: the demo's directory has a name that anybody could have taken.
func ownedByMe(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// printJSON writes v as operators and jq like it.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
