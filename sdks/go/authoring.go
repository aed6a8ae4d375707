package replay

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"example.org/replay/internal/codec"
	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

// Run is what a workflow asks the world through. Each branch of a Gather, Race, Spawn, … is given a Run of its own.
type Run struct{ fiber *interpreter.Fiber }

// Args marks a struct as a list of arguments: embedded as the first field, it makes every other field an argument of its own,
// in order, as other languages write them. Without it, a value is the only argument.
//
//	type ChargeArgs struct {
//		replay.Args
//		Card  string
//		Cents int
//	}
type Args = codec.Positional

// None is the input of what takes no argument, and the result of what has none.
type None = struct{}

// Offer is what a worker can be given: a Step or a Workflow.
type Offer interface {
	Name() string
	Definition() *interpreter.Workflow
}

// Step is a function whose result is journaled; NewStep makes one.
type Step[I, O any] struct{ core *interpreter.Step }

// NewStep declares a step. Its name is its identity in every journal and in every language: it must not change. It panics when
// the options contradict each other, as regexp.MustCompile does: steps are declared once, where programs begin.
func NewStep[I, O any](name string, do func(ctx context.Context, in I) (O, error), options ...StepOptions) *Step[I, O] {
	core := &interpreter.Step{Name: name}
	for _, given := range options {
		core.Options = core.Options.Over(given)
	}
	core.Declared = core.Options
	must(requireName("step", name), core.Options.Check("step "+name))
	core.Do = func(ctx context.Context, arguments []byte) ([]byte, error) {
		in, err := model.ReadArguments[I]("arguments of step", name, arguments)
		if err != nil {
			return nil, err
		}
		out, err := do(ctx, in)
		return spellResult("result of step", name, out, err)
	}
	return &Step[I, O]{core}
}

// spellResult is what a function came to, as journals have it.
func spellResult[O any](what, name string, out O, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return model.Spell(what, name, out)
}

// With is the same step done otherwise, for some calls; what is left out stays as the step declares it.
func (s *Step[I, O]) With(options StepOptions) *Step[I, O] {
	changed := *s.core
	changed.Options = changed.Options.Over(options)
	must(changed.Options.Check("step " + changed.Name))
	return &Step[I, O]{&changed}
}

// Name is the step's name.
func (s *Step[I, O]) Name() string { return s.core.Name }

// Definition is for packages worker and replaytest.
func (s *Step[I, O]) Definition() *interpreter.Workflow { return interpreter.StepWorkflow(s.core) }

// StepInfo is what a step knows of itself: send IdempotencyKey to whatever must not do a thing twice. Hurry is closed when the
// step was cancelled and its end is awaited (StepOptions.WaitOnCancel); else cancelling ends its context.
type StepInfo = model.StepInfo

// InfoOf is what a step knows of itself; the zero value outside of one.
func InfoOf(ctx context.Context) StepInfo { return model.AttemptOf(ctx).StepInfo }

// Heartbeat tells that a step is alive and, with a progress, how far it has come: anything that is spelt as JSON, 64 KB at most. It is
// cheap enough for every turn of a loop. What was told last is saved about once a second, and with a failed attempt; after a crash it
// may be a second old, so tell only what has been done. The error says why nobody wants the answer any more: return it.
func Heartbeat(ctx context.Context, progress ...any) error {
	return model.AttemptOf(ctx).Heartbeat(ctx, progress...)
}

// Progress is what the last heartbeat told, in this attempt or the one before, on whichever worker; false when none did.
func Progress[T any](ctx context.Context) (progress T, ok bool, err error) {
	attempt := model.AttemptOf(ctx)
	told := attempt.Progress()
	if told == nil {
		return progress, false, nil
	}
	progress, err = model.Read[T]("progress of step", attempt.Step, told)
	return progress, err == nil, err
}

// Workflow is a workflow function with its name; NewWorkflow and NewResumable make one.
type Workflow[I, O any] struct{ core *interpreter.Workflow }

// WorkflowOptions says how a workflow is declared.
type WorkflowOptions struct {
	Version string     // a run goes on with the version that it began with, when a worker has it, else with the one that has none
	Patches []string   // changes that this code knows of; see Patched
	Retry   Retry      // begins a failed run again, under the same id
	Options RunOptions // how it is started by default
}

