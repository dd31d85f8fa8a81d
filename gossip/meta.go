package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"

	"github.com/redisd/redisd/internal/feature"
)

const (
	// metaFormat is the first byte of encoded metadata. A new field does not change it: readers
	// skip what they do not know. It changes only when an older reader would misunderstand, and
	// then the older reader refuses.
	metaFormat = 1

	// maxMetaSize is memberlist's own limit. It panics when a node's metadata is longer, so nothing
	// longer may ever reach it.
	maxMetaSize = memberlist.MetaMaxSize

	// maxMetaText bounds one text field, so that a peer cannot fill a line of a log or of a table
	// with it.
	maxMetaText = 128
)

// Roles is the set of things a node runs. Bits that this version does not know are kept: a newer
// node's role survives being relayed by an older one.
type Roles uint32

// The roles of a node.
const (
	RoleRedis    Roles = 1 << iota // it runs a redis-server
	RoleSentinel                   // it runs a redis-sentinel
)

// Has reports whether r includes all of want.
func (r Roles) Has(want Roles) bool { return r&want == want }

func (r Roles) String() string {
	var names []string
	if r.Has(RoleRedis) {
		names = append(names, "redis")
	}
	if r.Has(RoleSentinel) {
		names = append(names, "sentinel")
	}
	if rest := r &^ (RoleRedis | RoleSentinel); rest != 0 {
		names = append(names, fmt.Sprintf("%#x", uint32(rest)))
	}
	return strings.Join(names, ",")
}

// Data is how much a node's redis holds, roughly: it spreads within seconds, not at once. It is for
// bootstrap and for operators to look at.
type Data struct {
	Keys  int64
	Bytes int64
	// Term and Offset are the dataset's version in an election: the term of the primary it was last
	// in sync with, and how far it had come.
	Term   uint64
	Offset int64
}

// Meta is what a node says about itself. It travels with its membership to every other node, 512
// bytes at most, so it holds identity and addresses; anything that changes often goes by message
// instead.
type Meta struct {
	ID        string // stable node id: memberlist's name for the node
	Name      string // for operators; may repeat
	ClusterID string // empty until the node belongs to a cluster

	Version      string // of redisd
	RedisVersion string // of redis-server
	SentinelID   string // Sentinel's myid: two equal ones are a cloned disk

	RedisPort    uint16
	SentinelPort uint16
	HTTPPort     uint16

	// Protocol is what its redisd speaks, Needs the least that it can be in a cluster with,
	// Features what it can do (package feature). A build that says none of them is 0.1.0.
	Protocol uint16
	Needs    uint16
	Features feature.Set

	Roles    Roles
	Ready    bool // its redis has loaded its dataset, or it runs none
	Priority int  // as the operator configured it; not Redis' replica-priority
	Zone     string
	Data     Data
}

// field ties a place in Meta to its number on the wire. Numbers are never reused. Exactly one of
// text and number is set.
type field struct {
	tag    uint64
	name   string
	text   *string
	number *number
}

// number lets integers of every width share one encoding.
type number struct {
	get      func() int64
	set      func(int64)
	min, max int64
}

func integer[T uint16 | Roles | feature.Set | int | int64 | uint64](p *T, lowest, highest int64) *number {
	return &number{
		get: func() int64 { return int64(*p) },
		set: func(v int64) { *p = T(v) },
		min: lowest, max: highest,
	}
}

func boolean(p *bool) *number {
	return &number{
		get: func() int64 {
			if *p {
				return 1
			}
			return 0
		},
		set: func(v int64) { *p = v != 0 },
		min: 0, max: 1,
	}
}

// fields is the wire format: one line a field, in the order of writing.
func (m *Meta) fields() []field {
	return []field{
		{1, "id", &m.ID, nil},
		{2, "name", &m.Name, nil},
		{3, "cluster id", &m.ClusterID, nil},
		{4, "version", &m.Version, nil},
		{5, "redis version", &m.RedisVersion, nil},
		{6, "sentinel id", &m.SentinelID, nil},
		{7, "redis port", nil, integer(&m.RedisPort, 0, math.MaxUint16)},
		{8, "sentinel port", nil, integer(&m.SentinelPort, 0, math.MaxUint16)},
		{9, "http port", nil, integer(&m.HTTPPort, 0, math.MaxUint16)},
		{10, "roles", nil, integer(&m.Roles, 0, math.MaxUint32)},
		{11, "priority", nil, integer(&m.Priority, math.MinInt32, math.MaxInt32)},
		{12, "keys", nil, integer(&m.Data.Keys, 0, math.MaxInt64)},
		{13, "bytes", nil, integer(&m.Data.Bytes, 0, math.MaxInt64)},
		{14, "ready", nil, boolean(&m.Ready)},
		{15, "term", nil, integer(&m.Data.Term, 0, math.MaxInt64)},
		{16, "offset", nil, integer(&m.Data.Offset, math.MinInt64, math.MaxInt64)},
		{17, "protocol", nil, integer(&m.Protocol, 0, math.MaxUint16)},
		{18, "needs", nil, integer(&m.Needs, 0, math.MaxUint16)},
		{19, "features", nil, integer(&m.Features, 0, int64(feature.Most))},
		{24, "zone", &m.Zone, nil},
	}
}

