package writer

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

// ReplyError is an error that the server answered with.
type ReplyError string

func (e ReplyError) Error() string { return string(e) }

// Kind is its first word: READONLY, NOREPLICAS, LOADING …
func (e ReplyError) Kind() string {
	kind, _, _ := strings.Cut(string(e), " ")
	return kind
}

// conn is one connection; any error that is not a ReplyError ends its usefulness.
type conn struct {
	net.Conn
	in *bufio.Reader
}

func (o *Options) dial(ctx context.Context, address string, limit time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := o.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}

func newConn(c net.Conn) *conn { return &conn{Conn: c, in: bufio.NewReader(c)} }

// auth is the command that a new connection begins with; nil if none is needed.
func (o *Options) auth() []string {
	switch {
	case o.Password == "":
		return nil
	case o.User == "":
		return []string{"AUTH", o.Password}
	}
	return []string{"AUTH", o.User, o.Password}
}

// send writes commands in one go.
func (c *conn) send(deadline time.Time, commands ...[]string) error {
	var text []byte
	for _, command := range commands {
		if len(command) == 0 {
			continue
		}
		text = fmt.Appendf(text, "*%d\r\n", len(command))
		for _, arg := range command {
			text = fmt.Appendf(text, "$%d\r\n%s\r\n", len(arg), arg)
		}
	}
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	_, err := c.Write(text)
	return err
}

// call sends one command and returns its reply.
func (c *conn) call(deadline time.Time, args ...string) (any, error) {
	if err := c.send(deadline, args); err != nil {
		return nil, err
	}
	return c.reply()
}

// maxReply bounds what a bulk string or an array may announce, so that a stream gone wrong cannot
// ask for all memory.
const maxReply = 64 << 20

var errProtocol = errors.New("that is not RESP")

// reply reads one: a string, an int64, nil or an []any of these. An error reply inside an array is
// an element.
func (c *conn) reply() (any, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return nil, errProtocol
	}
	kind, rest := line[0], line[1:len(line)-2]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, ReplyError(rest)
	case ':':
		return strconv.ParseInt(rest, 10, 64)
	case '$', '*':
	default:
		return nil, errProtocol
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n > maxReply {
		return nil, errProtocol
	}
	if n < 0 {
		return nil, nil
	}
	if kind == '$' {
		text := make([]byte, n+2)
		if _, err := io.ReadFull(c.in, text); err != nil {
			return nil, err
		}
		return string(text[:n]), nil
	}
	var elements []any
	for range n {
		e, err := c.reply()
		var inside ReplyError
		if errors.As(err, &inside) {
			e = inside
		} else if err != nil {
			return nil, err
		}
		elements = append(elements, e)
	}
	return elements, nil
}
