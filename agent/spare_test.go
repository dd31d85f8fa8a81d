package agent

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpareGoesRound gives a connection to what stands for systemd, and takes it back in another
// process, as the next agent does.
func TestSpareGoesRound(t *testing.T) {
	if os.Getenv("SPARE_TEST") != "" {
		c, err := takeSpare()
		if err != nil || c == nil {
			t.Fatalf("took %v, %v", c, err)
		}
		fmt.Fprint(c, "taken")
		c.Close()
		return
	}
	dir := t.TempDir()
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "n"))
	l, err := net.Listen("unix", filepath.Join(dir, "r"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := storeSpare(c); err != nil {
		t.Fatal(err)
	}
	c.Close() // this agent ends
	if text, fds := notified(t, systemd); text != "FDSTOREREMOVE=1\nFDNAME="+spareName || len(fds) != 0 {
		t.Errorf("the one before is not removed first: %q with %d descriptors", text, len(fds))
	}
	text, fds := notified(t, systemd)
	if text != "FDSTORE=1\nFDNAME="+spareName || len(fds) != 1 {
		t.Fatalf("%q with %d descriptors", text, len(fds))
	}
	kept := os.NewFile(uintptr(fds[0]), spareName)
	defer kept.Close()
	next := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0], "-test.run=^TestSpareGoesRound$")
	next.Env = append(os.Environ(), "SPARE_TEST=1", "LISTEN_FDS=1", "LISTEN_FDNAMES="+spareName)
	next.ExtraFiles = []*os.File{kept}
	if out, err := next.CombinedOutput(); err != nil {
		t.Fatalf("the next agent: %v\n%s", err, out)
	}
	buf := make([]byte, 16)
	if n, err := server.Read(buf); !strings.HasPrefix(string(buf[:n]), "taken") {
		t.Errorf("read %q, %v", buf[:n], err)
	}
}

func notified(t *testing.T, systemd *net.UnixConn) (text string, fds []int) {
	t.Helper()
	b, oob := make([]byte, 1024), make([]byte, 128)
	n, m, _, _, err := systemd.ReadMsgUnix(b, oob)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range msgs {
		got, err := unix.ParseUnixRights(&msg)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, got...)
	}
	return string(b[:n]), fds
}
