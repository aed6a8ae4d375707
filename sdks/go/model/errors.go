package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Cancelled is what the current wait of a cancelled fiber answers; clean up, then return it.
type Cancelled struct{ Reason string }

func (e *Cancelled) Error() string { return e.Reason }

// StepFailed says that a step gave up: its last attempt failed and its retry policy allows no other.
type StepFailed struct {
	Step      string // the step's name
	ErrorType string `json:"error_type"` // name of the error's type, as text
	Message   string // the error's message, cut to a bounded size
	Attempts  int    // how many attempts were made
	Traceback string // the last attempt's stack, for people; never compared
}

func (e *StepFailed) Error() string {
	times := "once"
	if e.Attempts != 1 {
		times = strconv.Itoa(e.Attempts) + " times"
	}
	return fmt.Sprintf("step %s failed %s: %s: %s", e.Step, times, e.ErrorType, e.Message)
}

// StepInterrupted says that an at-most-once step was begun and its end is unknown: it is not run again.
type StepInterrupted struct{ Step string }

func (e *StepInterrupted) Error() string {
	return "step " + e.Step + " was begun, then its worker died before the answer was recorded; as it is at_most_once it is " +
		"not run again: ask the outside world what happened, then go on or compensate"
}

// TimedOut says that a wait, a step or a branch took longer than it was allowed to.
type TimedOut struct {
	What    string  // what was waited for
	Seconds float64 // the time that was allowed
}

func (e *TimedOut) Error() string { return e.What + " did not end within " + Short(e.Seconds) + " s" }

// ChildFailed says that a child run ended without a result.
type ChildFailed struct {
	Run       string // the child's id
	Workflow  string // the child's workflow
	ErrorType string `json:"error_type"` // name of the error's type
	Message   string // its message
	Status    string // failed, cancelled or terminated
}

func (e *ChildFailed) Error() string {
	return fmt.Sprintf("child %s (%s) %s: %s: %s", e.Run, e.Workflow, e.Status, e.ErrorType, e.Message)
}

// DefinitionError says that a workflow or step is declared in a way that cannot work.
type DefinitionError struct{ What, Problem, Advice string }

func (e *DefinitionError) Error() string { return e.What + ": " + e.Problem + "; " + e.Advice }

// EffectError says that a workflow asked for something where it may not.
type EffectError struct{ Got, Advice string }

func (e *EffectError) Error() string { return e.Got + "; " + e.Advice }

// PayloadError says that a value cannot be encoded, or does not fit its type.
type PayloadError struct {
	Where    string // which argument, result, signal or field
	Expected string // the type, as text
	Got      string // what came, as text
	Path     string // place inside the value
}

func (e *PayloadError) Error() string {
	place := ""
	if e.Path != "" && e.Path != "$" {
		place = " at " + e.Path
	}
	return fmt.Sprintf("%s%s: expected %s, got %s", e.Where, place, e.Expected, e.Got)
}

// PayloadTooLarge says that an encoded value is larger than a journal may hold.
type PayloadTooLarge struct {
	Where       string
	Size, Limit int // in bytes
}

func (e *PayloadTooLarge) Error() string {
	const text = "%s: %d bytes encoded, %d are allowed; store the data elsewhere and pass a reference, or raise MaxPayload"
	return fmt.Sprintf(text, e.Where, e.Size, e.Limit)
}

// NonDeterminismError says that the code, driven over its journal, asks for something else than when the journal was written.
//
// The run stays where it is and loses nothing: deploy code that fits, guard the change with Patched, or fork the run.
type NonDeterminismError struct {
	Run          string   // the run's id
	Seq          int64    // number of the event that does not fit
	Recorded     string   // the recorded event
	Asked        string   // what today's code asks for instead
	RecordedLine string   // file:line when the event was recorded, or empty
	AskedLine    string   // file:line of today's call, or empty
	Before       []string // the last events before it, oldest first
}

func (e *NonDeterminismError) Error() string {
	at := func(line string) string {
		if line == "" {
			return ""
		}
		return "   (" + line + ")"
	}
	lines := []string{
		fmt.Sprintf("run %s does not fit its journal at event #%d", e.Run, e.Seq),
		"  recorded:  " + e.Recorded + at(e.RecordedLine),
		"  now asks:  " + e.Asked + at(e.AskedLine),
	}
	for _, event := range e.Before {
		lines = append(lines, "  before it: "+event)
	}
	lines = append(lines, "  what to do: restore the old order of effects, guard the new code with `if replay.Patched(run, name)`, "+
		"or fork the run before this event")
	return strings.Join(lines, "\n")
}

// PanicError is what a panic of a workflow or step becomes.
type PanicError struct {
	Value string // what was panicked with
	Stack string // the goroutine's stack
}

func (e *PanicError) Error() string { return e.Value }

// JournalDamaged says that a journal cannot be trusted: a gap, an unknown kind, a newer format.
type JournalDamaged struct {
	Run     string
	Seq     int64
	Problem string
}

func (e *JournalDamaged) Error() string {
	const text = "journal of %s is damaged at event #%d: %s; it is not replayed: restore it from a backup, or fork the run before this event"
	return fmt.Sprintf(text, e.Run, e.Seq, e.Problem)
}

