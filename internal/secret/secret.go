// Package secret reads the one secret that the nodes of a cluster share and derives every key and
// password from it: the gossip key, and the passwords of redis and sentinel. Each use has a label,
// so that knowing one derived value tells nothing about another or about the secret.
//
// A Secret cannot be printed, logged or marshalled: every way that fmt, slog and encoding/json know
// yields the same redacted word. The package never writes a file. The agent and the commands
// (keygen, password, check, demo) call it.
package secret

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
)

// MinLength is the shortest secret that is accepted, in bytes of text: 32 characters are 128 bits
// even if somebody typed hexadecimal digits.
const MinLength = 32

// maxFile bounds what is read from a file that is supposed to hold one line.
const maxFile = 64 << 10

// passwordBytes is the size of a derived password: 256 bits, 43 characters.
const passwordBytes = 32

const redacted = "[redacted]"

// info is put before every label: values derived by another program, or by a later scheme of this
// one, from the same secret are then different ones.
const info = "redisd 1 "

// Secret is a cluster's secret. The zero value holds none; deriving from it panics, because a key
// derived from nothing would be everybody's key.
type Secret struct {
	// fmt prints the unexported fields of an enclosing struct without asking any method. It stops
	// at a pointer to a string, though not at one to a slice.
	text *string
}

// Parse makes a Secret of a text. Space around it does not count.
func Parse(text string) (Secret, error) {
	trimmed := strings.TrimSpace(text)
	switch n := len(trimmed); {
	case n == 0:
		return Secret{}, errors.New("the secret is empty")
	case n < MinLength:
		return Secret{}, fmt.Errorf("the secret has %d characters, at least %d are needed", n, MinLength)
	}
	return Secret{text: &trimmed}, nil
}

// Load reads the secret from a file. The file must not be readable by everybody; that the group can
// read it is fine. Each error names the file and the cure.
func Load(path string) (Secret, error) {
	text, err := readPrivate(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Secret{}, fmt.Errorf("secret file %s: %w: make it on one node with `redisd keygen > %s` and copy it to the others", path, fs.ErrNotExist, path)
	}
	if err != nil {
		return Secret{}, fmt.Errorf("secret file %s: %w", path, err)
	}
	s, err := Parse(text)
	if err != nil {
		return Secret{}, fmt.Errorf("secret file %s: %w: make one with `redisd keygen > %s` and copy it to every node", path, err, path)
	}
	return s, nil
}

// LoadPassword reads a password that an operator chose (the clients', from redis.password_file)
// with the same care as Load, but of any length.
func LoadPassword(path string) (string, error) {
	text, err := readPrivate(path, maxFile)
	if err != nil {
		return "", fmt.Errorf("password file %s: %w", path, err)
	}
	password := strings.TrimSpace(text)
	if len(password) == 0 {
		return "", fmt.Errorf("password file %s: it is empty: write the password into it, on one line", path)
	}
	if strings.ContainsAny(password, "\r\n\x00") {
		return "", fmt.Errorf("password file %s: it has more than one line: the password must be the only one", path)
	}
	return password, nil
}

// LoadUsers reads a file of users (redis.users_file), whose passwords may be in clear.
func LoadUsers(path string) (string, error) {
	text, err := readPrivate(path, maxUsers)
	if err != nil {
		return "", fmt.Errorf("users file %s: %w", path, err)
	}
	return text, nil
}

// maxUsers is some thousands of users.
const maxUsers = 1 << 20

// readPrivate returns the content of a small regular file that others cannot read.
func readPrivate(path string, most int) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("%w: let the user that redisd runs as read it, with `chgrp redis %s` and `chmod 0640 %s`", fs.ErrPermission, path, path)
	}
	if err != nil {
		return "", reason(err)
	}
	defer f.Close() // only read: there is nothing that closing could lose
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", reason(err)
	case !info.Mode().IsRegular():
		return "", errors.New("it is not a regular file")
	case info.Mode()&0o007 != 0:
		return "", fmt.Errorf("everybody on this host can use it (mode %#o): `chmod 0640 %s`", info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return "", reason(err)
	}
	if len(data) > most {
		return "", fmt.Errorf("it has more than %d bytes: is it another file?", most)
	}
	return string(data), nil
}

// reason strips operation and path from an error whose text is going to name both.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// Generate returns a new secret as text: 256 random bits in 43 characters.
func Generate() string {
	b := make([]byte, passwordBytes)
	rand.Read(b) // never fails: it crashes the program if there is no randomness
	return base64.RawURLEncoding.EncodeToString(b)
}

// Key derives n bytes for the use that label names (HKDF-SHA256, RFC 5869). It panics if the Secret
// holds none, or if n is over the RFC's limit of 255 × 32.
func (s Secret) Key(label string, n int) []byte {
	if s.text == nil {
		panic("secret: Key of a Secret that was never loaded")
	}
	key, err := hkdf.Key(sha256.New, []byte(*s.text), nil, info+label, n)
	if err != nil {
		panic(fmt.Sprintf("secret: derive %d bytes for %q: %v", n, label, err))
	}
	return key
}

// Password derives the password for the use that label names: 43 characters that need no quoting in
// a configuration file, a shell or a URL.
func (s Secret) Password(label string) string {
	return base64.RawURLEncoding.EncodeToString(s.Key(label, passwordBytes))
}

// IsZero reports whether s holds no secret.
func (s Secret) IsZero() bool { return s.text == nil }

// String implements fmt.Stringer without telling.
func (s Secret) String() string { return redacted }

// GoString implements fmt.GoStringer without telling.
func (s Secret) GoString() string { return redacted }

// Format implements fmt.Formatter: verbs such as %d would pass String by.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer without telling.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler (JSON, TOML) without telling.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
