package main

import (
	"strings"
	"testing"
)

func TestLossText(t *testing.T) {
	const why = "Redis answers a client before its replicas have the write: 7 had not got out"
	for _, tt := range []struct {
		seen []reach
		want string
	}{
		{nil, "killed"},
		{[]reach{{"node2", 500}, {"node3", 480}}, "of the replicas node2 had most, the stream to offset 500 (node3 to 480)"},
		{[]reach{{"node2", 480}, {"node3", 500}}, "or had reached node3 alone, which had the stream to offset 500 and node2 to 480"},
	} {
		got := lossText(7, "node2", tt.seen)
		if !strings.HasPrefix(got, why) || !strings.HasSuffix(got, tt.want) {
			t.Errorf("%v: %s", tt.seen, got)
		}
	}
}
