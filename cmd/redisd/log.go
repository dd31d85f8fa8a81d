package main

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
)

// newLogger writes for the journal, which adds time and priority itself, and for operators
// otherwise.
func newLogger(w io.Writer, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(newHandler(w, level, inJournal()))
}

// inJournal reports that standard error leads to the journal.
func inJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}

// newHandler returns a handler whose lines suit the journal: no time, since the journal has its
// own, and the level as the <N> prefix that systemd reads. Elsewhere it is slog's text.
func newHandler(w io.Writer, level slog.Level, journal bool) slog.Handler {
	if !journal {
		return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	}
	h := &journalHandler{mu: &sync.Mutex{}, w: w}
	h.Handler = slog.NewTextHandler(h, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}})
	return h
}

// journalHandler puts systemd's priority (sd-daemon(3)) before each line.
type journalHandler struct {
	slog.Handler
	mu *sync.Mutex
	w  io.Writer
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	prefix := priority(r.Level)
	if _, err := io.WriteString(h.w, prefix); err != nil {
		return err
	}
	return h.Handler.Handle(ctx, r)
}

func (h *journalHandler) Write(b []byte) (int, error) { return h.w.Write(b) }

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{Handler: h.Handler.WithAttrs(attrs), mu: h.mu, w: h.w}
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{Handler: h.Handler.WithGroup(name), mu: h.mu, w: h.w}
}

func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
