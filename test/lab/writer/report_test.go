package writer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// at is a write that took half a millisecond.
func at(millis int, node uint16) Ack {
	t := time.Duration(millis) * ms
	return Ack{Invoked: t - ms/2, Acked: t, Node: node}
}

func record(ended time.Duration, workers, probes, direct []Ack) *Report {
	return &Report{
		Ended: ended, Nodes: []string{"?", "A", "B", "C"},
		lanes: []laneRecord{{kind: workerLane, acks: workers}, {kind: probeLane, acks: probes}, {kind: directLane, acks: direct}},
	}
}

func TestTakeOut(t *testing.T) {
	r := record(50*ms, []Ack{at(10, 1), at(20, 2)}, nil, []Ack{at(10, 2), at(20, 2), at(30, 2), at(31, 2)})
	r.lanes[2].key = "x:direct:10.0.0.2:6379"
	if taken := r.TakeOut("10.0.0.1:6379", 0, 50*ms); len(taken) > 0 || r.Acked() != 6 {
		t.Errorf("of another node: %v", taken)
	}
	want := []Write{{Key: "x:direct:10.0.0.2:6379", Ack: at(20, 2)}, {Key: "x:direct:10.0.0.2:6379", Ack: at(30, 2)}}
	if diff := cmp.Diff(want, r.TakeOut("10.0.0.2:6379", 20*ms, 30*ms)); diff != "" || r.Acked() != 4 {
		t.Errorf("%d are left (-want +got):\n%s", r.Acked(), diff)
	}
}

func TestGaps(t *testing.T) {
	workers := []Ack{at(10, 1), at(11, 1), at(300, 2), at(301, 2)}
	for _, c := range []struct {
		name            string
		report          *Report
		service, client []Gap
	}{
		{"none acknowledged", record(50*ms, nil, nil, []Ack{at(5, 1)}), []Gap{{0, 50 * ms}}, []Gap{{0, 50 * ms}}},
		{"probes end it sooner", record(302*ms, workers, []Ack{at(40, 2), at(290, 2)}, nil),
			[]Gap{{11 * ms, 40 * ms}, {40 * ms, 290 * ms}}, []Gap{{11 * ms, 300 * ms}}},
		{"direct writers do not", record(302*ms, workers, nil, []Ack{at(40, 2)}),
			[]Gap{{11 * ms, 300 * ms}}, []Gap{{11 * ms, 300 * ms}}},
		{"up to the end", record(400*ms, workers, nil, nil),
			[]Gap{{11 * ms, 300 * ms}, {301 * ms, 400 * ms}}, []Gap{{11 * ms, 300 * ms}, {301 * ms, 400 * ms}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.service, c.report.Gaps(20*ms)); diff != "" {
				t.Errorf("service (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.client, c.report.ClientGaps(20*ms)); diff != "" {
				t.Errorf("clients (-want +got):\n%s", diff)
			}
		})
	}
	r := record(400*ms, workers, nil, nil)
	if got := r.Downtime(); got != (Gap{11 * ms, 300 * ms}) {
		t.Errorf("longest %v", got)
	}
	if got := r.DowntimeBetween(301*ms, 350*ms); got != (Gap{301 * ms, 400 * ms}) {
		t.Errorf("longest after 301 ms %v", got)
	}
	r.OwnStalls = []Gap{{0, 20 * ms}, {50 * ms, 60 * ms}, {290 * ms, 400 * ms}}
	if got := r.OwnShare(r.Downtime()); got != 29*ms {
		t.Errorf("own share %v", got)
	}
}

func TestDuals(t *testing.T) {
	every := func(from, to int, node uint16) (acks []Ack) {
		for i := from; i < to; i += 2 {
			acks = append(acks, at(i, node))
		}
		return acks
	}
	for _, c := range []struct {
		name string
		a, b []Ack
		want []Dual
	}{
		{"one node", every(0, 100, 1), nil, nil},
		{"failover", every(0, 100, 1), every(103, 200, 2), nil},
		{"failover and back", append(every(0, 100, 1), every(500, 600, 1)...), every(103, 400, 2), nil},
		{"a late answer", append(every(0, 100, 1), Ack{Invoked: 98 * ms, Acked: 150 * ms, Node: 1}), every(103, 200, 2), nil},
		{"one write by the old primary", append(every(0, 100, 1), at(150, 1)), every(103, 200, 2),
			[]Dual{{Gap: Gap{103 * ms, 151 * ms}, Nodes: []string{"A", "B"}, Changes: 3}}},
		{"both for a time", every(0, 120, 1), every(101, 200, 2),
			[]Dual{{Gap: Gap{101 * ms, 119 * ms}, Nodes: []string{"A", "B"}, Changes: 19}}},
		{"two failovers in a row", append(every(0, 100, 1), every(180, 300, 3)...), every(103, 150, 2), nil},
		{"the first node again after two others", append(every(0, 100, 1), every(180, 190, 3)...), append(every(103, 150, 2), every(200, 300, 1)...),
			[]Dual{{Gap: Gap{103 * ms, 200 * ms}, Nodes: []string{"A", "B", "C"}, Changes: 3}}},
		{"unknown nodes are no evidence", every(0, 200, 0), every(101, 200, 2), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, record(time.Second, c.a, nil, c.b).Duals()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSpans(t *testing.T) {
	got := record(time.Second, []Ack{at(1, 1), at(2, 1), at(3, 0)}, []Ack{at(5, 2)}, nil).Spans()
	want := []Span{
		{Node: "A", From: ms / 2, To: 2 * ms, Acks: 2},
		{Node: "B", From: 5*ms - ms/2, To: 5 * ms, Acks: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
