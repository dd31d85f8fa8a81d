package config

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redisd/redisd/internal/directive"
)

const manualPath = "../packaging/deb/redisd.toml"

var sameConfig = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()}

func none(string) (string, bool) { return "", false }

func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(manualPath)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestManual holds the shipped file to the code: it changes nothing as it is, and what it shows as
// the defaults are the defaults.
func TestManual(t *testing.T) {
	text := manual(t)
	shipped, err := parse(manualPath, text, none)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), shipped, sameConfig); diff != "" {
		t.Errorf("the shipped file changes a default:\n%s", diff)
	}

	commented := regexp.MustCompile(`(?m)^#([a-z_]+ = )`)
	uncommented, err := parse(manualPath, commented.ReplaceAllString(text, "$1"), none)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), uncommented, sameConfig); diff != "" {
		t.Errorf("the shipped file tells other defaults than there are:\n%s", diff)
	}
	const noDefault = "redis.min_replicas_to_write" // no value stands for "automatic"
	for _, k := range keys {
		_, name, _ := strings.Cut(k.name, ".")
		line := "\n#" + name + " = "
		if k.name == noDefault {
			line = "\n#   " + name + " = "
		}
		if !strings.Contains(text, line) {
			t.Errorf("%s is missing", k.name)
		}
		if _, ok := uncommented.source.at[k.name]; !ok && k.name != noDefault {
			t.Errorf("%s is not under its section", k.name)
		}
		if k.env != "" && !strings.Contains(text, k.env) {
			t.Errorf("%s is not mentioned", k.env)
		}
	}
	for _, k := range vipKeys {
		if !strings.Contains(text, "\n#   "+k.name+" = ") {
			t.Errorf("%s of [[vip]] is missing", k.name)
		}
	}
}

// TestManualExamples uncomments the examples too: all of them must be good.
func TestManualExamples(t *testing.T) {
	text := manual(t)
	text = regexp.MustCompile(`(?m)^#([a-z_]+ = )`).ReplaceAllString(text, "# default $1")
	text = regexp.MustCompile(`(?m)^#   ([a-z_-]+ = \S+)   +(\S.*)$`).ReplaceAllString(text, "$1\n$2")
	text = regexp.MustCompile(`(?m)^#   ([a-z_-]+ = )`).ReplaceAllString(text, "$1")
	text = strings.Replace(text, "# [[vip]]", "[[vip]]", 1)
	c, err := parse(manualPath, text, none)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Cluster.Join) != 4 || len(c.VIPs) != 1 || c.Redis.MinReplicasToWrite == nil {
		t.Errorf("an example was missed: %+v", c)
	}
	for name, value := range c.Redis.Directives {
		if !directive.Known(name) {
			t.Errorf("the example %s is no directive", name)
		}
		if d, ok := directive.Default(name); ok && d != value {
			t.Errorf("the manual says that redisd's default of %s is %q, it is %q", name, value, d)
		}
	}
	if n := len(c.Redis.Directives); n < 17 {
		t.Errorf("only %d example directives were found", n)
	}
}
