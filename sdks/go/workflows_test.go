package replay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"example.org/replay"
	"example.org/replay/internal/interpreter"
)

// The workflows of the shared cases, as tests/conformance/workflows.py writes them.

var conformance = map[string]*interpreter.Workflow{}

func declare[I, O any](name string, do func(*replay.Run, I) (O, error), options ...replay.WorkflowOptions) *replay.Workflow[I, O] {
	made := replay.NewWorkflow(name, do, options...)
	conformance[name] = made.Definition()
	return made
}

func declareResumable[I, O, S any](name string, do func(*replay.Run, I, *S) (O, error), options ...replay.WorkflowOptions) {
	conformance[name] = replay.NewResumable(name, do, options...).Definition()
}

type chargeArgs struct {
	replay.Args
	Card  string
	Cents int
}

func never[I, O any](_ context.Context, _ I) (out O, err error) {
	return out, errors.New("nobody calls it")
}

var (
	double  = replay.NewStep("double", never[int, int])
	echo    = replay.NewStep("echo", never[any, any])
	undo    = replay.NewStep("undo", never[string, any])
	charge  = replay.NewStep("charge", never[chargeArgs, string])
	careful = replay.NewStep("careful", never[int, int], replay.StepOptions{WaitOnCancel: true})
	lax     = replay.NewStep("lax", never[int, int], replay.StepOptions{IgnoreArguments: true})
	kid     = declare("child", func(run *replay.Run, n int) (int, error) { return replay.Call(run, double, n) })
	inTurn  = declare("sequence", func(run *replay.Run, n int) (int, error) {
		once, err := replay.Call(run, double, n)
		if err != nil {
			return 0, err
		}
		twice, err := replay.Call(run, double, once)
		return once + twice, err
	})
)

type (
	list   = []any
	branch = replay.Branch[any]
)

// anyOf turns a branch into one of any type.
func anyOf[T any](b replay.Branch[T]) branch {
	return func(run *replay.Run) (any, error) {
		value, err := b(run)
		if err != nil {
			return nil, err
		}
		return value, nil
	}
}

func doubles(n int) branch { return anyOf(replay.Calling(double, n)) }

func doubled(n int) replay.Branch[int] {
	return func(run *replay.Run) (int, error) {
		once, err := replay.Call(run, double, n)
		if err != nil {
			return 0, err
		}
		return replay.Call(run, double, once)
	}
}

func cleaning(inner branch, what string) branch {
	return func(run *replay.Run) (value any, err error) {
		defer func() {
			if _, failed := replay.Call(run, undo, what); failed != nil {
				value, err = nil, failed
			}
		}()
		return inner(run)
	}
}

func hearing(name string) branch {
	return func(run *replay.Run) (any, error) { return replay.Signal[any](run, name) }
}

func reasonOf(err error) (string, bool) {
	var cancelled *replay.Cancelled
	if errors.As(err, &cancelled) {
		return cancelled.Reason, true
	}
	return "", false
}

func messageOf(err error) (string, bool) {
	var failed *replay.StepFailed
	if errors.As(err, &failed) {
		return failed.Message, true
	}
	return "", false
}

func drawing(run *replay.Run, n int) list {
	drawn := list{}
	for range n {
		drawn = append(drawn, replay.Random(run), replay.UUID(run))
	}
	return drawn
}

func seconds(s float64) time.Duration { return time.Duration(s * 1e9) }

func gatherList(run *replay.Run, branches ...branch) (list, error) {
	return replay.Gather(run, branches...)
}

