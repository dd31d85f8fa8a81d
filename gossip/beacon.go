package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
)

// beacon is what a node calls out on its link: who it is and where its gossip listens. It grants
// nothing; it is a reason to connect to that address, and the connection proves the rest.
type beacon struct {
	Cluster string
	ID      string
	Addr    netip.AddrPort
}

// beaconMagic opens every beacon: three letters and the format. Anything else on the port is
// dropped at the cost of one comparison.
const beaconMagic = "rdb\x01"

// maxBeacon bounds a beacon on the wire: cluster and id at their longest.
const maxBeacon = 512

// errNotOurs is all that is ever known of a beacon that does not open: noise, another key, another
// cluster or a forgery look alike.
var errNotOurs = errors.New("not a beacon of this cluster")

// sealer closes and opens beacons. Its key is derived from the gossip key, so that no nonce of one
// is ever used with the key of the other.
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) (sealer, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, "redisd discovery", 32)
	if err != nil {
		return sealer{}, fmt.Errorf("derive the discovery key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return sealer{}, fmt.Errorf("derive the discovery key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return sealer{}, fmt.Errorf("derive the discovery key: %w", err)
	}
	return sealer{aead}, nil
}

// seal returns b for the wire: magic, nonce, then the sealed text. The nonce is random: a node
// calls at most twice a second, 2³² calls are 68 years.
func (s sealer) seal(b beacon) []byte {
	plain := append([]byte{byte(len(b.Cluster))}, b.Cluster...)
	plain = append(append(plain, byte(len(b.ID))), b.ID...)
	addr, _ := b.Addr.MarshalBinary() // never fails; 4 or 16 bytes and the port
	plain = append(plain, addr...)

	out := append(make([]byte, 0, maxBeacon), beaconMagic...)
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails: it ends the program instead
	out = append(out, nonce...)
	return s.aead.Seal(out, nonce, plain, []byte(beaconMagic))
}

// open returns what seal was given, or errNotOurs.
func (s sealer) open(p []byte) (beacon, error) {
	head := len(beaconMagic) + s.aead.NonceSize()
	if len(p) < head+s.aead.Overhead() || len(p) > maxBeacon || string(p[:len(beaconMagic)]) != beaconMagic {
		return beacon{}, errNotOurs
	}
	plain, err := s.aead.Open(nil, p[len(beaconMagic):head], p[head:], []byte(beaconMagic))
	if err != nil {
		return beacon{}, errNotOurs
	}
	return parseBeacon(plain)
}

func parseBeacon(plain []byte) (beacon, error) {
	text := func() string {
		if len(plain) == 0 || len(plain) < 1+int(plain[0]) {
			plain = nil
			return ""
		}
		s := string(plain[1 : 1+plain[0]])
		plain = plain[1+plain[0]:]
		return s
	}
	b := beacon{Cluster: text(), ID: text()}
	if b.Cluster == "" || b.ID == "" {
		return beacon{}, errNotOurs
	}
	if len(plain) != 4+2 && len(plain) != 16+2 {
		return beacon{}, errNotOurs
	}
	if err := b.Addr.UnmarshalBinary(plain); err != nil || checkReachable(b.Addr) != nil {
		return beacon{}, errNotOurs
	}
	b.Addr = unmap(b.Addr)
	return b, nil
}
