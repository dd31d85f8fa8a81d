package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrUnknownPrimary: that Sentinel monitors nothing of that name.
	ErrUnknownPrimary = errors.New("no primary of that name")
	// ErrNoQuorum: too few Sentinels are in reach to agree or to authorise.
	ErrNoQuorum = errors.New("no quorum")
	// ErrUnsupported: that Sentinel is too old for the command.
	ErrUnsupported = errors.New("not supported by this version")
)

// Sentinel is one redis-sentinel. It is safe for concurrent use.
type Sentinel struct {
	conn
}

// NewSentinel does not connect. Close it.
func NewSentinel(addr netip.AddrPort, cred Credentials) *Sentinel {
	return &Sentinel{newConn(addr, cred)}
}

// Probe asks for PING and classifies what comes back.
func (s *Sentinel) Probe(ctx context.Context) Answer {
	_, err := s.do(ctx, call("ping", "PING"))
	return AnswerOf(err)
}

// ask sends SENTINEL and gives the errors that callers branch on their names.
func (s *Sentinel) ask(ctx context.Context, what string, args ...any) (any, error) {
	reply, err := s.do(ctx, call(what, append([]any{"SENTINEL"}, args...)...))
	if err != nil {
		return nil, named(err)
	}
	return reply, nil
}

// named joins an error with its name, if it has one. The code of an unknown primary is the general
// one, so that the beginning of the text must tell.
func named(err error) error {
	switch {
	case Code(err) == codeNoQuorum:
		return &namedError{ErrNoQuorum, err}
	case strings.HasPrefix(replyText(err), "ERR No such master"):
		return &namedError{ErrUnknownPrimary, err}
	}
	return err
}

// namedError reads as the reply did and matches its name too.
type namedError struct{ name, err error }

func (e *namedError) Error() string   { return e.err.Error() }
func (e *namedError) Unwrap() []error { return []error{e.name, e.err} }

// Primary is this Sentinel's view of the primary: ErrUnknownPrimary if it monitors none of that
// name.
func (s *Sentinel) Primary(ctx context.Context, name string) (PrimaryView, error) {
	replies, err := s.pipe(ctx,
		call("primary's address", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name),
		call("primary", "SENTINEL", "MASTER", name))
	if len(replies) == 2 && Code(replies[1].Err()) != "" {
		return PrimaryView{}, named(s.wrap("primary", replies[1].Err()))
	}
	if err != nil {
		return PrimaryView{}, err
	}
	addr, _ := replies[0].StringSlice()
	list, err := replies[1].StringSlice()
	if err != nil || len(addr) != 2 {
		return PrimaryView{}, s.wrap("read primary", cmp.Or(err, errNoAddress))
	}
	v := parsePrimary(pairs(list))
	v.Addr = addrPort(addr[0], addr[1])
	return v, nil
}

var errNoAddress = errors.New("no address in it")

// Replicas lists the replicas that this Sentinel knows, gone ones included.
func (s *Sentinel) Replicas(ctx context.Context, name string) ([]ReplicaView, error) {
	reply, err := s.ask(ctx, "replicas", "REPLICAS", name)
	if err != nil {
		return nil, err
	}
	return each(reply, parseReplica), nil
}

// Peers lists the other Sentinels that this one knows, gone ones included.
func (s *Sentinel) Peers(ctx context.Context, name string) ([]SentinelView, error) {
	reply, err := s.ask(ctx, "peers", "SENTINELS", name)
	if err != nil {
		return nil, err
	}
	return each(reply, parseSentinel), nil
}

// MyID is the id by which the other Sentinels know this one.
func (s *Sentinel) MyID(ctx context.Context) (string, error) {
	reply, err := s.ask(ctx, "myid", "MYID")
	if err != nil {
		return "", err
	}
	id, _ := reply.(string)
	return id, nil
}

// Monitor makes the Sentinel watch a primary. It refuses a name that it has.
func (s *Sentinel) Monitor(ctx context.Context, name string, primary netip.AddrPort, quorum int) error {
	_, err := s.ask(ctx, "monitor", "MONITOR", name, primary.Addr().String(), int(primary.Port()), quorum)
	return err
}

// Remove makes the Sentinel forget the primary and all that belongs to it.
func (s *Sentinel) Remove(ctx context.Context, name string) error {
	_, err := s.ask(ctx, "remove", "REMOVE", name)
	return err
}

