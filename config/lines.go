package config

import (
	"strconv"
	"strings"
)

// keyLines finds the line of each key of a TOML text, by its full name: "redis.port",
// "cluster.join[1]", "vip[0].address"; and that of each table's header. The decoder tells positions
// for its own errors only.
//
// The text has passed the decoder. Should this not understand it all the same, it stops and returns
// what it has: a mistake is then told without its line.
func keyLines(text string) map[string]int {
	s := newLineScanner(text)
	s.document()
	return s.at
}

func newLineScanner(text string) *lineScanner {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff", "\xef\xbb\xbf"} { // the decoder skips a byte order mark, too
		if rest, ok := strings.CutPrefix(text, mark); ok {
			text = rest
			break
		}
	}
	return &lineScanner{text: text, line: 1, at: map[string]int{}, count: map[string]int{}}
}

type lineScanner struct {
	text  string // what is left
	line  int
	at    map[string]int
	count map[string]int // elements of each array of tables
	lost  bool           // it did not understand
}

func (s *lineScanner) document() {
	table := ""
	for {
		s.blank(true)
		switch {
		case s.text == "" || s.lost:
			return
		case s.take("[["):
			line := s.line
			name := s.resolve(s.keyPath(), true)
			s.at[name] = line
			table = name
			s.lost = s.lost || !s.take("]]")
		case s.take("["):
			line := s.line
			table = s.resolve(s.keyPath(), false)
			s.at[table] = line
			s.lost = s.lost || !s.take("]")
		default:
			s.pair(table)
		}
	}
}

// resolve turns the parts of a header into a name: an array of tables that is passed through, or
// entered, is its last element; a header in double brackets adds one.
func (s *lineScanner) resolve(parts []string, add bool) string {
	name := ""
	for i, part := range parts {
		name = below(name, part)
		if add && i == len(parts)-1 {
			s.count[name]++
		}
		if n := s.count[name]; n > 0 {
			name = index(name, n-1)
		}
	}
	return name
}

func below(table, name string) string {
	if table == "" {
		return name
	}
	return table + "." + name
}

func index(name string, i int) string { return name + "[" + strconv.Itoa(i) + "]" }

// pair reads "key = value" in a table.
func (s *lineScanner) pair(table string) {
	line := s.line
	name := table
	parts := s.keyPath()
	for _, part := range parts {
		name = below(name, part)
		if _, known := s.at[name]; !known {
			s.at[name] = line
		}
	}
	if len(parts) == 0 || !s.take("=") {
		s.lost = true
		return
	}
	s.value(name)
}

// keyPath reads a key, dotted or not, and the white space after it.
func (s *lineScanner) keyPath() []string {
	var parts []string
	for {
		s.blank(false)
		part, ok := s.keyPart()
		if !ok {
			s.lost = true
			return parts
		}
		parts = append(parts, part)
		s.blank(false)
		if !s.take(".") {
			return parts
		}
	}
}

func (s *lineScanner) keyPart() (string, bool) {
	if s.text != "" && (s.text[0] == '"' || s.text[0] == '\'') {
		raw, ok := s.str()
		if unquoted, err := strconv.Unquote(raw); err == nil {
			return unquoted, ok
		}
		return strings.Trim(raw, `"'`), ok
	}
	n := strings.IndexAny(s.text, " \t\r\n.=[]{},#\"'")
	if n <= 0 {
		return "", false
	}
	part := s.text[:n]
	s.text = s.text[n:]
	return part, true
}

// value reads a value and notes what is inside of it.
func (s *lineScanner) value(name string) {
	s.blank(false)
	switch {
	case s.text == "":
		s.lost = true
	case s.text[0] == '"' || s.text[0] == '\'':
		if _, ok := s.str(); !ok {
			s.lost = true
		}
	case s.take("["):
		for i := 0; s.more("]"); i++ {
			s.at[index(name, i)] = s.line
			s.value(index(name, i))
			s.comma()
		}
	case s.take("{"):
		for s.more("}") {
			s.pair(name)
			s.comma()
		}
	default: // a number, a date, true, false
		n := strings.IndexAny(s.text, ",]}#\r\n")
		if n < 0 {
			n = len(s.text)
		}
		s.lost = s.lost || n == 0
		s.text = s.text[n:]
	}
}

// more reports whether there is something before the closing bracket, which it takes.
func (s *lineScanner) more(closing string) bool {
	s.blank(true)
	s.lost = s.lost || s.text == ""
	return !s.lost && !s.take(closing)
}

func (s *lineScanner) comma() {
	s.blank(true)
	s.take(",")
}

// str reads a string of any of the four kinds, quotes and all.
func (s *lineScanner) str() (raw string, ok bool) {
	quote := s.text[:1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.text, long) {
		quote = long
	}
	for i := len(quote); i < len(s.text); i++ {
		switch {
		case s.text[i] == '\\' && quote[0] == '"':
			i++
		case strings.HasPrefix(s.text[i:], quote):
			end := i + len(quote)
			for len(quote) == 3 && end < len(s.text) && s.text[end] == quote[0] {
				end++ // quotes that belong to the text, right before the closing ones
			}
			raw = s.text[:end]
			s.line += strings.Count(raw, "\n")
			s.text = s.text[end:]
			return raw, true
		}
	}
	return "", false
}

// blank skips white space, and with lines also comments and line ends.
func (s *lineScanner) blank(lines bool) {
	for s.text != "" {
		switch c := s.text[0]; {
		case c == ' ' || c == '\t':
			s.text = s.text[1:]
		case !lines:
			return
		case c == '\n':
			s.line++
			s.text = s.text[1:]
		case c == '\r':
			s.text = s.text[1:]
		case c == '#':
			if n := strings.IndexByte(s.text, '\n'); n >= 0 {
				s.text = s.text[n:]
			} else {
				s.text = ""
			}
		default:
			return
		}
	}
}

func (s *lineScanner) take(token string) bool {
	rest, ok := strings.CutPrefix(s.text, token)
	s.text = rest
	return ok
}
