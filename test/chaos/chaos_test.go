package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redisd/redisd/test/lab"
)

const (
	defaultRounds = 20 // of a seed without ROUNDS
	// lives is how often a cluster that did not become whole again is replaced by a new one before
	// the run is given up; in a long run one for so many rounds.
	lives       = 4
	roundsALife = 4
)

// TestChaos runs the schedule of SEED, ROUNDS rounds of it ("20", or "7-9"); with ROUNDS alone that
// of a seed at random, and with neither a short fixed one. ROUNDS=each is the catalogue, each*3
// three times that, each:21-40 a part of it, and ROUNDS=found what earlier runs have found
// (testdata/found.txt). PLAY= is rounds in the words in which a run tells them. NODES= is how many
// nodes there are, 3 to 9. ONLY= leaves the rounds that a pattern matches; CHAOS_TABLE= is a file
// to write the table to (docs/FAULTS.md), and CHAOS_RECORD= one that keeps the rounds of several
// runs for it: those with as many nodes.
func TestChaos(t *testing.T) {
	lab.Require(t)
	s, err := wanted(os.Getenv)
	if err == nil {
		s, err = s.Only(os.Getenv("ONLY"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d rounds, %d nodes", replay(s, s.Rounds[len(s.Rounds)-1]), len(s.Rounds), s.Nodes)
	record := Record(os.Getenv("CHAOS_RECORD"))
	earlier, err := record.Results()
	if err != nil {
		t.Fatal(err)
	}
	var table Table
	for _, r := range earlier {
		if r.Nodes == s.Nodes {
			table.Add(r)
		}
	}
	lives := max(lives, len(s.Rounds)/roundsALife)
	for life, next := 1, 0; next < len(s.Rounds) && life <= lives; life++ {
		t.Run(fmt.Sprintf("cluster%d", life), func(t *testing.T) {
			w := newWorld(t, s.Nodes, volumeSize)
			for whole := true; whole && next < len(s.Rounds) && t.Context().Err() == nil; next++ {
				var result Result
				result, whole = play(t, w, s, s.Rounds[next])
				table.Add(result)
				if err := record.Add(result); err != nil {
					t.Error(err)
				}
			}
		})
		if life == lives && next < len(s.Rounds) {
			t.Errorf("given up after %d clusters; %d rounds were not played", lives, len(s.Rounds)-next)
		}
	}
	t.Logf("what came of it:\n\n%s", table.String())
	if path := os.Getenv("CHAOS_TABLE"); path != "" {
		if err := table.Write(path); err != nil {
			t.Error(err)
		}
	}
}

// play plays one round and says what came of it, and whether the cluster can be used for another
// one. Of a round that went wrong, and of one that was asked for alone, it leaves the story.
func play(t *testing.T, w *world, s Schedule, r Round) (_ Result, whole bool) {
	t.Logf("round %d: %s", r.Number, r)
	began := time.Now()
	seen, err := w.round(t.Context(), r)
	violations := Check(seen)
	if err != nil {
		violations = append(violations, err.Error())
	}
	result := s.result(r, seen, violations)
	t.Logf("round %d: write downtime %s, %d lost of %d, primary %s -> %s, healthy after %s; took %s", r.Number,
		readable(seen.Downtime), len(seen.Lost), seen.Acked, seen.Before, seen.After, readable(seen.TimeToHealth), readable(time.Since(began)))
	if n := len(seen.Strays); n > 0 {
		t.Logf("round %d: a replica that was open took %d writes, within %s", r.Number, n, readable(seen.Strays[n-1].Acked-seen.Strays[0].Invoked))
	}
	if len(violations) == 0 && len(s.Rounds) > 1 {
		return result, seen.intact()
	}
	for _, v := range violations {
		t.Errorf("round %d: %s", r.Number, v)
	}
	title := fmt.Sprintf("chaos %s round %d: %s", s.title(), r.Number, r)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	path, failed := w.story.file(ctx, w.c, artifacts(), title, violations)
	if failed != nil {
		t.Errorf("write down what happened: %v", failed)
	}
	t.Logf("what happened is in %s; once more: %s", path, replay(s, r))
	return result, err == nil && seen.Healthy && seen.intact()
}

// wanted is the schedule that the environment asks for.
func wanted(env func(string) string) (Schedule, error) {
	rounds, part, isPart := strings.Cut(env("ROUNDS"), ":")
	s, err := asked(env("SEED"), rounds, env("PLAY"))
	if err == nil && isPart {
		s, err = s.part(part)
	}
	if err != nil || env("NODES") == "" {
		return s, err
	}
	n, err := strconv.Atoi(env("NODES"))
	if err != nil || n < 3 || n > 9 {
		return s, fmt.Errorf("NODES=%s: not a number from 3 to 9", env("NODES"))
	}
	s.Nodes = n
	if s.Again == "" {
		s.Again = fmt.Sprintf("make chaos SEED=%d ROUNDS=%d-%d", s.Seed, s.Rounds[0].Number, s.Rounds[len(s.Rounds)-1].Number)
	}
	s.Again += " NODES=" + env("NODES")
	return s, nil
}

func asked(seed, rounds, play string) (Schedule, error) {
	switch {
	case play != "":
		return Played(play)
	case rounds == "found":
		return Found()
	case seed == "" && rounds == "":
		return Short(), nil
	}
	if times, err := Times(rounds); err != nil || times > 0 {
		return Catalogue(times), err
	}
	number := rand.Uint64N(1_000_000)
	if seed != "" {
		var err error
		if number, err = strconv.ParseUint(seed, 10, 64); err != nil {
			return Schedule{}, fmt.Errorf("SEED=%s: %w", seed, err)
		}
	}
	from, n := 1, defaultRounds
	if rounds != "" {
		var err error
		if from, n, err = Part(rounds); err != nil {
			return Schedule{}, err
		}
	}
	s := New(number, n)
	s.Rounds = s.Rounds[from-1:]
	return s, nil
}

// replay is the command that runs a schedule as far as a round.
func replay(s Schedule, last Round) string {
	if s.Again != "" {
		return s.Again
	}
	return fmt.Sprintf("make chaos SEED=%d ROUNDS=%d-%d", s.Seed, s.Rounds[0].Number, last.Number)
}

// artifacts is where to leave what a failure is to be understood by.
func artifacts() string {
	if dir := os.Getenv("REDISD_LAB_ARTIFACTS"); dir != "" {
		return dir
	}
	return filepath.Join(os.TempDir(), "redisd-lab")
}
