package agent

import (
	"strings"
	"testing"
)

func TestAdviceForADisk(t *testing.T) {
	for _, tt := range []struct {
		readOnly   bool
		free, size uint64
		want       string
	}{
		{true, 0, 1 << 40, "read-only"},
		{false, 1 << 20, 1 << 40, "free some space"},
		{false, 5 << 30, 1 << 40, "free some space"},
		{false, 1 << 39, 1 << 40, "dmesg"},
	} {
		if got := adviceFor("/x", tt.readOnly, tt.free, tt.size); !strings.Contains(got, tt.want) || !strings.Contains(got, "/x") {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}
