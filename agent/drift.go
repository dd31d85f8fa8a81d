package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redisd/redisd/confgen"
)

// secretDirectives hold a password in clear.
var secretDirectives = []string{"masterauth", "requirepass"}

// settingWas says what a directive was; never a password.
func settingWas(d confgen.Difference) string {
	if slices.Contains(secretDirectives, d.Name) {
		return d.Name + " was changed"
	}
	return fmt.Sprintf("%s was %q, not %q", d.Name, d.Is, d.Value)
}

// userWas says what a user was; never a password, nor what it hashes to.
func userWas(d confgen.UserDifference) string {
	if d.Is == "" {
		return "user " + d.Name + " was gone"
	}
	var parts []string
	if len(d.Has) > 0 {
		parts = append(parts, "had "+rulesInWords(d.Has, "another password"))
	}
	if len(d.Lacks) > 0 {
		parts = append(parts, "lacked "+rulesInWords(d.Lacks, "its password"))
	}
	return "user " + d.Name + " " + strings.Join(parts, " and ")
}

// rulesMost is how many rules are worth naming.
const rulesMost = 6

func rulesInWords(rules []string, password string) string {
	var words []string
	for _, r := range rules {
		if strings.HasPrefix(r, "#") || strings.HasPrefix(r, ">") {
			r = password
		}
		words = append(words, r)
	}
	words = slices.Compact(words)
	if n := len(words) - rulesMost; n > 0 {
		words = append(words[:rulesMost], fmt.Sprintf("%d more", n))
	}
	return strings.Join(words, ", ")
}

// userLines are the lines of ACL LIST by user.
func userLines(list []string) map[string]string {
	lines := map[string]string{}
	for _, line := range list {
		if words := strings.Fields(line); len(words) > 1 {
			lines[words[1]] = line
		}
	}
	return lines
}

// wordOf is the directive, or the user, that a fault is of.
func wordOf(fault string) string { return strings.TrimPrefix(fault, "user ") }
