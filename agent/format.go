package agent

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redisd/redisd/internal/slotfile"
)

// What is on disk says in which format it is. A field more is no other format: an older build steps
// over what it does not know, and drops it when it writes next, since it could not keep it true. A
// format that an older build would misunderstand is one that needs more: that build refuses it.
const (
	// diskFormat is what this build writes, diskNeeds what a build must know to read that. 0.1.0
	// wrote neither and reads everything.
	diskFormat = 1
	diskNeeds  = 1
)

// errTooNew: a later build wrote it, and said that this one cannot read it.
var errTooNew = errors.New("in a format that this redisd does not read")

// format stands in front of every value on disk.
type format struct {
	Format int `json:"format,omitempty"`
	Needs  int `json:"needs,omitempty"`
	// By is the version of redisd that wrote it, for the words of a refusal.
	By string `json:"by,omitempty"`
}

func (f format) check() error {
	if f.Needs <= diskFormat {
		return nil
	}
	by := f.By
	if by == "" {
		by = "a later version"
	}
	return fmt.Errorf("it was written by redisd %s, %w (format %d, this one reads up to %d): install redisd %s or later again",
		by, errTooNew, f.Needs, diskFormat, by)
}

// readSlot reads a value into v.
func readSlot(f *slotfile.File, v any) error {
	b, err := f.Read()
	if errors.Is(err, slotfile.ErrForm) {
		return errors.Join(err, format{Needs: diskFormat + 1}.check())
	}
	if err != nil {
		return err
	}
	var head format
	if err := json.Unmarshal(b, &head); err != nil {
		return err
	}
	if err := head.check(); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// writeSlot replaces a value; by is the version of this redisd.
func writeSlot(f *slotfile.File, by string, v any, sync bool) error {
	head, err := json.Marshal(format{Format: diskFormat, Needs: diskNeeds, By: by})
	if err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return f.Write(append(append(head[:len(head)-1], ','), b[1:]...), sync) // v is a struct with a field at least
}
