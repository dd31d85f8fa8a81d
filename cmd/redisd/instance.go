package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
)

// A host can be a node of several clusters: each has a file of its own in /etc/redisd, and a
// service of its own, redisd@NAME.service. The commands are told which one by "-c NAME".

// chooseConfig makes the path of the configuration out of what -c says: a name, or a path.
func (a *app) chooseConfig() error {
	name := a.configPath
	if strings.Contains(name, "/") || filepath.Ext(name) == filepath.Ext(defaultConfig) {
		// In /etc/redisd a file is an instance's, however it is named.
		if path, err := filepath.Abs(name); err == nil && config.InstanceOf(path) != "" {
			a.configPath = path
		}
		return nil
	}
	if !config.IsInstance(name) {
		return usageError{fmt.Errorf("--config: invalid value %q: must be the name of a cluster, for %s, or the path of a file", name, config.File("NAME"))}
	}
	a.configPath, a.named = config.File(name), true
	return nil
}

// itsOwn refuses to be another service's: redisd@redisd.service would run, and let go of, the node
// of redisd.service.
func (a *app) itsOwn() error {
	if a.named && a.instance() == config.Main {
		return usageError{fmt.Errorf("redisd@%s.service cannot be: %s is the configuration of redisd.service, `systemctl start redisd`", config.Main, a.configPath)}
	}
	return nil
}

// completeConfig offers the names, and files for those who begin a path.
func completeConfig(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	if strings.ContainsAny(typed, "./") {
		return []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return instances(config.Dir), cobra.ShellCompDirectiveNoFileComp
}

// instances are the names of the configurations in a directory.
func instances(dir string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.toml"))
	var names []string
	for _, path := range files {
		if name := config.InstanceOf(filepath.Join(config.Dir, filepath.Base(path))); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// instance is the one that the configuration is of; "" for a file elsewhere.
func (a *app) instance() string { return config.InstanceOf(a.configPath) }

// unit is the service that runs the agent of an instance.
func unit(instance string) string {
	if config.Further(instance) {
		return "redisd@" + instance + ".service"
	}
	return "redisd.service"
}

// What messages tell to do, as it is done for redisd.service.
var (
	commandWords = regexp.MustCompile("[`(]redisd [a-z-]+")
	serviceWords = regexp.MustCompile(`\b(systemctl [a-z-]+|journalctl -u) redisd\b|\bredisd\.service\b`)
)

// ofNoCluster are the commands that are given without one.
var ofNoCluster = []string{"agent", "release", "keygen", "demo", "version", "completion", "help"}

// words makes a message about redisd.service and its cluster one about an instance. Nodes do not
// know by which name another host has their cluster, so it is done where a message is shown.
func words(instance, text string) string {
	if !config.Further(instance) {
		return text
	}
	text = commandWords.ReplaceAllStringFunc(text, func(found string) string {
		command := found[1+len("redisd "):]
		if strings.HasPrefix(command, "-") || slices.Contains(ofNoCluster, command) {
			return found // it says already which cluster, or needs none
		}
		return found[:1] + "redisd -c " + instance + " " + command
	})
	return serviceWords.ReplaceAllStringFunc(text, func(found string) string {
		if command, is := strings.CutSuffix(found, " redisd"); is {
			return command + " redisd@" + instance
		}
		return unit(instance)
	})
}

// neighbours finds what this node would share with another one on this host. How grave it is,
// depends on whether anything was ever started with the other one's file; one that sets nothing, as
// the package installs it, counts only then.
func (f *findings) neighbours(ctx context.Context, dir string, grave func(started bool) gravity) {
	instance := f.cfg.Instance()
	if instance == "" {
		return
	}
	others, errs := config.Others(dir, instance)
	for _, err := range errs {
		f.list = append(f.list, finding{warning, fmt.Errorf("not compared with another configuration in %s: %w", dir, err)})
	}
	all := append([]config.Config{f.cfg}, others...)
	for _, o := range others {
		_, err := os.Stat(o.Node.StateDir)
		started := err == nil
		if o.Unset() && !started {
			continue
		}
		for _, c := range f.cfg.Collisions(o) {
			f.taken = append(f.taken, c.Key)
			f.add(grave(started), c.Key, "%s is that of another node on this host (%s, %s): %s", c.Value, c.OtherKey, c.Other, cureOf(ctx, c, all))
		}
	}
}

func cureOf(ctx context.Context, c config.Collision, all []config.Config) string {
	cure := "set another one in one of the two files, or move a file away that nothing runs by"
	if c.Port == 0 {
		return cure
	}
	port := config.FreePort(c.Port, all, func(port int) bool { return port != agent.DiscoveryPort && portFree(ctx, port) })
	if port == 0 {
		return cure
	}
	return fmt.Sprintf("%d is free here; %s", port, cure)
}

// portFree: nothing listens there, on any address.
func portFree(ctx context.Context, port int) bool {
	at := netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port))
	return errors.Join(listen(ctx, "tcp", at), listen(ctx, "udp", at)) == nil
}

// haveInstances names what there is, for who asked for something else.
func haveInstances() string {
	if names := instances(config.Dir); len(names) > 0 {
		return fmt.Sprintf(" (there are: %s)", strings.Join(names, ", "))
	}
	return ""
}

// whoAnswers names the other agents of this host, for who asked one that is not there.
func (a *app) whoAnswers() string {
	others, _ := config.Others(config.Dir, a.instance())
	var ask []string
	for _, o := range others {
		if dial(o.SocketPath()) == nil {
			ask = append(ask, "`redisd -c "+o.Instance()+" status`")
		}
	}
	if len(ask) == 0 {
		return ""
	}
	return "; another agent does: " + strings.Join(ask, ", ")
}

// localWriter writes log lines in the words for an instance.
type localWriter struct {
	w        io.Writer
	instance string
}

func (l localWriter) Write(line []byte) (int, error) {
	if _, err := io.WriteString(l.w, words(l.instance, string(line))); err != nil {
		return 0, err
	}
	return len(line), nil
}
