package model

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"
)

// WorkerOptions say how a worker works. The zero value of each field means what its comment says.
type WorkerOptions struct {
	Namespace   string        // whose runs it drives; "default"
	Queues      []string      // which queues it serves; "default"
	Concurrency int           // runs that it holds at most; 1,000
	Steps       int           // attempts of steps under way at most; 1,000
	Lease       time.Duration // how long a dead worker's runs wait for another; 15 s
	Poll        time.Duration // how often it asks the server without being told to; 1 s
	Linger      time.Duration // how long a run that only waits is kept in memory; 200 ms
	Grace       time.Duration // how long steps may go on when it leaves; 10 s
	MaxPayload  int           // the largest result that a journal may hold, in bytes; 16 MB
	// Limits of queues, by name; every worker of a queue should declare the same.
	Limits        map[string]QueueLimits
	MaxRecoveries int          // workers in a row that a run may lose before it is set aside; 10
	Name          string       // unique among the workers of a server; made of host and process
	Logger        *slog.Logger // slog.Default()
}

// QueueLimits say how many runs of a queue go at once, and how fast they may begin; 0 does not limit.
type QueueLimits struct {
	Concurrency int           // that workers hold at any moment, over all workers
	PerKey      int           // the same for each fairness key; runs without one are not limited by it
	Rate        int           // that begin in any span of length Per, over all workers
	Per         time.Duration // one second
	Here        int           // that this worker holds
}

// Complete is these options with the defaults of those that were left out.
func (o WorkerOptions) Complete() (WorkerOptions, error) {
	if min(o.Concurrency, o.Steps, o.MaxPayload, o.MaxRecoveries) < 0 || min(o.Lease, o.Poll, o.Linger, o.Grace) < 0 {
		return o, &InvalidRequest{What: "worker.Options", Problem: "a number is negative", Advice: "leave it out"}
	}
	if len(o.Queues) == 0 {
		o.Queues = nil
	}
	host, _ := os.Hostname()
	made := over(WorkerOptions{
		Namespace: "default", Queues: []string{"default"}, Concurrency: 1_000, Steps: 1_000, Lease: 15 * time.Second, Poll: time.Second,
		Linger: 200 * time.Millisecond, Grace: 10 * time.Second, MaxPayload: 16 << 20, Logger: slog.Default(), MaxRecoveries: 10,
		Name: fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:6]),
	}, o)
	for queue, limits := range made.Limits {
		if !slices.Contains(made.Queues, queue) || min(limits.Concurrency, limits.PerKey, limits.Rate, limits.Here) < 0 || limits.Per < 0 {
			return o, &InvalidRequest{What: "limits of queue " + queue, Problem: "it is not served, or a number is negative", Advice: "name it in Queues"}
		}
	}
	return made, nil
}
