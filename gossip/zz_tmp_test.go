package gossip
import ("testing";"time";"sync/atomic";"net/netip";"sync";"fmt")
func zz(t *testing.T, beat bool){
	t.Parallel()
	var cut atomic.Bool
	var mu sync.Mutex
	side := map[netip.Addr]int{}
	nodes, cfgs := startCluster(t, 4, func(i int, cfg *Config) {
		mu.Lock(); side[cfg.Advertise.Addr()] = i/2; mu.Unlock()
		cfg.cut = func(a netip.Addr) bool { if !cut.Load() { return false }; mu.Lock(); defer mu.Unlock(); return side[a] != i/2 }
	})
	cut.Store(true)
	time.Sleep(40*time.Second)
	cut.Store(false)
	healed := time.Now()
	stop := make(chan struct{})
	if beat { go func(){ for { select { case <-stop: return; case <-time.After(100*time.Millisecond): _ = nodes[3].Send(cfgs[0].Advertise, []byte("x")) } } }() }
	want := map[string]State{}
	for i := range 4 { want[fmt.Sprintf("n%d", i+1)] = Alive }
	for _, g := range nodes { awaitStates(t, g, 20*time.Second, want) }
	t.Logf("ZZ beat=%v healed after %v", beat, time.Since(healed)); close(stop)
}
func TestZZ1(t *testing.T){ zz(t,true) }
func TestZZ2(t *testing.T){ zz(t,false) }
func TestZZ3(t *testing.T){ zz(t,true) }
func TestZZ4(t *testing.T){ zz(t,false) }