// NewWorkflow declares a workflow. Its name is its identity in every journal and in every language.
func NewWorkflow[I, O any](name string, do func(run *Run, in I) (O, error), options ...WorkflowOptions) *Workflow[I, O] {
	noState := func(any) error {
		return &EffectError{Got: "a savepoint with state in workflow " + name, Advice: "declare it with NewResumable, which takes the state back"}
	}
	return newWorkflow(name, noState, func(run *Run, in I, _ []byte) (O, error) { return do(run, in) }, options)
}

// NewResumable declares a workflow that recovers from savepoints with state: when it begins at one, state points at what was
// saved there, else it is nil.
func NewResumable[I, O, S any](name string, do func(run *Run, in I, state *S) (O, error), options ...WorkflowOptions) *Workflow[I, O] {
	takes := func(state any) error {
		if got := reflect.TypeOf(state); got != reflect.TypeFor[S]() {
			return &PayloadError{Where: "state of a savepoint of workflow " + name, Expected: reflect.TypeFor[S]().String(), Got: fmt.Sprint(got)}
		}
		return nil
	}
	return newWorkflow(name, takes, func(run *Run, in I, saved []byte) (O, error) {
		if saved == nil {
			return do(run, in, nil)
		}
		state, err := model.Read[S]("state of workflow", name, saved)
		if err != nil {
			return *new(O), err
		}
		return do(run, in, &state)
	}, options)
}

func newWorkflow[I, O any](name string, takes func(any) error, do func(*Run, I, []byte) (O, error), options []WorkflowOptions) *Workflow[I, O] {
	must(requireName("workflow", name))
	core := &interpreter.Workflow{Name: name, TakesState: takes, Patches: []string{}}
	for _, given := range options {
		core.Version, core.Retry, core.Options = given.Version, given.Retry, given.Options
		core.Patches = append(core.Patches, given.Patches...)
	}
	slices.Sort(core.Patches)
	core.Begin = func(input, state []byte) (interpreter.Body, error) {
		in, err := model.ReadArguments[I]("arguments of workflow", name, input)
		if err != nil {
			return nil, err
		}
		return func(f *interpreter.Fiber) ([]byte, error) {
			out, err := do(&Run{f}, in, state)
			return spellResult("result of workflow", name, out, err)
		}, nil
	}
	return &Workflow[I, O]{core}
}

// With is the same workflow started otherwise; what is left out stays as it is.
func (w *Workflow[I, O]) With(options RunOptions) *Workflow[I, O] {
	changed := *w.core
	changed.Options = changed.Options.Over(options)
	return &Workflow[I, O]{&changed}
}

// Name is the workflow's name.
func (w *Workflow[I, O]) Name() string { return w.core.Name }

// Definition is for packages client, worker and replaytest.
func (w *Workflow[I, O]) Definition() *interpreter.Workflow { return w.core }

// Raises names a type of errors that a step's failure comes back as, so that errors.As finds it in the workflow. The name is
// what journals call it; without one it is the type's own.
//
//	replay.StepOptions{Raises: []replay.Raise{replay.Raises[*PaymentDeclined]()}}
func Raises[E error](name ...string) Raise {
	kind := reflect.TypeFor[E]()
	made := Raise{Name: model.TypeName(kind)}
	if len(name) > 0 {
		made.Name = name[0]
	}
	made.Match = func(err error) ([]byte, bool) {
		found, ok := errors.AsType[E](err)
		if !ok {
			return nil, false
		}
		v := reflect.ValueOf(found)
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		arguments, failed := codec.ArgumentsOf(v)
		return arguments, failed == nil
	}
	made.Revive = func(arguments []byte) (error, bool) {
		v := reflect.New(kind)
		target := v
		if kind.Kind() == reflect.Pointer {
			v.Elem().Set(reflect.New(kind.Elem()))
			target = v.Elem()
		}
		if codec.ReadArguments(arguments, target.Interface()) != nil {
			return nil, false
		}
		return v.Elem().Interface().(error), true
	}
	return made
}

func requireName(what, name string) error {
	if name == "" {
		return &DefinitionError{What: what, Problem: "it has no name", Advice: "give it one that never changes"}
	}
	return nil
}

func must(problems ...error) {
	for _, problem := range problems {
		if problem != nil {
			panic(problem)
		}
	}
}

// accept reads an answer where its type is known; one that does not fit leaves no trace.
func accept[T any](what, name string, into *T) func([]byte) error {
	return func(payload []byte) error {
		read, err := model.Read[T](what, name, payload)
		if err == nil {
			*into = read
		}
		return err
	}
}
