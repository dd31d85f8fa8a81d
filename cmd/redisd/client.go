package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/redisd/redisd/agent"
)

// get asks the agent on this host.
func (a *app) get(ctx context.Context, path string, result any) error {
	return a.request(ctx, http.MethodGet, path, nil, result)
}

// post has the agent on this host do something.
func (a *app) post(ctx context.Context, path string, body, result any) error {
	return a.request(ctx, http.MethodPost, path, body, result)
}

func (a *app) request(ctx context.Context, method, path string, body, result any) error {
	socket, err := a.socketPath()
	if err != nil {
		return err
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://redisd"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return noAgent(fmt.Errorf("%s: %w", socket, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var p agent.Problem
		text, _ := io.ReadAll(resp.Body)
		if json.Unmarshal(text, &p) == nil && p.Error != "" {
			return errors.New(p.Error)
		}
		return fmt.Errorf("the agent answered %s", resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(result)
}

// socketPath is where the agent of this host listens.
func (a *app) socketPath() (string, error) {
	if a.socket != "" {
		return a.socket, nil
	}
	// A missing or broken file must not keep anybody from asking the running agent.
	socket := filepath.Join(defaultRunDir, agent.SocketName)
	cfg, err := a.readConfig()
	if err == nil {
		socket = filepath.Join(cfg.Node.RunDir, agent.SocketName)
	}
	if !exists(socket) && exists(demoSocket()) {
		return demoSocket(), nil // a demo runs, and no agent does
	}
	return socket, nil
}

// defaultRunDir is where the agent of the package has its socket.
const defaultRunDir = "/run/redisd"

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// printJSON writes v as people and jq like it.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
