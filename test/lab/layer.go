package lab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Layer is what some preparation has changed on a disk, ready to be laid over the image for many
// hosts.
type Layer struct {
	dir      string
	image    string
	imageKey string
}

// ownFiles of a host never get into a layer; personalise and the host's systemd write them.
var ownFiles = []string{"etc/hostname", "etc/hosts", "etc/machine-id", "etc/lab/network", "var/lib/dbus/machine-id",
	"var/lib/systemd/random-seed", "var/log/journal", "var/tmp", "tmp", "run"}

// Prepare returns the layer that prepare makes of a host of the image o.Image; prepare runs once
// for a key and image, the outcome is kept in the cache. The key must say everything that it
// depends on: a hash of the .deb to install, say. The host is shut down in good order afterwards,
// and what identifies it is taken out, but whatever else prepare leaves on the disk, all hosts will
// have in common: package state, not secrets or data.
func Prepare(ctx context.Context, o Options, key string, prepare func(context.Context, *Host) error) (Layer, error) {
	o.Image = cmp.Or(o.Image, DefaultImage())
	im, err := openImage(ctx, o.Image)
	if err != nil {
		return Layer{}, err
	}
	defer im.close()
	sum := sha256.Sum256([]byte(key))
	layer := Layer{image: o.Image, imageKey: im.key,
		dir: filepath.Join(cacheDir(), "layers", im.key+"-"+hex.EncodeToString(sum[:])[:16])}
	if err := os.MkdirAll(filepath.Dir(layer.dir), 0o755); err != nil {
		return Layer{}, err
	}
	lock, err := lockFile(layer.dir+".lock", unix.LOCK_EX)
	if err != nil {
		return Layer{}, err
	}
	defer lock.Close()
	if _, err := os.Stat(layer.dir); !errors.Is(err, fs.ErrNotExist) {
		return layer, err
	}
	if err := layer.make(ctx, o, prepare); err != nil {
		return Layer{}, fmt.Errorf("prepare a layer: %w", err)
	}
	return layer, nil
}

func (y Layer) make(ctx context.Context, o Options, prepare func(context.Context, *Host) error) (err error) {
	l, err := Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	h, err := l.Host(ctx, "layer")
	if err != nil {
		return err
	}
	if err := prepare(ctx, h); err != nil {
		return err
	}
	if err := h.Shutdown(ctx); err != nil {
		return err
	}
	upper := h.upper()
	for _, file := range ownFiles {
		// Straight from the upper folder, not through the mount: there it would leave a white-out.
		if err := os.RemoveAll(filepath.Join(upper, file)); err != nil {
			return err
		}
	}
	// Beside the layer first: a half copied one must not be taken for one.
	fresh := y.dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := command(ctx, "", "cp", "-a", upper, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, y.dir)
}

// Remove takes the layer out of the cache; without it setup.sh removes the layer together with the
// image that it was made over.
func (y Layer) Remove() error { return os.RemoveAll(y.dir) }
