package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// PortWarnings say that clients of a VIP cannot find Redis on every node that may come to have it:
// a VIP is an address without a port.
func (s Status) PortWarnings() []string {
	if len(s.VIPs) == 0 || s.Primary == nil {
		return nil
	}
	i := slices.IndexFunc(s.Nodes, func(n NodeStatus) bool { return n.Name == s.Primary.Name })
	if i < 0 || s.Nodes[i].Replication == nil {
		return nil
	}
	addresses := []string{s.Primary.Address}
	for _, r := range s.Nodes[i].Replication.Replicas {
		addresses = append(addresses, r.Address)
	}
	ports := map[uint16]bool{}
	for _, a := range addresses {
		if addr, err := netip.ParseAddrPort(a); err == nil {
			ports[addr.Port()] = true
		}
	}
	if len(ports) < 2 {
		return nil
	}
	return []string{fmt.Sprintf("Redis has not the same port on all nodes (%s), and a VIP is an address alone: its clients would not find the primary after a failover; set the same [redis] port everywhere, or have them ask Sentinel",
		strings.Join(addresses, ", "))}
}
