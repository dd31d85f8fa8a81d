package redis

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var cmpAddrs = cmpopts.EquateComparable(netip.AddrPort{})

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func testdata(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// entries reads recorded arrays: names and values on alternate lines, an empty line after each
// entry (an empty value is an empty line too, at an even place).
func entries(text string) []map[string]string {
	var all []map[string]string
	var list []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" && len(list)%2 == 0 {
			if len(list) > 0 {
				all = append(all, pairs(list))
			}
			list = nil
			continue
		}
		list = append(list, line)
	}
	if len(list) > 0 {
		all = append(all, pairs(list))
	}
	return all
}

func TestParseInfo(t *testing.T) {
	for name, want := range map[string]Info{
		"info-primary.txt":     infoPrimary,
		"info-replica.txt":     infoReplica,
		"info-placeholder.txt": infoPlaceholder,
		"info-link-down.txt":   infoLinkDown,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseInfo(testdata(t, name))
			must(t, err)
			if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// All sections of the plain INFO say the same as the chosen ones.
func TestParseInfoPlain(t *testing.T) {
	chosen, err := parseInfo(testdata(t, "info-placeholder.txt"))
	must(t, err)
	plain, err := parseInfo(testdata(t, "info-plain.txt"))
	must(t, err)
	plain.Commands, plain.UsedMemory = chosen.Commands, chosen.UsedMemory
	if diff := cmp.Diff(chosen, plain, cmpAddrs); diff != "" {
		t.Errorf("(-chosen +plain)\n%s", diff)
	}
}

func TestParseInfoOdd(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Info
	}{
		{"loading", "role:slave\r\nloading:1\r\nloading_eta_seconds:12\r\n",
			Info{Role: Replica, Loading: true, LoadingETA: 12 * time.Second}},
		{"loading in the background", "role:slave\nasync_loading:1\nloading:0\n",
			Info{Role: Replica, Loading: true}},
		{"errors on disk", "role:master\naof_enabled:1\naof_last_write_status:err\nrdb_last_bgsave_status:err\n",
			Info{Role: Primary, AOFEnabled: true}},
		{"fork", "role:master\nrdb_bgsave_in_progress:0\naof_rewrite_in_progress:1\n",
			Info{Role: Primary, AOFRewriting: true, ForkInProgress: true}},
		{"a rewrite failed, and is to begin anew", "role:slave\naof_rewrite_scheduled:1\naof_last_bgrewrite_status:err\naof_last_write_status:ok\n",
			Info{Role: Replica, AOFRewriting: true}},
		{"FAILOVER", "role:master\nmaster_failover_state:waiting-for-sync\n",
			Info{Role: Primary, FailoverInProgress: true}},
		{"a name for the primary's address", "role:slave\nmaster_host:redis.example\nmaster_port:6379\n",
			Info{Role: Replica}},
		{"IPv6", "role:slave\nmaster_host:fd00::1\nmaster_port:6379\nslave_repl_offset:7\nmaster_repl_offset:9\n",
			Info{Role: Replica, PrimaryAddr: ap("[fd00::1]:6379"), Offset: 7}},
		{"a replica on IPv6", "role:master\nslave0:ip=fd00::1,port=6379,state=wait_bgsave,offset=0,lag=0\n",
			Info{Role: Primary, Replicas: []ReplicaLink{{Addr: ap("[fd00::1]:6379")}}}},
		{"words like a replica", "role:master\nslave_read_only:1\nslaves:ip=1.2.3.4\nslave-1:ip=1.2.3.4\ndbs:keys=3\n",
			Info{Role: Primary}},
		{"numbers beyond", "role:master\nmaster_repl_offset:99999999999999999999\nuptime_in_seconds:9223372036854775807\n",
			Info{Role: Primary}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseInfo(tt.text)
			must(t, err)
			if !strings.Contains(tt.text, "_write_status:err") {
				tt.want.AOFWriteOK, tt.want.RDBOK = true, true
			}
			tt.want.AOFRewriteOK = !strings.Contains(tt.text, "aof_last_bgrewrite_status:err")
			tt.want.GoodReplicas = -1
			if diff := cmp.Diff(tt.want, got, cmpAddrs); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	for _, text := range []string{"", "role:sentinel\n", "run_id:abc\n"} {
		if i, err := parseInfo(text); err == nil {
			t.Errorf("parseInfo(%q) = %+v, want an error", text, i)
		}
	}
}

func TestParseRole(t *testing.T) {
	for _, tt := range []struct {
		reply any
		want  RoleInfo
		bad   bool
	}{
		{reply: []any{"master", int64(42), []any{}}, want: RoleInfo{Role: Primary, Offset: 42}},
		{reply: []any{"slave", "10.0.0.1", int64(6379), "connected", int64(42)},
			want: RoleInfo{Role: Replica, Offset: 42, PrimaryAddr: ap("10.0.0.1:6379"), LinkUp: true}},
		{reply: []any{"slave", "10.0.0.1", int64(6379), "sync", int64(-1)},
			want: RoleInfo{Role: Replica, Offset: -1, PrimaryAddr: ap("10.0.0.1:6379")}},
		{reply: []any{"sentinel", []any{"m"}}, bad: true},
		{reply: []any{"slave"}, bad: true},
		{reply: []any{nil}, bad: true},
		{reply: []any{}, bad: true},
		{reply: "master", bad: true},
		{reply: nil, bad: true},
	} {
		got, err := parseRole(tt.reply)
		if (err != nil) != tt.bad || got != tt.want {
			t.Errorf("parseRole(%v) = %+v, %v", tt.reply, got, err)
		}
	}
}

func TestParsePrimary(t *testing.T) {
	for name, want := range map[string]PrimaryView{
		"sentinel-master.txt":          primaryCalm,
		"sentinel-master-failover.txt": primaryFailover,
	} {
		got := parsePrimary(entries(testdata(t, name))[0])
		if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestParseReplicas(t *testing.T) {
	for name, want := range map[string][]ReplicaView{
		"sentinel-replicas.txt":          replicasCalm,
		"sentinel-replicas-failover.txt": replicasFailover,
		"sentinel-replicas-down.txt":     replicasDown,
	} {
		var got []ReplicaView
		for _, entry := range entries(testdata(t, name)) {
			got = append(got, parseReplica(entry))
		}
		if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestParseSentinels(t *testing.T) {
	var got []SentinelView
	for _, entry := range entries(testdata(t, "sentinel-sentinels.txt")) {
		got = append(got, parseSentinel(entry))
	}
	if diff := cmp.Diff(peersCalm, got, cmpAddrs); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseFlags(t *testing.T) {
	got := parseFlags("s_down,o_down,master,disconnected,failover_in_progress,force_failover")
	want := Flags{SDown: true, ODown: true, Disconnected: true, FailoverInProgress: true}
	if got != want {
		t.Errorf("parseFlags = %+v", got)
	}
	if got := parseFlags("slave,promoted"); got != (Flags{Promoted: true}) {
		t.Errorf("parseFlags = %+v", got)
	}
}

func TestEach(t *testing.T) {
	got := each([]any{
		[]any{"ip", "10.0.0.1", "port", "6379", "odd"},
		"no array",
		[]any{nil, "x", "flags", nil},
	}, parseSentinel)
	want := []SentinelView{{Addr: ap("10.0.0.1:6379")}, {}, {}}
	if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseSentinelInfo(t *testing.T) {
	got := parseSentinelInfo(testdata(t, "sentinel-info.txt"))
	if diff := cmp.Diff(sentinelInfoCalm, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	got = parseSentinelInfo("sentinel_tilt:1\nsentinel_tilt_since_seconds:7\n")
	if want := (SentinelInfo{Tilt: true, TiltFor: 7 * time.Second}); got != want {
		t.Errorf("parseSentinelInfo = %+v", got)
	}
}
