package figures

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/redisd/redisd/test/lab"
)

// Machine is what was measured, and on what.
type Machine struct {
	Date    string            `json:"date"`
	Command string            `json:"command"`
	CPU     string            `json:"cpu"`
	CPUs    int               `json:"cpus"`
	Kernel  string            `json:"kernel"`
	Load    string            `json:"load_before"` // the machine's load average
	Debian  string            `json:"debian"`
	Version map[string]string `json:"versions"` // of the packages
}

// versioned are the packages whose versions the report names.
const versioned = "redis-server redis-sentinel keepalived haproxy systemd"

// Describe says on what machine this runs; what cannot be learnt is left out.
func Describe(command string) Machine {
	m := Machine{Date: time.Now().UTC().Format(time.DateOnly), Command: command, CPUs: runtime.NumCPU(), Version: map[string]string{}}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = after(string(text), "model name\t:")
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(text), " ")
	}
	if deb := os.Getenv("REDISD_DEB"); deb != "" {
		if out, err := exec.Command("dpkg-deb", "--field", deb, "Version").Output(); err == nil {
			m.Version["redisd"] = strings.TrimSpace(string(out))
		}
	}
	return m
}

// AddVersions asks a host for what is installed on it.
func (m *Machine) AddVersions(ctx context.Context, h *lab.Host) {
	if text, err := h.ReadFile(ctx, "/etc/debian_version"); err == nil {
		m.Debian = strings.TrimSpace(string(text))
	}
	// It fails for what is not installed, and still prints the rest.
	out, _ := h.Run(ctx, append([]string{"dpkg-query", "-W", "-f", `${Package} ${Version}\n`}, strings.Fields(versioned)...)...)
	for line := range strings.Lines(out) {
		if name, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok && version != "" {
			m.Version[name] = version
		}
	}
}

// after is the rest of the line that begins with prefix.
func after(text, prefix string) string {
	_, rest, _ := strings.Cut(text, prefix)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}
