package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/redis"
)

// spareName is what systemd keeps the spare connection under.
const spareName = "redis-spare"

// storeSpare gives a copy of the spare connection to systemd, in place of the one before, for the
// next agent to get it from (sd_notify(3), FDSTORE=1). systemd lets go of it by itself when
// redis-server ends. Without systemd nobody keeps it.
func storeSpare(c net.Conn) error {
	conn, ok := c.(syscall.Conn)
	if !ok {
		return fmt.Errorf("store a %T: it has no descriptor", c)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if err := notifyWith("FDSTOREREMOVE=1\nFDNAME="+spareName, nil); err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) {
		sent = notifyWith("FDSTORE=1\nFDNAME="+spareName, unix.UnixRights(int(fd)))
	}); err != nil {
		return err
	}
	return sent
}

// notifyWith is sd_notify with descriptors, which the library has not.
func notifyWith(text string, rights []byte) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendmsg(fd, []byte(text), rights, &unix.SockaddrUnix{Name: path}, unix.MSG_DONTWAIT)
}

// adoptSpare gives the door what the agent before this one has left for it.
func adoptSpare(log *slog.Logger, door *redis.Door) {
	c, err := takeSpare()
	if err != nil {
		log.Warn("the spare connection of the agent before this one is of no use", "error", err)
	}
	if c != nil {
		door.Adopt(c)
	}
}

// takeSpare returns the spare connection that systemd has kept, nil: none.
func takeSpare() (net.Conn, error) {
	var found net.Conn
	var errs []error
	for _, f := range activation.Files(true) {
		if f.Name() == spareName && found == nil {
			c, err := net.FileConn(f)
			found = c
			errs = append(errs, err)
		}
		f.Close()
	}
	return found, errors.Join(errs...)
}
