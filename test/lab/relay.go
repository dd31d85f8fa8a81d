package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A frame may be a whole unsegmented TCP burst (veth leaves that to whoever has real hardware):
	// 64 KiB, the Ethernet header, and the virtio header that says how it would have to be cut.
	frameSize = 10 + 14 + 65536

	relayQueue = 4096 // frames under way in one direction; more are lost, as in a router
)

// relay carries frames between two interfaces, late, or not at all.
type relay struct {
	impairment atomic.Pointer[Impairment]
	ends       []*os.File
	done       sync.WaitGroup
}

type frame struct {
	data []byte
	due  time.Time
}

// startRelay opens both interfaces by name in the network namespace of the calling thread.
func startRelay(a, b string, i Impairment) (*relay, error) {
	r := &relay{}
	r.set(i)
	for _, name := range []string{a, b} {
		end, err := openInterface(name)
		if err != nil {
			r.stop()
			return nil, err
		}
		r.ends = append(r.ends, end)
	}
	r.carry(r.ends[0], r.ends[1])
	r.carry(r.ends[1], r.ends[0])
	return r, nil
}

func (r *relay) set(i Impairment) { r.impairment.Store(&i) }

// stop ends the relay; frames under way are lost.
func (r *relay) stop() {
	for _, end := range r.ends {
		end.Close()
	}
	r.done.Wait()
}

func (r *relay) carry(from, to *os.File) {
	queue := make(chan frame, relayQueue)
	r.done.Go(func() {
		defer close(queue)
		r.take(from, queue)
	})
	r.done.Go(func() {
		for f := range queue {
			time.Sleep(time.Until(f.due))
			// An error is a frame lost: the interface is down, or too small for it.
			_, _ = to.Write(f.data)
		}
	})
}

func (r *relay) take(from *os.File, queue chan<- frame) {
	buffer := make([]byte, frameSize)
	var last time.Time
	for {
		n, err := from.Read(buffer)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil { // the interface is down: ENETDOWN, once each time
			time.Sleep(time.Millisecond)
			continue
		}
		i := r.impairment.Load()
		if rand.Float64() < i.Loss {
			continue
		}
		due := time.Now().Add(i.Delay)
		if i.Jitter > 0 {
			due = due.Add(rand.N(i.Jitter))
		}
		if due.Before(last) {
			due = last
		}
		last = due
		select {
		case queue <- frame{append([]byte(nil), buffer[:n]...), due}:
		default:
		}
	}
}

// openInterface returns a packet socket that yields what comes in on the interface and sends what
// is written to it, each with a virtio header in front (packet(7), PACKET_VNET_HDR): so unfinished
// checksums and unsegmented bursts survive.
func openInterface(name string) (*os.File, error) {
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("open interface %s: %w", name, err)
	}
	// Protocol 0 until bound, so that nothing of other interfaces gets in.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open interface %s: %w", name, err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(ifc.Index), Type: unix.PACKET_MR_PROMISC}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everyProtocol(), Ifindex: ifc.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open interface %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// everyProtocol is ETH_P_ALL in network byte order.
func everyProtocol() uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], unix.ETH_P_ALL)
	return binary.NativeEndian.Uint16(b[:])
}

// muteInterface keeps the kernel of the calling thread's network namespace from answering on an
// interface itself.
func muteInterface(name string) error {
	for path, value := range map[string]string{
		"/proc/sys/net/ipv4/conf/" + name + "/arp_ignore":   "8", // never answer
		"/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6": "1",
	} {
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("mute interface %s: %w", name, err)
		}
	}
	return nil
}
