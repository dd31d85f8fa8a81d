package agent

import (
	"net/netip"
	"testing"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
)

// A renewal that names the primary names its history, too, and a new one is said at once:
// until then the replicas do not know what their data is worth.
func TestAnnounce(t *testing.T) {
	roster := election.NewRoster(1, []election.Voter{{ID: "a"}, {ID: "b"}})
	st := election.State{ClusterID: "c", Term: 4, Vote: "a", Holder: "a", HolderTerm: 4, Roster: roster}
	var sent []election.Renew
	a := &Agent{self: "a", redisAddr: netip.MustParseAddrPort("10.0.0.1:6379"), redisW: new(redisWatch)}
	a.ballot = &ballot{
		e: election.New("a", st, now()), save: func(election.State) error { return nil },
		send: func(env election.Envelope, _ bool) {
			if m, ok := env.Message.(election.Renew); ok {
				sent = append(sent, m)
			}
		},
	}
	for _, tt := range []struct {
		name            string
		info            redis.Info
		offset          int64
		primary, replID string
		atOnce          bool
	}{
		{"a replica yet", redis.Info{Role: redis.Replica, ReplID: "h1"}, 0, "", "", false},
		{"promoted", redis.Info{Role: redis.Primary, ReplID: "h2"}, 0, "10.0.0.1:6379", "h2", true},
		{"nothing new", redis.Info{Role: redis.Primary, ReplID: "h2"}, 0, "10.0.0.1:6379", "h2", false},
		{"more data", redis.Info{Role: redis.Primary, ReplID: "h2"}, 900, "10.0.0.1:6379", "h2", false},
		{"a new history", redis.Info{Role: redis.Primary, ReplID: "h3"}, 900, "10.0.0.1:6379", "h3", true},
	} {
		sent = nil
		a.redisW.known, a.redisW.info = true, tt.info
		v := a.ballot.view()
		o := reconcile.Observed{Self: "a", Election: reconcile.Election{Holder: "a", Term: 4, Lease: true, Primary: v.Primary}}
		o.Redis = reconcile.Redis{Known: true, Role: reconcile.Replica, Data: reconcile.Data{Term: 4, Offset: tt.offset}}
		if tt.info.Role == redis.Primary {
			o.Redis.Role = reconcile.Primary
		}
		a.announce(o)
		v = a.ballot.view()
		if got := noteOf(v); v.Primary != tt.primary || got.ReplID != tt.replID || got.Offset != tt.offset {
			t.Errorf("%s: announces %q, %+v", tt.name, v.Primary, got)
		}
		if atOnce := len(sent) > 0; atOnce != tt.atOnce {
			t.Errorf("%s: said at once %v", tt.name, atOnce)
		}
	}
}
