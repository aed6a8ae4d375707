package replaytest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.org/replay"
	"example.org/replay/internal/codec"
	"example.org/replay/replaytest"
)

type order struct {
	Card  string `json:"card"`
	Cents int    `json:"cents"`
}

var (
	charge = replay.NewStep("charge", func(context.Context, order) (string, error) { return "", errors.New("no bank in tests") },
		replay.StepOptions{Retry: replay.Retry{MaxAttempts: 4, Initial: time.Hour, MaxDelay: 24 * time.Hour}})
	refund   = replay.NewStep("refund", func(_ context.Context, receipt string) (string, error) { return "refunded " + receipt, nil })
	ordering = replay.NewWorkflow("ordering", func(run *replay.Run, in order) (string, error) {
		receipt, err := replay.Call(run, charge, in)
		if err != nil {
			return "", err
		}
		if err := replay.SetState(run, "receipt", receipt); err != nil {
			return "", err
		}
		approved, err := replay.SignalOr(run, "approved", 72*time.Hour, false)
		if err != nil || approved {
			return receipt, err
		}
		return replay.Call(run, refund, receipt)
	})
	parent = replay.NewWorkflow("parent", func(run *replay.Run, in order) (string, error) {
		got, err := replay.Child(run, ordering, in)
		return "child: " + got, err
	})
)

func TestAMonthPassesInAMoment(t *testing.T) {
	w := replaytest.New(t)
	began := w.Now
	replaytest.Stub(w, charge, func(in order) (string, error) { return fmt.Sprint("r-", in.Cents), nil })
	run := replaytest.Start(w, ordering, order{"visa", 1200})
	got, err := run.Result()
	if err != nil || got != "refunded r-1200" {
		t.Errorf("got %q, %v", got, err)
	}
	if passed := w.Now.Sub(began); passed != 72*time.Hour {
		t.Errorf("expected three days to pass, got %v", passed)
	}
	if string(run.State("receipt")) != `"r-1200"` {
		t.Errorf("got state %s", run.State("receipt"))
	}
}

func TestTheNextAttemptReadsTheProgressOfTheLast(t *testing.T) {
	counting := replay.NewStep("counting", func(ctx context.Context, _ replay.None) (int, error) {
		camp, _, err := replay.Progress[int](ctx)
		if err != nil || camp == 2 {
			return camp, err
		}
		return 0, errors.Join(replay.Heartbeat(ctx, camp+1), replay.Heartbeat(ctx), errors.New("not yet"))
	}, replay.StepOptions{Retry: replay.Retry{MaxAttempts: 3, Initial: time.Minute}})
	climbing := replay.NewWorkflow("climbing", func(run *replay.Run, _ replay.None) (int, error) { return replay.Call(run, counting, replay.None{}) })
	w := replaytest.New(t)
	run := replaytest.Start(w, climbing, replay.None{})
	got, err := run.Result()
	if err != nil || got != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if told := string(run.State("~progress")); told != "{}" {
		t.Errorf("expected no progress to be left, got %s", told)
	}
}

func TestASignalIsTaken(t *testing.T) {
	w := replaytest.New(t)
	replaytest.Stub(w, charge, func(order) (string, error) { return "r-1", nil })
	run := replaytest.Start(w, ordering, order{"visa", 1})
	w.Advance(time.Hour)
	run.Signal("approved", true)
	got, err := run.Result()
	if err != nil || got != "r-1" {
		t.Errorf("got %q, %v", got, err)
	}
	if kinds := len(run.Journal()); kinds != 4 {
		t.Errorf("expected started, step, signal, completed; got %v", run.Journal())
	}
}

func TestAStepIsTriedAgainInItsOwnTime(t *testing.T) {
	w := replaytest.New(t)
	began, calls := w.Now, 0
	replaytest.Stub(w, charge, func(order) (string, error) {
		if calls++; calls < 3 {
			return "", errors.New("line busy")
		}
		return "r-1", nil
	})
	run := replaytest.Start(w, ordering, order{"visa", 1})
	run.Signal("approved", true)
	if got, err := run.Result(); err != nil || got != "r-1" {
		t.Errorf("got %q, %v", got, err)
	}
	if passed := w.Now.Sub(began); calls != 3 || passed != 3*time.Hour {
		t.Errorf("expected 3 calls in 3 hours, got %d in %v", calls, passed)
	}
}

func TestAChildRunsToo(t *testing.T) {
	w := replaytest.New(t, ordering)
	replaytest.Stub(w, charge, func(order) (string, error) { return "", replay.Permanent(errors.New("stolen")) })
	_, err := replaytest.Start(w, parent, order{"visa", 1}).Result()
	var failed *replay.ChildFailed
	if !errors.As(err, &failed) || failed.Status != "failed" || !strings.Contains(failed.Message, "stolen") {
		t.Errorf("got %v", err)
	}
}

func TestCancelling(t *testing.T) {
	w := replaytest.New(t)
	replaytest.Stub(w, charge, func(order) (string, error) { return "r-1", nil })
	run := replaytest.Start(w, ordering, order{"visa", 1})
	w.Settle()
	run.Cancel("enough")
	if _, err := run.Result(); !replay.IsCancelled(err) {
		t.Errorf("got %v", err)
	}
}

// fatal catches what would fail the test.
type fatal struct {
	testing.TB
	said string
}

func (f *fatal) Helper()        {}
func (f *fatal) Cleanup(func()) {}
func (f *fatal) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

