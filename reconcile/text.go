package reconcile

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A situation in words, one subject a line:
//
//	node: at=100s self=n1 started=-1m0s
//	member n2: alive ready redis=10.0.0.2:6379
//	redis: running known role=primary min_replicas=fence -loading
//
// A field is its Go name in lower case. A flag stands alone when it is set, and with a minus before
// it when it is taken back. A point in time is relative to node's at: +500ms is yet to come, never
// is zero. What has its zero value is left out. The golden files and what a node logs of a round
// have this form.

// Text writes the situation down.
func Text(o Observed, d Desired) string {
	var b strings.Builder
	for _, s := range subjects(&o, &d) {
		if s.list.IsValid() {
			for i := range s.list.Len() {
				item := s.list.Index(i)
				writeLine(&b, s.name+" "+item.FieldByName(s.key).String(), item, s.key, o.At)
			}
			continue
		}
		writeLine(&b, s.name, s.value, "", o.At)
	}
	return b.String()
}

// Change applies lines of the form that Text writes to a situation: fields that no line names stay
// as they are. "no member n3" takes an element away.
func Change(o *Observed, d *Desired, text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := change(o, d, line); err != nil {
			return fmt.Errorf("read %q: %w", line, err)
		}
	}
	return nil
}

// subject is what one kind of line is about: a struct, or a list of structs of which key names one.
type subject struct {
	name  string
	value reflect.Value
	list  reflect.Value
	key   string
}

func subjects(o *Observed, d *Desired) []subject {
	one := func(name string, v any) subject { return subject{name: name, value: reflect.ValueOf(v).Elem()} }
	many := func(name string, v any, key string) subject {
		return subject{name: name, list: reflect.ValueOf(v).Elem(), key: key}
	}
	return []subject{
		one("config", d), one("node", o),
		one("election", &o.Election), many("voter", &o.Election.Voters, "ID"),
		one("redis", &o.Redis), many("replica", &o.Redis.Replicas, "Addr"),
		one("sentinel", &o.Sentinel), many("vip", &o.VIPs, "Address"), many("member", &o.Members, "ID"),
	}
}

func change(o *Observed, d *Desired, line string) error {
	name, gone := strings.CutPrefix(line, "no ")
	name, fields, _ := strings.Cut(name, ": ")
	name, key, _ := strings.Cut(strings.TrimSuffix(name, ":"), " ")
	for _, s := range subjects(o, d) {
		if s.name != name || s.list.IsValid() != (key != "") {
			continue
		}
		v := s.value
		if s.list.IsValid() {
			i := s.find(key)
			if gone {
				s.remove(i)
				return nil
			}
			v = s.list.Index(s.need(i, key))
		}
		for _, f := range strings.Fields(fields) {
			if err := setField(v, f, &o.At); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
		}
		return nil
	}
	return fmt.Errorf("there is no subject %q", name)
}

func (s subject) find(key string) int {
	for i := range s.list.Len() {
		if s.list.Index(i).FieldByName(s.key).String() == key {
			return i
		}
	}
	return -1
}

// remove and need copy the list: the situation it came from keeps its own.
func (s subject) remove(i int) {
	if i < 0 {
		return
	}
	next := reflect.AppendSlice(reflect.MakeSlice(s.list.Type(), 0, s.list.Len()), s.list.Slice(0, i))
	s.list.Set(reflect.AppendSlice(next, s.list.Slice(i+1, s.list.Len())))
}

func (s subject) need(i int, key string) int {
	s.list.Set(reflect.AppendSlice(reflect.MakeSlice(s.list.Type(), 0, s.list.Len()+1), s.list))
	if i >= 0 {
		return i
	}
	item := reflect.New(s.list.Type().Elem()).Elem()
	item.FieldByName(s.key).SetString(key)
	s.list.Set(reflect.Append(s.list, item))
	return s.list.Len() - 1
}

func writeLine(b *strings.Builder, subject string, v reflect.Value, key string, at Time) {
	b.WriteString(subject + ":")
	writeFields(b, v, key, at)
	b.WriteString("\n")
}

