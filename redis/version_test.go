package redis

import "testing"

func TestRelease(t *testing.T) {
	// From the oldest to the newest.
	order := []string{"6.0.16", "7.0.15", "7.2.4", "valkey 7.2.9", "valkey 8.0.1", "valkey 8.1.1", "valkey 9.0.0", "7.4.2", "8.0.2", "8.2.1", "10.0.0"}
	for i, a := range order {
		for j, b := range order {
			if got, want := Release(a) < Release(b), i < j; got != want {
				t.Errorf("%s before %s: %v", a, b, got)
			}
		}
		if Release(a) <= 0 {
			t.Errorf("%s is taken for no version", a)
		}
	}
	if Release("7.0.4") != Release("7.0.15") {
		t.Error("corrections make another release")
	}
	for _, none := range []string{"", "valkey ", "valkey", "seven", "7", "-1.2.3", "99999999999999999999.0"} {
		if r := Release(none); r != 0 {
			t.Errorf("%q is release %d", none, r)
		}
	}
}

func TestTooOld(t *testing.T) {
	for version, want := range map[string]bool{"6.0.16": true, "6.2.14": true, "7.0.0": false, "8.0.2": false, "valkey 7.2.5": false, "valkey 8.1.1": false, "": false} {
		if got := TooOld(version); got != want {
			t.Errorf("%q too old: %v", version, got)
		}
	}
}

func TestBinaryVersion(t *testing.T) {
	for output, want := range map[string]string{
		"Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=a3fdef44459b3ad6\n": "6.0.16",
		"Redis server v=8.0.2 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1\n":                 "8.0.2",
		"Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1\n":                "valkey 8.1.1",
		"":                     "",
		"no such option":       "",
		"Redis server v=\n":    "",
		"something else v=new": "",
	} {
		if got := BinaryVersion(output); got != want {
			t.Errorf("%q is of version %q, want %q", output, got, want)
		}
	}
}
