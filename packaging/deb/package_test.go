// Package deb tests the Debian package as a file: its scripts, its units, and, given a built one in
// REDISD_DEB ("make unit" does), what is in it. It never installs anything; the lab under test/
// does that. Nothing imports it.
package deb

import (
	"bytes"
	"cmp"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata from what the package holds")

const unitFile = "../systemd/redisd.service"

// instanceUnit makes redisd@.service, as "make deb" does.
func instanceUnit(t *testing.T) (path string) {
	t.Helper()
	text, err := exec.Command("../systemd/instances").Output()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "redisd@.service")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestInstancesAreTheSame: redisd@NAME.service has every setting of redisd.service, and differs in
// what it runs and what is its own alone.
func TestInstancesAreTheSame(t *testing.T) {
	own, instance := readUnit(t, unitFile), readUnit(t, instanceUnit(t))
	want := map[string][2]string{
		"Unit/Description":         {"Highly available Redis (agent, redis-server and redis-sentinel)", "Highly available Redis (agent, redis-server and redis-sentinel): %i"},
		"Service/ExecStart":        {"/usr/bin/redisd agent", "/usr/bin/redisd agent -c %i"},
		"Service/ExecStopPost":     {"/usr/bin/redisd release", "/usr/bin/redisd release -c %i"},
		"Service/StateDirectory":   {"redisd", "redisd-%i"},
		"Service/RuntimeDirectory": {"redisd", "redisd-%i"},
	}
	for key, values := range want {
		if got := [2][]string{own[key], instance[key]}; !slices.Equal(got[0], values[:1]) || !slices.Equal(got[1], values[1:]) {
			t.Errorf("%s is %q, want %q", key, got, values)
		}
		delete(own, key)
		delete(instance, key)
	}
	if len(own) < 20 {
		t.Fatalf("only %d settings were compared", len(own))
	}
	if diff := gocmp.Diff(own, instance); diff != "" {
		t.Errorf("redisd.service (-) and redisd@.service (+) differ:\n%s", diff)
	}
}

// TestUnitKeepsRedisAlive names the settings on which it depends that a dead agent costs nothing.
// Each is wrong by systemd's default.
func TestUnitKeepsRedisAlive(t *testing.T) {
	unit := readUnit(t, unitFile)
	for _, want := range []struct{ section, key, value, why string }{
		{"Service", "KillMode", "process", "a stop or a crash of the agent must not signal Redis"},
		{"Service", "OOMPolicy", "continue", "redis-server killed by the kernel must not stop the agent"},
		{"Service", "NotifyAccess", "main", "redis-server must not speak for the agent"},
		{"Service", "Restart", "always", "there is always an agent"},
		{"Unit", "StartLimitIntervalSec", "0", "there is always an agent, however often it died"},
		{"Service", "Environment", "GOTRACEBACK=crash", "a panic must not look like exit code 2"},
		{"Service", "RuntimeDirectoryPreserve", "restart", "the next agent finds the socket's directory"},
		{"Service", "WatchdogSignal", "SIGKILL", "a hung agent must not wake up before it dies"},
		{"Service", "RestartPreventExitStatus", "2 3", "a bad configuration must not restart for ever, nor a node that has left"},
		{"Service", "SuccessExitStatus", "3", "a node that has left has not failed"},
		{"Service", "ExecStopPost", "/usr/bin/redisd release", "no VIP outlives the agent"},
	} {
		if got := unit[want.section+"/"+want.key]; !slices.Contains(got, want.value) {
			t.Errorf("%s= is %q, want %q: %s", want.key, got, want.value, want.why)
		}
	}
	if got := unit["Unit/Conflicts"]; got != nil {
		t.Errorf("Conflicts=%q: an upgrade of the package redis-server would stop redisd", got)
	}
	if got := unit["Service/AmbientCapabilities"]; !slices.Equal(got, unit["Service/CapabilityBoundingSet"]) {
		t.Errorf("AmbientCapabilities=%q, but CapabilityBoundingSet=%q", got, unit["Service/CapabilityBoundingSet"])
	}
}

// TestUnitsVerify has systemd itself read the units, with a program that exists here.
func TestUnitsVerify(t *testing.T) {
	analyze := lookPath(t, "systemd-analyze")
	for name, from := range map[string]string{"redisd.service": unitFile, "redisd@sessions.service": instanceUnit(t)} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte("/usr/bin/redisd"), []byte("/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", "--generators=no", path).CombinedOutput()
		if err != nil || strings.Contains(string(out), name) {
			t.Errorf("systemd-analyze verify %s: %v\n%s", name, err, out)
		}
	}
}