func writeFields(b *strings.Builder, v reflect.Value, key string, at Time) {
	for i := range v.NumField() {
		f, t := v.Field(i), v.Type().Field(i)
		if f.IsZero() || t.Name == key || f.Kind() == reflect.Slice && f.Len() == 0 {
			continue
		}
		name := fieldName(t.Name)
		switch x := f.Interface().(type) {
		case bool:
			fmt.Fprintf(b, " %s", name)
		case Data:
			writeFields(b, f, "", at)
		case []string:
			fmt.Fprintf(b, " %s=%s", name, strings.Join(x, ","))
		case time.Duration:
			switch {
			case t.Tag.Get("text") == "span" || t.Name == "At":
				fmt.Fprintf(b, " %s=%v", name, x)
			default:
				fmt.Fprintf(b, " %s=%s", name, relative(x-at))
			}
		case Role:
			fmt.Fprintf(b, " %s=%v", name, x)
		case int:
			fmt.Fprintf(b, " %s=%s", name, number(x))
		case string, int64, uint64:
			fmt.Fprintf(b, " %s=%v", name, x)
		}
	}
}

func relative(d time.Duration) string {
	if d > 0 {
		return "+" + d.String()
	}
	return "-" + (-d).String()
}

func number(n int) string {
	switch n {
	case Unknown:
		return "unknown"
	case Fence:
		return "fence"
	}
	return strconv.Itoa(n)
}

func setField(v reflect.Value, field string, at *Time) error {
	name, value, has := strings.Cut(field, "=")
	name, off := strings.CutPrefix(name, "-")
	f, t, ok := findField(v, name)
	if !ok {
		return fmt.Errorf("there is no field %q", name)
	}
	if f.Kind() == reflect.Bool {
		f.SetBool(!off)
		return nil
	}
	if !has || off {
		return fmt.Errorf("%q needs a value", name)
	}
	return setValue(f, t, value, *at)
}

func setValue(f reflect.Value, t reflect.StructField, value string, at Time) error {
	switch f.Interface().(type) {
	case []string:
		f.SetZero()
		if value != "" {
			f.Set(reflect.ValueOf(strings.Split(value, ",")))
		}
	case string:
		f.SetString(value)
	case Role:
		i := slices.IndexFunc([]Role{RoleUnknown, Primary, Replica}, func(r Role) bool { return r.String() == value })
		if i < 0 {
			return fmt.Errorf("there is no role %q", value)
		}
		f.SetInt(int64(i))
	case time.Duration:
		if value == "never" {
			f.SetInt(0)
			return nil
		}
		d, err := time.ParseDuration(value)
		if t.Tag.Get("text") != "span" && t.Name != "At" {
			d += at
		}
		f.SetInt(int64(d))
		return err
	case uint64:
		n, err := strconv.ParseUint(value, 10, 64)
		f.SetUint(n)
		return err
	default:
		n, err := strconv.ParseInt(value, 10, 64)
		switch value {
		case "unknown":
			n, err = Unknown, nil
		case "fence":
			n, err = Fence, nil
		}
		f.SetInt(n)
		return err
	}
	return nil
}

// findField looks for the field, also within Data.
func findField(v reflect.Value, name string) (reflect.Value, reflect.StructField, bool) {
	for i := range v.NumField() {
		f, t := v.Field(i), v.Type().Field(i)
		if _, nested := f.Interface().(Data); nested {
			if f, t, ok := findField(f, name); ok {
				return f, t, true
			}
			continue
		}
		if fieldName(t.Name) == name && (f.Kind() != reflect.Struct && (f.Kind() != reflect.Slice || f.Type().Elem().Kind() == reflect.String)) {
			return f, t, true
		}
	}
	return reflect.Value{}, reflect.StructField{}, false
}

// fieldName writes HolderSeen as holder_seen, and VIPs as vips.
func fieldName(goName string) string {
	var b strings.Builder
	runes := []rune(goName)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && unicode.IsLower(runes[i-1]) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