// The low bit of a field's key says how long the value is, which is all that a reader needs to step
// over a field that it does not know.
const (
	wireNumber = 0 // one varint, zigzag
	wireText   = 1 // length, then bytes
)

// encode returns m for the wire, or says why it cannot travel.
func (m Meta) encode() ([]byte, error) {
	if m.ID == "" {
		return nil, errors.New("encode node metadata: it has no id")
	}
	buf := append(make([]byte, 0, 256), metaFormat)
	for _, f := range m.fields() {
		if f.text != nil {
			if *f.text == "" {
				continue
			}
			if err := checkText(f.name, *f.text); err != nil {
				return nil, fmt.Errorf("encode node metadata: %w", err)
			}
			buf = binary.AppendUvarint(buf, f.tag<<1|wireText)
			buf = binary.AppendUvarint(buf, uint64(len(*f.text)))
			buf = append(buf, *f.text...)
			continue
		}
		v := f.number.get()
		if v == 0 {
			continue
		}
		if err := f.number.check(f.name, v); err != nil {
			return nil, fmt.Errorf("encode node metadata: %w", err)
		}
		buf = binary.AppendUvarint(buf, f.tag<<1|wireNumber)
		buf = binary.AppendVarint(buf, v)
	}
	if len(buf) > maxMetaSize {
		return nil, fmt.Errorf("encode node metadata: %d bytes, at most %d fit; shorten the node's name (%d bytes)",
			len(buf), maxMetaSize, len(m.Name))
	}
	return buf, nil
}

// decodeMeta reads what a peer says about itself. It trusts nothing: the bytes come from whoever
// holds the key, in whatever version.
func decodeMeta(buf []byte) (Meta, error) {
	m, err := readMeta(buf)
	if err != nil {
		return Meta{}, fmt.Errorf("decode node metadata: %w", err)
	}
	return m, nil
}

func readMeta(buf []byte) (Meta, error) {
	var m Meta
	if len(buf) == 0 || len(buf) > maxMetaSize {
		return m, fmt.Errorf("%d bytes, want 1 to %d", len(buf), maxMetaSize)
	}
	if buf[0] != metaFormat {
		return m, fmt.Errorf("format %d, this redisd reads format %d", buf[0], metaFormat)
	}
	known := make(map[uint64]field)
	for _, f := range m.fields() {
		known[f.tag] = f
	}
	for buf = buf[1:]; len(buf) > 0; {
		key, n := binary.Uvarint(buf)
		if n <= 0 {
			return m, errors.New("cut short in a field's key")
		}
		buf = buf[n:]
		f := known[key>>1] // the zero field: not known, stepped over
		rest, err := f.read(key&1, buf)
		if err != nil {
			return m, err
		}
		buf = rest
	}
	if m.ID == "" {
		return m, errors.New("it has no id")
	}
	return m, nil
}

// read takes one value off buf and stores it, unless the field is unknown.
func (f field) read(wire uint64, buf []byte) ([]byte, error) {
	if wire == wireText {
		size, n := binary.Uvarint(buf)
		if n <= 0 || size > uint64(len(buf)-n) {
			return nil, fmt.Errorf("cut short in field %q", f.name)
		}
		value, rest := buf[n:n+int(size)], buf[n+int(size):]
		switch {
		case f.tag == 0:
			return rest, nil
		case f.text == nil:
			return nil, fmt.Errorf("%s is text, want a number", f.name)
		}
		*f.text = string(value)
		return rest, checkText(f.name, *f.text)
	}
	v, n := binary.Varint(buf)
	if n <= 0 {
		return nil, fmt.Errorf("cut short in field %q", f.name)
	}
	switch {
	case f.tag == 0:
		return buf[n:], nil
	case f.number == nil:
		return nil, fmt.Errorf("%s is a number, want text", f.name)
	}
	if err := f.number.check(f.name, v); err != nil {
		return nil, err
	}
	f.number.set(v)
	return buf[n:], nil
}

func (n *number) check(name string, v int64) error {
	if v < n.min || v > n.max {
		return fmt.Errorf("%s is %d, want %d to %d", name, v, n.min, n.max)
	}
	return nil
}

// checkText keeps control characters out of logs and terminals.
func checkText(name, s string) error {
	switch {
	case len(s) > maxMetaText:
		return fmt.Errorf("%s is %d bytes, at most %d are allowed", name, len(s), maxMetaText)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not UTF-8", name)
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%s holds a character that cannot be printed", name)
	}
	return nil
}
