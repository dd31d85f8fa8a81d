package directive

import (
	"errors"
	"strings"
)

var errQuotes = errors.New("quotes are not balanced")

// SplitArgs splits a line of redis.conf into words as redis-server does (sds.c, sdssplitargs):
// words are separated by white space; inside double quotes \n, \r, \t, \a, \b, \xHH and \" stand
// for one character; inside single quotes only \' does; a closing quote ends the word and must be
// followed by white space.
func SplitArgs(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, Spaces)
		if line == "" {
			return words, nil
		}
		word, rest, err := splitWord(line)
		if err != nil {
			return nil, err
		}
		words, line = append(words, word), rest
	}
}

// Spaces is what C's isspace accepts.
const Spaces = " \t\n\v\f\r"

func splitWord(line string) (word, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ', '\t', '\n', '\r': // not \v and \f: redis-server is inconsistent here
			return b.String(), line[i:], nil
		case '"', '\'':
			quoted, rest, err := splitQuoted(line[i+1:], c)
			return b.String() + quoted, rest, err
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", nil
}

// splitQuoted reads up to the closing quote; the opening one is gone already.
func splitQuoted(s string, quote byte) (word, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == quote:
			if rest := s[i+1:]; rest == "" || strings.IndexByte(Spaces, rest[0]) >= 0 {
				return b.String(), rest, nil
			}
			return "", "", errQuotes
		case c == '\\' && quote == '"' && i+1 < len(s):
			decoded, n := unescape(s[i+1:])
			b.WriteByte(decoded)
			i += n
		case c == '\\' && quote == '\'' && i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errQuotes
}

// unescape decodes what follows a backslash, and says how many bytes that were.
func unescape(s string) (decoded byte, n int) {
	if len(s) >= 3 && s[0] == 'x' {
		hi, lo := strings.IndexByte(hexDigits, s[1]|0x20), strings.IndexByte(hexDigits, s[2]|0x20)
		if hi >= 0 && lo >= 0 {
			return byte(hi<<4 | lo), 3
		}
	}
	switch s[0] {
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'a':
		return '\a', 1
	case 'b':
		return '\b', 1
	}
	return s[0], 1
}

const hexDigits = "0123456789abcdef"

// CheckValue reports why a value of [redis.directives] cannot be written into redis.conf. A value
// is what follows the directive's name on its line, quotes and all; one with several lines, such as
// save can have, has a \n between them.
func CheckValue(value string) error {
	if value == "" {
		return nil // written as ""
	}
	for line := range strings.SplitSeq(value, "\n") {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return errors.New("it has a control character")
		}
		words, err := SplitArgs(line)
		if err != nil {
			return err
		}
		if len(words) == 0 {
			return errors.New("it has an empty line")
		}
	}
	return nil
}
