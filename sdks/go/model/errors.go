package model

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Error is what every error of replay can say: its name, the same in every language and on the wire.
type Error interface {
	error
	ReplayError() string
}

// CancelledError is what the current wait of a cancelled fiber answers; clean up, then return it.
type CancelledError struct{ Reason string }

// StepFailedError says that a step gave up: its last attempt failed and its retry policy allows no other.
type StepFailedError struct {
	Step      string // the step's name
	ErrorType string `json:"error_type"` // name of the error's type, as text
	Message   string // the error's message, cut to a bounded size
	Attempts  int    // how many attempts were made
	Traceback string // the last attempt's stack, for people; never compared
}

// StepInterruptedError says that an at-most-once step was begun and its end is unknown: it is not run again.
type StepInterruptedError struct{ Step string }

// TimedOutError says that a wait, a step or a branch took longer than it was allowed to.
type TimedOutError struct {
	What    string  // what was waited for
	Seconds float64 // the time that was allowed
}

// ChildFailedError says that a child run ended without a result.
type ChildFailedError struct {
	Run       string // the child's id
	Workflow  string // the child's workflow
	ErrorType string `json:"error_type"` // name of the error's type
	Message   string // its message
	Status    string // failed, cancelled or terminated
}

// DefinitionError says that a workflow or step is declared in a way that cannot work.
type DefinitionError struct{ What, Problem, Advice string }

// EffectError says that a workflow asked for something where it may not.
type EffectError struct{ Got, Advice string }

// PayloadError says that a value cannot be encoded, or does not fit its type.
type PayloadError struct {
	Where    string // which argument, result, signal or field
	Expected string // the type, as text
	Got      string // what came, as text
	Path     string // place inside the value
}

