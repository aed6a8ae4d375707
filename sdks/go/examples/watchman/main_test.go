package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"example.org/replay/replaytest"
)

func TestTheExampleRuns(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out strings.Builder
	if err := show(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != "four workers, at least six rounds: true; every round once: true\n" {
		t.Errorf("got %s", out.String())
	}
}

func TestAQuietHour(t *testing.T) {
	world := replaytest.New(t)
	run := replaytest.Start(world, Watch, time.Minute)
	world.Advance(time.Hour)
	run.Signal("stop", true)
	round, err := run.Result()
	if err != nil || round.Number != 61 {
		t.Errorf("got %d rounds, %v", round.Number, err)
	}
}
