// Package worker performs workflows and steps: it claims runs from a replay server, drives them, and commits what they come to.
//
// Any number of workers may share a server, in any language. When one dies, its runs are claimed by another when their leases
// end, and go on where they stopped.
package worker

import (
	"context"
	"slices"

	"example.org/replay"
	"example.org/replay/internal/engine"
	"example.org/replay/internal/interpreter"
	"example.org/replay/internal/service"
	"example.org/replay/model"
)

// Options say how a worker works; the zero value of each field means its default.
type Options = model.WorkerOptions

// QueueLimits say how many runs of a queue go at once, and how fast they may begin.
type QueueLimits = model.QueueLimits

// Run connects to the server of a URL (package client has its options) and works until ctx ends. Then it drains: it takes no more
// runs, lets steps that run come to an end for Grace, and gives everything back. Programs drain on SIGTERM with
//
//	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
func Run(ctx context.Context, url string, options Options, offers ...replay.Offer) error {
	var workflows []*interpreter.Workflow
	for _, offer := range offers {
		workflows = append(workflows, offer.Definition())
	}
	options, err := options.Complete()
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
	if len(options.Limits) > 0 && !slices.Contains(conn.Hello.Capabilities, "limits") {
		return &model.StoreRefused{Store: conn.URL, Reason: "it keeps to no limits of queues", Advice: "leave Limits out, or serve another store"}
	}
	w, err := engine.NewWorker(conn, options, workflows)
	if err != nil {
		return err
	}
	options.Logger.Info("worker begins", "server", conn.URL, "worker", options.Name, "namespace", options.Namespace, "queues", options.Queues)
	return w.Run(ctx)
}
