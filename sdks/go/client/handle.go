package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc"

	"example.org/replay/internal/codec"
	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/service"
	"example.org/replay/model"
)

// answered is how long a worker has to answer a query.
const answered = 30 * time.Second

// Handle is a run, seen from outside; T is the type of its result.
type Handle[T any] struct {
	ID string
	c  *Client
}

// Of is the handle of a run that exists, or will. Use any where the type of the result is not known.
func Of[T any](c *Client, id string) *Handle[T] { return &Handle[T]{id, c} }

func (h *Handle[T]) key() *wire.RunKey { return h.c.key(h.ID) }

// Run is the run as the index shows it now.
func (h *Handle[T]) Run(ctx context.Context) (*Run, error) {
	answer, err := h.c.conn.Client.GetRun(ctx, &wire.GetRunRequest{Key: h.key()})
	if err != nil {
		return nil, err
	}
	return runIn(answer.Run), nil
}

// Result waits until the run has ended and gives its result; a run without one is RunFailed. Servers may come and go meanwhile. It
// looks now and then, the rarer the longer it has waited: a stream would be told of every commit of the run.
func (h *Handle[T]) Result(ctx context.Context) (T, error) {
	failures := 0
	for began := time.Now(); ; {
		run, err := h.Run(ctx)
		switch {
		case err == nil && (run.Closed() || run.Status == "stuck"):
			return h.ended(run)
		case err == nil:
			failures = 0
		case !service.IsUnavailable(err) || ctx.Err() != nil || failures == patience:
			return *new(T), err
		default:
			failures++
		}
		select {
		case <-ctx.Done():
			return *new(T), context.Cause(ctx)
		case <-time.After(min(max(time.Since(began)/10, 2*time.Millisecond), time.Second)):
		}
	}
}

func (h *Handle[T]) ended(run *Run) (result T, err error) {
	switch run.Status {
	case "completed":
		return model.Read[T]("result of run", h.ID, run.Result)
	case "stuck":
		return result, &RunFailed{Run: h.ID, Status: run.Status, ErrorType: "Stuck", Message: run.Note}
	}
	said := model.DecodeEnd(run.Result)
	return result, &RunFailed{Run: h.ID, Status: run.Status, ErrorType: said.Type, Message: said.Message, Traceback: said.Traceback}
}

// Watch shows the run as it is now, and whenever it has changed, until it ends.
func (h *Handle[T]) Watch(ctx context.Context) iter.Seq2[*Run, error] {
	open := func(ctx context.Context) (receiver[wire.WatchRunResponse], error) {
		return h.c.conn.Client.WatchRun(ctx, &wire.WatchRunRequest{Key: h.key()})
	}
	return following(ctx, true, open, func(answer *wire.WatchRunResponse, yield func(*Run) bool) bool {
		run := runIn(answer.Run)
		return yield(run) && !run.Closed()
	})
}

// Signal leaves a message for the run.
func (h *Handle[T]) Signal(ctx context.Context, name string, value any) error {
	payload, err := model.Spell("signal", name, value)
	if err != nil {
		return err
	}
	_, err = h.c.conn.Client.SignalRun(ctx, &wire.SignalRunRequest{Key: h.key(), Name: name, Payload: payload, MessageId: rand.Text()})
	return err
}

// Update sends an update, waits for the workflow's reply, and reads it into `reply` unless that is nil.
func (h *Handle[T]) Update(ctx context.Context, name string, argument, reply any) error {
	payload, err := model.Spell("update", name, argument)
	if err != nil {
		return err
	}
	request := &wire.UpdateRunRequest{Key: h.key(), Name: name, Payload: payload, MessageId: rand.Text()}
	answer, err := again(ctx, h.c.conn.Client.UpdateRun, request)
	return read("update "+name, answer.GetReply(), reply, err)
}

// Query asks the code of an open run, by way of the worker that drives it, and reads the answer into `reply`. The journal holds no
// trace of it. The argument is spelt as a step's input is: a struct with replay.Args is a list of arguments, replay.None is none. When
// no worker answers, as while it is paused, it is WaitTimedOut after 30 s, or the end of a context with a deadline.
func (h *Handle[T]) Query(ctx context.Context, name string, argument, reply any) error {
	arguments, err := model.SpellGiven("arguments of query", name, argument)
	if err != nil {
		return err
	}
	request := &wire.QueryRunRequest{Key: h.key(), Name: name, Arguments: arguments, MessageId: rand.Text()}
	mine := ctx
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		mine, cancel = context.WithTimeout(ctx, answered)
		defer cancel()
	}
	answer, err := again(mine, h.c.conn.Client.QueryRun, request)
	if err != nil && mine.Err() != nil && ctx.Err() == nil {
		if run, failed := h.Run(ctx); failed == nil {
			err = &model.WaitTimedOut{Run: h.ID, Seconds: answered.Seconds(), Status: run.Status}
		}
	}
	return read("query "+name, answer.GetReply(), reply, err)
}

