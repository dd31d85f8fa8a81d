package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/agent"
)

const (
	watchDefault = 2 * time.Second
	watchFastest = 100 * time.Millisecond
)

func (a *app) statusCommand() *cobra.Command {
	s := &statusView{app: a}
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster: its primary, every node, and what is wrong",
		Long: `Show the cluster as the agent on this host sees it now: the primary, the VIPs
and where they are, every node, and under the table, after a "!", what is wrong.
After a "-" stands what somebody changed in a running Redis, and redisd leaves alone.

  ROLE      primary or replica; "replica, next" takes over first; a learner does
            not vote, and takes over when it has been made a voter
  STATE     running, starting, loading (its data from disk), syncing (with the
            primary), fenced (it refuses writes), hung, stopped, unreachable, left
  LINK LAG  a replica's link to the primary, and how far it is behind: in bytes,
            and in time once its acknowledgements stay away
  SENTINEL  the quorum (how many Sentinels must agree that a primary is down), and
            how many Sentinels this one knows

Exit codes: 0 the cluster accepts writes (it may be degraded), 1 it does not, or no
agent answers, 2 wrong usage. With --watch: 0, after Ctrl-C.`,
		Args: s.intervalArg,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context()) },
	}
	c.Flags().BoolVar(&s.json, "json", false, "print JSON")
	c.Flags().DurationVarP(&s.every, "watch", "w", 0, "show it again every `interval`, until Ctrl-C")
	c.Flags().Lookup("watch").NoOptDefVal = watchDefault.String()
	return c
}

// statusView is `redisd status` with its flags.
type statusView struct {
	*app
	json  bool
	every time.Duration
}

// intervalArg takes the interval of "--watch 5s", too, where pflag wants "--watch=5s".
func (s *statusView) intervalArg(cmd *cobra.Command, args []string) error {
	watching := cmd.Flags().Changed("watch")
	if len(args) == 1 && watching && s.every == watchDefault {
		if d, err := time.ParseDuration(args[0]); err == nil {
			s.every, args = d, nil
		}
	}
	if watching && s.every < watchFastest {
		return usageError{fmt.Errorf("--watch: invalid value %v: must be %v or more", s.every, watchFastest)}
	}
	return noArgs(cmd, args)
}

// errDown is the status of a cluster that serves nobody, as an exit code.
var errDown = errors.New("the cluster accepts no writes")

func (s *statusView) run(ctx context.Context) error {
	if s.every > 0 {
		return s.watch(ctx)
	}
	down, err := s.show(ctx, s.out)
	if err == nil && down {
		err = errDown
	}
	return err
}

func (s *statusView) show(ctx context.Context, w io.Writer) (down bool, err error) {
	var st agent.Status
	if err := s.get(ctx, "/v1/status", &st); err != nil {
		return false, err
	}
	for i, p := range st.Problems {
		st.Problems[i] = words(s.instance(), p)
	}
	if s.json {
		return st.Health == "down", printJSON(w, st)
	}
	return st.Health == "down", writeStatus(w, st)
}

// watch shows the status until ctx ends. An agent that does not answer is part of the picture: it
// may be about to be replaced.
func (s *statusView) watch(ctx context.Context) error {
	p := page{w: s.out, screen: isTerminal(s.out) && !s.json}
	t := time.NewTicker(s.every)
	defer t.Stop()
	for {
		var b bytes.Buffer
		if p.screen {
			fmt.Fprintf(&b, "%s, every %v; Ctrl-C ends it\n\n", time.Now().Format(time.DateTime), s.every)
		}
		_, err := s.show(ctx, &b)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err != nil && p.screen:
			fmt.Fprintln(&b, "!", err)
		case err != nil:
			s.complain(err)
		}
		if err := p.show(b.String()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// page shows one text after another: in place of the one before on a terminal, below it elsewhere.
type page struct {
	w      io.Writer
	screen bool
	begun  bool
}

// The control sequences (ECMA-48) go to the top left, and clear from there to the end of the line
// and of the screen: what did not change does not flicker.
const (
	toTop     = "\x1b[H"
	clearAll  = "\x1b[2J"
	clearLine = "\x1b[K"
	clearRest = "\x1b[J"
)

func (p *page) show(text string) error {
	switch {
	case p.screen && !p.begun:
		text = clearAll + toTop + text
	case p.screen:
		text = toTop + strings.ReplaceAll(text, "\n", clearLine+"\n") + clearRest
	case p.begun:
		text = "\n" + text
	}
	p.begun = true
	_, err := io.WriteString(p.w, text)
	return err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
