package powerloss

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// call is a system call that succeeded. Strings among the arguments are decoded.
type call struct {
	name   string
	args   []string
	result int64
}

var (
	lineForm    = regexp.MustCompile(`^(\d+) +(.*)$`)
	resumedForm = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
	callForm    = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)`)
)

// parse reads what strace has written, in the order in which the calls returned.
func parse(text string) ([]call, error) {
	var calls []call
	unfinished := map[string]string{} // by thread
	for line := range strings.Lines(text) {
		m := lineForm.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			return nil, fmt.Errorf("a line of strace's that is none: %.200q", line)
		}
		thread, rest := m[1], m[2]
		if strings.HasPrefix(rest, "+++") {
			continue
		}
		if begun, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			unfinished[thread] = begun
			continue
		}
		if m := resumedForm.FindStringSubmatch(rest); m != nil {
			rest = unfinished[thread] + m[1]
			delete(unfinished, thread)
		}
		m = callForm.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("a call of strace's that is none: %.200q", rest)
		}
		result, err := strconv.ParseInt(m[3], 10, 64)
		if err != nil {
			return nil, err
		}
		if result < 0 {
			continue
		}
		args, err := arguments(m[2])
		if err != nil {
			return nil, err
		}
		calls = append(calls, call{name: m[1], args: args, result: result})
	}
	return calls, nil
}

// arguments splits at commas; strings are written as \x2f\x2e…, so there is no comma in them.
func arguments(text string) ([]string, error) {
	var args []string
	for _, a := range strings.Split(text, ",") {
		a = strings.TrimSpace(a)
		if quoted, ok := strings.CutPrefix(a, `"`); ok {
			body, ok := strings.CutSuffix(quoted, `"`)
			if !ok {
				return nil, fmt.Errorf("a string that strace has cut: %.100q", a)
			}
			decoded, err := unhex(body)
			if err != nil {
				return nil, err
			}
			a = decoded
		}
		args = append(args, a)
	}
	return args, nil
}

func unhex(text string) (string, error) {
	if len(text)%4 != 0 {
		return "", fmt.Errorf("not strace's form of a string: %.100q", text)
	}
	out := make([]byte, 0, len(text)/4)
	for i := 0; i < len(text); i += 4 {
		b, err := strconv.ParseUint(text[i+2:i+4], 16, 8)
		if err != nil || text[i:i+2] != `\x` {
			return "", fmt.Errorf("not strace's form of a byte: %q", text[i:i+4])
		}
		out = append(out, byte(b))
	}
	return string(out), nil
}
