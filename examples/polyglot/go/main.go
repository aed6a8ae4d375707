// The order in Go, and the step that is done in Go. `polyglot URL` is a worker.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.org/replay"
	"example.org/replay/worker"
)

// Order is what the workflow is given: a struct that embeds Args is a list of arguments.
type Order struct {
	replay.Args
	SKU   string
	Cents int
}

var (
	reserve = replay.NewStep("reserve", elsewhere[string], replay.StepOptions{Queue: "python"})
	charge  = replay.NewStep("charge", func(_ context.Context, cents int) (string, error) {
		return fmt.Sprintf("%d cents charged in Go", cents), nil
	}, replay.StepOptions{Queue: "go"})
	ship = replay.NewStep("ship", elsewhere[string], replay.StepOptions{Queue: "typescript"})
)

func elsewhere[T any](context.Context, T) (string, error) {
	return "", errors.New("done in another language")
}

var order = replay.NewWorkflow("polyglot.order", func(run *replay.Run, given Order) ([]string, error) {
	reserved, err := replay.Call(run, reserve, given.SKU)
	if err != nil {
		return nil, err
	}
	charged, err := replay.Call(run, charge, given.Cents)
	if err != nil {
		return nil, err
	}
	if err := replay.Sleep(run, 500*time.Millisecond); err != nil {
		return nil, err
	}
	shipped, err := replay.Call(run, ship, given.SKU)
	if err != nil {
		return nil, err
	}
	return []string{reserved, charged, shipped}, nil
})

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	options := worker.Options{Queues: []string{"default", "go"}, Lease: 2 * time.Second, Name: fmt.Sprintf("go/%d", os.Getpid())}
	if err := worker.Run(ctx, os.Args[1], options, order, charge); err != nil {
		log.Fatal(err)
	}
}
