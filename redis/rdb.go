package redis

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// RDBHeader is what an RDB file says of the dataset in it before the dataset begins.
type RDBHeader struct {
	// ReplID is the history that the dataset belongs to, and Offset how far it goes in it; "": the
	// server had no replica, nor a primary.
	ReplID string
	Offset int64
}

// ReadRDBHeader reads the start of an RDB file: "REDIS", four digits of version, and then fields of
// a name and a value, each after an opcode of its own (rdb.c, rdbSaveInfoAuxFields). What follows
// them is of no interest here, nor is whether the file is whole.
func ReadRDBHeader(path string) (RDBHeader, error) {
	f, err := os.Open(path)
	if err != nil {
		return RDBHeader{}, err
	}
	defer f.Close()
	h, err := readRDBHeader(bufio.NewReader(f))
	if err != nil {
		return RDBHeader{}, fmt.Errorf("read the start of %s: %w", path, err)
	}
	return h, nil
}

var errNoRDB = errors.New("it is no RDB file")

// opAux precedes a field.
const opAux = 0xFA

func readRDBHeader(r *bufio.Reader) (RDBHeader, error) {
	var h RDBHeader
	magic := make([]byte, 9)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic[:5]) != "REDIS" && string(magic[:6]) != "VALKEY" {
		return h, errNoRDB
	}
	for range 64 { // there are about ten
		op, err := r.ReadByte()
		if err != nil || op != opAux {
			return h, ignoreEOF(err)
		}
		name, err := rdbString(r)
		if err != nil {
			return h, err
		}
		value, err := rdbString(r)
		if err != nil {
			return h, err
		}
		switch name {
		case "repl-id":
			h.ReplID = value
		case "repl-offset":
			if h.Offset, err = strconv.ParseInt(value, 10, 64); err != nil {
				return h, fmt.Errorf("repl-offset: %w", err)
			}
		}
	}
	return h, nil
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// rdbString reads a short string, or a number that stands in place of one. Fields have no others.
func rdbString(r *bufio.Reader) (string, error) {
	first, err := r.ReadByte()
	if err != nil {
		return "", err
	}
	n := int(first & 0x3F)
	switch first >> 6 {
	case 0:
	case 1:
		low, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		n = n<<8 | int(low)
	case 3:
		return rdbNumber(r, n)
	default:
		return "", errNoRDB
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return string(b), err
}

// rdbNumber reads a little-endian number of 1<<form bytes.
func rdbNumber(r *bufio.Reader, form int) (string, error) {
	if form > 2 {
		return "", errNoRDB
	}
	var b [4]byte
	if _, err := io.ReadFull(r, b[:1<<form]); err != nil {
		return "", err
	}
	var n int64
	switch form {
	case 0:
		n = int64(int8(b[0]))
	case 1:
		n = int64(int16(binary.LittleEndian.Uint16(b[:])))
	default:
		n = int64(int32(binary.LittleEndian.Uint32(b[:])))
	}
	return strconv.FormatInt(n, 10), nil
}
