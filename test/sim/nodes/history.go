package nodes

import "slices"

// segment is the history of one promotion, from start on.
type segment struct {
	id    int32
	start int64
}

// end is how far segment i of the history goes.
func end(hist []segment, pos int64, i int) int64 {
	if i+1 < len(hist) {
		return min(pos, hist[i+1].start)
	}
	return pos
}

// common is how much two datasets have in common.
func common(a []segment, aPos int64, b []segment, bPos int64) int64 {
	at := int64(0)
	for i := 0; i < len(a) && i < len(b) && a[i] == b[i]; i++ {
		ea, eb := end(a, aPos, i), end(b, bPos, i)
		at = min(ea, eb)
		if ea != eb {
			break
		}
	}
	return at
}

// has is how far the dataset goes in segment id; -1: it has none of it.
func has(hist []segment, pos int64, id int32) int64 {
	for i, s := range hist {
		if s.id == id && s.start <= pos {
			return end(hist, pos, i)
		}
	}
	return -1
}

func cutHist(hist []segment, pos int64) []segment {
	n := len(hist)
	for n > 0 && hist[n-1].start > pos {
		n--
	}
	return slices.Clip(hist[:n])
}
