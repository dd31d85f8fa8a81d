package redis

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Fence as min-replicas-to-write refuses every write: no server ever has that many replicas. Reads,
// PING and a Sentinel's PUBLISH go on. It has no effect on a replica, and takes effect the instant
// that one is promoted.
const Fence = 1000000

// The ACL users of a redis-server that are redisd's own: all begin with ownUsers. Every other user
// is a client's.
const (
	AgentUser    = "redisd-agent"
	ReplicaUser  = "redisd-replica"
	SentinelUser = "redisd-sentinel"

	ownUsers = "redisd-"
)

const (
	dirMinReplicas = "min-replicas-to-write"
	dirMaxLag      = "min-replicas-max-lag"
)

func setMinReplicas(n int) command {
	return call("set "+dirMinReplicas, "CONFIG", "SET", dirMinReplicas, strconv.Itoa(n))
}

// SetMinReplicas sets min-replicas-to-write; Fence stops all writes.
func (s *Server) SetMinReplicas(ctx context.Context, n int) error {
	_, err := s.do(ctx, setMinReplicas(n))
	return err
}

// SetFence stops all writes. A busy script refuses it (AnswerOf is Busy), as it refuses every other
// client's writes.
func (s *Server) SetFence(ctx context.Context) error { return s.SetMinReplicas(ctx, Fence) }

// HoldWrites has all clients' writes wait, at most for d, and reports how far the history went: no
// write follows. What only reads is answered. Clients are told nothing: see ResumeWrites and
// CloseClients.
//
// A fence would refuse them; redis-server looks at min-replicas-to-write before it looks at the
// pause, so a write that is to wait must not meet a fence.
func (s *Server) HoldWrites(ctx context.Context, d time.Duration) (Info, error) {
	if _, err := s.do(ctx, call("hold writes", "CLIENT", "PAUSE", strconv.FormatInt(d.Milliseconds(), 10), "WRITE")); err != nil {
		return Info{}, err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("read the offset at which writes stopped: %w", err)
	}
	return info, nil
}

// unpause ends HoldWrites, and a client's own CLIENT PAUSE with it: redis-server has one pause.
var unpause = call("resume writes", "CLIENT", "UNPAUSE")

// ResumeWrites lets those writes go on that wait.
func (s *Server) ResumeWrites(ctx context.Context) error {
	_, err := s.do(ctx, unpause)
	return err
}

const (
	// drainMost bounds how long a promotion waits for what has arrived: half of what the agent
	// gives to the promotion as a whole.
	drainMost = 100 * time.Millisecond
	// drainQuiet is how long nothing must have come in over a link that is open, in at least
	// drainPolls answers: a sender that has died may have more in its kernel, which follows once
	// there is room here. A switchover and a silent primary cost that much.
	drainQuiet = 2 * time.Millisecond
	drainPolls = 3
)

// Promote makes the server a primary that accepts writes with minReplicas, in one transaction, of
// which nothing happens when it is refused (for example while loading). It may be repeated. Clients
// stay connected.
//
// First it lets the server read what its primary has sent: Redis takes 16 KiB at a time from a link
// and throws the rest away when the link ends with its role. A server that had no processor for
// some milliseconds would lose writes that have long arrived.
func (s *Server) Promote(ctx context.Context, minReplicas int) error {
	s.drain(ctx)
	_, err := s.transaction(ctx,
		call("become primary", "REPLICAOF", "NO", "ONE"),
		setMinReplicas(minReplicas))
	return err
}

// drain waits until the server has read all that came in over its link: the link has ended, or
// nothing more comes. With each answer the server has been round its sockets once more.
func (s *Server) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainMost)
	defer cancel()
	var offset int64
	since, polls := time.Now(), 0
	for polls < drainPolls || time.Since(since) < drainQuiet {
		r, err := s.Role(ctx)
		if err != nil || r.Role != Replica || !r.LinkUp {
			return // the promotion itself says what is wrong
		}
		if polls++; r.Offset != offset {
			offset, since, polls = r.Offset, time.Now(), 0
		}
	}
}

