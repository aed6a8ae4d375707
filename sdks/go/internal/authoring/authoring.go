// Package authoring is what the generic declarations of package replay come to: steps and workflows as engines see them.
package authoring

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"example.org/replay/internal/codec"
	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

// StepRun is what the workflow name of a run of kind step begins with.
const StepRun = "step:"

// Step is a function whose result is journaled.
type Step struct {
	Name     string
	Options  model.StepOptions
	Declared model.StepOptions // Options, before any call changed them
	Do       func(ctx context.Context, arguments []byte) ([]byte, error)
}

// Workflow is a workflow and how it is started by default.
type Workflow struct {
	interpreter.Spec
	Options model.RunOptions
}

// Info is what a step sees of itself.
type Info struct {
	RunID          string
	Workflow       string
	Step           string
	Command        string
	Attempt        int
	IdempotencyKey string // the same in every attempt and after every crash
	Hurry          <-chan struct{}
}

type infoKey struct{}

// WithInfo hands a step's info to its context.
func WithInfo(ctx context.Context, info Info) context.Context {
	return context.WithValue(ctx, infoKey{}, info)
}

// InfoOf is the info in a context.
func InfoOf(ctx context.Context) (Info, bool) {
	info, ok := ctx.Value(infoKey{}).(Info)
	return info, ok
}

// Positional marks a struct whose fields are the arguments, one by one.
type Positional struct{}

var positional = reflect.TypeFor[Positional]()

// Fail makes the error of a failed step.
func (s *Step) Fail(raises []model.Raise) func([]byte) error {
	return func(payload []byte) error {
		failure := model.DecodeFailure(payload)
		for _, raise := range raises {
			if raise.Name == failure.Type && failure.Args != nil {
				arguments, _ := codec.Marshal(failure.Args)
				if err, ok := raise.Revive(arguments); ok {
					return err
				}
			}
		}
		switch failure.Type {
		case "replay.errors.TimedOut":
			late := &model.TimedOut{}
			if failure.Arg(0, &late.What) && failure.Arg(1, &late.Seconds) {
				return late
			}
		case "replay.errors.StepInterrupted":
			return &model.StepInterrupted{Step: s.Name}
		}
		return &model.StepFailed{
			Step: s.Name, ErrorType: failure.Type, Message: failure.Message, Attempts: failure.Attempts, Traceback: failure.Traceback,
		}
	}
}

// Fail makes the error of a failed child.
func (w *Workflow) Fail(payload []byte) error {
	failure := model.DecodeFailure(payload)
	made := &model.ChildFailed{Workflow: w.Name, ErrorType: failure.Type, Message: failure.Message, Status: "failed"}
	failure.Arg(0, &made.Run)
	failure.Arg(1, &made.Status)
	return made
}

// StepWorkflow is the workflow of one step that was sent here: results pass through as the step spells them.
func StepWorkflow(step *Step) *Workflow {
	made := &Workflow{}
	made.Name = StepRun + step.Name
	made.Patches = []string{}
	made.TakesState = func(any) error {
		return &model.EffectError{Got: "a step has no savepoints", Advice: "take them in a workflow"}
	}
	made.Begin = func(input, _ []byte) (func(*interpreter.Fiber) ([]byte, error), error) {
		return func(f *interpreter.Fiber) ([]byte, error) {
			var result []byte
			options := step.Options.Under(f.Interpreter().Started.Step)
			options.Queue = ""
			command := &interpreter.Command{Kind: interpreter.Step, Name: step.Name, Arguments: input, Step: &interpreter.StepCall{Options: options, Do: step}}
			err := f.Ask(command, func(payload []byte) error { result = payload; return nil }, step.Fail(nil))
			return result, err
		}, nil
	}
	return made
}

// ---- arguments -------------------------------------------------------------------------------------------------------------

// Arguments spells a value as the JSON array of arguments: its fields when it is marked as positional, nothing when it is an
// empty struct, else itself as the only one.
func Arguments[I any](value I) ([]byte, error) { return ArgumentsOf(reflect.ValueOf(&value).Elem()) }

// ArgumentsOf is Arguments where the type is known at run time only.
func ArgumentsOf(v reflect.Value) ([]byte, error) {
	places, isList := placesOf(v.Type())
	if !isList {
		spelt, err := codec.Marshal(v.Interface())
		return append(append([]byte{'['}, spelt...), ']'), err
	}
	parts := make([][]byte, 0, len(places))
	given := 0
	for _, place := range places {
		spelt, err := codec.Marshal(v.Field(place.index).Interface())
		if err != nil {
			return nil, fmt.Errorf(".%s: %w", place.name, err)
		}
		parts = append(parts, spelt)
		if !place.omit || !v.Field(place.index).IsZero() {
			given = len(parts)
		}
	}
	return append(append([]byte{'['}, bytes.Join(parts[:given], []byte{','})...), ']'), nil
}

// ReadArguments is the way back. Arguments that were left out at the end stay as they are.
func ReadArguments(payload []byte, into any) error {
	var list []json.RawMessage
	named := struct {
		Args   []json.RawMessage
		Kwargs map[string]json.RawMessage
	}{}
	if err := json.Unmarshal(payload, &list); err != nil {
		if json.Unmarshal(payload, &named) != nil {
			return err
		}
		list = named.Args
	}
	v := reflect.ValueOf(into).Elem()
	places, isList := placesOf(v.Type())
	targets := []any{into}
	if isList {
		targets = targets[:0]
		for _, place := range places {
			targets = append(targets, v.Field(place.index).Addr().Interface())
		}
	}
	if len(list) > len(targets) {
		return fmt.Errorf("expected %d arguments at most, got %d", len(targets), len(list))
	}
	for i, raw := range list {
		if err := codec.Unmarshal(raw, targets[i]); err != nil {
			return fmt.Errorf("argument %d: %w", i, err)
		}
	}
	for name, raw := range named.Kwargs {
		at := slices.IndexFunc(places, func(p place) bool { return strings.EqualFold(p.name, name) })
		if at < 0 {
			return fmt.Errorf("expected no argument %q: pass it by position", name)
		}
		if err := codec.Unmarshal(raw, targets[at]); err != nil {
			return fmt.Errorf("argument %s: %w", name, err)
		}
	}
	return nil
}

type place struct {
	name  string
	index int
	omit  bool
}

// placesOf lists the fields that are arguments; false when the value itself is the only one.
func placesOf(kind reflect.Type) ([]place, bool) {
	if kind == nil || kind.Kind() != reflect.Struct {
		return nil, false
	}
	if kind.NumField() == 0 {
		return nil, true
	}
	if first := kind.Field(0); !first.Anonymous || first.Type != positional {
		return nil, false
	}
	var places []place
	for i := 1; i < kind.NumField(); i++ {
		f := kind.Field(i)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		places = append(places, place{name, i, strings.HasPrefix(options, "omit")})
	}
	return places, true
}
