package gossip

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/internal/feature"
)

// fullMeta has every field set, as long as real ones get.
func fullMeta() Meta {
	return Meta{
		ID: "0191d3f2-7c1e-7a64-9b0e-1f2d3c4b5a69", Name: "cache-01.fra.example.com",
		ClusterID: "5b0c6a52-18b2-4f8e-9d8c-0d4cbe2f6f10",
		Version:   "1.12.3-rc1", RedisVersion: "7.0.15", SentinelID: strings.Repeat("a1b2", 10),
		RedisPort: 6379, SentinelPort: 26379, HTTPPort: 8379,
		Protocol: 65535, Needs: 65535, Features: feature.Most,
		Roles: RoleRedis | RoleSentinel | 1<<31, Priority: -3, Zone: "room 1",
		Data: Data{Keys: 1 << 60, Bytes: 1 << 62},
	}
}

func TestMetaRoundTrip(t *testing.T) {
	for name, m := range map[string]Meta{
		"only the id": {ID: "n1"},
		"full":        fullMeta(),
		"umlauts":     {ID: "n1", Name: "Zürich – 東京"},
	} {
		t.Run(name, func(t *testing.T) {
			buf, err := m.encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeMeta(buf)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every field at its longest but the texts at what the configuration allows (63 bytes for a name)
// must fit, or a node could not start.
func TestMetaOfTheLargestRealNodeFits(t *testing.T) {
	m := fullMeta()
	m.Name = strings.Repeat("n", 63)
	m.Version = strings.Repeat("v", 40)
	m.RedisVersion = strings.Repeat("v", 40)
	buf, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d bytes", len(buf), maxMetaSize)
}

func TestMetaEncodeRefuses(t *testing.T) {
	long := strings.Repeat("x", maxMetaText)
	for want, m := range map[string]Meta{
		"no id":        {},
		"at most 512":  {ID: long, Name: long, ClusterID: long, Version: long},
		"at most 128":  {ID: "n1", Name: long + "x"},
		"not UTF-8":    {ID: "n1", Name: "a\xff"},
		"be printed":   {ID: "n1", Name: "a\x1b[2J"},
		"keys is -1":   {ID: "n1", Data: Data{Keys: -1}},
		"want -214748": {ID: "n1", Priority: 1 << 40},
	} {
		t.Run(want, func(t *testing.T) {
			_, err := m.encode()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v, want it to say %q", err, want)
			}
		})
	}
}

func TestMetaDecodeSkipsFieldsOfNewerVersions(t *testing.T) {
	buf, err := Meta{ID: "n1", RedisPort: 6379}.encode()
	if err != nil {
		t.Fatal(err)
	}
	buf = binary.AppendUvarint(buf, 999<<1|wireText)
	buf = binary.AppendUvarint(buf, 3)
	buf = append(buf, 0xff, 0x00, 0x1b) // not even text, as far as we know
	buf = binary.AppendUvarint(buf, 77<<1|wireNumber)
	buf = binary.AppendVarint(buf, -5)
	buf = binary.AppendUvarint(buf, 8<<1|wireNumber)
	buf = binary.AppendVarint(buf, 26379)

	got, err := decodeMeta(buf)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Meta{ID: "n1", RedisPort: 6379, SentinelPort: 26379}, got); diff != "" {
		t.Error(diff)
	}
}

func TestMetaDecodeRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		buf  []byte
		want string
	}{
		"nothing":          {nil, "0 bytes"},
		"too long":         {make([]byte, maxMetaSize+1), "513 bytes"},
		"newer format":     {[]byte{2, 3, 1, 'a'}, "format 2"},
		"no id":            {[]byte{metaFormat}, "no id"},
		"half a key":       {[]byte{metaFormat, 0x80}, "key"},
		"text beyond end":  {[]byte{metaFormat, 1<<1 | wireText, 9, 'a'}, "cut short"},
		"huge text length": {[]byte{metaFormat, 1<<1 | wireText, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, "cut short"},
		"port as text":     {[]byte{metaFormat, 7<<1 | wireText, 1, 'a'}, "want a number"},
		"id as number":     {[]byte{metaFormat, 1<<1 | wireNumber, 2}, "want text"},
		"port too high":    {binary.AppendVarint([]byte{metaFormat, 7 << 1}, 70000), "redis port is 70000"},
		"escape in name":   {[]byte{metaFormat, 2<<1 | wireText, 1, 0x1b}, "printed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeMeta(tc.buf)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want it to say %q", err, tc.want)
			}
		})
	}
}

// FuzzMeta: whatever a peer sends, decoding must not panic, and what is accepted must be something
// this node could have sent itself.
func FuzzMeta(f *testing.F) {
	for _, m := range []Meta{{ID: "n1"}, fullMeta()} {
		buf, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(buf)
	}
	f.Add([]byte{metaFormat, 1<<1 | wireText, 1, 'a', 0xce, 0x0f, 5})
	f.Fuzz(func(t *testing.T, buf []byte) {
		m, err := decodeMeta(buf)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatalf("decoded %+v but cannot encode it: %v", m, err)
		}
		got, err := decodeMeta(again)
		if err != nil {
			t.Fatal(err)
		}
		if m != got {
			t.Fatalf("%+v became %+v", m, got)
		}
	})
}

func TestRolesString(t *testing.T) {
	for want, r := range map[string]Roles{
		"": 0, "redis": RoleRedis, "redis,sentinel": RoleRedis | RoleSentinel, "sentinel,0x8": RoleSentinel | 8,
	} {
		if got := r.String(); got != want {
			t.Errorf("%d: got %q, want %q", uint32(r), got, want)
		}
	}
}
