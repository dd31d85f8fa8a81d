package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/redisd/redisd/gossip"
)

// SocketName is the name of the local socket in the node's run directory.
const SocketName = "redisd.sock"

// DiscoveryPort is taken on every host with a node that looks for others on the local network.
const DiscoveryPort = gossip.DiscoveryPort

// api answers the commands on this host over a local socket. Who may open the socket (root and the
// group redis) may do everything.
type api struct {
	server   *http.Server
	listener net.Listener
}

func (c *commands) listen() (*api, error) {
	path := filepath.Join(c.cfg.Load().Node.RunDir, SocketName)
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s: another redisd agent runs on this node", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of an earlier agent: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { reply(w, c.Status(r.Context()), nil) })
	mux.HandleFunc("GET /v1/plan", func(w http.ResponseWriter, r *http.Request) { reply(w, c.driver.plan(), nil) })
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { reply(w, c.events.all(), nil) })
	mux.HandleFunc("GET /v1/primary", func(w http.ResponseWriter, r *http.Request) {
		addr, ok := c.driver.PrimaryAddress()
		if !ok {
			reply(w, nil, errors.New("no primary is known; see `redisd status`"))
			return
		}
		reply(w, addr, nil)
	})
	mux.HandleFunc("POST /v1/switchover", c.serveSwitchover)
	mux.HandleFunc("POST /v1/leave", c.serveLeave)
	mux.HandleFunc("POST /v1/forget", c.serveForget)
	mux.HandleFunc("GET /v1/failover", func(w http.ResponseWriter, r *http.Request) { reply(w, c.PlanFailover(), nil) })
	mux.HandleFunc("POST /v1/failover", func(w http.ResponseWriter, r *http.Request) {
		var req FailoverRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			reply(w, nil, err)
			return
		}
		res, err := c.Failover(r.Context(), req)
		reply(w, res, err)
	})
	mux.HandleFunc("POST /v1/pause", func(w http.ResponseWriter, r *http.Request) {
		var p Pause
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			reply(w, nil, err)
			return
		}
		res, err := c.SetPause(r.Context(), p.On)
		reply(w, res, err)
	})
	mux.HandleFunc("GET /v1/abandon", func(w http.ResponseWriter, r *http.Request) { reply(w, c.neighbours.plan(), nil) })
	mux.HandleFunc("POST /v1/abandon", func(w http.ResponseWriter, r *http.Request) {
		reply(w, c.neighbours.plan(), c.neighbours.AbandonData())
	})
	return &api{server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}, listener: l}, nil
}

// SwitchoverLine is a line of the answer to a switchover: the steps as they pass, and last the
// result.
type SwitchoverLine struct {
	Step   *Step  `json:"step,omitempty"`
	Result *Moved `json:"result,omitempty"`
}

func (c *commands) serveSwitchover(w http.ResponseWriter, r *http.Request) {
	var req SwitchoverRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		reply(w, nil, err)
		return
	}
	say := lines(w)
	res, err := c.coordinator.Switchover(r.Context(), req, func(s Step) { say(SwitchoverLine{Step: &s}) })
	if err != nil {
		res.Error = err.Error()
	}
	if res.Steps == nil {
		res.Steps = []Step{}
	}
	say(SwitchoverLine{Result: &res})
}

// Problem is what an operation that did not work answers.
type Problem struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		v = Problem{Error: err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v)
}

// serve answers until ctx ends.
func (s *api) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			_ = s.server.Close()
		}
	})
	defer stop()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answer commands: %w", err)
	}
	return nil
}