// failing is what a test was told that used a world which failed it.
func failing(t *testing.T, use func(*replaytest.World)) string {
	t.Helper()
	caught := &fatal{TB: t}
	func() {
		defer func() { _ = recover() }()
		use(replaytest.New(caught))
	}()
	return caught.said
}

func TestAWorkflowThatIsNotDeterministicFailsItsTest(t *testing.T) {
	calls := 0
	moody := replay.NewWorkflow("moody", func(run *replay.Run, _ replay.None) (string, error) {
		calls++
		return replay.Call(run, refund, fmt.Sprint(calls))
	})
	said := failing(t, func(w *replaytest.World) { _, _ = replaytest.Start(w, moody, replay.None{}).Result() })
	if !strings.Contains(said, "moody is not deterministic") || !strings.Contains(said, `step refund("2")`) {
		t.Errorf("got %q", said)
	}
}

func TestAWorkflowThatStartsAgainOtherwiseThanItWentOnFailsItsTest(t *testing.T) {
	forgetful := replay.NewResumable("forgetful", func(run *replay.Run, turns int, state *int) (int, error) {
		done := 0
		if state != nil {
			done = *state
		}
		for done < turns {
			done++
			if err := replay.SavepointState(run, fmt.Sprint("turn ", done), done); err != nil {
				return 0, err
			}
			if err := replay.Sleep(run, time.Hour); err != nil { // behind the savepoint: who starts again does not sleep
				return 0, err
			}
		}
		return done, nil
	})
	said := failing(t, func(w *replaytest.World) { _, _ = replaytest.Start(w, forgetful, 2).Result() })
	if !strings.Contains(said, "forgetful starts again at savepoint turn 1 otherwise than it went on") || !strings.Contains(said, "sleep") {
		t.Errorf("got %q", said)
	}
}

func TestARunThatWaitsForEverSaysForWhat(t *testing.T) {
	stalled := replay.NewWorkflow("stalled", func(run *replay.Run, _ replay.None) (any, error) { return replay.Signal[any](run, "godot") })
	said := failing(t, func(w *replaytest.World) { _, _ = replaytest.Start(w, stalled, replay.None{}).Result() })
	if !strings.Contains(said, "waits for ever: signal godot as command 0") || !strings.Contains(said, "replaytest_test.go:") {
		t.Errorf("got %q", said)
	}
}

func TestWhatIsAsDeepAsAnyValueIsToldAndHeard(t *testing.T) {
	w := replaytest.New(t)
	var deepest any = 1
	for range codec.MaxDepth - 1 { // as arguments, it is in a list
		deepest = []any{deepest}
	}
	echo := replay.NewWorkflow("echo", func(run *replay.Run, said any) (any, error) {
		replay.OnQuery(run, "again", func(any) (any, error) { return []any{said}, nil })
		replay.OnUpdate(run, "again", func(*replay.Run, any) (any, error) { return []any{said}, nil })
		_, err := replay.Signal[any](run, "enough")
		return said, err
	})
	run := replaytest.Start(w, echo, deepest)
	for name, ask := range map[string]func(string, any, any) error{"query": run.Query, "update": run.Update} {
		var got any
		if err := ask("again", deepest, &got); err != nil || got == nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

type span struct {
	replay.Args
	From, To int
}

func TestQueriesLeaveNoTrace(t *testing.T) {
	w := replaytest.New(t)
	counting := replay.NewWorkflow("counting", func(run *replay.Run, _ replay.None) (int, error) {
		total := 0
		replay.OnQuery(run, "total", func(factor int) (int, error) {
			if factor < 0 {
				panic("less than nothing")
			}
			return total * factor, nil
		})
		replay.OnQuery(run, "large", func(size int) (string, error) { return strings.Repeat("x", size), nil })
		replay.OnQuery(run, "all", func(replay.None) (int, error) { return total, nil })
		replay.OnQuery(run, "between", func(in span) (bool, error) { return in.From <= total && total < in.To, nil })
		for {
			number, err := replay.Signal[int](run, "add")
			if err != nil || number == 0 {
				return total, err
			}
			total += number
		}
	})
	run := replaytest.Start(w, counting, replay.None{})
	run.Signal("add", 4)
	var got int
	if err := run.Query("total", 10, &got); err != nil || got != 40 {
		t.Errorf("expected 40, got %v, %v", got, err)
	}
	if err := run.Query("all", replay.None{}, &got); err != nil || got != 4 {
		t.Errorf("expected 4, got %v, %v", got, err)
	}
	var between bool
	if err := run.Query("between", span{From: 1, To: 9}, &between); err != nil || !between {
		t.Errorf("expected true, got %v, %v", between, err)
	}
	for _, bad := range []struct {
		name     string
		argument any
		says     string
	}{{"sum", 1, "no query 'sum'; known: all, between, large, total"}, {"large", 17 << 20, "PayloadTooLarge: a reply"}, {"total", "ten", "expected int"}, {"total", -1, "panic: less than nothing"}} {
		if err := run.Query(bad.name, bad.argument, nil); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("expected %q, got %v", bad.says, err)
		}
	}
	run.Signal("add", 0)
	if total, err := run.Result(); err != nil || total != 4 {
		t.Errorf("expected 4, got %v, %v", total, err)
	}
	if length := len(run.Journal()); length != 4 {
		t.Errorf("expected four events, got %v", length)
	}
}