func init() {
	// ---- in turn
	declare("nothing", func(*replay.Run, replay.None) (string, error) { return "done", nil })
	declare("echoing", func(run *replay.Run, value any) (list, error) {
		first, err := replay.Call(run, echo, value)
		if err != nil {
			return nil, err
		}
		second, err := replay.Call(run, echo, any(map[string]any{"given": value, "got": first}))
		return list{first, second}, err
	})
	declare("catching", func(run *replay.Run, _ replay.None) (list, error) {
		seen := list{}
		for n := range 3 {
			value, err := replay.Call(run, double, n)
			var failed *replay.StepFailed
			var late *replay.TimedOut
			var lost *replay.StepInterrupted
			switch {
			case errors.As(err, &failed):
				seen = append(seen, list{"failed", failed.Step, failed.ErrorType, failed.Message, failed.Attempts})
			case errors.As(err, &late):
				seen = append(seen, list{"timed out", late.What, late.Seconds})
			case errors.As(err, &lost):
				seen = append(seen, list{"interrupted", lost.Step})
			case err != nil:
				return nil, err
			default:
				seen = append(seen, value)
			}
		}
		return seen, nil
	})
	declare("lazily", func(run *replay.Run, n int) (int, error) { return replay.Call(run, lax, n) })
	declare("tidy", func(run *replay.Run, _ replay.None) (any, error) { return cleaning(doubles(1), "it")(run) })

	// ---- time
	declare("napping", func(run *replay.Run, s float64) (list, error) {
		before := replay.Now(run).UnixMicro()
		err := replay.Sleep(run, seconds(s))
		return list{before, replay.Now(run).UnixMicro()}, err
	})
	declare("until", func(run *replay.Run, moment int64) (string, error) {
		return "awake", replay.SleepUntil(run, time.UnixMicro(moment))
	})
	declare("clock", func(run *replay.Run, _ replay.None) ([]int64, error) {
		seen := []int64{replay.Now(run).UnixMicro()}
		for n := range 3 {
			if _, err := replay.Call(run, double, n); err != nil {
				return nil, err
			}
			seen = append(seen, replay.Now(run).UnixMicro())
		}
		return seen, nil
	})

	// ---- signals
	hear := func(run *replay.Run, count int) (list, error) {
		heard := list{}
		for range count {
			word, err := replay.Signal[any](run, "word")
			if err != nil {
				return nil, err
			}
			heard = append(heard, word)
		}
		_, err := replay.Call(run, echo, any(heard))
		return heard, err
	}
	declare("listening", hear)
	declare("reading_late", func(run *replay.Run, _ replay.None) (list, error) {
		if err := replay.Sleep(run, time.Second); err != nil {
			return nil, err
		}
		return hear(run, 3)
	})
	declare("patient", func(run *replay.Run, withDefault bool) (list, error) {
		var first any
		var err error
		if withDefault {
			first, err = replay.SignalOr[any](run, "go", 5*time.Second, "nobody came")
		} else {
			first, err = replay.SignalWithin[any](run, "go", 5*time.Second)
		}
		if err != nil {
			return nil, err
		}
		second, err := replay.Signal[any](run, "go")
		return list{first, second}, err
	})
	declare("several", func(run *replay.Run, _ replay.None) (list, error) {
		return gatherList(run, hearing("word"), hearing("word"), hearing("other"), hearing("word"))
	})
	declare("leaving_the_queue", func(run *replay.Run, _ replay.None) (any, error) {
		first, second := replay.Spawn(run, hearing("word")), replay.Spawn(run, hearing("word"))
		if err := replay.Sleep(run, time.Second); err != nil {
			return nil, err
		}
		replay.Cancel(run, first, "")
		return replay.Join(run, second)
	})

	// ---- side by side
	declare("pair", func(run *replay.Run, in struct {
		replay.Args
		A, B int
	}) ([]int, error) {
		return replay.Gather(run, replay.Calling(double, in.A), replay.Calling(double, in.B))
	})
	declare("nested", func(run *replay.Run, _ replay.None) (list, error) {
		inner := func(run *replay.Run) (any, error) { return gatherList(run, doubles(3), anyOf(doubled(4))) }
		outer := func(run *replay.Run) (any, error) { return gatherList(run, doubles(2), inner) }
		got, err := gatherList(run, anyOf(doubled(1)), outer)
		if err != nil {
			return nil, err
		}
		last, err := replay.Call(run, double, 5)
		second := got[1].(list)
		return list{got[0], second[0], second[1], last}, err
	})
	declare("limited", func(run *replay.Run, in struct {
		replay.Args
		N, Limit int
	}) (list, error) {
		results, err := replay.GatherWith(run, replay.GatherOptions{Limit: in.Limit}, manyDoubles(in.N)...)
		return values(results), err
	})
	declare("lenient", func(run *replay.Run, _ replay.None) (list, error) {
		got, err := replay.GatherWith(run, replay.GatherOptions{ReturnErrors: true}, doubles(1), doubles(2), doubles(3))
		said := list{}
		for _, each := range got {
			if message, failed := messageOf(each.Err); failed {
				said = append(said, message)
			} else {
				said = append(said, each.Value)
			}
		}
		return said, err
	})
	declare("enough", func(run *replay.Run, in struct {
		replay.Args
		N, Least int
	}) (list, error) {
		results, err := replay.GatherWith(run, replay.GatherOptions{MinSuccessful: in.Least}, manyDoubles(in.N)...)
		return values(results), err
	})
	declare("tidy_gather", func(run *replay.Run, _ replay.None) (string, error) {
		_, err := replay.Gather(run, cleaning(doubles(1), "a"), doubles(2), cleaning(doubles(3), "c"))
		if message, failed := messageOf(err); failed {
			return message, nil
		}
		return "no failure", err
	})
	declare("empty", func(run *replay.Run, _ replay.None) (list, error) {
		got, err := replay.Gather[any](run)
		if err != nil {
			return nil, err
		}
		last, err := replay.Call(run, double, 1)
		return list{got, last}, err
	})
	declare("starting_order", func(run *replay.Run, _ replay.None) (any, error) {
		publish := func(run *replay.Run, what string) { _ = replay.Publish(run, "order", what) }
		inner := func(name string) branch {
			return func(run *replay.Run) (any, error) {
				publish(run, name)
				_, err := replay.Call(run, double, 1)
				if err == nil {
					publish(run, name+" ends")
				}
				return nil, err
			}
		}
		outer := func(name string) branch {
			return func(run *replay.Run) (any, error) {
				publish(run, name+" begins")
				_, err := replay.Gather(run, inner(name+"1"), inner(name+"2"))
				if err == nil {
					publish(run, name+" ends")
				}
				return nil, err
			}
		}
		replay.Spawn(run, outer("s"))
		publish(run, "root")
		_, err := replay.Gather(run, outer("a"), outer("b"))
		return nil, err
	})
	declare("fastest", func(run *replay.Run, n int) (list, error) {
		index, value, err := replay.Race(run, manyDoubles(n)...)
		return list{index, value}, err
	})
	declare("tidy_race", func(run *replay.Run, _ replay.None) (list, error) {
		index, value, err := replay.Race(run, cleaning(doubles(1), "a"), doubles(2), anyOf(replay.Calling(careful, 3)))
		return list{index, value}, err
	})
	declare("hurried", func(run *replay.Run, _ replay.None) (any, error) {
		value, err := replay.Timeout(run, 2500*time.Millisecond, cleaning(doubles(1), "it"))
		var late *replay.TimedOut
		if errors.As(err, &late) {
			return fmt.Sprintf("timed out after %g", late.Seconds), nil
		}
		return value, err
	})
	declare("timeout_in_timeout", func(run *replay.Run, _ replay.None) (string, error) {
		isLate := func(err error) bool { var late *replay.TimedOut; return errors.As(err, &late) }
		inner := func(run *replay.Run) (string, error) {
			_, err := replay.Timeout(run, time.Second, doubles(1))
			if isLate(err) {
				return "inner", nil
			}
			return "in time", err
		}
		value, err := replay.Timeout(run, 5*time.Second, inner)
		if isLate(err) {
			return "outer", nil
		}
		return value, err
	})

	// ---- beside
	declare("beside", func(run *replay.Run, _ replay.None) (int, error) {
		handle := replay.Spawn(run, doubled(1))
		here, err := replay.Call(run, double, 10)
		if err != nil {
			return 0, err
		}
		there, err := replay.Join(run, handle)
		return here + there, err
	})
	declare("joined_by_many", func(run *replay.Run, _ replay.None) ([]int, error) {
		handle := replay.Spawn(run, replay.Calling(double, 1))
		waiting := func(run *replay.Run) (int, error) { return replay.Join(run, handle) }
		return replay.Gather(run, waiting, waiting, waiting)
	})
	declare("stopping", func(run *replay.Run, _ replay.None) (string, error) {
		handle := replay.Spawn(run, cleaning(doubles(1), "it"))
		if err := replay.Sleep(run, time.Second); err != nil {
			return "", err
		}
		replay.Cancel(run, handle, "no longer needed")
		replay.Cancel(run, handle, "again")
		_, err := replay.Join(run, handle)
		if reason, ok := reasonOf(err); ok {
			return reason, nil
		}
		return "not cancelled", err
	})
	declare("never_begun", func(run *replay.Run, _ replay.None) (string, error) {
		handle := replay.Spawn(run, func(run *replay.Run) (any, error) {
			_ = replay.Publish(run, "order", "never")
			return replay.Call(run, double, 1)
		})
		replay.Cancel(run, handle, "")
		if err := replay.Sleep(run, time.Second); err != nil {
			return "", err
		}
		_, err := replay.Join(run, handle)
		if reason, ok := reasonOf(err); ok {
			return reason, nil
		}
		return "not cancelled", err
	})
	declare("leaving", func(run *replay.Run, _ replay.None) (string, error) {
		late := func(run *replay.Run) (value any, err error) {
			defer func() {
				if _, failed := replay.Call(run, undo, "b"); failed != nil {
					err = failed
					return
				}
				replay.Spawn(run, doubles(3))
			}()
			return replay.Call(run, double, 2)
		}
		replay.Spawn(run, cleaning(doubles(1), "a"))
		replay.Spawn(run, late)
		return "left", replay.Sleep(run, time.Second)
	})
	declare("answer_first", func(run *replay.Run, _ replay.None) (list, error) {
		seen := list{}
		source := replay.Spawn(run, doubles(1))
		var victim *replay.Spawned[any]
		replay.Spawn(run, func(run *replay.Run) (any, error) {
			_, err := replay.Join(run, source)
			if err == nil {
				replay.Cancel(run, victim, "too late")
			}
			return nil, err
		})
		victim = replay.Spawn(run, func(run *replay.Run) (any, error) {
			got, err := replay.Join(run, source)
			if err != nil {
				return nil, err
			}
			seen = append(seen, got, replay.Random(run) < 1)
			if _, err := replay.Call(run, double, 2); err != nil {
				return nil, err
			}
			seen = append(seen, "never")
			return nil, nil
		})
		if err := replay.Sleep(run, 9*time.Second); err != nil {
			return nil, err
		}
		_, err := replay.Join(run, victim)
		if reason, ok := reasonOf(err); ok {
			return append(seen, reason), nil
		}
		return seen, err
	})

	// ---- children
	declare("parent", func(run *replay.Run, n int) (list, error) {
		first, err := replay.Child(run, kid, n)
		var failed *replay.ChildFailed
		if errors.As(err, &failed) {
			return list{failed.Run, failed.Workflow, failed.ErrorType, failed.Message, failed.Status}, nil
		}
		if err != nil {
			return nil, err
		}
		second, third, err := replay.Gather2(run, childOf(kid, first), childOf(kid.With(replay.RunOptions{ID: "mine"}), first))
		return list{first, second, third}, err
	})
	closing := func(policy string) replay.RunOptions {
		return replay.RunOptions{OnParentClose: map[string]replay.ParentClose{
			"cancel": replay.CancelChild, "abandon": replay.AbandonChild, "wait": replay.WaitForChild}[policy]}
	}
	declare("family", func(run *replay.Run, policy string) (string, error) {
		handle, err := replay.StartChild(run, kid.With(closing(policy)), 1)
		if err != nil {
			return "", err
		}
		return handle.ID, replay.Sleep(run, time.Second)
	})
	declare("brief", func(run *replay.Run, policy string) (string, error) {
		handle, err := replay.StartChild(run, kid.With(closing(policy)).With(replay.RunOptions{ID: "kid"}), 1)
		if err != nil {
			return "", err
		}
		return handle.ID, nil
	})
	declare("joining_a_child", func(run *replay.Run, _ replay.None) (list, error) {
		handle, err := replay.StartChild(run, kid, 1)
		if err != nil {
			return nil, err
		}
		here, err := replay.Call(run, double, 10)
		if err != nil {
			return nil, err
		}
		there, err := replay.Join(run, handle.Spawned)
		return list{handle.ID, here, there}, err
	})

	// ---- cancellation
	declare("cancellable", func(run *replay.Run, where string) (list, error) {
		waited, err := waits[where](run)
		seen := "went on"
		if reason, ok := reasonOf(err); ok {
			waited, seen = nil, "cancelled: "+reason
		} else if err != nil {
			return nil, err
		}
		after, err := replay.Call(run, echo, any(seen))
		if reason, ok := reasonOf(err); ok {
			if where != "shield" {
				waited = nil
			}
			return list{seen, waited, "then cancelled: " + reason}, nil
		}
		return list{seen, after}, err
	})
	declare("stubborn", func(run *replay.Run, _ replay.None) (list, error) {
		seen := list{}
		for {
			_, err := replay.Call(run, double, len(seen))
			if reason, ok := reasonOf(err); ok {
				seen = append(seen, reason)
				break
			}
			if err != nil {
				seen = append(seen, "failed")
			}
		}
		got, err := replay.Gather(run, doubles(8), doubles(9))
		return append(seen, got), err
	})

	// ---- updates
	declare("counter", func(run *replay.Run, _ replay.None) (int, error) {
		total := 0
		add := func(_ *replay.Run, n int) (int, error) {
			total += n
			return total, nil
		}
		replay.OnUpdate(run, "add", add, func(n int) error {
			if n <= 0 {
				return errors.New("give me more")
			}
			return nil
		})
		replay.OnUpdate(run, "ask", func(_ *replay.Run, value any) (any, error) { return map[string]any{"asked": value}, nil })
		_, err := replay.Signal[any](run, "stop")
		return total, err
	})
	declare("workshop", func(run *replay.Run, _ replay.None) (list, error) {
		done := list{}
		replay.OnUpdate(run, "work", func(run *replay.Run, n int) (any, error) {
			_ = replay.Publish(run, "news", map[string]any{"begins": n})
			twice, err := doubled(n)(run)
			if err != nil {
				return nil, err
			}
			done = append(done, twice)
			return map[string]any{"done": twice}, nil
		})
		_, err := replay.Signal[any](run, "stop")
		return done, err
	})

	// ---- outputs
	declare("talkative", func(run *replay.Run, _ replay.None) (string, error) {
		speaking := func(name string) branch {
			return func(run *replay.Run) (any, error) {
				_ = replay.Publish(run, "news", name+" begins")
				if _, err := replay.Call(run, double, 1); err != nil {
					return nil, err
				}
				return nil, replay.SendSignal(run, "other", "ping", name)
			}
		}
		_ = replay.Publish(run, "news", map[string]any{"n": 1, "é": list{nil}})
		_ = replay.SendSignal(run, "other-run", "ping", list{1})
		if _, err := replay.Gather(run, speaking("a"), speaking("b")); err != nil {
			return "", err
		}
		_ = replay.SetState(run, "stage", nil)
		_ = replay.SetTags(run, map[string]string{"size": "L", "colour": ""})
		_ = replay.Annotate(run, "a note", map[string]any{"who": "me"})
		replay.Log(run, slog.LevelWarn, "a line", "n", 0)
		return "said", nil
	})

	// ---- chance and self
	declare("chances", func(run *replay.Run, _ replay.None) (list, error) {
		first := drawing(run, 2)
		draw := func(run *replay.Run) (any, error) { return drawing(run, 1), nil }
		branches, err := gatherList(run, draw, draw, func(run *replay.Run) (any, error) { return replay.Random(run), nil })
		if err != nil {
			return nil, err
		}
		if _, err := replay.Call(run, double, 1); err != nil {
			return nil, err
		}
		return list{first, branches, drawing(run, 1)}, nil
	})
	declareResumable("chances_over_savepoints", func(run *replay.Run, _ replay.None, state *list) (list, error) {
		drawn := list{}
		if state != nil {
			drawn = *state
		}
		for len(drawn) < 4 {
			drawn = append(drawn, drawing(run, 1)...)
			if err := replay.SavepointState(run, fmt.Sprintf("after %d", len(drawn)), drawn); err != nil {
				return nil, err
			}
		}
		return append(drawn, drawing(run, 1)...), nil
	})
	declare("curious", func(run *replay.Run, _ replay.None) (list, error) {
		seen := list{}
		for n := range 2 {
			me := replay.Info(run)
			seen = append(seen, list{me.RunID, me.Workflow, me.Version, me.Namespace, me.Attempt, me.Parent, me.JournalLength, me.Chain})
			if me.Deadline.IsZero() {
				seen = append(seen, list{nil})
			} else {
				seen = append(seen, list{me.Deadline.UnixMicro()})
			}
			if _, err := replay.Call(run, double, n); err != nil {
				return nil, err
			}
		}
		return seen, nil
	})

	// ---- patches
	declareResumable("patchy", func(run *replay.Run, _ replay.None, state *list) (list, error) {
		seen := list{}
		if state != nil {
			seen = *state
		}
		for len(seen) < 2 {
			var got any
			var err error
			if replay.Patched(run, "new-path") {
				got, err = replay.Call(run, echo, any(fmt.Sprintf("new %d", len(seen))))
			} else {
				got, err = replay.Call(run, double, len(seen))
			}
			if err != nil {
				return nil, err
			}
			seen = append(seen, got)
			if err := replay.SavepointState(run, "turn", seen); err != nil {
				return nil, err
			}
		}
		return seen, nil
	}, replay.WorkflowOptions{Patches: []string{"new-path"}})
	declare("undeclared", func(run *replay.Run, _ replay.None) (said string, err error) {
		defer func() {
			if _, refused := recover().(*replay.EffectError); refused {
				said = "refused"
			}
		}()
		replay.Patched(run, "unheard-of")
		return "accepted", nil
	})

	// ---- savepoints
	declare("thinking", func(run *replay.Run, _ replay.None) (string, error) {
		err := replay.Savepoint(run, "plan", replay.Notes{
			"goal": "win", "hypotheses": list{"h1", "h2"}, "questions": list{}, "decisions": list{"go"}, "next_step": "run", "mood": "good",
		})
		if err != nil {
			return "", err
		}
		left := func(run *replay.Run) (any, error) { return nil, replay.Savepoint(run, "left") }
		right := func(run *replay.Run) (any, error) {
			return nil, replay.Savepoint(run, "right", replay.Notes{"goal": ""})
		}
		_, err = gatherList(run, left, right)
		return "thought", err
	})
	declareResumable("looping", func(run *replay.Run, turns int, state *[]int) ([]int, error) {
		done := []int{}
		if state != nil {
			done = *state
		}
		for len(done) < turns {
			twice, err := replay.Call(run, double, len(done))
			if err != nil {
				return nil, err
			}
			done = append(done, twice)
			if err := replay.SavepointState(run, fmt.Sprintf("turn %d", len(done)), done, replay.Notes{"goal": "all"}); err != nil {
				return nil, err
			}
		}
		return done, nil
	})
	declareResumable("chatty", func(run *replay.Run, _ replay.None, state *list) (list, error) {
		said := list{}
		if state != nil {
			said = *state
		}
		replay.OnUpdate(run, "add", func(_ *replay.Run, value any) (int, error) {
			said = append(said, value)
			return len(said), nil
		})
		for {
			word, err := replay.SignalOr[any](run, "word", time.Minute, "nothing")
			if err != nil {
				return nil, err
			}
			said = append(said, word, replay.Random(run), replay.UUID(run), replay.Now(run).UnixMicro())
			_ = replay.Publish(run, "news", word)
			pair, err := gatherList(run, doubles(len(said)), doubles(1))
			if err != nil {
				return nil, err
			}
			said = append(said, pair...)
			got, err := replay.Join(run, replay.Spawn(run, doubles(7)))
			if err != nil {
				return nil, err
			}
			said = append(said, got)
			if word == "stop" {
				return said, nil
			}
			if err := replay.SavepointState(run, "turn", said); err != nil {
				return nil, err
			}
		}
	})
	declareResumable("falsy_state", func(run *replay.Run, _ replay.None, state *int) (string, error) {
		if state == nil {
			if _, err := replay.Call(run, double, 1); err != nil {
				return "", err
			}
			if err := replay.SavepointState(run, "zero", 0); err != nil {
				return "", err
			}
		}
		_, err := replay.Call(run, double, 2)
		return "done", err
	})
	declareResumable("careless", func(run *replay.Run, where string, _ *int) (string, error) {
		place := func(run *replay.Run) (any, error) { return nil, replay.SavepointState(run, "here", 1) }
		var err error
		if where == "branch" {
			_, err = replay.Gather(run, place)
		} else {
			replay.Spawn(run, doubles(1))
			_, err = place(run)
		}
		var refused *replay.EffectError
		if errors.As(err, &refused) {
			return "refused", nil
		}
		return "accepted", err
	})

	// ---- the end
	declare("once_more", func(run *replay.Run, n int) (string, error) {
		_ = replay.Publish(run, "news", n)
		word, err := replay.Signal[any](run, "word")
		if err != nil {
			return "", err
		}
		if n < 3 {
			return "", replay.ContinueAsNew(run, n+1)
		}
		return fmt.Sprintf("%d %v", n, word), nil
	})
	declare("going_over", func(run *replay.Run, _ replay.None) (any, error) {
		if _, err := replay.Call(run, double, 1); err != nil {
			return nil, err
		}
		replay.Spawn(run, cleaning(doubles(2), "it"))
		if err := replay.Sleep(run, time.Second); err != nil {
			return nil, err
		}
		return nil, replay.ContinueAs(run, inTurn, 5)
	})
	declare("continuing_in_a_branch", func(run *replay.Run, _ replay.None) (string, error) {
		_, err := gatherList(run, func(run *replay.Run) (any, error) { return nil, replay.ContinueAsNew(run, replay.None{}) })
		var refused *replay.EffectError
		if errors.As(err, &refused) {
			return "refused", nil
		}
		return "accepted", err
	})

	// ---- all together
	declare("order", func(run *replay.Run, in chargeArgs) (any, error) {
		receipt, err := replay.Call(run, charge, in)
		if err != nil {
			return nil, err
		}
		_ = replay.SetState(run, "receipt", receipt)
		approved, err := replay.SignalOr(run, "approved", 24*time.Hour, false)
		if err != nil {
			return nil, err
		}
		if !approved {
			_, err := replay.Call(run, undo, receipt)
			return map[string]any{"refunded": receipt}, err
		}
		shipped, mailed, err := replay.Gather2(run, replay.Calling(echo, any("ship "+receipt)), replay.Calling(echo, any("mail "+receipt)))
		return map[string]any{"mailed": mailed, "shipped": shipped}, err
	})
}