// PayloadTooLargeError says that an encoded value is larger than a journal may hold.
type PayloadTooLargeError struct {
	Where string
	Size  int
	Limit int
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

// PanicError is what a panic of a workflow or step becomes.
type PanicError struct {
	Value string // what was panicked with
	Stack string // the goroutine's stack
}

// JournalDamagedError says that a journal cannot be trusted: a gap, an unknown kind, a newer format.
type JournalDamagedError struct {
	Run     string
	Seq     int64
	Problem string
}

// LeaseLostError says that another worker holds a run: the turn is dropped, nothing is kept.
type LeaseLostError struct {
	Run   string
	Fence int64
}

// UnavailableError says that a server cannot be reached; the outcome of the call is unknown, and asking again is always right.
type UnavailableError struct{ Store, Reason, Advice string }

// RefusedError says that a server was reached and does not do this: a missing right, a message too large, another protocol.
type RefusedError struct{ Store, Reason, Advice string }

// UnknownRunError says that there is no run of that id in that namespace.
type UnknownRunError struct{ Run, Namespace string }

// UnknownNameError says that a workflow, savepoint, update or event of that name is not known.
type UnknownNameError struct {
	What, Name string
	Known      []string
}

// RunExistsError says that the id is taken by a run of another workflow or with other input.
type RunExistsError struct{ Run, Existing, Asked string }

// RunClosedError says that the run has ended and takes no more messages.
type RunClosedError struct{ Run, Status string }

// RunFailedError says that a run has no result: it failed, was cancelled or terminated, or is stuck.
type RunFailedError struct {
	Run       string
	Status    string
	ErrorType string `json:"error_type"`
	Message   string
	Traceback string
}

// UpdateRefusedError says that the workflow's validator refused an update, or nothing handles it.
type UpdateRefusedError struct{ Run, Update, Reason string }

// InvalidRequestError says that an argument of a client's call does not fit.
type InvalidRequestError struct{ What, Problem, Advice string }

// WaitTimedOutError says that the caller's patience ended before the run did; the run goes on.
type WaitTimedOutError struct {
	Run     string
	Seconds float64
	Status  string
}

func (e *CancelledError) Error() string { return e.Reason }
func (e *StepFailedError) Error() string {
	times := "once"
	if e.Attempts != 1 {
		times = strconv.Itoa(e.Attempts) + " times"
	}
	return fmt.Sprintf("step %s failed %s: %s: %s", e.Step, times, e.ErrorType, e.Message)
}
func (e *StepInterruptedError) Error() string {
	return fmt.Sprintf("step %s was begun, then its worker died before the answer was recorded; as it is at_most_once it is "+
		"not run again: ask the outside world what happened, then go on or compensate", e.Step)
}
func (e *TimedOutError) Error() string {
	return fmt.Sprintf("%s did not end within %s s", e.What, Short(e.Seconds))
}
func (e *ChildFailedError) Error() string {
	return fmt.Sprintf("child %s (%s) %s: %s: %s", e.Run, e.Workflow, e.Status, e.ErrorType, e.Message)
}
func (e *DefinitionError) Error() string { return e.What + ": " + e.Problem + "; " + e.Advice }
func (e *EffectError) Error() string     { return e.Got + "; " + e.Advice }
func (e *PayloadError) Error() string {
	place := ""
	if e.Path != "" && e.Path != "$" {
		place = " at " + e.Path
	}
	return fmt.Sprintf("%s%s: expected %s, got %s", e.Where, place, e.Expected, e.Got)
}
func (e *PayloadTooLargeError) Error() string {
	return fmt.Sprintf("%s: %d bytes encoded, %d are allowed; store the data elsewhere and pass a reference, or raise MaxPayload",
		e.Where, e.Size, e.Limit)
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
func (e *PanicError) Error() string { return e.Value }
func (e *JournalDamagedError) Error() string {
	return fmt.Sprintf("journal of %s is damaged at event #%d: %s; it is not replayed: restore it from a backup, or fork the run "+
		"before this event", e.Run, e.Seq, e.Problem)
}
func (e *LeaseLostError) Error() string {
	return fmt.Sprintf("the lease on %s with fence %d has moved on", e.Run, e.Fence)
}
func (e *UnavailableError) Error() string {
	return "store " + e.Store + ": " + e.Reason + "; " + e.Advice
}
func (e *RefusedError) Error() string {
	return "store " + e.Store + " refused: " + e.Reason + "; " + e.Advice
}
func (e *UnknownRunError) Error() string {
	return fmt.Sprintf("no run '%s' in namespace '%s'; `replay list` shows what there is", e.Run, e.Namespace)
}
func (e *UnknownNameError) Error() string {
	known := strings.Join(e.Known, ", ")
	if known == "" {
		known = "none"
	}
	return fmt.Sprintf("no %s '%s'; known: %s", e.What, e.Name, known)
}
func (e *RunExistsError) Error() string {
	return fmt.Sprintf("run '%s' exists as %s, asked was %s: starting is idempotent only for the same workflow and input; choose "+
		"another id", e.Run, e.Existing, e.Asked)
}
func (e *RunClosedError) Error() string {
	return fmt.Sprintf("run '%s' is %s and takes no more messages", e.Run, e.Status)
}
func (e *RunFailedError) Error() string {
	return fmt.Sprintf("run %s %s: %s: %s", e.Run, e.Status, e.ErrorType, e.Message)
}
func (e *UpdateRefusedError) Error() string {
	return fmt.Sprintf("run %s refused update '%s': %s", e.Run, e.Update, e.Reason)
}
func (e *InvalidRequestError) Error() string {
	return strings.TrimSuffix(e.What+": "+e.Problem+"; "+e.Advice, "; ")
}
func (e *WaitTimedOutError) Error() string {
	return fmt.Sprintf("run %s is still %s after %s s; it goes on, ask again later", e.Run, e.Status, Short(e.Seconds))
}

// ReplayError is the error's name in every language.
func (e *CancelledError) ReplayError() string       { return "Cancelled" }
func (e *StepFailedError) ReplayError() string      { return "StepFailed" }
func (e *StepInterruptedError) ReplayError() string { return "StepInterrupted" }
func (e *TimedOutError) ReplayError() string        { return "TimedOut" }
func (e *ChildFailedError) ReplayError() string     { return "ChildFailed" }
func (e *DefinitionError) ReplayError() string      { return "DefinitionError" }
func (e *EffectError) ReplayError() string          { return "EffectError" }
func (e *PayloadError) ReplayError() string         { return "PayloadError" }
func (e *PayloadTooLargeError) ReplayError() string { return "PayloadTooLarge" }
func (e *NonDeterminismError) ReplayError() string  { return "NonDeterminismError" }
func (e *JournalDamagedError) ReplayError() string  { return "JournalDamaged" }
func (e *LeaseLostError) ReplayError() string       { return "LeaseLost" }
func (e *UnavailableError) ReplayError() string     { return "StoreUnavailable" }
func (e *RefusedError) ReplayError() string         { return "StoreRefused" }
func (e *UnknownRunError) ReplayError() string      { return "UnknownRun" }
func (e *UnknownNameError) ReplayError() string     { return "UnknownName" }
func (e *RunExistsError) ReplayError() string       { return "RunExists" }
func (e *RunClosedError) ReplayError() string       { return "RunClosed" }
func (e *RunFailedError) ReplayError() string       { return "RunFailed" }
func (e *UpdateRefusedError) ReplayError() string   { return "UpdateRefused" }
func (e *InvalidRequestError) ReplayError() string  { return "InvalidRequest" }
func (e *WaitTimedOutError) ReplayError() string    { return "WaitTimedOut" }

// Blank makes an empty error of a name that came over the wire, to be filled from its facts; nil when it is none of ours.
func Blank(name string) Error {
	for _, made := range []Error{
		&CancelledError{}, &StepFailedError{}, &StepInterruptedError{}, &TimedOutError{}, &ChildFailedError{}, &DefinitionError{},
		&EffectError{}, &PayloadError{}, &PayloadTooLargeError{}, &JournalDamagedError{}, &LeaseLostError{}, &UnavailableError{},
		&RefusedError{}, &UnknownRunError{}, &UnknownNameError{}, &RunExistsError{}, &RunClosedError{}, &RunFailedError{},
		&UpdateRefusedError{}, &InvalidRequestError{}, &WaitTimedOutError{},
	} {
		if made.ReplayError() == name {
			return made
		}
	}
	return nil
}

// IsCancelled says whether an error is, or wraps, a cancellation.
func IsCancelled(err error) bool {
	var cancelled *CancelledError
	return errors.As(err, &cancelled)
}

// Short spells a number as C's %g does: six digits at most.
func Short(number float64) string { return strconv.FormatFloat(number, 'g', 6, 64) }
