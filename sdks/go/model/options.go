package model

import (
	"cmp"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// Retry says how often and how patiently a step or a run is tried again. The zero value means: once.
type Retry struct {
	MaxAttempts int           // attempts in all; 0 and 1 mean never again
	Initial     time.Duration // before the second attempt
	Factor      float64       // by which each further delay grows; 0 means 2
	MaxDelay    time.Duration // the longest delay; 0 means a minute
	Jitter      float64       // fraction of the delay that chance may take away, 0 to 1
	GiveUpOn    func(error) bool
}

// Allows says whether another attempt follows after so many of them (from 1) ended with err.
func (r *Retry) Allows(err error, attempt int) bool {
	return attempt < r.MaxAttempts && (r.GiveUpOn == nil || !r.GiveUpOn(err))
}

// Delay is how long to wait after attempt number `attempt` (from 1) failed; chance is a number from 0 to 1.
func (r *Retry) Delay(attempt int, chance float64) time.Duration {
	delay := min(float64(r.longest()), float64(r.Initial)*math.Pow(r.factor(), float64(attempt-1)))
	return time.Duration(delay * (1 - r.Jitter*chance))
}

func (r *Retry) factor() float64 { return cmp.Or(r.Factor, 2) }

func (r *Retry) longest() time.Duration { return cmp.Or(r.MaxDelay, time.Minute) }

// StepOptions says how a step is done. The zero value of each field leaves things as they are by default.
type StepOptions struct {
	Retry           Retry         // when to try again; by default never
	Timeout         time.Duration // that one attempt may take; 0 for no limit
	Heartbeat       time.Duration // that one attempt may be silent for between two heartbeats; 0 for no limit
	Queue           string        // the task queue whose workers do it; empty for here
	AtMostOnce      bool          // never begin it twice: StepInterrupted when a crash leaves its end unknown
	IgnoreArguments bool          // replay does not compare a checksum of the arguments
	WaitOnCancel    bool          // cancelling waits for its end instead of abandoning it
	ID              string        // a name of its own for the idempotency key, or for the run of a step sent elsewhere
	Raises          []Raise       // errors that come back as themselves
}

// Over is these options, with those fields of other that are set instead; both raise what either raises.
func (o StepOptions) Over(other StepOptions) StepOptions {
	made := over(o, other)
	made.Raises = slices.Concat(o.Raises, other.Raises)
	return made
}

// over is a struct with those fields of another that are set instead.
func over[T any](base, other T) T {
	into, from := reflect.ValueOf(&base).Elem(), reflect.ValueOf(other)
	for i := range into.NumField() {
		if field := from.Field(i); !field.IsZero() {
			into.Field(i).Set(field)
		}
	}
	return base
}

// StepPolicy is how a call differs from how its step is declared, for whoever does it on another queue: seconds, and nothing where it
// does not differ.
type StepPolicy struct {
	Retry     *RetryPolicy    `json:"retry,omitempty"`
	Timeout   json.RawMessage `json:"timeout,omitempty"`   // null for none
	Heartbeat json.RawMessage `json:"heartbeat,omitempty"` // the same
}

// RetryPolicy is a Retry as it is written down.
type RetryPolicy struct {
	MaxAttempts int     `json:"max_attempts"`
	Initial     float64 `json:"initial"`
	Factor      float64 `json:"factor"`
	MaxDelay    float64 `json:"max_delay"`
	Jitter      float64 `json:"jitter"`
}

// Difference is what a call's options have otherwise than those declared; nil for nothing.
func (o StepOptions) Difference(declared StepOptions) *StepPolicy {
	made := StepPolicy{Timeout: otherwise(o.Timeout, declared.Timeout), Heartbeat: otherwise(o.Heartbeat, declared.Heartbeat)}
	if mine := o.Retry.policy(); mine != declared.Retry.policy() {
		made.Retry = &mine
	}
	if made.Retry == nil && made.Timeout == nil && made.Heartbeat == nil {
		return nil
	}
	return &made
}

func otherwise(span, declared time.Duration) json.RawMessage {
	switch span {
	case declared:
		return nil
	case 0:
		return json.RawMessage("null")
	}
	return strconv.AppendFloat(nil, span.Seconds(), 'g', -1, 64)
}

func (r *Retry) policy() RetryPolicy {
	return RetryPolicy{max(1, r.MaxAttempts), r.Initial.Seconds(), r.factor(), r.longest().Seconds(), r.Jitter}
}

// Under is these options as a call from another queue wants them.
func (o StepOptions) Under(policy *StepPolicy) StepOptions {
	if policy == nil {
		return o
	}
	if r := policy.Retry; r != nil {
		o.Retry = Retry{r.MaxAttempts, seconds(r.Initial), r.Factor, seconds(r.MaxDelay), r.Jitter, o.Retry.GiveUpOn}
	}
	o.Timeout, o.Heartbeat = limit(policy.Timeout, o.Timeout), limit(policy.Heartbeat, o.Heartbeat)
	return o
}

func limit(asked json.RawMessage, declared time.Duration) time.Duration {
	var span float64
	if asked == nil || json.Unmarshal(asked, &span) != nil { // null leaves it at 0: no limit
		return declared
	}
	return seconds(span)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Check refuses options that cannot work.
func (o StepOptions) Check(owner string) error {
	switch {
	case o.Timeout < 0 || o.Heartbeat < 0:
		return &DefinitionError{owner, "its timeout or heartbeat is negative", "leave it out for no limit"}
	case o.AtMostOnce && o.Retry.MaxAttempts > 1:
		return &DefinitionError{owner, "it is at most once and has a retry policy", "choose one of them"}
	case o.Retry.MaxAttempts < 0 || o.Retry.Initial < 0 || o.Retry.Jitter < 0 || o.Retry.Jitter > 1:
		return &DefinitionError{owner, "its retry policy has a number out of range", "attempts and delays from 0 up, jitter from 0 to 1"}
	}
	return nil
}

// Raise is a type of errors that a step's failure comes back as; replay.Raises makes one.
type Raise struct {
	Name   string
	Match  func(error) (arguments []byte, ok bool)
	Revive func(arguments []byte) (error, bool)
}

// GatherOptions says how GatherWith goes about it. The zero value of each field means: all of them, and the first failure ends it.
type GatherOptions struct {
	Limit         int  // so many branches at a time; the next begins when one ends
	MinSuccessful int  // it ends with so many successes and cancels the rest
	ReturnErrors  bool // failures stand in their places instead of ending it
}

// ParentClose says what becomes of a child when its parent ends.
type ParentClose string

// What becomes of a child when its parent ends.
const (
	CancelChild  ParentClose = "cancel" // the default
	AbandonChild ParentClose = "abandon"
	WaitForChild ParentClose = "wait"
)

// RunOptions says how a run is started. The zero value of each field leaves things as they are by default.
type RunOptions struct {
	ID            string            // its id; a child without one is named by its parent's id and its command
	Queue         string            // the task queue whose workers drive it; empty for the parent's, or "default"
	Priority      int32             // higher first among runs that wait in one queue
	Delay         time.Duration     // before it may begin
	Deadline      time.Duration     // that it may take in all; 0 for no limit
	Tags          map[string]string // words to find it by
	OnParentClose ParentClose       // of a child
	FairnessKey   string            // whose share of the queue it takes, such as a customer's
}

// Over is these options, with those fields of other that are set instead.
func (o RunOptions) Over(other RunOptions) RunOptions { return over(o, other) }
