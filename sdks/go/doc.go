// Package replay writes durable workflows in Go: ordinary functions that survive crashes, deploys and months of waiting.
//
// A workflow is a function over a [Run]. What it asks the world for (steps, timers, signals, children) goes through the Run and
// is answered once; every answer is journaled, and after a crash the same function is driven again from the journal and goes on
// where it stopped. Steps are plain functions with a context: they may do anything, and what they return is remembered.
//
//	var Charge = replay.NewStep("charge", func(ctx context.Context, order Order) (Receipt, error) { … })
//
//	var Ordering = replay.NewWorkflow("ordering", func(run *replay.Run, order Order) (Receipt, error) {
//		receipt, err := replay.Call(run, Charge, order)
//		if err != nil {
//			return Receipt{}, err
//		}
//		return receipt, replay.Sleep(run, 24*time.Hour)
//	})
//
// A workflow's own code must be deterministic: no clock, no chance, no I/O, no goroutines, no ranging over maps where order
// matters. [Now], [Random] and [UUID] replace the first two, steps the third, [Gather] and [Spawn] the fourth. Exactly one
// branch of a run has the word at a time, so branches may share variables without locks.
//
// Package worker performs workflows and steps, package client starts and asks, package replaytest tests without a server.
package replay
