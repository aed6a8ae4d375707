package model

import (
	"context"
	"sync"
)

const progressLimit = 64 << 10 // bytes of one step's progress at most

// StepInfo is what a step knows of itself.
type StepInfo struct {
	RunID          string
	Workflow       string
	Step           string
	Command        string
	Attempt        int
	IdempotencyKey string          // the same in every attempt and after every crash
	Hurry          <-chan struct{} // closed when its end is awaited by a cancellation
}

// Attempt is one attempt of a step: what its body knows, and what it tells while it runs.
type Attempt struct {
	StepInfo
	Beat     func() // is called after each heartbeat, by the step's goroutine
	mu       sync.Mutex
	progress []byte
}

type attemptKey struct{}

// NewAttempt makes one that begins with the progress of the attempt before, or with none.
func NewAttempt(info StepInfo, progress []byte) *Attempt {
	if string(progress) == "null" { // of heartbeats that told nothing, as Python spells it
		progress = nil
	}
	return &Attempt{StepInfo: info, Beat: func() {}, progress: progress}
}

// Within hands a step what it knows of itself.
func (a *Attempt) Within(ctx context.Context) context.Context {
	return context.WithValue(ctx, attemptKey{}, a)
}

// AttemptOf is the attempt that a step is; one that nobody listens to outside of a step.
func AttemptOf(ctx context.Context) *Attempt {
	if a, ok := ctx.Value(attemptKey{}).(*Attempt); ok {
		return a
	}
	return NewAttempt(StepInfo{}, nil)
}

// Heartbeat takes in that a step is alive, and how far it has come unless that is left out.
func (a *Attempt) Heartbeat(ctx context.Context, progress ...any) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-a.Hurry:
		return &Cancelled{Reason: "only the end of step " + a.Step + " is waited for"}
	default:
	}
	for _, told := range progress {
		payload, err := Spell("progress of step", a.Step, told)
		if err == nil && len(payload) > progressLimit {
			err = &PayloadTooLarge{Where: "progress of step " + a.Step, Size: len(payload), Limit: progressLimit}
		}
		if err != nil {
			return err
		}
		a.mu.Lock()
		a.progress = payload
		a.mu.Unlock()
	}
	a.Beat()
	return nil
}

// Progress is what was told last, in this attempt or the one before; nil for nothing.
func (a *Attempt) Progress() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.progress
}