// Set changes options of the primary, such as "quorum" or "auth-pass". Each Sentinel has its own,
// and writes them to its file at once. When one is refused, those before it stay set.
func (s *Sentinel) Set(ctx context.Context, name string, options ...Directive) error {
	if len(options) == 0 {
		return nil
	}
	what := "set"
	args := []any{"SET", name}
	for _, o := range options {
		what += " " + o.Name
		args = append(args, o.Name, o.Value)
	}
	_, err := s.ask(ctx, what, args...)
	return err
}

// Announce has this Sentinel name another primary at once: it switches, and tells its subscribers,
// as it would when another Sentinel had seen a failover through. To it that is what this is: a
// greeting with a later configuration. It asks nobody, also while its clock is in doubt, and drops
// a failover of its own. It takes no notice of an epoch that is not higher than its ConfigEpoch.
func (s *Sentinel) Announce(ctx context.Context, name string, primary netip.AddrPort, epoch int64) error {
	peers, err := s.Peers(ctx, name)
	if err != nil {
		return err
	}
	from := SentinelView{Addr: s.addr, RunID: stranger}
	if len(peers) > 0 {
		from = peers[0]
	}
	greeting := func(current int64) command {
		return call("announce", "PUBLISH", "__sentinel__:hello", fmt.Sprintf("%s,%d,%s,%d,%s,%s,%d,%d",
			from.Addr.Addr(), from.Addr.Port(), from.RunID, current, name, primary.Addr(), primary.Port(), epoch))
	}
	if len(peers) == 0 {
		_, err = s.pipe(ctx, greeting(epoch),
			call("forget the stranger", "SENTINEL", "RESET", name),
			call("write sentinel.conf", "SENTINEL", "FLUSHCONFIG"))
		return err
	}
	if _, err := s.do(ctx, greeting(0)); err != nil {
		return err
	}
	// Its next failover would have an earlier epoch, did it not learn that it is in this one, too.
	// That is one more fsync, for which its subscribers need not wait.
	_, err = s.do(ctx, greeting(epoch))
	return err
}

// stranger is the id under which a Sentinel that knows no other is greeted. It takes whoever greets
// it for another Sentinel, and is made to forget all of them in the same breath; the replicas are
// in the new primary's next INFO.
const stranger = "0000000000000000000000000000000000000000"

// CheckQuorum returns ErrNoQuorum when too few Sentinels are in reach.
func (s *Sentinel) CheckQuorum(ctx context.Context, name string) error {
	_, err := s.ask(ctx, "check quorum", "CKQUORUM", name)
	return err
}

// Timers are those of a Sentinel that its configuration has no options for. Zero leaves a timer as
// it is.
type Timers struct {
	Info        time.Duration // asks servers for INFO: 10 s
	Publish     time.Duration // announces itself: 2 s
	Ping        time.Duration // 1 s; under 250 ms it finds no replica fit
	Ask         time.Duration // asks the others whether the primary is down: 1 s
	Election    time.Duration // gives up being elected: 10 s
	TiltTrigger time.Duration // how late it must be to mistrust its clock: 2 s
	TiltPeriod  time.Duration // how long it then does nothing: 30 s
}

func (t Timers) options() []Directive {
	all := []struct {
		name  string
		value time.Duration
	}{
		{"info-period", t.Info},
		{"publish-period", t.Publish},
		{"ping-period", t.Ping},
		{"ask-period", t.Ask},
		{"election-timeout", t.Election},
		{"tilt-trigger", t.TiltTrigger},
		{"tilt-period", t.TiltPeriod},
	}
	var set []Directive
	for _, o := range all {
		if o.value > 0 {
			set = append(set, Directive{o.name, strconv.FormatInt(max(o.value.Milliseconds(), 1), 10)})
		}
	}
	return set
}

// Tune sets timers. They are volatile: gone with the process. Before Redis 7 it returns
// ErrUnsupported.
func (s *Sentinel) Tune(ctx context.Context, t Timers) error {
	args := []any{"DEBUG"}
	for _, o := range t.options() {
		args = append(args, o.Name, o.Value)
	}
	if len(args) == 1 {
		return nil
	}
	_, err := s.ask(ctx, "tune", args...)
	if Code(err) != codeGeneric {
		return err
	}
	if i, infoErr := s.Info(ctx); infoErr == nil && i.Version != "" && majorVersion(i.Version) < 7 {
		return &namedError{ErrUnsupported, err}
	}
	return err
}

// Info asks for INFO, in one round trip.
func (s *Sentinel) Info(ctx context.Context) (SentinelInfo, error) {
	reply, err := s.do(ctx, call("info", "INFO"))
	if err != nil {
		return SentinelInfo{}, err
	}
	text, _ := reply.(string)
	return parseSentinelInfo(text), nil
}
