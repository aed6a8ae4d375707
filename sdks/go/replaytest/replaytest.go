// Package replaytest runs workflows in tests: in memory, without a server, and in no time.
//
// A World has a clock of its own that jumps to the next timer when nothing else is left to do, so a month of waiting takes a
// moment. Steps are done at once, by their own function or by a stub. When a run ends its journal is driven through the workflow
// again, from the beginning and from each savepoint with state, and a workflow that asks for something else then fails the test.
package replaytest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/replay"
	"example.org/replay/internal/codec"
	"example.org/replay/internal/engine"
	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

// World is where runs of a test live.
type World struct {
	Now       time.Time // the clock; Advance moves it
	t         testing.TB
	workflows map[string]*interpreter.Workflow
	stubs     map[string]func(context.Context, []byte) ([]byte, error)
	runs      map[string]*run
	order     []*run
	topics    map[string][]json.RawMessage
	messages  int
}

type run struct {
	*engine.Live
	workflow *interpreter.Workflow
	journal  []*model.Event
	state    map[string][]byte
	commit   *wire.Commit // the last one
}

// New makes a world. Children of workflows are looked up among the offers.
func New(t testing.TB, offers ...replay.Offer) *World {
	t.Helper()
	w := &World{
		Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), t: t, workflows: map[string]*interpreter.Workflow{},
		stubs: map[string]func(context.Context, []byte) ([]byte, error){}, runs: map[string]*run{}, topics: map[string][]json.RawMessage{},
	}
	for _, offer := range offers {
		w.workflows[offer.Definition().Name] = offer.Definition()
	}
	t.Cleanup(func() {
		for _, run := range w.order {
			run.Interp.Close()
		}
	})
	return w
}

// Stub does a step otherwise from here on.
func Stub[I, O any](w *World, step *replay.Step[I, O], do func(in I) (O, error)) {
	made := replay.NewStep(step.Name(), func(_ context.Context, in I) (O, error) { return do(in) })
	w.stubs[step.Name()] = made.Definition().Step.Do
}

// Run is one run of a world; T is the type of its result.
type Run[T any] struct {
	ID string
	w  *World
}

// Start starts a run; its id comes from the workflow's With, else from its name. Nothing of it is done before the world is asked to
// go on: by Result, Settle or Advance.
func Start[I, O any](w *World, workflow *replay.Workflow[I, O], in I) *Run[O] {
	w.t.Helper()
	core := workflow.Definition()
	w.workflows[core.Name] = core
	input, err := codec.Arguments(in)
	if err != nil {
		w.t.Fatalf("arguments of workflow %s: %v", core.Name, err)
	}
	id := cmp.Or(core.Options.ID, fmt.Sprintf("%s-%d", core.Name, len(w.runs)+1))
	begin := model.Started{Workflow: core.Name, Version: core.Version, Input: input, Patches: core.Patches}
	w.create(engine.NewRun(&wire.RunKey{Namespace: "default", Id: id}, begin, core.Options, w.now()))
	return &Run[O]{id, w}
}

func (w *World) now() int64 { return w.Now.UnixMicro() }

func (w *World) create(made *wire.NewRun) {
	w.t.Helper()
	if w.runs[made.Key.Id] != nil && made.Parent != "" {
		return
	}
	workflow := w.workflows[made.Workflow]
	if workflow == nil {
		w.t.Fatalf("run %s needs %s: give it to replaytest.New", made.Key.Id, made.Workflow)
	}
	index := &wire.Run{Key: made.Key, Workflow: made.Workflow, Queue: made.Queue, Seq: 1, Status: "pending", Digest: made.Digest}
	claimed := &wire.Claimed{Run: index, Lease: &wire.Lease{Key: made.Key, Worker: "replaytest"}, Journal: made.Events}
	created := &run{
		Live: engine.NewLive(claimed, workflow, 16<<20), workflow: workflow, journal: made.Events, state: map[string][]byte{},
	}
	w.runs[made.Key.Id] = created
	w.order = append(w.order, created)
}

// Settle goes on until nothing more can be done before the next timer.
func (w *World) Settle() {
	w.t.Helper()
	for busy := true; busy; {
		busy = false
		for _, run := range slices.Clone(w.order) {
			busy = w.turn(run) || busy
		}
	}
}

