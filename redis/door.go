package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DoorOptions are what a Door is made of. Addr and Agent are required.
type DoorOptions struct {
	Addr netip.AddrPort
	// Socket is the unix socket that redis-server listens on, PID whose it must be (0: anybody's).
	// Where there is none of that process, because it was started without one, Addr is taken.
	Socket string
	PID    func() int
	Agent  Credentials
	// Rules are what the agent's user may, as ACL SETUSER takes them; Others are users by which it
	// can be made anew when it may not log in any more.
	Rules  func() []string
	Others func() []Credentials
	// Room is what Remember was last told of.
	Room     Room
	Remember func(Room)
	// Spare is told of a new spare connection: whoever keeps it gives it to the next Door's Adopt.
	Spare func(net.Conn)
	// Said is told what was done, for people.
	Said func(kind, text string)
}

// Room is how far maxclients of a process was raised.
type Room struct {
	PID      int
	Was, Now int
}

const (
	// roomStep is by how much maxclients is raised, and roomMost by how much at most: the agent
	// needs a few connections, and those who wait for one may be quicker.
	roomStep = 32
	roomMost = 8 * roomStep
	// roomLeft is how many connections must be free below the old maxclients before it counts
	// again.
	roomLeft = 2 * poolSize
)

var (
	errNoSpare = errors.New("there is no spare connection")
	errNoRoom  = errors.New("maxclients was raised far enough")
	errNoUser  = errors.New("no other user may restore the agent's")
)

// Door is the agent's way into the redis-server of its own host, which must not depend on what
// others do: it goes over a unix socket, without the host's network; it keeps a spare connection,
// by which maxclients is raised when clients have taken every one; and it makes the agent's user
// anew when somebody has deleted or changed it.
//
// The spare connection is one that another process may keep open over the agent's death, so what
// the agent before this one asked over it may not be answered yet: it is used only after the reply
// to a question that nobody else has put.
type Door struct {
	o DoorOptions

	busy    chan struct{} // of one: who has put something in may use what follows
	spare   *wire
	pending string // what the spare connection is to echo
	room    Room

	life sync.Mutex
	sign *wire // waits for a sign of life
	of   int   // the process that it was asked of
}

// NewDoor does not connect. Close it.
func NewDoor(o DoorOptions) *Door {
	if o.PID == nil {
		o.PID = func() int { return 0 }
	}
	if o.Said == nil {
		o.Said = func(string, string) {}
	}
	return &Door{o: o, busy: make(chan struct{}, 1), room: o.Room}
}

// NewLocal is the redis-server behind the door.
func NewLocal(d *Door) *Server { return &Server{conn: connBy(d.o.Addr, d.o.Agent.User, d.dial)} }

// Adopt takes over the spare connection of an earlier agent.
func (d *Door) Adopt(c net.Conn) {
	if d.lock(context.Background()) == nil {
		defer d.unlock()
		d.dropSpare()
		d.spare = newWire(c)
	}
}

// Close closes the connections that the door itself has.
func (d *Door) Close() {
	if d.lock(context.Background()) == nil {
		defer d.unlock()
		d.dropSpare()
	}
	d.life.Lock()
	defer d.life.Unlock()
	d.dropSign()
}

func (d *Door) lock(ctx context.Context) error {
	select {
	case d.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Door) unlock() { <-d.busy }

// connect takes the unix socket if it is the process's own, and its address otherwise.
func (d *Door) connect(ctx context.Context) (net.Conn, error) {
	c, err := d.connectUnix(ctx)
	if c != nil || err != nil {
		return c, err
	}
	return dialTCP(d.o.Addr)(ctx)
}

// connectUnix returns neither a connection nor an error where redis-server has no such socket.
func (d *Door) connectUnix(ctx context.Context) (net.Conn, error) {
	if d.o.Socket == "" {
		return nil, nil
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", d.o.Socket)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ECONNREFUSED):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if pid := d.o.PID(); pid != 0 && listener(c) != pid {
		c.Close()
		return nil, nil
	}
	return c, nil
}

// HasSocket reports that redis-server has a socket of its own, and does not need the network.
func (d *Door) HasSocket() bool {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	c, err := d.connectUnix(ctx)
	if c != nil {
		c.Close()
	}
	return c != nil || err != nil
}

// listener is the process that listens at the other end of a unix socket; 0: not known.
func listener(c net.Conn) (pid int) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// dial makes a connection for the pool.
func (d *Door) dial(ctx context.Context) (net.Conn, error) {
	w, err := enter(ctx, d.connect, d.o.Agent)
	if a := AnswerOf(err); a == Full || a == NoAuth {
		if d.lock(ctx) != nil {
			return nil, err
		}
		w, err = d.openUp(ctx, err)
		d.unlock()
	}
	if err != nil {
		return nil, err
	}
	return w.Conn, nil
}

// openUp does something about why there was no way in, and tries again once.
func (d *Door) openUp(ctx context.Context, why error) (*wire, error) {
	var err error
	switch AnswerOf(why) {
	case Full:
		err = d.makeRoom(ctx)
	case NoAuth:
		err = d.restoreUser(ctx)
	default:
		return nil, why
	}
	if err != nil {
		return nil, why
	}
	return enter(ctx, d.connect, d.o.Agent)
}

// Restore makes the agent's user anew.
func (d *Door) Restore(ctx context.Context) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	return d.restoreUser(ctx)
}

