package config

import (
	"maps"
	"slices"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

func TestKeyLines(t *testing.T) {
	const text = `# a comment with key = 1
a = 1 # b = 2
"b c".'d' = "x # [no] y = 1"
list = [ # of three
  "one",
  "two", # the second
  { three = 3,
    four = 4 },
]
long = """
e = 1
""\""""""
f = '''
g = 1'''
[t]
h = 2026-01-01 10:00:00
[t . "u"] # a header
i = [[1,
2], []]
[[v]]
j = 1
[[v]]
j = 2
[v.w]
k = 1
[[v.x]]
[[v]]
[[v.x]]
l = "\\"
`
	want := map[string]int{
		"a": 2, "b c": 3, "b c.d": 3,
		"list": 4, "list[0]": 5, "list[1]": 6, "list[2]": 7, "list[2].three": 7, "list[2].four": 8,
		"long": 10, "f": 13,
		"t": 15, "t.h": 16, "t.u": 17, "t.u.i": 18, "t.u.i[0]": 18, "t.u.i[0][0]": 18, "t.u.i[0][1]": 19, "t.u.i[1]": 19,
		"v[0]": 20, "v[0].j": 21, "v[1]": 22, "v[1].j": 23, "v[1].w": 24, "v[1].w.k": 25, "v[1].x[0]": 26,
		"v[2]": 27, "v[2].x[0]": 28, "v[2].x[0].l": 29,
	}
	if _, err := toml.Decode(text, new(map[string]any)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, keyLines(text)); diff != "" {
		t.Error(diff)
	}
}

// FuzzKeyLines: whatever the decoder takes, the scanner gets through, and it finds the line of
// every key that is written plainly.
func FuzzKeyLines(f *testing.F) {
	f.Add("a.\"b\\\"c\" . 'd' = [1, [2, '''x\n'''], {e = \"\"\"\n\"\"\"\"\"}]\r\n[[vip]] # x\n[vip.x]\n[[a1]]\n")
	f.Add("a = [\n# x\n1, # ]\n2\n,]\nb = { c = 1, }\nd = \"\"\"\\\"\"\"\"\"\ne = ''\n")
	f.Fuzz(func(t *testing.T, text string) {
		var raw map[string]any
		md, err := toml.Decode(text, &raw)
		if err != nil {
			return
		}
		s := newLineScanner(text)
		s.document()
		if s.lost || s.text != "" {
			t.Fatalf("lost in line %d, before %q", s.line, s.text)
		}
		for _, key := range md.Keys() {
			if len(key) != 1 || !namePattern.MatchString(key[0]) || key.String() != key[0] {
				continue
			}
			if s.at[key[0]] == 0 && s.at[key[0]+"[0]"] == 0 {
				t.Errorf("no line for %q in %v", key[0], slices.Sorted(maps.Keys(s.at)))
			}
		}
	})
}
