// Package slotfile keeps a small value on disk, to be replaced often: quickly, and also when the
// disk is full.
//
// The file has two slots of fixed size, reserved when it is made. A write goes to the slot that
// does not hold the newest value on disk, in place, so it needs no new block and no rename; one
// fdatasync makes it last. A power loss in the middle leaves the other slot, however many values
// were written since without one. The agent calls it, for what must be on disk before a vote is
// answered. It never grows a file and never follows what is in it.
package slotfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// slotSize is two pages: a roster of dozens of voters fits.
	slotSize   = 8 << 10
	headerSize = 16         // magic, length, sequence, checksum
	magic      = 0x72647331 // "rds" and the form, '1'
	latest     = 0x72647339 // the last form that there can be
)

// MaxSize is the largest value.
const MaxSize = slotSize - headerSize

var (
	// ErrEmpty is returned by Read of a file that never had a value.
	ErrEmpty = errors.New("no value was ever written")
	// ErrDamaged is returned by Read of a file that had a value, and has none that is whole. No
	// power loss does that to a file of which a value was ever synced.
	ErrDamaged = errors.New("damaged: neither of its two copies is whole")
	// ErrForm is returned by Read of a file that a later version of this package wrote: to take it
	// for an empty one would forget what is in it.
	ErrForm = errors.New("written in a form that this program does not know")
)

// File is an open slot file. It is not safe for concurrent use.
type File struct {
	f        *os.File
	sequence uint32
	newest   int64 // the slot of the newest value; 0 before the first, which goes to the other
	durable  int64 // the slot whose value a power loss leaves: never written over
}

// Slots that durable can be, beside 0 and 1.
const (
	noSlot      int64 = -1 // nothing was ever synced
	unknownSlot int64 = -2 // the newest value is of another process, which may not have synced it
)

// Open opens the file, or makes it and reserves its room.
func Open(path string, mode fs.FileMode) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && st.Size() < 2*slotSize {
		err = reserve(f, path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return &File{f: f, newest: 0, durable: noSlot}, nil
}

// reserve writes the whole file once, so that later writes need no new block.
func reserve(f *os.File, path string) error {
	if _, err := f.WriteAt(make([]byte, 2*slotSize), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Read returns the newest value that is whole.
func (s *File) Read() ([]byte, error) {
	var newest []byte
	written := false // the first value goes to slot 1, so that slot 0 is of a later one
	for slot := range int64(2) {
		b := make([]byte, slotSize)
		if _, err := s.f.ReadAt(b, slot*slotSize); err != nil {
			return nil, fmt.Errorf("read %s: %w", s.f.Name(), err)
		}
		if m := binary.BigEndian.Uint32(b); m > magic && m <= latest {
			return nil, fmt.Errorf("read %s: %w", s.f.Name(), ErrForm)
		}
		written = written || slot == 0 && len(bytes.Trim(b, "\x00")) > 0
		value, sequence, ok := decode(b)
		if ok && (newest == nil || sequence > s.sequence) {
			newest, s.sequence = value, sequence
			if s.newest = slot; s.durable == noSlot {
				s.durable = unknownSlot
			}
		}
	}
	if newest == nil && written {
		return nil, fmt.Errorf("%s: %w", s.f.Name(), ErrDamaged)
	}
	if newest == nil {
		return nil, fmt.Errorf("%s: %w", s.f.Name(), ErrEmpty)
	}
	return newest, nil
}

// Write replaces the value. With sync it survives a power loss once Write has returned; without, it
// survives the process, and a power loss leaves the last value that was synced, or a newer one. The
// first Write to a file that had a value syncs that one, in any case.
func (s *File) Write(value []byte, sync bool) error {
	if len(value) > MaxSize {
		return fmt.Errorf("write %s: %d bytes, at most %d fit", s.f.Name(), len(value), MaxSize)
	}
	if s.durable == unknownSlot {
		if err := s.sync(); err != nil {
			return err
		}
	}
	slot := 1 - s.newest
	if s.durable != noSlot {
		slot = 1 - s.durable
	}
	next := s.sequence + 1
	if _, err := s.f.WriteAt(encode(value, next), slot*slotSize); err != nil {
		return err
	}
	s.sequence, s.newest = next, slot
	if !sync {
		return nil
	}
	return s.sync()
}

func (s *File) sync() error {
	if err := unix.Fdatasync(int(s.f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", s.f.Name(), err)
	}
	s.durable = s.newest
	return nil
}

// Close closes the file.
func (s *File) Close() error { return s.f.Close() }

func encode(value []byte, sequence uint32) []byte {
	b := make([]byte, headerSize+len(value))
	binary.BigEndian.PutUint32(b[0:], magic)
	binary.BigEndian.PutUint32(b[4:], uint32(len(value)))
	binary.BigEndian.PutUint32(b[8:], sequence)
	copy(b[headerSize:], value)
	binary.BigEndian.PutUint32(b[12:], checksum(b))
	return b
}

func decode(b []byte) (value []byte, sequence uint32, ok bool) {
	length := binary.BigEndian.Uint32(b[4:])
	if binary.BigEndian.Uint32(b[0:]) != magic || length > MaxSize {
		return nil, 0, false
	}
	b = b[:headerSize+length]
	if binary.BigEndian.Uint32(b[12:]) != checksum(b) {
		return nil, 0, false
	}
	return b[headerSize:], binary.BigEndian.Uint32(b[8:]), true
}

// checksum covers all but itself.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(b[:12]), crc32.IEEETable, b[headerSize:])
}
