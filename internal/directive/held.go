package directive

// Held returns the value that a directive keeps while redis-server runs, unless redisd.toml gives
// it another one; ok is false where a client's CONFIG SET stays. These are not redisd's own, and
// redisd.toml may set them; but a promise rests on each, so it is not for everybody who has the
// clients' password to change.
func Held(directive string) (value string, ok bool) {
	name := Canonical(directive)
	for _, d := range HeldDirectives {
		if d.Name == name {
			return d.Value, true
		}
	}
	return "", false
}

// HeldDirectives are all of them, with what each is good for.
var HeldDirectives = []struct{ Name, Value, Why string }{
	{"appendonly", "yes", "A restarted node still has its data: what a dataset counts for in an election is a fact about its disk."},
	{"repl-diskless-load", "disabled", "A replica keeps what it has until a full copy is complete: one that fails must not leave it empty."},
}
