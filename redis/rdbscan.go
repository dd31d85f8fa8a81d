package redis

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// HighestDB returns the highest number of a database that a file of a dataset has keys in, or
// speaks of: an RDB file, an append-only file, or one that is an RDB file at first. -1: it has no
// keys. The file is read once, in order, and no value is looked into; a value of a form that it
// does not know ends the search with an error. An append-only file may be cut short at its end.
func HighestDB(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	s := &dbScan{r: bufio.NewReaderSize(f, 1<<18), highest: -1}
	if err := s.file(); err != nil {
		return -1, fmt.Errorf("look for the databases in %s: %w", path, err)
	}
	return s.highest, nil
}

// dbScan reads lengths, and steps over all else.
type dbScan struct {
	r       *bufio.Reader
	valkey  bool // the RDB file is of Valkey 9 or later
	highest int
}

// see notes a database; what is no number is none.
func (s *dbScan) see(db uint64) {
	if db < 1<<31 {
		s.highest = max(s.highest, int(db))
	}
}

func (s *dbScan) file() error {
	magic, err := s.r.Peek(6)
	if err != nil && len(magic) == 0 {
		return ignoreEOF(err)
	}
	if strings.HasPrefix(string(magic), "REDIS") || string(magic) == "VALKEY" {
		s.valkey = string(magic) == "VALKEY"
		if err := s.rdb(); err != nil {
			return noEOF(err)
		}
	}
	err = s.commands()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// noEOF: an RDB file has an end of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Opcodes of an RDB file, and kinds of values (rdb.h).
const (
	opSlotInfo  = 0xF4
	opFunction  = 0xF5
	opModuleAux = 0xF7
	opIdle      = 0xF8
	opFreq      = 0xF9
	opResizeDB  = 0xFB
	opExpireMs  = 0xFC
	opExpire    = 0xFD
	opSelectDB  = 0xFE
	opEnd       = 0xFF
)

// rdb reads up to the end that the file itself names.
func (s *dbScan) rdb() error {
	if err := s.skip(9); err != nil {
		return err
	}
	db := uint64(0)
	for {
		op, err := s.r.ReadByte()
		if err != nil {
			return err
		}
		switch op {
		case opEnd:
			return s.skip(8) // the checksum
		case opSelectDB:
			db, err = s.length()
		case opAux:
			err = s.words("ss")
		case opFunction:
			err = s.words("s")
		case opSlotInfo:
			err = s.words("nnn")
		case opResizeDB:
			err = s.words("nn")
		case opIdle:
			err = s.words("n")
		case opFreq:
			err = s.skip(1)
		case opExpire:
			err = s.skip(4)
		case opExpireMs:
			err = s.skip(8)
		case opModuleAux:
			if err = s.words("nnn"); err == nil {
				err = s.module()
			}
		default:
			s.see(db)
			if err = s.words("s"); err == nil { // the key
				err = s.value(op)
			}
		}
		if err != nil {
			return err
		}
	}
}

// layouts are how values are written: s a string, n a length, 8 as many bytes, d a number in
// digits; with a * in front as often as the length there says.
var layouts = map[byte]string{
	0: "s", 1: "*s", 2: "*s", 3: "*sd", 4: "*ss", 5: "*s8",
	9: "s", 10: "s", 11: "s", 12: "s", 13: "s", 14: "*s", 16: "s", 17: "s", 18: "*ns", 20: "s",
	22: "*nss", 23: "s", 24: "8*nss", 25: "8s",
}

const typeModule, typeStream, typeStream2, typeStream3, typeHash2 = 7, 15, 19, 21, 22

func (s *dbScan) value(kind byte) error {
	switch {
	case kind == typeModule:
		if err := s.words("n"); err != nil {
			return err
		}
		return s.module()
	case kind == typeStream || kind == typeStream2 || kind == typeStream3:
		return s.stream(kind)
	case kind == typeHash2 && s.valkey:
		return s.words("*ss8")
	}
	layout, known := layouts[kind]
	if !known {
		return fmt.Errorf("there is a value of the unknown type %d", kind)
	}
	return s.words(layout)
}

// words steps over what a layout says.
func (s *dbScan) words(layout string) error {
	once, each, repeated := strings.Cut(layout, "*")
	if err := s.fields(once); err != nil || !repeated {
		return err
	}
	return s.each(func() error { return s.fields(each) })
}

func (s *dbScan) fields(layout string) error {
	for _, c := range layout {
		var err error
		switch c {
		case 's':
			err = s.str()
		case 'n':
			_, err = s.length()
		case 'd':
			var n byte
			if n, err = s.r.ReadByte(); err == nil && n < 253 { // else it is not a number, or infinite
				err = s.skip(uint64(n))
			}
		case '8':
			err = s.skip(8)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// each reads a length, and one as often as that.
func (s *dbScan) each(one func() error) error {
	n, err := s.length()
	for ; err == nil && n > 0; n-- {
		err = one()
	}
	return err
}

// stream: its entries, what it counts, and its groups of consumers (rdb.c, rdbSaveObject).
func (s *dbScan) stream(kind byte) error {
	counters, group := "nnn", "snn"
	consumer := "s8"
	if kind >= typeStream2 {
		counters, group = "nnnnnnnn", "snnn"
	}
	if kind >= typeStream3 {
		consumer = "s88"
	}
	if err := s.words("*ss"); err != nil {
		return err
	}
	if err := s.words(counters); err != nil {
		return err
	}
	return s.each(func() error {
		if err := s.words(group); err != nil {
			return err
		}
		if err := s.words("*888n"); err != nil { // delivered, and not acknowledged: ID, time, count
			return err
		}
		return s.each(func() error {
			if err := s.words(consumer); err != nil {
				return err
			}
			return s.words("*88")
		})
	})
}

// module steps over what a module wrote: numbers and strings, each after an opcode (rdb.h,
// RDB_MODULE_OPCODE_…).
func (s *dbScan) module() error {
	for {
		op, err := s.length()
		switch {
		case err != nil:
		case op == 0:
			return nil
		case op <= 2:
			_, err = s.length()
		case op == 3:
			err = s.skip(4)
		case op == 4:
			err = s.skip(8)
		case op == 5:
			err = s.str()
		default:
			err = fmt.Errorf("a module has an unknown opcode %d", op)
		}
		if err != nil {
			return err
		}
	}
}

func (s *dbScan) skip(n uint64) error {
	for n > 0 {
		done, err := s.r.Discard(int(min(n, 1<<30)))
		n -= uint64(done)
		if err != nil {
			return err
		}
	}
	return nil
}

// length reads one that is no number in place of a string.
func (s *dbScan) length() (uint64, error) {
	n, form, err := s.lengthOrForm()
	if err == nil && form >= 0 {
		err = errors.New("there is no length where one should be")
	}
	return n, err
}

// lengthOrForm reads a length; or, if form is not negative, how a string is written that has none
// (rdb.c, rdbLoadLenByRef).
func (s *dbScan) lengthOrForm() (n uint64, form int, err error) {
	first, err := s.r.ReadByte()
	if err != nil {
		return 0, -1, err
	}
	size := 0
	switch {
	case first>>6 == 0:
		return uint64(first & 0x3F), -1, nil
	case first>>6 == 1:
		low, err := s.r.ReadByte()
		return uint64(first&0x3F)<<8 | uint64(low), -1, err
	case first>>6 == 3:
		return 0, int(first & 0x3F), nil
	case first == 0x80:
		size = 4
	case first == 0x81:
		size = 8
	default:
		return 0, -1, fmt.Errorf("there is an unknown length %#x", first)
	}
	var b [8]byte
	_, err = io.ReadFull(s.r, b[8-size:])
	return binary.BigEndian.Uint64(b[:]), -1, err
}

// str steps over a string: its bytes, a number of 1, 2 or 4 of them, or compressed.
func (s *dbScan) str() error {
	n, form, err := s.lengthOrForm()
	switch {
	case err != nil:
		return err
	case form < 0:
		return s.skip(n)
	case form <= 2:
		return s.skip(1 << form)
	case form > 3:
		return fmt.Errorf("there is a string of the unknown form %d", form)
	}
	if n, err = s.length(); err != nil {
		return err
	}
	if _, err := s.length(); err != nil { // what it was before
		return err
	}
	return s.skip(n)
}

// longestNumber bounds the arguments that are looked into.
const longestNumber = 20

// commands reads an append-only file: commands as clients send them, and comments, which have the
// time. Zeros are what a power loss has left at its end.
func (s *dbScan) commands() error {
	db := uint64(0)
	for {
		line, err := s.r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case line[0] == '#':
			continue
		case line[0] == 0:
			return nil
		}
		n, err := s.count(line, '*')
		if err != nil {
			return err
		}
		args, err := s.args(n)
		if err != nil {
			return err
		}
		if at := databaseArgs(args); at != nil {
			for _, i := range at {
				if number, err := strconv.ParseUint(args[i], 10, 64); err == nil && args[0] == "select" {
					db = number
				} else if err == nil {
					s.see(number)
				}
			}
		} else if len(args) > 1 { // MULTI and EXEC have no key
			s.see(db)
		}
	}
}

// databaseArgs are the arguments that are numbers of databases; nil: the command has none of its
// own.
func databaseArgs(args []string) []int {
	if len(args) < 2 {
		return nil
	}
	switch {
	case args[0] == "select":
		return []int{1}
	case args[0] == "move" && len(args) > 2:
		return []int{2}
	case args[0] == "swapdb" && len(args) > 2:
		return []int{1, 2}
	case args[0] == "copy" && len(args) > 4 && args[3] == "db":
		return []int{4}
	}
	return nil
}

// args reads the arguments of a command, in lower case; long ones are left out.
func (s *dbScan) args(n uint64) ([]string, error) {
	var args []string
	for i := range n {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, err := s.count(line, '$')
		if err != nil {
			return nil, err
		}
		if size > longestNumber || i > 4 {
			args = append(args, "")
			if err := s.skip(size + 2); err != nil {
				return nil, err
			}
			continue
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(s.r, b); err != nil {
			return nil, err
		}
		args = append(args, strings.ToLower(string(b[:size])))
	}
	return args, nil
}

func (s *dbScan) count(line string, mark byte) (uint64, error) {
	digits := strings.TrimRight(line[1:], "\r\n")
	n, err := strconv.ParseUint(digits, 10, 40)
	if line[0] != mark || err != nil {
		return 0, fmt.Errorf("%.20q stands where a command should", line)
	}
	return n, nil
}
