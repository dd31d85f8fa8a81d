package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// End is one end of a connection in the lab: a *Host, or the client end.
type End interface {
	endName() string
	ports() []string // interfaces of the lab's namespace behind which it is; none: the bridge itself
}

type clientEnd struct{}

func (clientEnd) endName() string { return "(client)" }
func (clientEnd) ports() []string { return nil }

// Client is the end at which the test process is.
func (l *Lab) Client() End { return clientEnd{} }

// filter holds what is not let through between ends and, after each change, gives the kernel the
// whole table anew, in one transaction. Nobody notices being filtered: unlike a link that is down,
// it looks like a fault farther away.
type filter struct {
	namespace string // its file

	mu     sync.Mutex
	rules  map[string]rule // by what they say
	silent map[silence]End
}

// silence is a reason for which an end has no network at all.
type silence struct {
	end    string
	frozen bool // by Freeze, not by Silence
}

// rule drops what goes from one end to another; with a port, what goes to that port of `to`, from
// anyone, or from `from` to that port of anyone, and the answers.
type rule struct {
	from, to End
	proto    string
	port     int
}

func (r rule) key() string {
	switch {
	case r.proto != "" && r.from != nil:
		return fmt.Sprintf("%s > %s/%d", r.from.endName(), r.proto, r.port)
	case r.proto != "":
		return fmt.Sprintf("%s %s/%d", r.to.endName(), r.proto, r.port)
	}
	return r.from.endName() + " > " + r.to.endName()
}

func newFilter(namespace string) *filter {
	return &filter{namespace: namespace, rules: map[string]rule{}, silent: map[silence]End{}}
}

func (f *filter) change(ctx context.Context, edit func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit()
	if err := command(ctx, f.table(), "nsenter", "--net="+f.namespace, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("filter the lab's network: %w", err)
	}
	return nil
}

// table is the whole of it in nft's language.
func (f *filter) table() string {
	var forward, input, output []string
	for _, e := range f.silent {
		in, out := "iifname "+portSet(e), "oifname "+portSet(e)
		forward = append(forward, in, out)
		input, output = append(input, in), append(output, out)
	}
	for _, key := range slices.Sorted(maps.Keys(f.rules)) {
		r := f.rules[key]
		switch {
		case r.proto != "" && r.from != nil:
			to := fmt.Sprintf("iifname %s %s dport %d", portSet(r.from), r.proto, r.port)
			answer := fmt.Sprintf("oifname %s %s sport %d", portSet(r.from), r.proto, r.port)
			forward = append(forward, to, answer)
			input, output = append(input, to), append(output, answer)
		case r.proto != "":
			to := fmt.Sprintf("oifname %s %s dport %d", portSet(r.to), r.proto, r.port)
			answer := fmt.Sprintf("iifname %s %s sport %d", portSet(r.to), r.proto, r.port)
			forward = append(forward, to, answer)
			input, output = append(input, answer), append(output, to)
		case len(r.from.ports()) == 0:
			output = append(output, "oifname "+portSet(r.to))
		case len(r.to.ports()) == 0:
			input = append(input, "iifname "+portSet(r.from))
		default:
			forward = append(forward, "iifname "+portSet(r.from)+" oifname "+portSet(r.to))
		}
	}
	var text strings.Builder
	for _, hook := range []string{"forward", "input", "output"} {
		fmt.Fprintf(&text, "add table bridge lab\nadd chain bridge lab %s { type filter hook %[1]s priority 0; }\n", hook)
	}
	// The chains stay, only the rules are replaced: taking a hook out of the kernel takes it much
	// longer.
	text.WriteString("flush table bridge lab\n")
	for _, chain := range []struct {
		name  string
		rules []string
	}{{"forward", forward}, {"input", input}, {"output", output}} {
		for _, r := range chain.rules {
			fmt.Fprintf(&text, "add rule bridge lab %s %s drop\n", chain.name, r)
		}
	}
	return text.String()
}

func portSet(e End) string {
	return `{ "` + strings.Join(e.ports(), `", "`) + `" }`
}