// TestScriptsKnowTheirArguments runs what is safe to run: every script refuses an argument that
// dpkg does not give, and does nothing on an upgrade.
func TestScriptsKnowTheirArguments(t *testing.T) {
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		if out, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("sh -n %s: %v\n%s", script, err, out)
		}
		if err := exec.Command("./"+script, "no-such-argument").Run(); err == nil {
			t.Errorf("%s accepts an unknown argument", script)
		}
	}
	for _, script := range []string{"prerm", "postrm"} {
		if out, err := exec.Command("./"+script, "upgrade", "0.0.1").CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s upgrade: %v\n%s", script, err, out)
		}
	}
}

// TestContents compares mode, owner and path of everything in the package.
func TestContents(t *testing.T) {
	out, err := exec.Command(lookPath(t, "dpkg-deb"), "--contents", builtPackage(t)).Output()
	if err != nil {
		t.Fatalf("dpkg-deb --contents: %v", err)
	}
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		f := strings.Fields(line)
		if path := f[5]; !strings.HasSuffix(path, "/") {
			lines = append(lines, f[0]+" "+f[1]+" "+strings.TrimPrefix(path, "."))
		}
	}
	slices.SortFunc(lines, func(a, b string) int {
		return cmp.Compare(a[strings.LastIndex(a, " "):], b[strings.LastIndex(b, " "):])
	})
	got := strings.Join(lines, "\n") + "\n"
	golden := filepath.Join("testdata", "contents.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("contents (-want +got; -update rewrites):\n%s", diff)
	}
}

// TestEveryCommandIsInTheManual compares the shipped program's help with redisd(8), both ways.
func TestEveryCommandIsInTheManual(t *testing.T) {
	root := t.TempDir()
	if out, err := exec.Command(lookPath(t, "dpkg-deb"), "--extract", builtPackage(t), root).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb --extract: %v\n%s", err, out)
	}
	help, err := exec.Command(filepath.Join(root, "usr/bin/redisd"), "--help").Output()
	if err != nil {
		t.Skipf("run the shipped redisd: %v", err)
	}
	_, list, _ := strings.Cut(string(help), "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	commands := []string{"release"} // which the help does not show
	for _, line := range strings.Split(list, "\n") {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name != "help" {
			commands = append(commands, name)
		}
	}
	slices.Sort(commands)
	if diff := gocmp.Diff(commands, manualCommands(t)); diff != "" {
		t.Errorf("the commands of redisd (-) and those of redisd.8 (+):\n%s", diff)
	}
}

// manualCommands are the commands that the manual explains: the words in bold of every paragraph's
// tag in its section, up to the first option.
func manualCommands(t *testing.T) []string {
	t.Helper()
	manual, err := os.ReadFile("redisd.8")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(manual), ".SH COMMANDS\n")
	section, _, _ = strings.Cut(section, "\n.SH ")
	var names []string
	for _, tag := range regexp.MustCompile(`(?m)^\.TP\n\.\w+ (.*)$`).FindAllStringSubmatch(section, -1) {
		text, _, _ := strings.Cut(tag[1], `\-`)
		for _, part := range strings.Split(text, ",") {
			if name := regexp.MustCompile(`[a-z]+(-[a-z]+)*`).FindString(part); name != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestLintian: nothing that lintian warns of, but for the overrides and their reasons.
func TestLintian(t *testing.T) {
	lintian := lookPath(t, "lintian")
	out, err := exec.Command(lintian, "--allow-root", "--fail-on", "error,warning", builtPackage(t)).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("W: ")) {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}

func builtPackage(t *testing.T) string {
	t.Helper()
	path := os.Getenv("REDISD_DEB")
	if path == "" {
		t.Skip("REDISD_DEB names no package; make unit builds one")
	}
	return path
}

func lookPath(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

// readUnit returns the values of a unit file by "Section/Key", in their order.
func readUnit(t *testing.T, path string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	unit, section := map[string][]string{}, ""
	for _, line := range strings.Split(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
		} else if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			unit[section+"/"+key] = append(unit[section+"/"+key], value)
		}
	}
	return unit
}
