package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

// attempt is one attempt of one step: a goroutine that calls the author's function and brings a fact back, whatever happens.
type attempt struct {
	live    *Live
	command *interpreter.Command
	stop    context.CancelCauseFunc
	hurry   chan struct{}
	alarm   *time.Timer
	waiting bool // for room
}

// perform begins an attempt; its context ends with the worker.
func (w *Worker) perform(a *attempt) {
	a.hurry = make(chan struct{})
	info := a.live.StepInfo(a.command)
	info.Hurry = a.hurry
	var ctx context.Context
	ctx, a.stop = context.WithCancelCause(model.WithStepInfo(w.steps, info))
	if limit := a.command.Step.Options.Timeout; limit > 0 { // a goroutine cannot be stopped; its answer will be passed over
		late := &model.TimedOut{What: "step " + a.command.Name, Seconds: limit.Seconds()}
		a.alarm = time.AfterFunc(limit, func() {
			w.report(func() { w.answer(a, nil, late, limit) })
		})
	}
	began := time.Now()
	go func() {
		payload, err := Perform(ctx, a.command)
		took := time.Since(began)
		w.report(func() {
			w.attempts--
			w.answer(a, payload, err, took)
		})
		a.stop(nil)
	}()
}

// StepInfo is what a step knows of itself.
func (l *Live) StepInfo(command *interpreter.Command) model.StepInfo {
	return model.StepInfo{
		RunID: l.Run.Key.Id, Workflow: l.Run.Workflow, Step: command.Name, Command: command.ID, Attempt: command.Attempts + 1,
		IdempotencyKey: l.Interp.Position(cmp.Or(command.Step.Options.ID, command.ID), "#"),
	}
}

// Perform calls a step's function here and now.
func Perform(ctx context.Context, command *interpreter.Command) (payload []byte, err error) {
	returned := false
	defer func() {
		if cause := recover(); cause != nil {
			err = &model.PanicError{Value: fmt.Sprint(cause), Stack: string(debug.Stack())}
		} else if !returned {
			err = errors.New("the step ended its goroutine with runtime.Goexit")
		}
	}()
	payload, err = command.Step.Do(ctx, command.Arguments)
	returned = true
	return payload, err
}

// abandon: nobody wants the answer any more.
func (a *attempt) abandon(why error) {
	if a.alarm != nil {
		a.alarm.Stop()
	}
	if a.stop != nil {
		a.stop(why)
	}
}

// warn: its end is awaited, its answer is not.
func (a *attempt) warn() {
	if a.hurry != nil {
		close(a.hurry)
	}
}

// Outcome is the answer that an attempt comes to: a result, a failure, or a failure that another attempt follows.
func Outcome(command *interpreter.Command, payload []byte, err error, maxPayload int, chance float64) model.Event {
	number := command.Attempts + 1
	if err == nil && len(payload) > maxPayload {
		err = &model.PayloadTooLarge{Where: "result of step " + command.Name, Size: len(payload), Limit: maxPayload}
	}
	answer := model.Event{Kind: model.StepCompleted, Command: command.ID, Payload: payload, Attempt: int32(number)}
	if err == nil {
		return answer
	}
	options := command.Step.Options
	failure := model.FailureOf(err, number)
	for _, raise := range options.Raises {
		if arguments, ok := raise.Match(err); ok {
			failure.Type = raise.Name
			_ = json.Unmarshal(arguments, &failure.Args)
			break
		}
	}
	answer.Kind = model.StepGaveUp
	if !command.Cancelled && !isPermanent(err) && options.Retry.Allows(err, number) {
		answer.Kind = model.AttemptFailed
		failure.RetryIn = options.Retry.Delay(number, chance).Seconds()
	}
	answer.Payload = failure.Encode()
	return answer
}

// isPermanent says whether no further attempt would mend it.
func isPermanent(err error) bool {
	var said interface{ Permanent() bool }
	var unfit *model.PayloadError
	var tooLarge *model.PayloadTooLarge
	return (errors.As(err, &said) && said.Permanent()) || errors.As(err, &unfit) || errors.As(err, &tooLarge)
}