func (f *filter) edit(ctx context.Context, add bool, rules ...rule) error {
	return f.change(ctx, func() {
		for _, r := range rules {
			if add {
				f.rules[r.key()] = r
			} else {
				delete(f.rules, r.key())
			}
		}
	})
}

func (f *filter) setSilent(ctx context.Context, h *Host, frozen, silent bool) error {
	return f.change(ctx, func() {
		if silent {
			f.silent[silence{h.name, frozen}] = h
		} else {
			delete(f.silent, silence{h.name, frozen})
		}
	})
}

// CutTo drops, from now on, everything that goes from the host to the others; what they send still
// arrives.
func (h *Host) CutTo(ctx context.Context, others ...End) error {
	return h.lab.net.filter.edit(ctx, true, h.towards(others)...)
}

// CutFrom drops, from now on, everything between the host and the others, both ways.
func (h *Host) CutFrom(ctx context.Context, others ...End) error {
	return h.lab.net.filter.edit(ctx, true, append(h.towards(others), h.awayFrom(others)...)...)
}

// HealTo undoes CutTo for these others, HealFrom undoes CutFrom.
func (h *Host) HealTo(ctx context.Context, others ...End) error {
	return h.lab.net.filter.edit(ctx, false, h.towards(others)...)
}

// HealFrom lets through everything between the host and the others again.
func (h *Host) HealFrom(ctx context.Context, others ...End) error {
	return h.lab.net.filter.edit(ctx, false, append(h.towards(others), h.awayFrom(others)...)...)
}

func (h *Host) towards(others []End) (rules []rule) {
	for _, o := range others {
		rules = append(rules, rule{from: h, to: o})
	}
	return rules
}

func (h *Host) awayFrom(others []End) (rules []rule) {
	for _, o := range others {
		rules = append(rules, rule{from: o, to: h})
	}
	return rules
}

// BlockPort drops, from now on, what goes to the given port of the host ("tcp" or "udp"), and what
// it answers from there. What the host itself sends to that port of others passes.
func (h *Host) BlockPort(ctx context.Context, proto string, port int) error {
	return h.lab.net.filter.edit(ctx, true, rule{to: h, proto: proto, port: port})
}

// UnblockPort undoes BlockPort.
func (h *Host) UnblockPort(ctx context.Context, proto string, port int) error {
	return h.lab.net.filter.edit(ctx, false, rule{to: h, proto: proto, port: port})
}

// BlockPortOut drops, from now on, what the host sends to the given port of others, and what they
// answer from there; UnblockPortOut undoes it.
func (h *Host) BlockPortOut(ctx context.Context, proto string, port int) error {
	return h.lab.net.filter.edit(ctx, true, rule{from: h, proto: proto, port: port})
}

// UnblockPortOut undoes BlockPortOut.
func (h *Host) UnblockPortOut(ctx context.Context, proto string, port int) error {
	return h.lab.net.filter.edit(ctx, false, rule{from: h, proto: proto, port: port})
}

// Silence drops everything to and from the host, whose own link stays up, as when a switch farther
// away fails.
func (h *Host) Silence(ctx context.Context) error {
	return h.lab.net.filter.setSilent(ctx, h, false, true)
}

// Unsilence undoes Silence.
func (h *Host) Unsilence(ctx context.Context) error {
	return h.lab.net.filter.setSilent(ctx, h, false, false)
}

// HealAll undoes every fault of the network: cuts, blocked ports, silence, bad links. It does not
// thaw hosts.
func (l *Lab) HealAll(ctx context.Context) error {
	f := l.net.filter
	errs := []error{f.change(ctx, func() {
		clear(f.rules)
		maps.DeleteFunc(f.silent, func(s silence, _ End) bool { return !s.frozen })
	})}
	l.mu.Lock()
	hosts := l.hosts
	l.mu.Unlock()
	for _, h := range hosts {
		errs = append(errs, h.Heal(), h.ClearNetem())
	}
	return errors.Join(errs...)
}