// Follow makes the server a fenced replica of primary, in one transaction. It may be repeated: a
// server that already follows primary keeps its link.
//
// With closeClients, the clients' connections are closed in the same instant, so that those of an
// old primary find the new one, and what waits since HoldWrites goes on. Otherwise they stay, as on
// a replica that is merely pointed elsewhere.
func (s *Server) Follow(ctx context.Context, primary netip.AddrPort, closeClients bool) error {
	if !primary.IsValid() {
		return fmt.Errorf("follow on %s: no address of a primary", s.addr)
	}
	cmds := []command{
		setMinReplicas(Fence),
		call("become replica", "REPLICAOF", primary.Addr().String(), strconv.Itoa(int(primary.Port()))),
	}
	var usersErr error
	if closeClients {
		var users []string
		users, usersErr = s.clientUsers(ctx)
		cmds = append(append(cmds, closeUsers(users)...), unpause)
	}
	// Not knowing whose connections to close is no reason to stay a primary.
	_, err := s.transaction(ctx, cmds...)
	return errors.Join(usersErr, err)
}

// CloseClients fences the server, closes the connections of all clients, subscribers included, and
// reports how many there were, in one transaction: no write that waits is carried out, and no
// client is refused one. It spares those of redisd's own users: agents, replicas, and Sentinels,
// whose links CLIENT KILL TYPE normal would cut for up to half a second
// (docs/findings-sentinel.md).
//
// What waits goes on waiting, until Follow: a Sentinel's greeting, carried out on a primary, would
// make its history longer than its successor's, and it had to copy all data anew.
func (s *Server) CloseClients(ctx context.Context) (closed int, err error) {
	users, err := s.clientUsers(ctx)
	if err != nil {
		return 0, err
	}
	cmds := append([]command{setMinReplicas(Fence)}, closeUsers(users)...)
	replies, err := s.transaction(ctx, cmds...)
	for _, reply := range replies {
		if n, err := reply.Int(); err == nil {
			closed += n
		}
	}
	return closed, err
}

// Listen has the server listen on these addresses, at its port, and on no others. Connections that
// were accepted stay.
func (s *Server) Listen(ctx context.Context, addrs []string) error {
	_, err := s.do(ctx, call("set bind", "CONFIG", "SET", "bind", strings.Join(addrs, " ")))
	return err
}

// LinkAnew closes a replica's link to its primary. It makes another one at once, from the address
// that it is to connect from by now.
func (s *Server) LinkAnew(ctx context.Context) error {
	_, err := s.do(ctx, call("close the link to the primary", "CLIENT", "KILL", "TYPE", "master"))
	return err
}

// CloseOthers closes every other connection of the user of this one. A command that was sent on one
// of them and not carried out yet never will be.
func (s *Server) CloseOthers(ctx context.Context) error {
	_, err := s.do(ctx, call("close other connections", "CLIENT", "KILL", "USER", s.user, "SKIPME", "yes"))
	return err
}

// clientUsers lists the ACL users that are not redisd's own. Connections that have not
// authenticated count as user default.
func (s *Server) clientUsers(ctx context.Context) ([]string, error) {
	reply, err := s.do(ctx, call("list users", "ACL", "USERS"))
	if err != nil {
		return nil, err
	}
	list, _ := reply.([]any)
	var users []string
	for _, u := range list {
		if name, ok := u.(string); ok && !strings.HasPrefix(name, ownUsers) {
			users = append(users, name)
		}
	}
	if len(users) == 0 {
		return nil, s.wrap("list users", errors.New("no client user among them"))
	}
	return users, nil
}

func closeUsers(users []string) []command {
	cmds := make([]command, len(users))
	for i, user := range users {
		cmds[i] = call("close clients of "+user, "CLIENT", "KILL", "USER", user)
	}
	return cmds
}
