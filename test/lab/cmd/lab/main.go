// Command lab boots hosts to try things on, tells how to get at them, and removes them at ^C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/redisd/redisd/test/lab"
	"golang.org/x/sync/errgroup"
)

func main() {
	count := flag.Int("n", 3, "how many hosts: a, b, c …")
	deb := flag.String("deb", "", "a package `file` to install on each")
	flag.Parse()
	if *count < 1 || *count > 26 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *count, *deb); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, count int, deb string) (err error) {
	l, err := lab.Open(ctx, lab.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var names []string
	for i := range count {
		names = append(names, string(rune('a'+i)))
	}
	hosts, err := l.Hosts(ctx, names...)
	if err != nil {
		return err
	}
	if deb != "" {
		installing, ctx := errgroup.WithContext(ctx)
		for _, h := range hosts {
			installing.Go(func() error { return install(ctx, h, deb) })
		}
		if err := installing.Wait(); err != nil {
			return err
		}
	}
	for _, h := range hosts {
		init, err := h.Process(ctx, "systemd")
		if err != nil {
			return err
		}
		fmt.Printf("%s  %s  nsenter -t %d -m -u -i -n -p -C bash -l\n", h.Name(), h.Addr(), init.MachinePID)
	}
	fmt.Printf("client end  %s  %v\n^C ends the lab.\n", l.Addr(), l.Command(ctx, "bash").Args)
	<-ctx.Done()
	return nil
}

func install(ctx context.Context, h *lab.Host, deb string) error {
	remote := "/root/" + filepath.Base(deb)
	if err := h.CopyIn(ctx, deb, remote); err != nil {
		return err
	}
	_, err := h.Run(ctx, "apt-get", "install", "-y", remote)
	return err
}
