package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/redis"
)

// reach is how much of the old primary's history a replica was seen to have.
type reach struct {
	node   string
	offset int64
}

// reachEvery is how often the replicas are asked during the failover.
const reachEvery = 2 * time.Millisecond

// watchReach asks the nodes but the victim how much of its history they have, until the function
// that it returns is called.
func (d *demo) watchReach(ctx context.Context, victim string) (stop func() []reach) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	seen := make([]reach, len(d.nodes))
	history := ""
	for _, n := range d.nodes {
		if n.name == victim {
			history = n.history(ctx)
		}
	}
	for i, n := range d.nodes {
		if n.name != victim && history != "" {
			wg.Go(func() { seen[i] = reach{n.name, n.follow(ctx, history)} })
		}
	}
	return func() []reach {
		cancel()
		wg.Wait()
		return slices.DeleteFunc(seen, func(r reach) bool { return r.node == "" })
	}
}

// server is the node's redis-server; done lets go of it.
func (n *demoNode) server() (s *redis.Server, done func(), err error) {
	cfg, err := config.Load(n.config)
	if err != nil {
		return nil, nil, err
	}
	s, door, err := localServer(cfg)
	if err != nil {
		return nil, nil, err
	}
	return s, func() { s.Close(); door.Close() }, nil
}

// history is the name of what the node's redis-server has; empty when it does not say.
func (n *demoNode) history(ctx context.Context) string {
	s, done, err := n.server()
	if err != nil {
		return ""
	}
	defer done()
	info, _ := s.Info(ctx)
	return info.ReplID
}

// follow is how much of a history the node had in the end.
func (n *demoNode) follow(ctx context.Context, history string) (offset int64) {
	s, done, err := n.server()
	if err != nil {
		return 0
	}
	defer done()
	t := time.NewTicker(reachEvery)
	defer t.Stop()
	for {
		info, err := s.Info(ctx)
		switch {
		case err != nil:
		case info.ReplID == history:
			offset = max(offset, info.Offset)
		case info.ReplID2 == history:
			return info.SecondOffset - 1 // what it went on from, or followed from
		}
		select {
		case <-ctx.Done():
			return offset
		case <-t.C:
		}
	}
}

// lossText says why acknowledged writes are gone, and whether another replica had more.
func lossText(lost int, chosen string, seen []reach) string {
	var rest []string
	had, most := int64(-1), reach{}
	for _, r := range seen {
		if r.node == chosen {
			had = r.offset
			continue
		}
		rest = append(rest, fmt.Sprintf("%s to %d", r.node, r.offset))
		if r.offset > most.offset {
			most = r
		}
	}
	text := fmt.Sprintf("Redis answers a client before its replicas have the write: %d had not got out when its process was killed", lost)
	switch {
	case had < 0:
		return text
	case most.offset > had:
		return fmt.Sprintf("%s, or had reached %s alone, which had the stream to offset %d and %s to %d", text, most.node, most.offset, chosen, had)
	}
	return fmt.Sprintf("%s; of the replicas %s had most, the stream to offset %d (%s)", text, chosen, had, strings.Join(rest, ", "))
}
