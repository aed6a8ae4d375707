package main

import (
	"context"
	"log"

	"example.org/replay/worker"
)

// A worker's main function, as the README shows it.
func Example_worker() {
	ctx, url := context.Background(), "grpc://127.0.0.1:7233?token=…"
	if err := worker.Run(ctx, url, worker.Options{}, Ordering, Charge, Ship, Refund); err != nil {
		log.Fatal(err)
	}
}
