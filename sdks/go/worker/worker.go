// Package worker performs workflows and steps: it claims runs from a replay server, drives them, and commits what they come to.
//
// Any number of workers may share a server, in any language. When one dies, its runs are claimed by another when their leases
// end, and go on where they stopped.
package worker

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"example.org/replay"
	"example.org/replay/internal/engine"
	"example.org/replay/internal/interpreter"
	"example.org/replay/internal/service"
	"example.org/replay/model"
)

// Options say how a worker works. The zero value of each field means what its comment says.
type Options struct {
	Namespace   string        // whose runs it drives; "default"
	Queues      []string      // which queues it serves; "default"
	Concurrency int           // runs that it holds at most; 1,000
	Steps       int           // attempts of steps under way at most; 1,000
	Lease       time.Duration // how long a dead worker's runs wait for another; 15 s
	Poll        time.Duration // how often it asks the server without being told to; 1 s
	Linger      time.Duration // how long a run that only waits is kept in memory; 200 ms
	Grace       time.Duration // how long steps may go on when it leaves; 10 s
	MaxPayload  int           // the largest result that a journal may hold, in bytes; 16 MB
	Name        string        // unique among the workers of a server; made of host and process
	Logger      *slog.Logger  // slog.Default()
}

// Run connects to the server of a URL (package client has its options) and works until ctx ends. Then it drains: it takes no more
// runs, lets steps that run come to an end for Grace, and gives everything back. Programs drain on SIGTERM with
//
//	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
func Run(ctx context.Context, url string, options Options, offers ...replay.Offer) error {
	var workflows []*interpreter.Workflow
	for _, offer := range offers {
		switch core := offer.Definition().(type) {
		case *interpreter.Workflow:
			workflows = append(workflows, core)
		case *interpreter.Step:
			workflows = append(workflows, interpreter.StepWorkflow(core))
		default:
			return &model.DefinitionError{What: offer.Name(), Problem: "it is neither a step nor a workflow", Advice: "make it with package replay"}
		}
	}
	settings, err := options.settings()
	if err != nil {
		return err
	}
	conn, err := service.Open(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // everything was given back, or the error is told already
	if !slices.Contains(conn.Hello.Scopes, "work") {
		return &model.StoreRefused{Store: conn.URL, Reason: "the token does not allow to work", Advice: "use one that has the scope work"}
	}
	w, err := engine.NewWorker(conn, settings, workflows)
	if err != nil {
		return err
	}
	settings.Logger.Info("worker begins", "server", conn.URL, "worker", settings.Name, "namespace", settings.Namespace, "queues", settings.Queues)
	return w.Run(ctx)
}

func (o Options) settings() (engine.Settings, error) {
	if o.Concurrency < 0 || o.Steps < 0 || o.Lease < 0 || o.Poll < 0 || o.Grace < 0 || o.MaxPayload < 0 {
		return engine.Settings{}, &model.InvalidRequest{What: "worker.Options", Problem: "a number is negative", Advice: "leave it out"}
	}
	made := engine.Settings{
		Name: o.Name, Namespace: or(o.Namespace, "default"), Queues: o.Queues, Concurrency: or(o.Concurrency, 1_000), Steps: or(o.Steps, 1_000),
		TTL: or(o.Lease, 15*time.Second), Poll: or(o.Poll, time.Second), Linger: or(o.Linger, 200*time.Millisecond), Keep: 200,
		Grace: or(o.Grace, 10*time.Second), MaxPayload: or(o.MaxPayload, 16<<20), Logger: or(o.Logger, slog.Default()),
	}
	if len(made.Queues) == 0 {
		made.Queues = []string{"default"}
	}
	if made.Name == "" {
		host, _ := os.Hostname()
		made.Name = fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:6])
	}
	return made, nil
}

func or[T comparable](given, otherwise T) T {
	var zero T
	if given == zero {
		return otherwise
	}
	return given
}
