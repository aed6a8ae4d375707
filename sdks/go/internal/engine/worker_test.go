package engine

import (
	"context"
	"testing"

	"example.org/replay/internal/interpreter"
	"example.org/replay/internal/servertest"
	"example.org/replay/internal/service"
	"example.org/replay/model"
)

func TestWhatChangesWhileRunsAreAskedForIsNotForgotten(t *testing.T) {
	s := servertest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, err := service.Open(ctx, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	options, err := model.WorkerOptions{}.Complete()
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWorker(conn, options, []*interpreter.Workflow{interpreter.StepWorkflow(&interpreter.Step{Name: "idle"})})
	if err != nil {
		t.Fatal(err)
	}
	w.calls, w.asked = ctx, ctx
	w.seen = -1 // so the server answers at once
	w.listen()
	changed := <-w.inbox
	w.claim(conn.Now())
	claimed := <-w.inbox
	changed()
	claimed()
	if late := w.claimAt - w.claimedAt; late > idleBreath.Microseconds() {
		t.Errorf("it asks again after %d us, as if nothing had changed", late)
	}
}
