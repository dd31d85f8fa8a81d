package slotfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestReadsWhatWasWrittenLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	f := open(t, path)
	if _, err := f.Read(); !errors.Is(err, ErrEmpty) {
		t.Fatalf("a new file has a value: %v", err)
	}
	for i := range 5 {
		want := []byte(fmt.Sprint("value ", i))
		if err := f.Write(want, i%2 == 0); err != nil {
			t.Fatal(err)
		}
		if got, err := open(t, path).Read(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
}

// TestTornWrite breaks the slot that was written last at every byte: the value before must be read.
func TestTornWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	f := open(t, path)
	for _, v := range []string{"old", "new"} {
		if err := f.Write([]byte(v), true); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	slot := int(f.newest) * slotSize
	for i := range headerSize + len("new") {
		torn := bytes.Clone(whole)
		torn[slot+i] ^= 0xff
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := open(t, path).Read(); err != nil || string(got) != "old" {
			t.Fatalf("byte %d broken: read %q, %v; want the value before", i, got, err)
		}
	}
}

// TestBothSlotsDamaged: what is lost is not taken for what never was. A first write that was cut
// short was nobody's yet.
func TestBothSlotsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	f := open(t, path)
	spoil := func(slots ...int64) error {
		t.Helper()
		for _, slot := range slots {
			if _, err := f.f.WriteAt([]byte("rubbish"), slot*slotSize); err != nil {
				t.Fatal(err)
			}
		}
		_, err := open(t, path).Read()
		return err
	}
	if err := spoil(1); !errors.Is(err, ErrEmpty) {
		t.Errorf("a first write that was cut short: %v", err)
	}
	for range 2 {
		if err := f.Write([]byte("value"), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := spoil(0); err != nil {
		t.Errorf("one slot is damaged: %v", err)
	}
	if err := spoil(0, 1); !errors.Is(err, ErrDamaged) {
		t.Errorf("both slots are damaged: %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "value"))
	if err := f.Write(make([]byte, MaxSize), true); err != nil {
		t.Error(err)
	}
	if err := f.Write(make([]byte, MaxSize+1), true); err == nil {
		t.Error("a value that does not fit was taken")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode([]byte("value"), 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		slot := make([]byte, slotSize)
		copy(slot, b)
		value, sequence, ok := decode(slot)
		if ok && !bytes.Equal(encode(value, sequence), slot[:headerSize+len(value)]) {
			t.Errorf("%q is read as %q of %d", b, value, sequence)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	f, err := Open(filepath.Join(b.TempDir(), "value"), 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	value := make([]byte, 700)
	for b.Loop() {
		if err := f.Write(value, true); err != nil {
			b.Fatal(err)
		}
	}
}
