package replay

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"time"

	"example.org/replay/internal/codec"
	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

// Call does a step and waits for its result.
func Call[I, O any](run *Run, step *Step[I, O], in I) (O, error) {
	var out O
	name := step.core.Name
	arguments, err := model.SpellArguments("arguments of step", name, in)
	if err == nil {
		command := &interpreter.Command{Kind: interpreter.StepCall, Name: name, Arguments: arguments, Step: step.core}
		err = run.fiber.Ask(command, accept("result of step", name, &out))
	}
	return out, err
}

// Sleep waits for a durable timer.
func Sleep(run *Run, span time.Duration) error { return sleep(run, micros(span), 0) }

// SleepUntil waits for a moment.
func SleepUntil(run *Run, moment time.Time) error { return sleep(run, -1, moment.UnixMicro()) }

func sleep(run *Run, span, due int64) error {
	return run.fiber.Ask(&interpreter.Command{Kind: interpreter.Timer, Name: "sleep", Timed: true, Span: span, Due: due}, nil)
}

// Signal waits for the next message of a name; the one that came first is answered first, also when it came early.
func Signal[T any](run *Run, name string) (T, error) { return listen[T](run, name, -1) }

// SignalWithin is Signal with an end: when no message has come in time, it returns TimedOut.
func SignalWithin[T any](run *Run, name string, span time.Duration) (T, error) {
	return listen[T](run, name, micros(span))
}

// SignalOr is Signal with an end: when no message has come in time, it returns the fallback.
func SignalOr[T any](run *Run, name string, span time.Duration, fallback T) (T, error) {
	got, err := listen[T](run, name, micros(span))
	if _, late := errors.AsType[*TimedOut](err); late {
		return fallback, nil
	}
	return got, err
}

func listen[T any](run *Run, name string, span int64) (T, error) {
	var out T
	err := run.fiber.Listen(name, span, accept("signal", name, &out))
	return out, err
}

// Child runs another workflow as a run of its own and waits for its result.
func Child[I, O any](run *Run, workflow *Workflow[I, O], in I) (O, error) {
	var out O
	command, err := childCommand(workflow, in)
	if err == nil {
		err = run.fiber.Ask(command, accept("result of workflow", workflow.core.Name, &out))
	}
	return out, err
}

// ChildRun is a child that goes on beside its parent; Join waits for its result.
type ChildRun[T any] struct {
	*Spawned[T]
	ID string // of its run
}

// StartChild starts another workflow and goes on; RunOptions.OnParentClose says what becomes of it when this run ends.
func StartChild[I, O any](run *Run, workflow *Workflow[I, O], in I) (*ChildRun[O], error) {
	command, err := childCommand(workflow, in)
	if err != nil {
		return nil, err
	}
	child := &ChildRun[O]{Spawned: &Spawned[O]{value: new(O)}}
	child.fiber, child.ID = run.fiber.StartChild(command, accept("result of workflow", workflow.core.Name, child.value))
	return child, nil
}

func childCommand[I, O any](workflow *Workflow[I, O], in I) (*interpreter.Command, error) {
	arguments, err := model.SpellArguments("arguments of workflow", workflow.core.Name, in)
	return &interpreter.Command{Kind: interpreter.Child, Name: workflow.core.Name, Arguments: arguments, Workflow: workflow.core}, err
}

// Notes are what people and agents read of a savepoint: goal, hypotheses, questions, decisions, next_step, and what you like.
type Notes map[string]any

// Savepoint marks a named place that the run can be forked from.
func Savepoint(run *Run, name string, notes ...Notes) error {
	return run.fiber.Savepoint(name, merged(notes))
}

// SavepointState is a savepoint that recovery begins at: what lies before need not be read again. It belongs into the
// workflow's own body, with nothing pending; the workflow is declared with NewResumable, and state is of its type.
func SavepointState[S any](run *Run, name string, state S, notes ...Notes) error {
	return run.fiber.Savepoint(name, merged(notes), state)
}

func merged(notes []Notes) Notes {
	all := Notes{}
	for _, given := range notes {
		maps.Copy(all, given)
	}
	return all
}

// ContinueAsNew ends this journal and begins a fresh one under the same id, with another input. It returns only when it is
// refused, so a workflow ends with `return out, replay.ContinueAsNew(run, next)`. Signals not yet read are carried over.
func ContinueAsNew[I any](run *Run, in I) error {
	return continueAs(run, run.fiber.Instant().Workflow, in)
}

// ContinueAs is ContinueAsNew with another workflow.
func ContinueAs[I, O any](run *Run, workflow *Workflow[I, O], in I) error {
	return continueAs(run, workflow.core, in)
}

func continueAs[I any](run *Run, workflow *interpreter.Workflow, in I) error {
	input, err := model.SpellArguments("arguments of workflow", workflow.Name, in)
	if err != nil {
		return err
	}
	return run.fiber.ContinueAsNew(workflow, input)
}