// LeaseLost says that another worker holds a run: the turn is dropped, nothing is kept.
type LeaseLost struct {
	Run   string
	Fence int64
}

func (e *LeaseLost) Error() string {
	return fmt.Sprintf("the lease on %s with fence %d has moved on", e.Run, e.Fence)
}

// StoreUnavailable says that a server cannot be reached; the outcome of the call is unknown, and asking again is always right.
type StoreUnavailable struct{ Store, Reason, Advice string }

func (e *StoreUnavailable) Error() string {
	return "store " + e.Store + ": " + e.Reason + "; " + e.Advice
}

// StoreRefused says that a server was reached and does not do this: a missing right, a message too large, another protocol.
type StoreRefused struct{ Store, Reason, Advice string }

func (e *StoreRefused) Error() string {
	return "store " + e.Store + " refused: " + e.Reason + "; " + e.Advice
}

// UnknownRun says that there is no run of that id in that namespace.
type UnknownRun struct{ Run, Namespace string }

func (e *UnknownRun) Error() string {
	return fmt.Sprintf("no run '%s' in namespace '%s'; `replay list` shows what there is", e.Run, e.Namespace)
}

// UnknownName says that a workflow, savepoint, update or event of that name is not known.
type UnknownName struct {
	What, Name string
	Known      []string
}

func (e *UnknownName) Error() string {
	return fmt.Sprintf("no %s '%s'; known: %s", e.What, e.Name, Listed(e.Known))
}

// RunExists says that the id is taken by a run of another workflow or with other input.
type RunExists struct{ Run, Existing, Asked string }

func (e *RunExists) Error() string {
	const text = "run '%s' exists as %s, asked was %s: starting is idempotent only for the same workflow and input; choose another id"
	return fmt.Sprintf(text, e.Run, e.Existing, e.Asked)
}

// RunClosed says that the run has ended and takes no more messages.
type RunClosed struct{ Run, Status string }

func (e *RunClosed) Error() string {
	return "run '" + e.Run + "' is " + e.Status + " and takes no more messages"
}

// RunFailed says that a run has no result: it failed, was cancelled or terminated, or is stuck.
type RunFailed struct {
	Run       string
	Status    string
	ErrorType string `json:"error_type"`
	Message   string
	Traceback string
}

func (e *RunFailed) Error() string {
	return fmt.Sprintf("run %s %s: %s: %s", e.Run, e.Status, e.ErrorType, e.Message)
}

// UpdateRefused says that the workflow's validator refused an update, or nothing handles it.
type UpdateRefused struct{ Run, Update, Reason string }

func (e *UpdateRefused) Error() string {
	return "run " + e.Run + " refused update '" + e.Update + "': " + e.Reason
}

// InvalidRequest says that an argument of a client's call does not fit.
type InvalidRequest struct{ What, Problem, Advice string }

func (e *InvalidRequest) Error() string {
	return strings.TrimSuffix(e.What+": "+e.Problem+"; "+e.Advice, "; ")
}

// WaitTimedOut says that the caller's patience ended before the run did; the run goes on.
type WaitTimedOut struct {
	Run     string
	Seconds float64
	Status  string
}

func (e *WaitTimedOut) Error() string {
	return fmt.Sprintf("run %s is still %s after %s s; it goes on, ask again later", e.Run, e.Status, Short(e.Seconds))
}

// named are the errors that mean the same in every language and on the wire; the name of each is that of its type.
var named = func() map[string]reflect.Type {
	types := map[string]reflect.Type{}
	for _, err := range []error{
		&Cancelled{}, &StepFailed{}, &StepInterrupted{}, &TimedOut{}, &ChildFailed{}, &DefinitionError{}, &EffectError{}, &PayloadError{},
		&PayloadTooLarge{}, &NonDeterminismError{}, &JournalDamaged{}, &LeaseLost{}, &StoreUnavailable{}, &StoreRefused{}, &UnknownRun{},
		&UnknownName{}, &RunExists{}, &RunClosed{}, &RunFailed{}, &UpdateRefused{}, &InvalidRequest{}, &WaitTimedOut{},
	} {
		kind := reflect.TypeOf(err).Elem()
		types[kind.Name()] = kind
	}
	return types
}()

// Named is the first of these that an error is or wraps, and its name; nil for none.
func Named(err error) (error, string) {
	if kind := reflect.TypeOf(err); kind != nil && kind.Kind() == reflect.Pointer && named[kind.Elem().Name()] == kind.Elem() {
		return err, kind.Elem().Name()
	}
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		return Named(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			if found, name := Named(inner); found != nil {
				return found, name
			}
		}
	}
	return nil, ""
}

// Revive makes one of these from its name and its facts as JSON; nil when there is none of that name, or they do not fit.
func Revive(name string, facts []byte) error {
	kind := named[name]
	if kind == nil {
		return nil
	}
	made := reflect.New(kind).Interface()
	if json.Unmarshal(facts, made) != nil {
		return nil
	}
	return made.(error)
}

// IsCancelled says whether an error is, or wraps, a cancellation.
func IsCancelled(err error) bool { return errors.As(err, new(*Cancelled)) }

// Short spells a number as C's %g does: six digits at most.
func Short(number float64) string { return strconv.FormatFloat(number, 'g', 6, 64) }

// Listed names what there is.
func Listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
