package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed setup.sh
var setupScript []byte

// The images that setup.sh can build, by name.
const (
	Debian12 = "debian12" // Redis 7.0
	Debian13 = "debian13" // Redis 8.0, and Valkey 8.1 beside it
	Valkey   = "valkey"   // Debian 13 without Redis
	Debian11 = "debian11" // Redis 6.0, which redisd does not run
)

// DefaultImage is what hosts are booted from unless they ask for another: $REDISD_LAB_IMAGE.
func DefaultImage() string {
	if name := os.Getenv("REDISD_LAB_IMAGE"); name != "" {
		return name
	}
	return Debian12
}

// image is a read-only system that hosts are booted from.
type image struct {
	key  string // its name, and the hash of its recipe
	dir  string
	lock *os.File // shared: setup.sh does not remove an image that somebody holds
}

func cacheDir() string {
	if dir := os.Getenv("REDISD_LAB_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/redisd-lab"
}

// imageKey is how setup.sh names what it builds: by name and the hash of its own text.
func imageKey(name string) string {
	sum := sha256.Sum256(setupScript)
	return name + "-" + hex.EncodeToString(sum[:])[:16]
}

// openImage returns the current image of that name, built first when it is not there (about a
// minute).
func openImage(ctx context.Context, name string) (*image, error) {
	key := imageKey(name)
	im := &image{key: key, dir: filepath.Join(cacheDir(), "image-"+key)}
	if err := os.MkdirAll(cacheDir(), 0o755); err != nil {
		return nil, fmt.Errorf("make the lab's cache: %w", err)
	}
	for {
		if _, err := os.Stat(im.dir); errors.Is(err, fs.ErrNotExist) {
			if err := buildImage(ctx, name); err != nil {
				return nil, err
			}
		} else if err != nil {
			return nil, fmt.Errorf("look for the lab's image: %w", err)
		}
		lock, err := lockFile(im.dir+".lock", unix.LOCK_SH)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(im.dir); err != nil { // removed between the look and the lock
			lock.Close()
			continue
		}
		now := time.Now()
		if err := os.Chtimes(lock.Name(), now, now); err != nil {
			lock.Close()
			return nil, fmt.Errorf("mark the lab's image as used: %w", err)
		}
		im.lock = lock
		return im, nil
	}
}

func (im *image) close() error { return im.lock.Close() }

func buildImage(ctx context.Context, name string) error {
	script, err := os.CreateTemp("", "lab-setup-*.sh")
	if err != nil {
		return fmt.Errorf("write setup.sh: %w", err)
	}
	defer os.Remove(script.Name())
	_, err = script.Write(setupScript)
	if err := errors.Join(err, script.Close()); err != nil {
		return fmt.Errorf("write setup.sh: %w", err)
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", script.Name(), "--image")
	cmd.Env = append(os.Environ(), "REDISD_LAB_IMAGE="+name)
	// Interrupted gently, so that it unmounts what debootstrap has mounted.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the lab's image: %w\n%s", err, out)
	}
	return nil
}

// lockFile opens path, creating it, and takes the given kind of flock; with LOCK_NB it may return
// unix.EWOULDBLOCK.
func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
