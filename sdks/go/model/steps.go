package model

import "context"

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

type infoKey struct{}

// WithStepInfo hands a step what it knows of itself.
func WithStepInfo(ctx context.Context, info StepInfo) context.Context {
	return context.WithValue(ctx, infoKey{}, info)
}

// StepInfoOf is what a step knows of itself; the zero value outside of one.
func StepInfoOf(ctx context.Context) StepInfo {
	info, _ := ctx.Value(infoKey{}).(StepInfo)
	return info
}
