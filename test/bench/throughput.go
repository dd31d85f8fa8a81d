package bench

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/ways"
)

// throughput is what one round of redis-benchmark said of one target.
type throughput struct {
	Target string  `json:"target"` // see targets
	Test   string  `json:"test"`   // SET or GET
	Round  int     `json:"round"`
	RPS    float64 `json:"rps"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
}

// targets of redis-benchmark, in the order in which the report shows them.
var targets = []struct{ id, title string }{
	{"bare", "Redis alone"},
	{"replicated", "Redis with two replicas"},
	{"redisd", "redisd, through the VIP"},
}

const (
	barePort       = "7000"
	loadRounds     = 3
	loadRequests   = "60000"
	loadConnection = "50"
	loadLimit      = 5 * time.Minute
	lookAgain      = 200 * time.Millisecond
)

// measureThroughput compares the primary of a cluster of redisd, through the VIP, with a
// redis-server that somebody has started beside it on the same host: alone, and with two replicas
// on the same other hosts.
func measureThroughput(ctx context.Context, r *ways.Running) (found []throughput, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	primary, err := r.AwaitWhole(ctx, wholeLimit)
	if err != nil {
		return nil, err
	}
	if err := startBare(ctx, r); err != nil {
		return nil, fmt.Errorf("start a bare redis-server: %w", err)
	}
	bare := primary.Addr().String() + ":" + barePort
	for round := range loadRounds {
		for _, target := range targets {
			address := bare
			switch target.id {
			case "redisd":
				address = r.Service
			default:
				err = followBare(ctx, r, primary, target.id == "replicated")
			}
			if err != nil {
				return found, err
			}
			results, err := drive(ctx, r, address)
			if err != nil {
				return found, err
			}
			for _, one := range results {
				one.Target, one.Round = target.id, round+1
				found = append(found, one)
			}
		}
	}
	now, err := r.AwaitWhole(ctx, wholeLimit)
	if err == nil && now != primary {
		err = fmt.Errorf("under load the primary moved from %s to %s", primary.Name(), now.Name())
	}
	return found, err
}

// startBare starts a redis-server with redisd's way of keeping data, and nothing else.
func startBare(ctx context.Context, r *ways.Running) error {
	return ways.OnAll(r.Nodes, func(h *lab.Host) error {
		_, err := h.Shell(ctx, `mkdir -p /var/tmp/bare
systemd-run -q --unit=bare redis-server --port `+barePort+` --bind '* -::*' --protected-mode no --dir /var/tmp/bare \
	--requirepass `+r.Password+` --masterauth `+r.Password+` --appendonly yes --repl-backlog-size 64mb`)
		return err
	})
}

// followBare makes the bare ones on the other hosts replicas of the one beside the primary, or no
// longer, and waits until they are.
func followBare(ctx context.Context, r *ways.Running, primary *lab.Host, follow bool) error {
	ctx, cancel := context.WithTimeout(ctx, wholeLimit)
	defer cancel()
	of := []any{"REPLICAOF", "NO", "ONE"}
	if follow {
		of = []any{"REPLICAOF", primary.Addr().String(), barePort}
	}
	for _, h := range r.Nodes {
		if h == primary {
			continue
		}
		address := h.Addr().String() + ":" + barePort
		err := lab.Await(ctx, lookAgain, func() error {
			_, err := r.Ask(ctx, address, r.Password, of...)
			return err
		})
		if err == nil && follow {
			err = lab.Await(ctx, lookAgain, func() error {
				answer, err := r.Ask(ctx, address, r.Password, "ROLE")
				if err != nil {
					return err
				}
				if role, ok := answer.([]any); !ok || len(role) < 4 || role[3] != "connected" {
					return fmt.Errorf("the bare replica on %s: %v", h.Name(), answer)
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drive runs redis-benchmark at the client's end.
func drive(ctx context.Context, r *ways.Running, address string) ([]throughput, error) {
	host, port, _ := strings.Cut(address, ":")
	cmd := r.Lab.Command(ctx, "redis-benchmark", "-h", host, "-p", port, "-a", r.Password, "-t", "set,get",
		"-n", loadRequests, "-c", loadConnection, "-r", "100000", "-d", "100", "--csv")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run redis-benchmark against %s: %w\n%s", address, err, out)
	}
	return readBenchmark(string(out))
}

// readBenchmark reads what redis-benchmark --csv prints: test, rps, and the average, minimum, p50,
// p95, p99 and maximum latency in milliseconds.
func readBenchmark(text string) (found []throughput, err error) {
	_, table, ok := strings.Cut(text, `"test",`)
	if !ok {
		return nil, fmt.Errorf("redis-benchmark printed %q", text)
	}
	rows, err := csv.NewReader(strings.NewReader(`"test",` + table)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read what redis-benchmark printed: %w", err)
	}
	for _, row := range rows[1:] {
		if len(row) < 8 {
			return nil, fmt.Errorf("redis-benchmark printed %q", row)
		}
		one := throughput{Test: row[0]}
		var errs [3]error
		one.RPS, errs[0] = strconv.ParseFloat(row[1], 64)
		one.P50, errs[1] = strconv.ParseFloat(row[4], 64)
		one.P99, errs[2] = strconv.ParseFloat(row[6], 64)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("read what redis-benchmark printed: %w", err)
		}
		found = append(found, one)
	}
	return found, nil
}