// OnUpdate answers updates of a name from here on. The handler runs as a branch of its own and may ask for effects; its result
// is the reply, and its error is its caller's. What a validator returns refuses the update without a trace; it must be pure.
func OnUpdate[A, R any](run *Run, name string, handle func(run *Run, argument A) (R, error), validators ...func(A) error) {
	run.fiber.Instant().OnUpdate(name, &interpreter.Update{
		Validate: func(payload []byte) error {
			argument, err := model.Read[A]("update", name, payload)
			if err != nil {
				return err
			}
			return firstError(validators, argument)
		},
		Handle: func(f *interpreter.Fiber, payload []byte) ([]byte, error) {
			argument, err := model.Read[A]("update", name, payload)
			if err != nil {
				return nil, err
			}
			reply, err := handle(&Run{f}, argument)
			return spellResult("reply to update", name, reply, err)
		},
	})
}

// OnQuery answers queries of a name from here on, with a pure function over the workflow's variables: it asks for no effect, and
// leaves no trace in the journal.
func OnQuery[A, R any](run *Run, name string, answer func(argument A) (R, error)) {
	run.fiber.Instant().OnQuery(name, func(arguments []byte) (reply []byte, err error) {
		defer recovered(&err)
		argument, err := model.ReadArguments[A]("arguments of query", name, arguments)
		if err != nil {
			return nil, err
		}
		found, err := answer(argument)
		return spellResult("reply to query", name, found, err)
	})
}

// recovered makes an error of a panic, deferred.
func recovered(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("panic: %v", cause)
	}
}

func firstError[A any](validators []func(A) error, argument A) (err error) {
	defer recovered(&err)
	for _, validate := range validators {
		if err := validate(argument); err != nil {
			return err
		}
	}
	return nil
}

// ---- pure --------------------------------------------------------------------------------------------------------------------

// Now is the workflow's clock: when the last thing happened that it was told of.
func Now(run *Run) time.Time { return time.UnixMicro(run.fiber.Instant().Clock).UTC() }

// Random draws a number in [0, 1), the same in every replay.
func Random(run *Run) float64 { return run.fiber.Random() }

// UUID draws a UUID of version 4, the same in every replay.
func UUID(run *Run) string {
	u := run.fiber.UUID()
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Patched says whether this run began, or re-entered at a savepoint with state, with code that declares the patch. An old run
// so keeps its old path. It panics when the workflow does not declare the patch.
func Patched(run *Run, name string) bool { return run.fiber.Instant().Patched(name) }

// RunInfo is what a run knows of itself.
type RunInfo struct {
	RunID         string
	Workflow      string
	Version       string
	Namespace     string
	Attempt       int
	Parent        string    // id of the run that waits for it, or empty
	JournalLength int64     // events so far
	Deadline      time.Time // zero for none
	Chain         int       // journals before this one under the same id
}

// Info is what a run knows of itself.
func Info(run *Run) RunInfo {
	it := run.fiber.Instant()
	started := it.Started
	info := RunInfo{
		RunID: it.Run, Workflow: started.Workflow, Version: started.Version, Namespace: started.Namespace, Attempt: started.Attempt,
		Parent: started.Parent, JournalLength: it.Seq, Chain: started.Chain,
	}
	if started.Deadline != nil {
		info.Deadline = time.UnixMicro(*started.Deadline).UTC()
	}
	return info
}

// ---- outputs: they take effect once, in the commit of the event that led to them ---------------------------------------------

// SendSignal leaves a message for another run.
func SendSignal(run *Run, target, name string, value any) error {
	return say(run, "send_signal", target, name, value)
}

// Publish appends to a topic.
func Publish(run *Run, topic string, value any) error {
	if len(topic) > 0 && topic[0] == '~' {
		return &EffectError{Got: fmt.Sprintf("publish to %q", topic), Advice: "topics with a leading tilde are replay's own"}
	}
	return say(run, "publish", topic, "", value)
}

// SetState shows a value under a key of the run, for whoever asks.
func SetState(run *Run, key string, value any) error { return say(run, "set_state", key, "", value) }

// SetTags sets words to find the run by; an empty one takes a tag away.
func SetTags(run *Run, tags map[string]string) error { return say(run, "set_tags", "", "", tags) }

// Annotate notes something in the run's timeline.
func Annotate(run *Run, text string, fields map[string]any) error {
	if fields == nil {
		fields = map[string]any{}
	}
	return say(run, "annotate", "", text, fields)
}

// Log writes a line, once: to the worker's logger and to the run's timeline. Fields follow as keys and values, as in slog.
func Log(run *Run, level slog.Level, text string, fields ...any) {
	told := map[string]any{}
	record := slog.NewRecord(time.Time{}, level, text, 0)
	record.Add(fields...)
	record.Attrs(func(a slog.Attr) bool {
		told[a.Key] = a.Value.Resolve().Any()
		if _, err := codec.Marshal(told[a.Key]); err != nil {
			told[a.Key] = fmt.Sprint(told[a.Key])
		}
		return true
	})
	_ = say(run, "log", levelName(level), text, told)
}

func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warning"
	case level >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}

func say(run *Run, name, target, label string, value any) error {
	payload, err := model.Spell(name, target+label, value)
	if err != nil {
		return err
	}
	run.fiber.Say(name, target, label, payload)
	return nil
}

func micros(span time.Duration) int64 { return max(0, int64(math.RoundToEven(float64(span)/1e3))) }
