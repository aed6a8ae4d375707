package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

// attempt is one attempt of one step: a goroutine that calls the author's function and brings a fact back, whatever happens.
type attempt struct {
	live    *Live
	command *interpreter.Command
	told    *model.Attempt // nil while it waits for room
	heard   atomic.Bool    // it has told something that is not yet saved
	stop    context.CancelCauseFunc
	hurry   chan struct{}
	alarms  []*time.Timer
}

// perform begins an attempt; its context ends with the worker.
func (w *Worker) perform(a *attempt) {
	a.told, a.hurry = a.live.Attempt(a.command), make(chan struct{})
	a.told.Hurry = a.hurry
	options := a.command.Step.Options
	w.limit(a, "step "+a.command.Name, options.Timeout)
	silence := w.limit(a, "the silence of step "+a.command.Name, options.Heartbeat)
	a.told.Beat = func() {
		if silence != nil {
			silence.Reset(options.Heartbeat)
		}
		if a.heard.CompareAndSwap(false, true) {
			w.report(func() { a.live.saveSoon(w.conn.Now()) })
		}
	}
	var ctx context.Context
	ctx, a.stop = context.WithCancelCause(a.told.Within(w.steps))
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

// limit fails an attempt after a while. A goroutine cannot be stopped: its answer will be passed over.
func (w *Worker) limit(a *attempt, what string, span time.Duration) *time.Timer {
	if span == 0 {
		return nil
	}
	late := &model.TimedOut{What: what, Seconds: span.Seconds()}
	alarm := time.AfterFunc(span, func() {
		w.report(func() { w.answer(a, nil, late, span) })
	})
	a.alarms = append(a.alarms, alarm)
	return alarm
}

// Attempt is the next attempt of a step.
func (l *Live) Attempt(command *interpreter.Command) *model.Attempt {
	return model.NewAttempt(model.StepInfo{
		RunID: l.Run.Key.Id, Workflow: l.Run.Workflow, Step: command.Name, Command: command.ID, Attempt: command.Attempts + 1,
		IdempotencyKey: l.Interp.Position(cmp.Or(command.Step.Options.ID, command.ID), "#"),
	}, l.progress[command.ID])
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
	for _, alarm := range a.alarms {
		alarm.Stop()
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

// Answer takes in what an attempt came to: a result, a failure, or a failure that another attempt follows.
func (l *Live) Answer(a *model.Attempt, command *interpreter.Command, payload []byte, err error, took time.Duration, chance float64) {
	if err == nil && len(payload) > l.maxPayload {
		err = &model.PayloadTooLarge{Where: "result of step " + command.Name, Size: len(payload), Limit: l.maxPayload}
	}
	answer := &model.Event{
		Kind: model.StepCompleted, Command: command.ID, Payload: payload, Attempt: int32(a.Attempt), Duration: took.Microseconds(),
	}
	if err != nil {
		answer.Kind, answer.Payload = failed(command, err, chance)
		if told := a.Progress(); told != nil { // saved with the failure
			l.progress[command.ID], l.saveAt = told, l.savedAt
		}
	}
	l.Tell(answer)
}

func failed(command *interpreter.Command, err error, chance float64) (kind string, payload []byte) {
	number := command.Attempts + 1
	options := command.Step.Options
	failure := model.FailureOf(err, number)
	for _, raise := range options.Raises {
		if arguments, ok := raise.Match(err); ok {
			failure.Type = raise.Name
			_ = json.Unmarshal(arguments, &failure.Args)
			break
		}
	}
	if command.Cancelled || isPermanent(err) || !options.Retry.Allows(err, number) {
		return model.StepGaveUp, failure.Encode()
	}
	failure.RetryIn = options.Retry.Delay(number, chance).Seconds()
	return model.AttemptFailed, failure.Encode()
}

// isPermanent says whether no further attempt would mend it.
func isPermanent(err error) bool {
	var said interface{ Permanent() bool }
	var unfit *model.PayloadError
	var tooLarge *model.PayloadTooLarge
	return (errors.As(err, &said) && said.Permanent()) || errors.As(err, &unfit) || errors.As(err, &tooLarge)
}