// turn lets a run do what it can; whether it did anything.
func (w *World) turn(r *run) bool {
	w.t.Helper()
	if r.commit != nil && r.Over() {
		return false
	}
	before := len(r.journal)
	budget := 1
	if _, err := r.Drive(&budget, w.now()); err != nil {
		w.t.Fatalf("run %s is stuck: %v", r.Run.Key.Id, err)
	}
	w.apply(r, r.Commit(false))
	acting := r.Acting
	r.Acting, r.Withdrawn = nil, nil
	for _, command := range acting {
		ready, err := r.Announce(command, w.now())
		if err != nil {
			w.t.Fatalf("run %s is stuck: %v", r.Run.Key.Id, err)
		}
		if ready {
			w.perform(r, command)
		}
	}
	return len(r.journal) > before || len(acting) > 0 || len(r.commit.Children) > 0 || !r.Interp.Settled()
}

func (w *World) perform(r *run, command *interpreter.Command) {
	performed := command
	if stub := w.stubs[command.Name]; stub != nil {
		stubbed := *command
		stubbed.Step = &interpreter.Step{Name: command.Name, Options: command.Step.Options, Do: stub}
		performed = &stubbed
	}
	attempt := r.Attempt(command)
	payload, err := engine.Perform(attempt.Within(context.Background()), performed)
	r.Answer(attempt, command, payload, err, 0, 0.5)
}

// apply does what a store does with a commit.
func (w *World) apply(r *run, commit *wire.Commit) {
	w.t.Helper()
	r.Applied(commit)
	r.commit = commit
	r.journal = append(r.journal, commit.Events...)
	maps.Copy(r.state, commit.State)
	for _, entry := range commit.Topics {
		w.topics[entry.Topic] = append(w.topics[entry.Topic], entry.Payload)
	}
	for _, child := range commit.Children {
		w.create(child)
	}
	for _, message := range commit.Posts {
		if target := w.runs[message.Key.Id]; target != nil {
			message.At = w.now()
			target.Deliver(message)
		}
	}
	if commit.Result == nil {
		return
	}
	w.again(r)
	if commit.Successor != nil {
		delete(w.runs, r.Run.Key.Id)
		w.create(commit.Successor)
		maps.Copy(w.runs[r.Run.Key.Id].state, r.state)
	}
}

// again drives a journal through the workflow once more, from the beginning and from every savepoint with state: what it asks for
// must be the same, and going on behind a savepoint must be the same as starting again with what was saved.
func (w *World) again(r *run) {
	w.t.Helper()
	machine := interpreter.New(r.workflow, r.Run.Key.Id)
	defer machine.Close()
	if err := machine.Feed(r.journal, interpreter.Unlimited); err != nil {
		w.t.Fatalf("workflow %s is not deterministic: %v", r.workflow.Name, err)
	}
	for i := range r.journal {
		if err := r.startAgain(i); err != nil {
			w.t.Fatalf("workflow %s starts again at savepoint %s otherwise than it went on: %v", r.workflow.Name, r.journal[i].Name, err)
		}
	}
}

// startAgain drives what follows an event, if that is a savepoint with state.
func (r *run) startAgain(i int) error {
	if r.journal[i].Kind != model.SavepointTaken {
		return nil
	}
	if resume, err := model.DecodeResume(r.journal[i].Payload); err != nil || resume == nil {
		return err
	}
	machine := interpreter.New(r.workflow, r.Run.Key.Id)
	defer machine.Close()
	if err := machine.Recover(r.journal[0], r.journal[i], interpreter.Unlimited); err != nil {
		return err
	}
	return machine.Feed(r.journal[i+1:], interpreter.Unlimited)
}

// Advance moves the clock by a span, timer by timer.
func (w *World) Advance(span time.Duration) {
	w.t.Helper()
	until := w.Now.Add(span)
	for w.Settle(); w.jump(until); {
		w.Settle()
	}
	w.Now = until
}

// jump moves the clock to the next timer, if there is one until then.
func (w *World) jump(until time.Time) bool {
	next := until.Add(1)
	for _, run := range w.order {
		if run.commit != nil && run.commit.WakeAt != nil && !run.Over() {
			if moment := time.UnixMicro(*run.commit.WakeAt).UTC(); moment.Before(next) {
				next = moment
			}
		}
	}
	if next.After(until) {
		return false
	}
	if next.After(w.Now) {
		w.Now = next
	}
	return true
}

const century = 100 * 365 * 24 * time.Hour