func manyDoubles(n int) (branches []branch) {
	for i := range n {
		branches = append(branches, doubles(i))
	}
	return branches
}

func values(results []replay.Result[any]) list {
	got := list{}
	for _, each := range results {
		got = append(got, each.Value)
	}
	return got
}

func childOf[I, O any](workflow *replay.Workflow[I, O], in I) replay.Branch[O] {
	return func(run *replay.Run) (O, error) { return replay.Child(run, workflow, in) }
}

func sleeping(s float64) branch {
	return func(run *replay.Run) (any, error) { return nil, replay.Sleep(run, seconds(s)) }
}

func gathering(branches ...branch) branch {
	return func(run *replay.Run) (any, error) { return gatherList(run, branches...) }
}

func racing(branches ...branch) branch {
	return func(run *replay.Run) (any, error) {
		index, value, err := replay.Race(run, branches...)
		return list{index, value}, err
	}
}

func timing(inner branch, s float64) branch {
	return func(run *replay.Run) (any, error) { return replay.Timeout(run, seconds(s), inner) }
}

func shielding(inner branch) branch {
	return func(run *replay.Run) (any, error) { return replay.Shield(run, inner) }
}

var carefully = anyOf(replay.Calling(careful, 1))

var waits = map[string]branch{
	"step":   doubles(1),
	"timer":  sleeping(60),
	"signal": hearing("go"),
	"signal in time": func(run *replay.Run) (any, error) {
		return replay.SignalWithin[any](run, "go", 5*time.Second)
	},
	"savepoint": func(run *replay.Run) (any, error) { return nil, replay.Savepoint(run, "here") },
	"child":     anyOf(childOf(kid, 1)),
	"join": func(run *replay.Run) (any, error) {
		return replay.Join(run, replay.Spawn(run, doubles(1)))
	},
	"gather": gathering(doubles(1), sleeping(1), hearing("go"), anyOf(childOf(kid, 2))),
	"limit": func(run *replay.Run) (any, error) {
		results, err := replay.GatherWith(run, replay.GatherOptions{Limit: 2}, doubles(1), doubles(2), doubles(3))
		return values(results), err
	},
	"race":            racing(doubles(1), doubles(2)),
	"timeout":         timing(doubles(1), 5),
	"deep":            gathering(racing(doubles(1), sleeping(9)), gathering(anyOf(doubled(2)), timing(doubles(3), 4))),
	"shield":          shielding(anyOf(doubled(1))),
	"shielded branch": gathering(shielding(doubles(1)), doubles(2)),
	"guarded gather":  shielding(gathering(doubles(1), doubles(2))),
	"careful":         carefully,
	"careful branch":  gathering(carefully, doubles(2)),
	"clean-up":        gathering(cleaning(doubles(1), "a"), gathering(cleaning(doubles(2), "b"), doubles(3))),
}
