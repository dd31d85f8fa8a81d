package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redisd/redisd/agent"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show the configuration, and the files it renders to",
	}
	c.AddCommand(
		&cobra.Command{
			Use:   "show",
			Short: "Print the whole configuration: defaults, environment and what was detected",
			Args:  noArgs,
			RunE: func(*cobra.Command, []string) error {
				cfg, err := a.loadConfig()
				if err != nil {
					return err
				}
				_, err = a.out.Write(cfg.TOML())
				return err
			},
		},
		&cobra.Command{
			Use:   "render",
			Short: "Print the redis.conf and sentinel.conf that a start would use; passwords are left out",
			Args:  noArgs,
			RunE:  func(*cobra.Command, []string) error { return a.render(false) },
		},
		&cobra.Command{
			Use:   "diff",
			Short: "Show how they differ from the files in use",
			Args:  noArgs,
			RunE:  func(*cobra.Command, []string) error { return a.render(true) },
		},
	)
	return c
}

func (a *app) render(diff bool) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	files, err := agent.Render(cfg)
	if err != nil {
		return usageError{err}
	}
	for _, f := range files {
		if !diff {
			fmt.Fprintf(a.out, "==> %s <==\n%s\n", f.Path, f.Text)
			continue
		}
		if err := a.diff(f); err != nil {
			return err
		}
	}
	return nil
}

// diff prints the lines that only one of the two has.
func (a *app) diff(f agent.File) error {
	old, err := os.ReadFile(f.Path)
	use := "in use"
	switch {
	case errors.Is(err, os.ErrNotExist):
		use = "there is none"
	case err != nil:
		return err
	}
	was, is := lines(agent.Redact(string(old))), lines(f.Text)
	fmt.Fprintf(a.out, "--- %s (%s)\n+++ %s (rendered)\n", f.Path, use, f.Path)
	for _, l := range missing(was, is) {
		fmt.Fprintln(a.out, "-"+l)
	}
	for _, l := range missing(is, was) {
		fmt.Fprintln(a.out, "+"+l)
	}
	return nil
}

func lines(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

// missing returns the lines of list that other lacks, comments left out.
func missing(list, other []string) []string {
	have := map[string]bool{}
	for _, l := range other {
		have[l] = true
	}
	var out []string
	for _, l := range list {
		if !have[l] && l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return out
}
