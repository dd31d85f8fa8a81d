package clients

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/test/figures"
	"github.com/redisd/redisd/test/lab"
)

// timelines is where what one client's wire saw of one change goes.
var timelines = figures.Page{
	File: "CLIENTS.md", Begin: "<!-- timelines: written by make clients, do not edit -->", End: "<!-- end of timelines -->",
}

// frame is one that the client end of the lab sent or received, of the address.
type frame struct {
	at   time.Time
	host string // at the other end
	out  bool   // the client has sent it
	what string // "" for data and acknowledgements, the ordinary traffic
	size int    // of its data
}

const (
	ethernet    = 14
	ethSource   = 6
	ethType     = 12
	arpSenderIP = ethernet + 14
	ip4Proto    = ethernet + 9
	ip4From     = ethernet + 12
	ip4To       = ethernet + 16
)

// read says what a frame is, as far as it concerns the address.
func read(b []byte, vip netip.Addr, hosts map[string]string) (f frame, ok bool) {
	if len(b) < ethernet+28 {
		return f, false
	}
	from, to := net.HardwareAddr(b[ethSource:ethType]).String(), net.HardwareAddr(b[:ethSource]).String()
	ip := vip.As4()
	switch binary.BigEndian.Uint16(b[ethType:]) {
	case unix.ETH_P_ARP:
		f.host, f.what = hosts[from], "announces that the VIP is there"
		return f, f.host != "" && [4]byte(b[arpSenderIP:]) == ip
	case unix.ETH_P_IP:
		if b[ip4Proto] != unix.IPPROTO_TCP {
			return f, false
		}
		if f.out = [4]byte(b[ip4To:]) == ip; f.out {
			f.host = hosts[to]
		} else if [4]byte(b[ip4From:]) == ip {
			f.host = hosts[from]
		}
		head := int(b[ethernet]&0xf) * 4
		total := int(binary.BigEndian.Uint16(b[ethernet+2:]))
		if f.host == "" || len(b) < ethernet+head+20 {
			return f, false
		}
		tcp := b[ethernet+head:]
		f.size = total - head - int(tcp[12]>>4)*4
		f.what = flags(tcp[13])
		return f, true
	}
	return f, false
}

func flags(b byte) string {
	const fin, syn, rst, ack = 1, 2, 4, 16
	switch {
	case b&rst != 0:
		return "RST"
	case b&(syn|ack) == syn|ack:
		return "SYN, ACK"
	case b&syn != 0:
		return "SYN"
	case b&fin != 0:
		return "FIN"
	}
	return ""
}

// recorder records the frames of the address at the client end.
type recorder struct {
	conn  *packet.Conn
	vip   netip.Addr
	hosts map[string]string // names by hardware address
	done  chan struct{}

	mu     sync.Mutex
	frames []frame
}

func record(ctx context.Context, l *lab.Lab, hosts []*lab.Host, vip netip.Addr) (*recorder, error) {
	r := &recorder{vip: vip, hosts: map[string]string{}, done: make(chan struct{})}
	for _, h := range hosts {
		hw, err := h.Run(ctx, "cat", "/sys/class/net/host0/address")
		if err != nil {
			return nil, err
		}
		r.hosts[strings.TrimSpace(hw)] = h.Name()
	}
	var opened error
	err := l.InNetwork(func() error {
		bridge, err := net.InterfaceByName("br0")
		if err == nil {
			r.conn, err = packet.Listen(bridge, packet.Raw, unix.ETH_P_ALL, nil)
		}
		opened = err
		return nil
	})
	if err := errors.Join(err, opened); err != nil {
		return nil, fmt.Errorf("record at the client end: %w", err)
	}
	go func() {
		defer close(r.done)
		b := make([]byte, 2048)
		for {
			n, _, err := r.conn.ReadFrom(b)
			if err != nil {
				return
			}
			if f, ok := read(b[:n], r.vip, r.hosts); ok {
				f.at = time.Now()
				r.mu.Lock()
				r.frames = append(r.frames, f)
				r.mu.Unlock()
			}
		}
	}()
	return r, nil
}

func (r *recorder) stop() []frame {
	_ = r.conn.SetReadDeadline(time.Unix(1, 0))
	<-r.done
	_ = r.conn.Close()
	return r.frames
}

// story tells the frames from the fault on until the client has its second answer of the new
// holder. What is ordinary is counted.
func story(frames []frame, began time.Time) string {
	var b strings.Builder
	line := func(at time.Time, text string) {
		fmt.Fprintf(&b, "%9.1f ms  %s\n", float64(at.Sub(began).Microseconds())/1000, text)
	}
	old, plain, answers := "", 0, 0
	var last time.Time
	flush := func() {
		if plain > 0 {
			line(last, fmt.Sprintf("the last of %d frames of commands and answers with %s", plain, old))
		}
		plain = 0
	}
	frames = slices.DeleteFunc(slices.Clone(frames), func(f frame) bool { return f.at.Before(began) })
	for _, f := range frames {
		if f.what == "" {
			if old == "" {
				old = f.host
			}
			if f.host == old {
				plain, last = plain+1, f.at
				continue
			}
			if f.out || f.size == 0 {
				continue
			}
			flush()
			if answers++; answers == 2 { // the first one is to AUTH
				line(f.at, fmt.Sprintf("%s answers the first command", f.host))
				break
			}
			continue
		}
		flush()
		switch {
		case strings.HasPrefix(f.what, "announces"):
			line(f.at, f.host+" "+f.what)
		case f.out:
			line(f.at, "client → "+f.host+"  "+f.what)
		default:
			line(f.at, f.host+" → client  "+f.what)
		}
	}
	flush()
	return b.String()
}

// timeline plays a fault under one client, which does nothing but write, and tells what its wire
// saw.
func (b *bench) timeline(ctx context.Context, f fault) (string, error) {
	primary := b.primary(ctx)
	b.alive(ctx)
	vip := netip.MustParseAddrPort(b.running.Service).Addr()
	r, err := record(ctx, b.running.Lab, b.running.Nodes, vip)
	if err != nil {
		return "", err
	}
	in, err := f.ready(ctx, b.running, primary)
	if err != nil {
		return "", err
	}
	time.Sleep(idleTime)
	began := time.Now()
	if err := in.happens(ctx); err != nil {
		return "", err
	}
	writer := b.clients[0]
	err = lab.Await(ctx, lookEvery, func() error {
		if writer.count(time.Now().Add(-4*lookEvery), "ok") == 0 || time.Since(began) < afterTime {
			return errors.New("the writer waits")
		}
		return nil
	})
	frames := r.stop()
	if err := errors.Join(err, in.mended(ctx)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s of %s:\n\n```text\n%s```\n\n", strings.ToUpper(f.title[:1])+f.title[1:], primary.Name(), story(frames, began)), nil
}
