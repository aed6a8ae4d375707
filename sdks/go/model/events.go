// Package model holds the facts and requests that the rooms of replay hand to each other: events, failures, options, errors.
//
// They are the nouns of every SDK, and mean the same in each. Programs meet them through package replay, which gives most of
// them a name of its own, and where they read journals.
package model

import (
	"fmt"
	"strings"

	wire "example.org/replay/internal/generated"
)

// Kinds of events: what the outside world told a workflow. The last four close a journal.
const (
	Begun           = "started"
	StepCompleted   = "step_completed"
	StepGaveUp      = "step_failed"
	AttemptFailed   = "step_attempt_failed"
	StepIntent      = "step_intent"
	TimerFired      = "timer_fired"
	SignalReceived  = "signal_received"
	UpdateReceived  = "update_received"
	ChildCompleted  = "child_completed"
	ChildEnded      = "child_failed"
	SavepointTaken  = "savepoint"
	CancelRequested = "cancel_requested"
	Completed       = "completed"
	Failed          = "failed"
	WasCancelled    = "cancelled"
	Continued       = "continued"
)

// Terminated is the name of the closing event of a run that was ended from outside; it fits wherever the run stood.
const Terminated = "terminated"

// Event is one journal record, as it comes over the wire. Replay reads the first seven of its fields; the others are for people.
//
//	Seq      int64  // 1, 2, …, without gaps
//	Kind     string // one of the kinds above
//	Command  string // id of the command that it answers, or empty
//	Name     string // of the step, signal, timer, …
//	At       int64  // when it was recorded, microseconds UTC; never goes backwards within a journal
//	Payload  []byte // the answer: canonical JSON, or nothing
//	Check    uint32 // CRC-32 of the command's encoded arguments, 0 where none was recorded
//	Attempt  int32  // which attempt gave this answer, from 1
//	Duration int64  // how long it took, microseconds
//	Line     string // file:line of the call that asked
//	Worker   string // who recorded it
type Event = wire.Event

// Show is an event in a few words.
func Show(e *Event) string {
	return strings.TrimRight(fmt.Sprintf("#%d %s %s", e.Seq, e.Kind, strings.TrimSpace(e.Command+" "+e.Name)), " ")
}

// Closing says whether an event of this kind ends a journal.
func Closing(kind string) bool {
	return kind == Completed || kind == Failed || kind == WasCancelled || kind == Continued
}
