// Package feature says what a build of redisd can do that an earlier one cannot, so that builds
// which differ run in one cluster while it is upgraded, or taken back.
//
// Every agent says its protocol and its features: through gossip, and in each message of the
// election. Packages agent, gossip, election and node call it. It decides nothing: who uses a
// feature asks first whether all have it ([All]).
package feature

import (
	"fmt"
	"strings"
)

// Protocol is what this build speaks, Needs the least that it can be in a cluster with. The
// protocol of 0.1.0, which did not say one, is 1. What an older build may ignore changes neither: a
// new field or a new kind of message is a feature at most.
const (
	Protocol = 2
	Needs    = 1
)

// Set is a set of features. Bits that this build does not know are kept.
type Set uint64

// The features; a new one is a line before end, and a name. None is ever taken out again: its place
// stays.
const (
	// Lenient: it steps over what it does not know in a message of the election. 0.1.0 refuses the
	// whole message.
	Lenient Set = 1 << iota
	end
)

// Own are the features of this build.
const Own = end - 1

// Most is the largest set: a number that every reader of JSON keeps exactly.
const Most Set = 1<<53 - 1

var names = [...]string{"lenient"}

// Has reports whether s includes all of want.
func (s Set) Has(want Set) bool { return s&want == want }

// Names are those of the features in s; one that this build does not know is a number.
func (s Set) Names() []string {
	out := []string{}
	for i := 0; s>>i != 0; i++ {
		switch bit := s >> i & 1; {
		case bit == 0:
		case i < len(names):
			out = append(out, names[i])
		default:
			out = append(out, fmt.Sprintf("feature %d", i))
		}
	}
	return out
}

func (s Set) String() string { return strings.Join(s.Names(), ", ") }

// All is what all of several have; of none, nothing.
func All(of ...Set) Set {
	if len(of) == 0 {
		return 0
	}
	all := of[0]
	for _, s := range of[1:] {
		all &= s
	}
	return all
}

// Refuse says why agents of this build and of another cannot be in one cluster; nil: they can. A
// protocol of 0 is that of a build which does not say one.
func Refuse(protocol, needs uint16) error {
	switch protocol = max(protocol, 1); {
	case needs > Protocol:
		return fmt.Errorf("its redisd needs protocol %d, this one speaks %d: upgrade redisd on this node", needs, Protocol)
	case protocol < Needs:
		return fmt.Errorf("its redisd speaks protocol %d, this one needs %d: upgrade redisd on that node", protocol, Needs)
	}
	return nil
}
