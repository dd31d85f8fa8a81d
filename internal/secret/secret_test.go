package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redisd/redisd/internal/secret"
)

const text = "correct-horse-battery-staple-0123456789"

func parse(t *testing.T, s string) secret.Secret {
	t.Helper()
	sec, err := secret.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return sec
}

// write makes a file with exactly that mode, whatever the umask.
func write(t *testing.T, content string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name, content string
		mode          fs.FileMode
		want          []string // what the error must say besides the path; nil: none
	}{
		{"plain", text, 0o600, nil},
		{"trailing newline", text + "\n", 0o640, nil},
		{"group may even write", "  " + text + " \r\n", 0o660, nil},
		{"shortest", strings.Repeat("x", 32), 0o600, nil},
		{"empty", "", 0o600, []string{"empty", "redisd keygen > "}},
		{"blank", " \n\t\n", 0o600, []string{"empty", "redisd keygen > "}},
		{"short", strings.Repeat("x", 31) + "\n", 0o600, []string{"31 characters", "at least 32", "redisd keygen > "}},
		{"world-readable", text, 0o644, []string{"0644", "chmod 0640 "}},
		{"world-writable", text, 0o602, []string{"0602", "chmod 0640 "}},
		{"not a secret", strings.Repeat("x", 1<<17), 0o600, []string{"more than 65536 bytes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.content, tt.mode)
			got, err := secret.Load(path)
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				if trimmed := parse(t, strings.TrimSpace(tt.content)); got.Password("x") != trimmed.Password("x") {
					t.Error("white space around the secret changed what is derived from it")
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tt.want, path) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if c := strings.TrimSpace(tt.content); c != "" && strings.Contains(err.Error(), c) {
				t.Error("the error tells the secret")
			}
		})
	}
}

func TestLoadMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent")
	_, err := secret.Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error %v, want fs.ErrNotExist", err)
	}
	if want := "redisd keygen > " + path; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q lacks the cure %q", err, want)
	}
	if _, err := secret.Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a directory: error %v", err)
	}
}

func TestLoadPassword(t *testing.T) {
	got, err := secret.LoadPassword(write(t, "hunter 2\n", 0o640))
	if err != nil || got != "hunter 2" {
		t.Errorf("got %q, %v", got, err)
	}
	for content, want := range map[string]string{"": "empty", "a\nb\n": "more than one line"} {
		if _, err := secret.LoadPassword(write(t, content, 0o600)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", content, err, want)
		}
	}
	if _, err := secret.LoadPassword(write(t, "hunter2", 0o644)); err == nil || !strings.Contains(err.Error(), "chmod 0640") {
		t.Errorf("world-readable: error %v", err)
	}
}

// The derived values are part of the protocol between nodes of different versions: this test must
// never need a change.
func TestDerivedValuesAreFixed(t *testing.T) {
	s := parse(t, text)
	if got, want := hex.EncodeToString(s.Key("gossip", 16)), goldenGossip; got != want {
		t.Errorf("gossip key %s, want %s", got, want)
	}
	if got, want := s.Password("redis agent"), goldenAgent; got != want {
		t.Errorf("password %s, want %s", got, want)
	}
}

const (
	goldenGossip = "311f69a03def6a14a27680417fe117e0"
	goldenAgent  = "OTIbVWSE6AxeSzgDLGYb344JPOSj4iwdszfDoA324bI"
)

func TestDerivedValuesDiffer(t *testing.T) {
	a, b := parse(t, text), parse(t, text+"x")
	seen := map[string]string{}
	for _, label := range []string{"gossip", "redis agent", "redis replica", "redis sentinel", "redis client", "sentinel agent", "sentinel peer"} {
		for name, s := range map[string]secret.Secret{"a": a, "b": b} {
			p := s.Password(label)
			if was, ok := seen[p]; ok {
				t.Errorf("%s/%s and %s have the same password", name, label, was)
			}
			seen[p] = name + "/" + label
			if raw, err := base64.RawURLEncoding.DecodeString(p); err != nil || len(raw) != 32 {
				t.Errorf("%s: %d bytes, %v; want 32", label, len(raw), err)
			}
		}
	}
	if n := len(a.Key("gossip", 100)); n != 100 {
		t.Errorf("%d bytes, want 100", n)
	}
}

func TestZeroSecretDerivesNothing(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a key was derived from nothing")
		}
	}()
	secret.Secret{}.Key("gossip", 32)
}

func TestGenerate(t *testing.T) {
	a, b := secret.Generate(), secret.Generate()
	if a == b {
		t.Error("the same secret twice")
	}
	parse(t, a)
}

func TestNeverShown(t *testing.T) {
	type node struct {
		Name   string
		Secret secret.Secret
		hidden secret.Secret
		at     *secret.Secret
	}
	s := parse(t, text)
	n := node{Name: "a", Secret: s, hidden: s, at: &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%T", "%p"} {
		for _, v := range []any{s, &s, n, &n, []node{n}, map[string]secret.Secret{"k": s}} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "secret", s, "pointer", &s, "node", n)
	}
	js, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(js)
	var decimal []string
	for _, c := range []byte(text) {
		decimal = append(decimal, fmt.Sprint(c))
	}
	for _, shape := range []string{text, hex.EncodeToString([]byte(text)), strings.Join(decimal, " "), base64.StdEncoding.EncodeToString([]byte(text))} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(shape)) {
			t.Errorf("shown as %q in:\n%s", shape, out.String())
		}
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Error("nothing was redacted: this test tests nothing")
	}
}
