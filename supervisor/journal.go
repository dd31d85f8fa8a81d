package supervisor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const (
	journalSocket = "/run/systemd/journal/socket"
	// journalLimit is how long one line may wait for a journal that is full. Nothing is lost by
	// waiting, as the lines are in the output file; it only keeps a journal that hangs from holding
	// up the agent's end.
	journalLimit = time.Second
)

// Journal returns a receiver of lines, for New, that sends them to systemd's journal under the
// identifier name, with the priority that Redis gave them. Redis' own prefix is left out: the
// process and the time are fields of the journal. Where there is no journal the lines go to
// fallback unchanged, behind the name. The receiver is for one Process.
func Journal(name string, fallback io.Writer) func(Line) {
	j := &journal{name: name, socket: journalSocket, limit: journalLimit, fallback: fallback}
	return j.receive
}

// journal speaks systemd's native protocol. The socket is a connected one with a deadline. The
// journal package of go-systemd, which uses an unconnected one without, was seen to take a whole
// core, with no end, for as long as the journal's queue is full: the kernel wakes the sender of an
// unconnected datagram socket at every attempt that fails.
type journal struct {
	name     string
	socket   string
	limit    time.Duration
	fallback io.Writer
	conn     *net.UnixConn
}

func (j *journal) receive(line Line) {
	if err := j.send(parseLine(line.Text)); err != nil {
		fmt.Fprintf(j.fallback, "%s: %s\n", j.name, line.Text)
	}
}

func (j *journal) send(e entry) error {
	var message strings.Builder
	field := func(name, value string) {
		if value != "" {
			message.WriteString(name + "=" + value + "\n")
		}
	}
	fmt.Fprintf(&message, "PRIORITY=%d\n", e.priority)
	field("SYSLOG_IDENTIFIER", j.name)
	field("SYSLOG_PID", e.pid)
	field("SYSLOG_TIMESTAMP", e.stamp)
	field("MESSAGE", e.text)

	kept := j.conn != nil
	err := j.write(message.String())
	if err != nil && kept && j.conn == nil {
		err = j.write(message.String()) // the journal was restarted: its new socket needs a new connection
	}
	return err
}

func (j *journal) write(message string) error {
	if j.conn == nil {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.socket, Net: "unixgram"})
		if err != nil {
			return err
		}
		j.conn = conn
	}
	err := j.conn.SetWriteDeadline(time.Now().Add(j.limit))
	if err == nil {
		_, err = j.conn.Write([]byte(message))
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		j.conn.Close()
		j.conn = nil
	}
	return err
}
