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
	if !strings.HasPrefix(out.String(), "result: [lamp shipped chair shipped]\n#1 started ordering\n") {
		t.Errorf("got %s", out.String())
	}
}

func TestAnOrderThatNobodyApprovesIsRefunded(t *testing.T) {
	world := replaytest.New(t)
	refunded := ""
	replaytest.Stub(world, Refund, func(receipt string) (struct{}, error) {
		refunded = receipt
		return struct{}{}, nil
	})
	began := world.Now
	_, err := replaytest.Start(world, Ordering, Cart{Card: "visa", Items: []string{"lamp"}}).Result()
	if err == nil || !strings.Contains(err.Error(), "nobody approved receipt for ordering-1#0") {
		t.Errorf("got %v", err)
	}
	if refunded != "receipt for ordering-1#0" || world.Now.Sub(began) != 72*time.Hour {
		t.Errorf("refunded %q after %v", refunded, world.Now.Sub(began))
	}
}

func TestADeclinedCardComesBackAsItself(t *testing.T) {
	got, err := replaytest.Start(replaytest.New(t), Ordering, Cart{Card: "stolen"}).Result()
	if err != nil || got[0] != "try another card than stolen" {
		t.Errorf("got %v, %v", got, err)
	}
}