// Result goes on, from timer to timer, until the run has ended, and gives its result. A run that waits for what never comes fails
// the test.
func (r *Run[T]) Result() (T, error) {
	r.w.t.Helper()
	var result T
	for horizon := r.w.Now.Add(century); ; {
		r.w.Settle()
		live := r.w.runs[r.ID]
		if live.Over() {
			return r.ended(live)
		}
		if !r.w.jump(horizon) {
			var waits []string
			for _, command := range live.Interp.Waiting() {
				waits = append(waits, fmt.Sprintf("%s as command %s (%s)", command, command.ID, command.Line()))
			}
			r.w.t.Fatalf("run %s waits for ever: %s", r.ID, strings.Join(waits, "; "))
			return result, nil
		}
	}
}

func (r *Run[T]) ended(live *run) (result T, err error) {
	if live.commit.Status == "completed" {
		return result, codec.Unmarshal(live.commit.Result, &result)
	}
	if cause := live.Interp.Err; cause != nil {
		return result, cause
	}
	said := model.DecodeFailure(live.commit.Result)
	return result, &model.RunFailed{Run: r.ID, Status: live.commit.Status, ErrorType: said.Type, Message: said.Message}
}

// Signal leaves a message for the run.
func (r *Run[T]) Signal(name string, value any) { r.w.post(r.ID, "signal", name, value) }

// Cancel asks the run to stop.
func (r *Run[T]) Cancel(reason string) {
	r.w.post(r.ID, "cancel", "cancel", map[string]string{"reason": reason})
}

// Update sends an update, settles, and reads the workflow's reply into `reply` unless that is nil.
func (r *Run[T]) Update(name string, argument, reply any) error {
	r.w.t.Helper()
	refused, err := r.ask("update", name, argument, reply)
	if refused != nil {
		return &model.UpdateRefused{Run: r.ID, Update: name, Reason: *refused}
	}
	return err
}

// Query asks the workflow, settles, and reads the answer into `reply` unless that is nil.
func (r *Run[T]) Query(name string, argument, reply any) error {
	r.w.t.Helper()
	arguments, err := model.SpellGiven("arguments of query", name, argument)
	if err != nil {
		return err
	}
	refused, err := r.ask("query", name, json.RawMessage(arguments), reply)
	if refused != nil {
		return &model.InvalidRequest{What: "query '" + name + "' to run " + r.ID, Problem: *refused}
	}
	return err
}

// ask sends a message that is replied to; a refusal is in the workflow's words.
func (r *Run[T]) ask(kind, name string, value, reply any) (refused *string, err error) {
	id := r.w.post(r.ID, kind, name, value)
	r.w.Settle()
	told := r.w.topics["~reply:"+id]
	if len(told) == 0 {
		return nil, &model.UnknownName{What: "reply to " + kind, Name: name}
	}
	var said struct {
		OK      json.RawMessage
		Error   *model.Failure
		Refused *string
	}
	if err := json.Unmarshal(told[0], &said); err != nil {
		return nil, err
	}
	switch {
	case said.Refused != nil:
		return said.Refused, nil
	case said.Error != nil:
		return nil, &model.RunFailed{Run: r.ID, Status: kind + " " + name + " failed", ErrorType: said.Error.Type, Message: said.Error.Message}
	case reply == nil:
		return nil, nil
	}
	return nil, codec.Unmarshal(said.OK, reply)
}

func (w *World) post(id, kind, name string, value any) string {
	w.t.Helper()
	payload, err := codec.Marshal(value)
	if err != nil {
		w.t.Fatalf("%s %s: %v", kind, name, err)
	}
	target := w.runs[id]
	if target == nil {
		w.t.Fatalf("there is no run %s", id)
	}
	w.messages++
	message := &wire.Message{Id: fmt.Sprint("m", w.messages), Key: target.Run.Key, Kind: kind, Name: name, Payload: payload, At: w.now()}
	target.Deliver(message)
	return message.Id
}

// Journal is what the run was told so far.
func (r *Run[T]) Journal() []*model.Event { return slices.Clone(r.w.runs[r.ID].journal) }

// State is what the run shows under a key; nil for nothing.
func (r *Run[T]) State(key string) json.RawMessage { return r.w.runs[r.ID].state[key] }

// Topic is what was published to a topic.
func (w *World) Topic(name string) []json.RawMessage { return slices.Clone(w.topics[name]) }
