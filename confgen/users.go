package confgen

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// ParseUsers reads the users that an operator gives all nodes: lines as in users.acl, "user NAME
// RULE …", and comments. Each is made anew by its rules, whatever it was before, and passwords in
// clear are hashed. Every mistake is in the error; whether the rules mean anything redis-server has
// to say.
func ParseUsers(text string) ([]User, error) {
	var users []User
	var errs []error
	seen := map[string]bool{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		refuse := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("line %d: %s", number, fmt.Sprintf(format, args...)))
		}
		switch {
		case words[0] != "user" || len(words) < 2:
			refuse(`it must be "user", the user's name, and its rules`)
		case strings.HasPrefix(words[1], UserPrefix):
			refuse("the user %s: names that begin with %s are redisd's own", words[1], UserPrefix)
		case words[1] == UserClients:
			refuse("the user %s: redisd makes it, with the password of redis.password_file", words[1])
		case seen[words[1]]:
			refuse("the user %s: it is there twice", words[1])
		default:
			users = append(users, User{Name: words[1], Rules: userRulesOf(words[2:])})
		}
		if len(words) > 1 {
			seen[words[1]] = true
		}
	}
	return users, errors.Join(errs...)
}

func userRulesOf(words []string) []string {
	rules := []string{"reset"}
	for _, w := range words {
		if password, clear := strings.CutPrefix(w, ">"); clear {
			w = fmt.Sprintf("#%x", sha256.Sum256([]byte(password)))
		}
		if w != "reset" || len(rules) > 1 {
			rules = append(rules, w)
		}
	}
	return rules
}
