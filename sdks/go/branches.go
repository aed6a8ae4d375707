package replay

import (
	"time"

	"example.org/replay/internal/interpreter"
)

// Branch is what runs side by side with others: a function over a Run of its own.
type Branch[T any] func(run *Run) (T, error)

// Calling is the branch of one step.
func Calling[I, O any](step *Step[I, O], in I) Branch[O] {
	return func(run *Run) (O, error) { return Call(run, step, in) }
}

func body[T any](branch Branch[T], into *T) interpreter.Body {
	return func(f *interpreter.Fiber) ([]byte, error) {
		value, err := branch(&Run{f})
		if err == nil {
			*into = value
		}
		return nil, err
	}
}

func bodies[T any](branches []Branch[T]) ([]interpreter.Body, []T) {
	values := make([]T, len(branches))
	made := make([]interpreter.Body, len(branches))
	for i, branch := range branches {
		made[i] = body(branch, &values[i])
	}
	return made, values
}

// Gather runs branches side by side and gives their results in the order of the branches. The first failure cancels the other
// branches, waits until they have cleaned up, and is returned.
func Gather[T any](run *Run, branches ...Branch[T]) ([]T, error) {
	made, values := bodies(branches)
	if err := run.fiber.Gather(made, GatherOptions{}); err != nil {
		return nil, err
	}
	return values, nil
}

// Gather2 runs two branches of different types side by side.
func Gather2[A, B any](run *Run, first Branch[A], second Branch[B]) (a A, b B, err error) {
	err = run.fiber.Gather([]interpreter.Body{body(first, &a), body(second, &b)}, GatherOptions{})
	return a, b, err
}

// Result is what became of one branch.
type Result[T any] struct {
	Value T
	Err   error // of a branch that failed
	OK    bool  // whether there is a value
}

// GatherWith is Gather with options, and with what became of each branch.
func GatherWith[T any](run *Run, options GatherOptions, branches ...Branch[T]) ([]Result[T], error) {
	results := make([]Result[T], len(branches))
	made := make([]interpreter.Body, len(branches))
	for i, branch := range branches {
		made[i] = func(f *interpreter.Fiber) ([]byte, error) {
			value, err := branch(&Run{f})
			results[i] = Result[T]{value, err, err == nil}
			return nil, err
		}
	}
	err := run.fiber.Gather(made, options)
	return results, err
}

// Race runs branches side by side and answers with the one that ends well first; the others are cancelled.
func Race[T any](run *Run, branches ...Branch[T]) (winner int, value T, err error) {
	made, values := bodies(branches)
	if winner, err = run.fiber.Race(made); err != nil {
		return 0, value, err
	}
	return winner, values[winner], nil
}

// Timeout runs a branch that must end in time, else it is cancelled and TimedOut is returned.
func Timeout[T any](run *Run, span time.Duration, branch Branch[T]) (T, error) {
	var value T
	err := run.fiber.Timeout(body(branch, &value), micros(span))
	return value, err
}

// Shield runs a branch that cancellation does not enter; it is held back until the branch has ended.
func Shield[T any](run *Run, branch Branch[T]) (T, error) {
	var value T
	err := run.fiber.Shield(body(branch, &value))
	return value, err
}

// Spawned is a branch that runs on beside its maker.
type Spawned[T any] struct {
	fiber *interpreter.Fiber
	value *T
}

// Spawn runs a branch beside this one. It is cancelled when the run ends before it.
func Spawn[T any](run *Run, branch Branch[T]) *Spawned[T] {
	spawned := &Spawned[T]{value: new(T)}
	spawned.fiber = run.fiber.Spawn(body(branch, spawned.value))
	return spawned
}

// Join waits for a spawned branch, or for a child that was started, and gives its result.
func Join[T any](run *Run, spawned *Spawned[T]) (T, error) {
	if err := run.fiber.Join(spawned.fiber); err != nil {
		var none T
		return none, err
	}
	return *spawned.value, nil
}

// Cancel cancels a spawned branch: its current wait answers Cancelled with the reason, and it cleans up while its canceller
// goes on.
func Cancel[T any](run *Run, spawned *Spawned[T], reason string) {
	if reason == "" {
		reason = "cancelled"
	}
	run.fiber.Instant().Cancel(spawned.fiber, reason)
}
