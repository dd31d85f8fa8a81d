package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redisd/redisd/config"
)

func TestDefaults(t *testing.T) {
	values, err := Defaults(t.Context(), "redis-server")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"databases": "16", "maxmemory-policy": "noeviction", "appendonly": "no", "save": "3600 1 300 100 60 10000"} {
		if values[name] != want {
			t.Errorf("%s is %q by default, want %q", name, values[name], want)
		}
	}
}

// TestTrialOfUsers: what redis-server does not understand in the file of users is found before it
// is given it, and no password is told.
func TestTrialOfUsers(t *testing.T) {
	cfg := config.Default()
	cfg.Redis.UsersFile = filepath.Join(t.TempDir(), "users")
	for _, tt := range []struct{ text, want string }{
		{"user app on >hunter2 ~app:* +@all -@dangerous\nuser b on nopass +get\n", ""},
		{"user app on >hunter2 ~* +get\n# b\nuser b on >hunter2 +no-such-command\n", "redis-server refuses the user b: Error in applying operation '+no-such-command': Unknown command"},
		{"user app on >hunter2 ~* +get +@nonsense\n", "redis-server refuses the user app: "},
		{"user app on >hunter2 hunter2\n", "redis-server refuses the user app: "},
		{"user app on\nuser app on\n", "line 2: the user app: it is there twice"},
	} {
		if err := os.WriteFile(cfg.Redis.UsersFile, []byte(tt.text), 0o640); err != nil {
			t.Fatal(err)
		}
		err := Trial(t.Context(), cfg)
		switch {
		case tt.want == "" && err == nil:
		case err == nil || tt.want == "" || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "redis.users_file"):
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		case strings.Contains(err.Error(), "hunter2"):
			t.Errorf("a password is told: %v", err)
		}
	}
}
