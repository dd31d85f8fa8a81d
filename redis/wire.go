package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// wire speaks RESP2 over one connection: what is said before the library has it, and what is said
// over a connection that it never gets.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func newWire(c net.Conn) *wire { return &wire{Conn: c, r: bufio.NewReaderSize(c, 1<<10)} }

// replyError is an error reply. It is not what the library takes for one (it has no RedisError):
// a connection whose login failed is not to be used again.
type replyError string

func (e replyError) Error() string { return string(e) }

// errFull: redis-server has reached maxclients, and closes every new connection unheard.
var errFull = errors.New("it has reached maxclients")

// bound has what the connection waits for end with ctx's deadline.
func (w *wire) bound(ctx context.Context) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(callTimeout)
	}
	_ = w.SetDeadline(deadline)
}

// send writes one command.
func (w *wire) send(args ...string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ask sends one command and returns its reply: a string, an int64, or a slice; nil for none. An
// error reply is a replyError.
func (w *wire) ask(ctx context.Context, args ...string) (any, error) {
	w.bound(ctx)
	if err := w.send(args...); err != nil {
		return nil, err
	}
	return w.reply()
}

// replyMost bounds what a reply over a wire may hold: nothing that is asked there has more.
const replyMost = 64 << 10

var errNoReply = errors.New("not a reply of Redis")

func (w *wire) reply() (any, error) {
	line, err := w.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || line == "" {
		return nil, errNoReply
	}
	kind, text := line[0], line[1:]
	switch kind {
	case '+':
		return text, nil
	case '-':
		return nil, replyError(text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || n > replyMost && kind != ':':
		return nil, errNoReply
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		body := make([]byte, n+2)
		_, err := io.ReadFull(w.r, body)
		return string(body[:n]), err
	case kind == '*':
		return w.list(int(n))
	}
	return nil, errNoReply
}

func (w *wire) list(n int) (any, error) {
	list := make([]any, n)
	for i := range list {
		item, err := w.reply()
		if _, refused := err.(replyError); err != nil && !refused {
			return nil, err
		}
		list[i] = item
	}
	return list, nil
}

// login names the user. The library's own way, HELLO and then AUTH, hides why it failed: one that
// is full closes the connection after the first reply, and the second call finds it closed.
func (w *wire) login(ctx context.Context, cred Credentials) error {
	if cred.Password == "" {
		return nil
	}
	w.bound(ctx)
	args := []string{"AUTH", cred.User, cred.Password}
	if cred.User == "" {
		args = []string{"AUTH", cred.Password}
	}
	sent := w.send(args...) // one that is full may have closed already, and has said why
	_, err := w.reply()
	switch {
	case err == nil:
		return nil
	case Code(err) == codeGeneric && w.closed():
		return errFull
	case Code(err) == "" && sent != nil:
		return sent
	}
	return err
}

// closed reports that the other side closes the connection after what it said.
func (w *wire) closed() bool {
	_, err := w.r.ReadByte()
	return err != nil && AnswerOf(err) == Closed
}

// enter connects by connect and logs in.
func enter(ctx context.Context, connect func(context.Context) (net.Conn, error), cred Credentials) (*wire, error) {
	c, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	w := newWire(c)
	if err := w.login(ctx, cred); err != nil {
		c.Close()
		return nil, err
	}
	_ = c.SetDeadline(time.Time{})
	return w, nil
}
