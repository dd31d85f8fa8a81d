package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	goredis "github.com/redis/go-redis/v9"
)

// The first words of error replies that mean something here.
const (
	codeAborted  = "EXECABORT"
	codeNoQuorum = "NOQUORUM"
	codeGeneric  = "ERR"
)

// Answer is what a server made of a command: the difference between a process that is gone, one
// that hangs and one that merely has no time.
type Answer int

const (
	// Unknown: nothing was learnt. The caller gave up, Close was called, or what listens there does
	// not speak Redis.
	Unknown Answer = iota
	// OK: it carried the command out.
	OK
	// Loading: it reads its dataset from disk.
	Loading
	// Busy: a script runs for longer than busy-reply-threshold.
	Busy
	// Misconf: it cannot save to disk and therefore refuses writes, and PING.
	Misconf
	// PrimaryDown: a replica without its primary that may not serve old data.
	PrimaryDown
	// NoAuth: the credentials or their permissions do not suffice.
	NoAuth
	// Full: it has reached maxclients, and closes every new connection.
	Full
	// Refusal: it answered with another error.
	Refusal
	// Refused: nothing listens there.
	Refused
	// Closed: the connection was accepted or open, and then closed or reset.
	Closed
	// Unreachable: there is no way to that host.
	Unreachable
	// Timeout: no answer in time. It may hang, be slow, or the network be cut.
	Timeout
)

var answerNames = [...]string{
	"unknown", "ok", "loading", "busy", "misconf", "primary down", "no auth", "full", "refusal",
	"refused", "closed", "unreachable", "timeout",
}

func (a Answer) String() string {
	if a < 0 || int(a) >= len(answerNames) {
		return "invalid"
	}
	return answerNames[a]
}

// Answered reports whether the process itself replied, if only with an error.
func (a Answer) Answered() bool { return a >= OK && a <= Refusal }

var answersByCode = map[string]Answer{
	"LOADING":    Loading,
	"BUSY":       Busy,
	"MISCONF":    Misconf,
	"MASTERDOWN": PrimaryDown,
	"NOAUTH":     NoAuth,
	"WRONGPASS":  NoAuth,
	"NOPERM":     NoAuth,
}

// AnswerOf classifies the error of any call of this package; nil is OK.
func AnswerOf(err error) Answer {
	if err == nil {
		return OK
	}
	if errors.Is(err, errFull) {
		return Full
	}
	if code := Code(err); code != "" {
		if a, ok := answersByCode[code]; ok {
			return a
		}
		return Refusal
	}
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, goredis.ErrClosed):
		return Unknown
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, goredis.ErrPoolTimeout):
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH),
		errors.Is(err, syscall.EHOSTDOWN), errors.Is(err, syscall.ENETDOWN),
		errors.Is(err, syscall.EADDRNOTAVAIL):
		return Unreachable
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return Closed
	case errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	}
	return Unknown
}

// Code returns the first word of an error reply, such as "NOREPLICAS", or "" when err is not one.
func Code(err error) string {
	code, _, _ := strings.Cut(replyText(err), " ")
	return code
}

// replyText is the error reply within err, or "".
func replyText(err error) string {
	var own replyError
	if errors.As(err, &own) {
		return own.Error()
	}
	var reply goredis.Error
	if !errors.As(err, &reply) || errors.Is(err, goredis.Nil) {
		return ""
	}
	return reply.Error()
}
