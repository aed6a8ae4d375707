package replay

import "example.org/replay/model"

// Errors that a workflow can meet; errors.As tells them apart. Their fields are documented in package model.
type (
	Cancelled       = model.Cancelled           // answers the current wait of a branch that is cancelled: clean up, then return it
	StepFailed      = model.StepFailed          // a step gave up
	StepInterrupted = model.StepInterrupted     // an at-most-once step was begun and its end is unknown
	TimedOut        = model.TimedOut            // a wait, a step or a branch took too long
	ChildFailed     = model.ChildFailed         // a child run ended without a result
	DefinitionError = model.DefinitionError     // a workflow or step is declared in a way that cannot work
	EffectError     = model.EffectError         // a workflow asked for something where it may not
	PayloadError    = model.PayloadError        // a value cannot be encoded, or does not fit its type
	PayloadTooLarge = model.PayloadTooLarge     // an encoded value is larger than a journal may hold
	NonDeterminism  = model.NonDeterminismError // the code does not fit the journal
)

// How steps are done and runs are started; their fields are documented in package model.
type (
	Retry         = model.Retry         // how often and how patiently a step or a run is tried again
	StepOptions   = model.StepOptions   // how a step is done
	RunOptions    = model.RunOptions    // how a run is started
	GatherOptions = model.GatherOptions // how GatherWith goes about it
	ParentClose   = model.ParentClose   // what becomes of a child when its parent ends
	Raise         = model.Raise         // a type of errors that a step's failure comes back as; Raises makes one
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
