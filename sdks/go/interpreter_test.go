package replay_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/replay"
	"example.org/replay/internal/codec"
	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

// begin makes an interpreter for a workflow and feeds its first event.
func begin[I, O any](t testing.TB, workflow *replay.Workflow[I, O], in I) *interpreter.Interpreter {
	t.Helper()
	machine := interpreter.New(workflow.Definition(), "run")
	t.Cleanup(machine.Close)
	input, err := codec.Arguments(in)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := model.Started{Workflow: workflow.Name(), Input: input, Seed: "run", Namespace: "default"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	tell(t, machine, &model.Event{Kind: model.Begun, Name: workflow.Name(), Payload: payload})
	return machine
}

// tell feeds the next event.
func tell(t testing.TB, machine *interpreter.Interpreter, event *model.Event) {
	t.Helper()
	event.Seq = machine.Seq + 1
	if err := machine.Feed([]*model.Event{event}, interpreter.Unlimited); err != nil {
		t.Fatal(err)
	}
}

func stepped(command, result string) *model.Event {
	return &model.Event{Kind: model.StepCompleted, Command: command, Name: "double", Payload: []byte(result)}
}

func ended(t *testing.T, machine *interpreter.Interpreter, want string) {
	t.Helper()
	if machine.Outcome == nil {
		t.Fatalf("expected %s, but it goes on: %v", want, machine.Waiting())
	}
	if got := machine.Outcome.Kind + " " + string(machine.Outcome.Payload); !strings.HasPrefix(got, want) {
		t.Errorf("expected %s, got %.300s", want, got)
	}
}

func TestAGatherOfAHundredThousandBranches(t *testing.T) {
	const n = 100_000
	workflow := replay.NewWorkflow("broad", func(run *replay.Run, _ replay.None) (int, error) {
		got, err := replay.Gather(run, manyDoubles(n)...)
		return len(got), err
	})
	machine := begin(t, workflow, replay.None{})
	if machine.Open() != n {
		t.Fatalf("expected %d commands, got %d", n, machine.Open())
	}
	for i := range n {
		tell(t, machine, stepped(fmt.Sprintf("0/%d/0", i), "1"))
	}
	ended(t, machine, fmt.Sprint("completed ", n))
}

func TestNestingCostsNoStack(t *testing.T) {
	var deep func(n int) replay.Branch[int]
	deep = func(n int) replay.Branch[int] {
		return func(run *replay.Run) (int, error) {
			if n == 0 {
				return replay.Call(run, double, 1)
			}
			got, err := replay.Gather(run, deep(n-1))
			if err != nil {
				return 0, err
			}
			return got[0], nil
		}
	}
	workflow := replay.NewWorkflow("deep", func(run *replay.Run, n int) (int, error) { return deep(n)(run) })
	machine := begin(t, workflow, 10_000)
	tell(t, machine, &model.Event{Kind: model.CancelRequested, Name: "cancel"})
	ended(t, machine, `cancelled {"reason":"cancelled"}`)
}

func TestAMillionAnswersInARowAreGivenByBudget(t *testing.T) {
	const n = 1_000_000
	workflow := replay.NewWorkflow("busy", func(run *replay.Run, _ replay.None) (int, error) {
		drawn := 0
		for range n {
			if !replay.Now(run).IsZero() {
				drawn++
			}
		}
		return drawn, nil
	})
	machine := interpreter.New(workflow.Definition(), "run")
	started := &model.Event{Seq: 1, Kind: model.Begun, Name: "busy", Payload: []byte(`{"workflow":"busy"}`)}
	must(t, machine.Feed([]*model.Event{started}, 20_000))
	rests := 1
	for !machine.Advance(20_000) {
		rests++
	}
	same(t, "rests", n/20_000, rests)
	ended(t, machine, fmt.Sprint("completed ", n))
}

func TestEvictionRunsDeferredFunctionsAndNothingElse(t *testing.T) {
	before := runtime.NumGoroutine()
	var seen []string
	workflow := replay.NewWorkflow("evicted", func(run *replay.Run, _ replay.None) (any, error) {
		defer func() {
			seen = append(seen, fmt.Sprintf("recovered %v", recover()))
			_, err := replay.Call(run, double, 1)
			seen = append(seen, fmt.Sprintf("never %v", err))
		}()
		replay.Spawn(run, doubles(7))
		branch := func(run *replay.Run) (any, error) {
			defer func() { seen = append(seen, "branch") }()
			return replay.Call(run, double, 2)
		}
		got, err := replay.Gather(run, branch, branch)
		seen = append(seen, fmt.Sprintf("never %v", err))
		return got, err
	})
	machine := begin(t, workflow, replay.None{})
	machine.Close()
	same(t, "seen", "recovered <nil> branch branch", strings.Join(seen, " "))
	same(t, "outcome", true, machine.Outcome == nil)
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

func TestAPanicFailsTheRun(t *testing.T) {
	workflow := replay.NewWorkflow("panics", func(run *replay.Run, _ replay.None) (any, error) {
		_, err := replay.Call(run, double, 1)
		panic(fmt.Sprint("out of order ", err))
	})
	machine := begin(t, workflow, replay.None{})
	tell(t, machine, stepped("0", "2"))
	ended(t, machine, `failed {"attempts":1,"message":"out of order <nil>"`)
	failure := model.DecodeFailure(machine.Outcome.Payload)
	same(t, "type", "panic", failure.Type)
	if !strings.Contains(failure.Traceback, "interpreter_test.go") {
		t.Errorf("expected the stack, got %s", failure.Traceback)
	}
}

func TestAnotherBranchsRunIsRefused(t *testing.T) {
	workflow := replay.NewWorkflow("mixed", func(run *replay.Run, _ replay.None) (any, error) {
		wrong := func(*replay.Run) (int, error) { return replay.Call(run, double, 1) }
		return replay.Gather(run, wrong)
	})
	ended(t, begin(t, workflow, replay.None{}), `failed {"attempts":1,"message":"an effect was asked for with the Run of another branch`)
}

func TestAnAnswerThatDoesNotFitItsTypeIsRefused(t *testing.T) {
	machine := begin(t, inTurn, 1)
	event := stepped("0", `"two"`)
	event.Seq = 2
	var unfit *replay.PayloadError
	if err := machine.Feed([]*model.Event{event}, interpreter.Unlimited); !errors.As(err, &unfit) || unfit.Where != "result of step double" {
		t.Errorf("got %v", err)
	}
}

func TestTheReportOfAMisfitShowsBothSides(t *testing.T) {
	machine := begin(t, inTurn, 1)
	tell(t, machine, stepped("0", "2"))
	err := machine.Feed([]*model.Event{{Seq: 3, Kind: model.StepCompleted, Command: "1", Name: "triple", Line: "old.go:7"}}, interpreter.Unlimited)
	var misfit *replay.NonDeterminism
	if !errors.As(err, &misfit) {
		t.Fatal(err)
	}
	for _, part := range []string{
		"run run does not fit its journal at event #3", "recorded:  step_completed triple as command 1   (old.go:7)",
		"now asks:  step double(2) as command 1   (", "workflows_test.go:", "before it: #1 started sequence", "before it: #2 step_completed 0 double",
		"what to do: ", "replay.Patched(run, name)", "fork the run",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("expected %q in\n%v", part, err)
		}
	}
}

func TestEveryCommandKnowsTheLineThatAsked(t *testing.T) {
	workflow := replay.NewWorkflow("lines", func(run *replay.Run, _ replay.None) (any, error) {
		timer := func(run *replay.Run) (any, error) { return nil, replay.Sleep(run, time.Second) }
		late := func(run *replay.Run) (any, error) { return replay.Timeout(run, time.Minute, doubles(2)) }
		child := func(run *replay.Run) (any, error) { return replay.Child(run, kid, 1) }
		return gatherList(run, doubles(1), timer, hearing("word"), late, child)
	})
	for _, command := range begin(t, workflow, replay.None{}).Waiting() {
		if line := command.Line(); !strings.Contains(line, "interpreter_test.go:") && !strings.Contains(line, "workflows_test.go:") {
			t.Errorf("%s: got %q", command, line)
		}
	}
}

func TestFibersThatJoinEachOtherInARingAreRefused(t *testing.T) {
	workflow := replay.NewWorkflow("ring", func(run *replay.Run, _ replay.None) (string, error) {
		var first, second *replay.Spawned[any]
		first = replay.Spawn(run, func(run *replay.Run) (any, error) {
			return gatherList(run, func(run *replay.Run) (any, error) { return replay.Join(run, second) })
		})
		second = replay.Spawn(run, func(run *replay.Run) (any, error) { return replay.Join(run, first) })
		_, err := replay.Join(run, second)
		return err.Error(), nil
	})
	ended(t, begin(t, workflow, replay.None{}), `completed "fibers join each other in a ring; none of them could ever end`)
}

func TestDeclarationsThatCannotWorkPanic(t *testing.T) {
	for name, declare := range map[string]func(){
		"no name":           func() { replay.NewStep("", never[int, int]) },
		"retry and once":    func() { double.With(replay.StepOptions{AtMostOnce: true, Retry: replay.Retry{MaxAttempts: 2}}) },
		"negative time":     func() { double.With(replay.StepOptions{Timeout: -1}) },
		"jitter beyond one": func() { double.With(replay.StepOptions{Retry: replay.Retry{MaxAttempts: 2, Jitter: 2}}) },
	} {
		func() {
			defer func() {
				if _, ok := recover().(*replay.DefinitionError); !ok {
					t.Errorf("%s: expected a DefinitionError", name)
				}
			}()
			declare()
		}()
	}
}

func TestArgumentsAreReadByPositionOrName(t *testing.T) {
	for payload, want := range map[string]chargeArgs{
		`["visa",1200]`:                          {Card: "visa", Cents: 1200},
		`["visa"]`:                               {Card: "visa"},
		`[]`:                                     {},
		`{"args":["visa"],"kwargs":{"cents":3}}`: {Card: "visa", Cents: 3},
	} {
		var got chargeArgs
		must(t, codec.ReadArguments([]byte(payload), &got))
		same(t, payload, want, got)
	}
	for _, payload := range []string{`["visa",1,2]`, `[1]`, `7`, `{"args":[],"kwargs":{"colour":1}}`} {
		if err := codec.ReadArguments([]byte(payload), &chargeArgs{}); err == nil {
			t.Errorf("expected %s to be refused", payload)
		}
	}
}