// again asks with the same message until an answer is heard: it takes effect once.
func again[Q, A any](ctx context.Context, ask func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) (A, error) {
	answer, err := ask(ctx, request)
	for service.IsUnavailable(err) && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
		answer, err = ask(ctx, request)
	}
	return answer, err
}

// read reads a reply, unless nobody wants it.
func read(what string, payload []byte, reply any, err error) error {
	if err != nil || reply == nil {
		return err
	}
	if err := codec.Unmarshal(payload, reply); err != nil {
		return &model.PayloadError{Where: "reply to " + what, Expected: fmt.Sprintf("%T", reply), Got: err.Error()}
	}
	return nil
}

// Cancel asks the run to stop: its workflow is told, and may clean up.
func (h *Handle[T]) Cancel(ctx context.Context, reason string) error {
	return h.control(ctx, "cancel", reason)
}

// Terminate ends the run without telling its workflow.
func (h *Handle[T]) Terminate(ctx context.Context, reason string) error {
	return h.control(ctx, "terminate", reason)
}

// Pause keeps the run from beginning anything new.
func (h *Handle[T]) Pause(ctx context.Context) error { return h.control(ctx, "pause", "") }

// Resume ends a pause, and gives a stuck run another try.
func (h *Handle[T]) Resume(ctx context.Context) error { return h.control(ctx, "resume", "") }

func (h *Handle[T]) control(ctx context.Context, verb, reason string) error {
	_, err := h.c.conn.Client.ControlRun(ctx, &wire.ControlRunRequest{Key: h.key(), Verb: verb, Reason: reason, MessageId: rand.Text()})
	return err
}

// Journal reads events after a number, and, when it is followed, what comes until the run ends.
func (h *Handle[T]) Journal(ctx context.Context, after int64, follow bool) iter.Seq2[*model.Event, error] {
	open := func(ctx context.Context) (receiver[wire.ReadJournalResponse], error) {
		return h.c.conn.Client.ReadJournal(ctx, &wire.ReadJournalRequest{Key: h.key(), After: after, Follow: follow})
	}
	return following(ctx, follow, open, func(page *wire.ReadJournalResponse, yield func(*model.Event) bool) bool {
		for _, event := range page.Events {
			after = event.Seq
			if !yield(event) || model.Closing(event.Kind) {
				return false
			}
		}
		return true
	})
}

// Savepoint is a named place of a run.
type Savepoint struct {
	Name     string
	Seq      int64
	At       time.Time
	Notes    json.RawMessage
	HasState bool
}

// Savepoints lists the run's savepoints, oldest first.
func (h *Handle[T]) Savepoints(ctx context.Context) ([]Savepoint, error) {
	answer, err := h.c.conn.Client.ListSavepoints(ctx, &wire.ListSavepointsRequest{Key: h.key()})
	if err != nil {
		return nil, err
	}
	var made []Savepoint
	for _, point := range answer.Savepoints {
		made = append(made, Savepoint{point.Name, point.Seq, time.UnixMicro(point.At), point.Notes, point.HasState})
	}
	return made, nil
}

// ForkOptions say where a fork begins and what is otherwise there.
type ForkOptions struct {
	ID    string        // of the new run; made of the old one's when empty
	At    string        // a savepoint's name, or an event's number; empty for all that is not the end
	Edits map[int64]any // other answers, by event number
}

// Fork makes a new run that shares this one's past; this one is not touched.
func (h *Handle[T]) Fork(ctx context.Context, options ForkOptions) (*Handle[T], error) {
	if options.ID == "" {
		options.ID = h.ID + "-fork-" + rand.Text()[:8]
	}
	request := &wire.ForkRunRequest{Source: h.key(), TargetId: options.ID, At: options.At, Edits: map[int64][]byte{}}
	for number, value := range options.Edits {
		payload, err := model.Spell("edit of event", fmt.Sprintf("#%d", number), value)
		if err != nil {
			return nil, err
		}
		request.Edits[number] = payload
	}
	answer, err := h.c.conn.Client.ForkRun(ctx, request)
	return handle[T](h.c, answer.GetRun().GetKey().GetId(), err)
}