func (d *Door) restoreUser(ctx context.Context) error {
	if d.o.Rules == nil {
		return errNoUser
	}
	set := append([]string{"ACL", "SETUSER", d.o.Agent.User}, d.o.Rules()...)
	err := d.over(ctx, set)
	if err != nil && d.o.Others != nil {
		for _, other := range d.o.Others() {
			if err = d.as(ctx, other, set); err == nil {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoUser, err)
	}
	d.o.Said("agent_user_restored", "somebody changed or deleted the agent's user "+d.o.Agent.User+" of redis-server")
	return nil
}

// over has one command carried out over the spare connection.
func (d *Door) over(ctx context.Context, args []string) error {
	_, err := d.askSpare(ctx, args...)
	return err
}

// as has one command carried out for another user.
func (d *Door) as(ctx context.Context, user Credentials, args []string) error {
	w, err := enter(ctx, d.connect, user)
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.ask(ctx, args...)
	return err
}

// askSpare asks over the spare connection.
func (d *Door) askSpare(ctx context.Context, args ...string) (any, error) {
	if err := d.checkSpare(ctx); err != nil {
		return nil, err
	}
	reply, err := d.spare.ask(ctx, args...)
	d.lost(err)
	return reply, err
}

// checkSpare reads what is left to read from the spare connection, and so sees whether it is one.
func (d *Door) checkSpare(ctx context.Context) error {
	if d.spare == nil {
		return errNoSpare
	}
	d.spare.bound(ctx)
	if d.pending == "" {
		nonce := newNonce()
		if err := d.spare.send("ECHO", nonce); err != nil {
			d.lost(err)
			return err
		}
		d.pending = nonce
	}
	for {
		reply, err := d.spare.reply()
		switch _, refused := err.(replyError); {
		case AnswerOf(err) == NoAuth: // also not to echo; should that still come, it is read later
			d.pending = ""
			return err
		case err != nil && !refused:
			d.lost(err)
			return err
		case reply == d.pending:
			d.pending = ""
			return nil
		}
	}
}

// lost gives the spare connection up unless err is a reply, or none came in time.
func (d *Door) lost(err error) {
	if a := AnswerOf(err); !a.Answered() && a != Timeout {
		d.dropSpare()
	}
}

func (d *Door) dropSpare() {
	if d.spare != nil {
		d.spare.Close()
	}
	d.spare, d.pending = nil, ""
}

// Keep sees that the door can be opened tomorrow: that there is a spare connection, that the
// agent's user is as it should be, that redis-server listens where the others look for it, and that
// maxclients is the operator's as soon as there is room again.
func (d *Door) Keep(ctx context.Context) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	err := d.checkSpare(ctx)
	switch {
	case d.spare == nil:
		err = d.newSpare(ctx)
	case AnswerOf(err) == NoAuth:
		err = d.restoreUser(ctx)
	}
	if err != nil {
		return err
	}
	return errors.Join(d.keepUser(ctx), d.giveBackRoom(ctx))
}

func (d *Door) newSpare(ctx context.Context) error {
	w, err := enter(ctx, d.connect, d.o.Agent)
	if err != nil {
		w, err = d.openUp(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("make a spare connection: %w", err)
	}
	d.spare = w
	if d.o.Spare != nil {
		d.o.Spare(w.Conn)
	}
	return nil
}

// keepUser restores the agent's user before it is locked out. What it may do is seen by its doing.
func (d *Door) keepUser(ctx context.Context) error {
	reply, err := d.askSpare(ctx, "ACL", "GETUSER", d.o.Agent.User)
	switch {
	case AnswerOf(err) == NoAuth:
		return d.restoreUser(ctx)
	case err != nil:
		return err
	}
	sum := sha256.Sum256([]byte(d.o.Agent.Password))
	if fields := fieldsOf(reply); listed(fields["flags"], "on") && listed(fields["passwords"], hex.EncodeToString(sum[:])) {
		return nil
	}
	return d.restoreUser(ctx)
}

func fieldsOf(reply any) map[string]any {
	list, _ := reply.([]any)
	m := map[string]any{}
	for i := 0; i+1 < len(list); i += 2 {
		if name, ok := list[i].(string); ok {
			m[name] = list[i+1]
		}
	}
	return m
}

func listed(list any, word string) bool {
	items, _ := list.([]any)
	return slices.Contains(items, any(word))
}

// Alive reports whether redis-server answers anything at all. CLIENT PAUSE holds back every
// command, INFO and even QUIT, of everybody but replicas; but a word that is no command is refused
// before that is looked at, also without a login (tried on 7.0, and in processCommand of 6.0 to
// 8.0). So is a connection that is one too many. What was asked before, and not answered, is not
// asked again.
func (d *Door) Alive(ctx context.Context) bool {
	d.life.Lock()
	defer d.life.Unlock()
	pid := d.o.PID()
	if d.of != pid {
		d.dropSign()
	}
	if d.sign == nil {
		c, err := d.connect(ctx)
		if err != nil {
			return false
		}
		d.sign, d.of = newWire(c), pid
		d.sign.bound(ctx)
		_ = d.sign.send("REDISD.ALIVE") // one that is full has closed already, and has said so
	}
	d.sign.bound(ctx)
	_, err := d.sign.reply()
	if AnswerOf(err) == Timeout {
		return false
	}
	d.dropSign()
	return AnswerOf(err).Answered()
}

func (d *Door) dropSign() {
	if d.sign != nil {
		d.sign.Close()
	}
	d.sign = nil
}

// newNonce is a word that nobody has asked for before.
func newNonce() string { return fmt.Sprintf("redisd-%d-%d", time.Now().UnixNano(), unix.Getpid()) }
