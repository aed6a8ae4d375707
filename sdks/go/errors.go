package replay

import (
	"errors"

	"example.org/replay/model"
)

// Errors that a workflow can meet; errors.As tells them apart. Their fields are documented in package model.
type (
	// Cancelled answers the current wait of a branch that is cancelled: clean up, then return it.
	Cancelled = model.Cancelled
	// StepFailed says that a step gave up.
	StepFailed = model.StepFailed
	// StepInterrupted says that an at-most-once step was begun and its end is unknown.
	StepInterrupted = model.StepInterrupted
	// TimedOut says that a wait, a step or a branch took too long.
	TimedOut = model.TimedOut
	// ChildFailed says that a child run ended without a result.
	ChildFailed = model.ChildFailed
	// DefinitionError says that a workflow or step is declared in a way that cannot work.
	DefinitionError = model.DefinitionError
	// EffectError says that a workflow asked for something where it may not.
	EffectError = model.EffectError
	// PayloadError says that a value cannot be encoded, or does not fit its type.
	PayloadError = model.PayloadError
	// PayloadTooLarge says that an encoded value is larger than a journal may hold.
	PayloadTooLarge = model.PayloadTooLarge
	// NonDeterminism says that the code does not fit the journal.
	NonDeterminism = model.NonDeterminismError
)

// How steps are done and runs are started; their fields are documented in package model.
type (
	// Retry says how often and how patiently a step or a run is tried again.
	Retry = model.Retry
	// StepOptions says how a step is done.
	StepOptions = model.StepOptions
	// RunOptions says how a run is started.
	RunOptions = model.RunOptions
	// ParentClose says what becomes of a child when its parent ends.
	ParentClose = model.ParentClose
	// Raise is a type of errors that a step's failure comes back as; Raises makes one.
	Raise = model.Raise
)

// What becomes of a child when its parent ends: RunOptions.OnParentClose.
const (
	CancelChild  = model.CancelChild
	AbandonChild = model.AbandonChild
	WaitForChild = model.WaitForChild
)

// IsCancelled says whether an error is, or wraps, a cancellation.
func IsCancelled(err error) bool { return model.IsCancelled(err) }

// Permanent wraps an error of a step that no further attempt would mend: its retry policy is not asked.
func Permanent(err error) error { return &permanent{err} }

type permanent struct{ err error }

func (p *permanent) Error() string   { return p.err.Error() }
func (p *permanent) Unwrap() error   { return p.err }
func (p *permanent) Permanent() bool { return true }

func as[E error](err error) (E, bool) {
	var found E
	ok := errors.As(err, &found)
	return found, ok
}
