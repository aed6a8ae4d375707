// Order: a charge with retries, an approval that may take days, steps side by side, and a refund where it fails.
//
//	go run ./examples/order
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"example.org/replay"
	"example.org/replay/client"
	"example.org/replay/examples/internal/server"
	"example.org/replay/model"
	"example.org/replay/worker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := show(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func show(ctx context.Context, out io.Writer) error {
	url, stop, err := server.Start(ctx)
	if err != nil {
		return err
	}
	defer stop()

	leave := server.Work(ctx, url, worker.Options{}, Ordering, Charge, Ship, Refund)
	defer leave() //nolint:errcheck // asked below

	c, err := client.Dial(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the program ends

	cart := Cart{Card: "visa", Cents: 1200, Items: []string{"lamp", "chair"}}
	handle, err := client.Start(ctx, c, Ordering.With(replay.RunOptions{ID: "order-42"}), cart)
	if err != nil {
		return err
	}
	if err := handle.Signal(ctx, "approved", true); err != nil {
		return err
	}
	result, err := handle.Result(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "result:", result)
	for event, err := range handle.Journal(ctx, 0, false) {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, model.Show(event))
	}
	return leave()
}
