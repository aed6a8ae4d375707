// Watchman: a loop without an end that recovers in the time of one turn, however long it has run.
//
//	go run ./examples/watchman
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"example.org/replay"
	"example.org/replay/client"
	"example.org/replay/examples/internal/server"
	"example.org/replay/worker"
)

// Round is what the watchman remembers.
type Round struct {
	Number int      `json:"number"`
	Seen   []string `json:"seen"`
}

// Look is a step.
var Look = replay.NewStep("look", func(_ context.Context, round int) (string, error) {
	return fmt.Sprintf("all is well in round %d", round), nil
})

// Watch looks once in a while until it is told to stop. After a crash it begins at the newest savepoint, with the state that was
// saved there: nothing before it is read again.
var Watch = replay.NewResumable("watch", func(run *replay.Run, pause time.Duration, state *Round) (Round, error) {
	round := Round{}
	if state != nil {
		round = *state
	}
	for {
		seen, err := replay.Call(run, Look, round.Number)
		if err != nil {
			return round, err
		}
		round = Round{round.Number + 1, append(round.Seen, seen)}
		stop, err := replay.SignalOr(run, "stop", pause, false)
		if err != nil || stop {
			return round, err
		}
		if err := replay.SavepointState(run, fmt.Sprintf("round %d", round.Number), round, replay.Notes{"goal": "a quiet night"}); err != nil {
			return round, err
		}
	}
})

func main() {
	if err := show(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func show(ctx context.Context, out io.Writer) error {
	url, stop, err := server.Start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	c, err := client.Dial(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the program ends
	handle, err := client.Start(ctx, c, Watch.With(replay.RunOptions{ID: "night"}), 10*time.Millisecond)
	if err != nil {
		return err
	}
	for range 3 { // three workers, one after the other: each goes on where the one before stopped
		if err := twoRounds(ctx, url, handle); err != nil {
			return err
		}
	}
	if err := handle.Signal(ctx, "stop", true); err != nil {
		return err
	}
	leave := server.Work(ctx, url, worker.Options{}, Watch, Look)
	defer leave() //nolint:errcheck // asked below
	round, err := handle.Result(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "four workers, at least six rounds: %t; every round once: %t\n", round.Number >= 6, len(round.Seen) == round.Number)
	return leave()
}

// twoRounds is a worker that leaves when two more rounds are done.
func twoRounds(ctx context.Context, url string, handle *client.Handle[Round]) error {
	before, err := handle.Savepoints(ctx)
	if err != nil {
		return err
	}
	leave := server.Work(ctx, url, worker.Options{}, Watch, Look)
	defer leave() //nolint:errcheck // asked below
	for points := before; len(points) < len(before)+2; time.Sleep(10 * time.Millisecond) {
		if points, err = handle.Savepoints(ctx); err != nil {
			return err
		}
	}
	return leave()
}
