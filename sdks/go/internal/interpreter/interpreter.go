// Package interpreter drives a workflow over events: a pure function in the shape of an object.
//
// Rule 1: it is fed events in journal order. After each it can be asked for its pending commands, for what was issued, withdrawn
// and said since it was last asked, and, at the end, for its outcome. It does no I/O, and never learns whether an event is old.
// Rule 2: an event resumes the one fiber that waits for it; that fiber runs until it waits again or ends; what this makes ready
// runs after it, first ready first. Fibers are coroutines: exactly one of them, or the interpreter, runs at a time.
// Rule 3: an event must fit the command that it answers. One that does not is a NonDeterminismError, and the interpreter that
// said so is spent: close it and throw it away, the journal is untouched.
// Rule 4: an outcome is not an end of feeding: the closing event is fed too, and must say the same.
package interpreter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"example.org/replay/internal/codec"
	"example.org/replay/model"
)

// Unlimited is a budget of immediate answers without an end.
const Unlimited = -1

// Body is what a fiber runs: the author's code, with its result put where the author's types are known.
type Body func(*Fiber) error

// Spec is what an interpreter needs to know of a workflow.
type Spec struct {
	Name, Version string
	Patches       []string // sorted
	// Begin decodes input and, where it recovers from a savepoint, state; the function that it returns is the root fiber's,
	// and returns the encoded result.
	Begin func(input, state []byte) (func(*Fiber) ([]byte, error), error)
	// TakesState refuses a savepoint's state that Begin would not take.
	TakesState func(state any) error
	// Retry tells when a failed run is begun again.
	Retry model.Retry
}

// Outcome is how a run ends: the closing event's kind and payload.
type Outcome struct {
	Kind    string
	Payload []byte
	Next    *Next // of continue_as_new
}

// Next is the journal that continues one.
type Next struct {
	Workflow, Version string
	Input             []byte
	Patches           []string
}

// Said is an output: it tells the world something, once, in the commit of the event that led to it.
type Said struct {
	ID, Name, Target, Label string
	Payload                 []byte
}

type turn struct {
	fiber *Fiber
	err   error
}

// Interpreter is one run, as far as its events tell. Its exported fields are read, and those of what was issued, withdrawn and
// said also emptied, by whoever drives it.
type Interpreter struct {
	Run       string
	Spec      *Spec
	Started   model.Started
	Seq       int64
	Clock     int64 // the workflow's clock, microseconds UTC
	Issued    []*Command
	Withdrawn []*Command
	Outputs   []Said
	Outcome   *Outcome
	Err       error // what the workflow returned, when it failed

	root      *Fiber
	current   *Fiber
	pending   commands
	ready     queue
	listeners map[string][]*Command
	mail      mail
	updates   map[string]*Update
	handled   []string // names of updates, in order
	updated   int
	beside    fibers
	chance    Chance
	patches   []string
	closing   *Outcome
	closed    bool
	left      int
	recent    [3]*model.Event
}

// New makes an interpreter that was told nothing.
func New(spec *Spec, run string) *Interpreter {
	return &Interpreter{
		Run: run, Spec: spec, left: Unlimited,
		pending: commands{byID: map[string]*Command{}}, listeners: map[string][]*Command{}, updates: map[string]*Update{},
	}
}

// ---- feeding ---------------------------------------------------------------------------------------------------------------

// Feed takes in the next events, one after the other, as far as the budget of immediate answers allows; Seq tells how far.
func (it *Interpreter) Feed(journal []model.Event, budget int) error {
	it.Advance(Unlimited) // the last event has all of its consequences before the next comes
	it.left = budget
	for i := range journal {
		event := &journal[i]
		if err := it.feed(event); err != nil {
			if misfit, ok := err.(*model.NonDeterminismError); ok {
				for _, past := range it.recent {
					if past != nil {
						misfit.Before = append(misfit.Before, past.String())
					}
				}
			}
			return err
		}
		it.recent[0], it.recent[1], it.recent[2] = it.recent[1], it.recent[2], event
		if !it.advance() {
			break
		}
	}
	return nil
}

func (it *Interpreter) feed(event *model.Event) error {
	if event.Seq != it.Seq+1 {
		return &model.JournalDamaged{Run: it.Run, Seq: event.Seq, Problem: fmt.Sprintf("after #%d comes #%d", it.Seq, it.Seq+1)}
	}
	it.Seq = event.Seq
	it.Issued = it.Issued[:0]
	it.Clock = max(it.Clock, event.At)
	command := it.pending.byID[event.Command]
	if command == nil || !command.agrees(event, event.Kind) {
		return it.take(event)
	}
	failed := event.Kind == model.StepGaveUp || event.Kind == model.ChildEnded
	var answer error
	if failed {
		answer = command.fail(event.Payload)
	} else if command.accept != nil {
		if err := command.accept(event.Payload); err != nil {
			return err
		}
	}
	it.pending.remove(command)
	if event.Kind == model.SavepointTaken {
		if err := it.passSavepoint(event); err != nil {
			return err
		}
	}
	fiber := command.fiber
	fiber.waits = nil
	if command.Cancelled {
		answer = fiber.cancel
	}
	it.run(fiber, answer)
	return nil
}

// take takes in an event that answers no pending command.
func (it *Interpreter) take(event *model.Event) error {
	if !slices.Contains(kinds, event.Kind) {
		return &model.JournalDamaged{Run: it.Run, Seq: event.Seq, Problem: fmt.Sprintf("of unknown kind %q: upgrade the SDK", event.Kind)}
	}
	if (it.closed || it.Outcome != nil) && !model.Closing(event.Kind) {
		return it.misfit(event, nil)
	}
	switch event.Kind {
	case model.Begun:
		return it.takeStarted(event)
	case model.AttemptFailed, model.StepIntent:
		return it.takeAttempt(event)
	case model.TimerFired:
		return it.takeTimer(event)
	case model.SignalReceived:
		return it.takeSignal(event)
	case model.UpdateReceived:
		return it.takeUpdate(event)
	case model.CancelRequested:
		reason := "cancelled"
		var said struct{ Reason *string }
		if len(event.Payload) > 0 && json.Unmarshal(event.Payload, &said) == nil && said.Reason != nil {
			reason = *said.Reason
		}
		it.Cancel(it.root, reason)
		return nil
	case model.Completed, model.Failed, model.WasCancelled, model.Continued:
		return it.takeClosing(event)
	default: // an answer that does not fit the command of its id, or that nobody waits for
		return it.misfit(event, it.pending.byID[event.Command])
	}
}

var kinds = []string{
	model.Begun, model.StepCompleted, model.StepGaveUp, model.AttemptFailed, model.StepIntent, model.TimerFired,
	model.SignalReceived, model.UpdateReceived, model.ChildCompleted, model.ChildEnded, model.SavepointTaken,
	model.CancelRequested, model.Completed, model.Failed, model.WasCancelled, model.Continued,
}

// Advance lets every fiber run that can, as far as the budget allows; whether none is left that can.
func (it *Interpreter) Advance(budget int) bool {
	it.left = budget
	return it.advance()
}

func (it *Interpreter) advance() bool {
	for it.left != 0 {
		next, ok := it.ready.pop()
		if !ok {
			return true
		}
		it.run(next.fiber, next.err)
	}
	return it.ready.empty()
}

// Recover begins at a savepoint with state instead of at the beginning; then feed what comes after it.
func (it *Interpreter) Recover(started, savepoint *model.Event, budget int) error {
	resume, err := model.DecodeResume(savepoint.Payload)
	if err != nil || resume == nil || savepoint.Kind != model.SavepointTaken {
		return &model.JournalDamaged{Run: it.Run, Seq: savepoint.Seq, Problem: "it is no savepoint with state"}
	}
	if err := it.setOut(started); err != nil {
		return err
	}
	it.Seq, it.Clock = savepoint.Seq, savepoint.At
	for _, letter := range resume.Mail {
		it.mail.put(letter.Name, letter.Payload)
	}
	if err := it.begin(resume.State); err != nil {
		return err
	}
	it.root.commands, it.root.outs, it.updated = resume.Next, resume.Outs, resume.Updates
	it.patches = resume.Patches
	it.chance.Rebase(savepoint.Seq)
	it.Advance(budget)
	return nil
}

func (it *Interpreter) setOut(event *model.Event) (err error) {
	if it.Started, err = model.DecodeStarted(event, it.Run); err != nil {
		return err
	}
	if it.Started.Seed == "" {
		it.Started.Seed = it.Run
	}
	it.chance = Chance{seed: it.Started.Seed, drawn: map[string]int{}}
	if it.patches = it.Started.Patches; it.patches == nil {
		it.patches = it.Spec.Patches
	}
	return nil
}

// begin makes the root fiber, and puts it into the queue.
func (it *Interpreter) begin(state []byte) error {
	body, err := it.Spec.Begin(it.Started.Input, state)
	if err != nil {
		return err
	}
	it.root = &Fiber{it: it}
	it.root.body = func(f *Fiber) (err error) {
		f.result, err = body(f)
		return err
	}
	it.ready.push(turn{fiber: it.root})
	return nil
}

// ---- one method per kind of event that no command waits for -------------------------------------------------------------------

func (it *Interpreter) takeStarted(event *model.Event) error {
	if err := it.setOut(event); err != nil {
		return err
	}
	for _, letter := range it.Started.Mail {
		it.mail.put(letter.Name, letter.Payload)
	}
	return it.begin(nil)
}

func (it *Interpreter) passSavepoint(event *model.Event) error {
	resume, err := model.DecodeResume(event.Payload)
	if err != nil {
		return &model.JournalDamaged{Run: it.Run, Seq: event.Seq, Problem: err.Error()}
	}
	if resume != nil {
		it.patches = resume.Patches
		it.chance.Rebase(event.Seq)
	}
	return nil
}

func (it *Interpreter) takeAttempt(event *model.Event) error {
	kind := model.StepGaveUp
	if event.Kind == model.StepIntent {
		kind = model.StepCompleted
	}
	command := it.pending.byID[event.Command]
	if command == nil || !command.agrees(event, kind) {
		return it.misfit(event, command)
	}
	if command.Intent = event.Kind == model.StepIntent; !command.Intent {
		command.Attempts++
		command.Failure, command.FailedAt = event.Payload, event.At
	}
	return nil
}

// takeTimer takes in the timer of a wait for a signal; that of a sleep is its answer.
func (it *Interpreter) takeTimer(event *model.Event) error {
	command := it.pending.byID[event.Command]
	if command == nil || command.Kind != Signal || !command.Timed || event.Name != command.Name {
		return it.misfit(event, command)
	}
	it.forget(command)
	it.resume(command.fiber, command.fail(nil))
	return nil
}

func (it *Interpreter) takeSignal(event *model.Event) error {
	waiting := it.listeners[event.Name]
	if len(waiting) == 0 {
		it.mail.put(event.Name, event.Payload)
		return nil
	}
	command := waiting[0]
	it.forget(command)
	it.resume(command.fiber, command.accept(event.Payload))
	return nil
}

func (it *Interpreter) takeUpdate(event *model.Event) error {
	update := it.updates[event.Name]
	if update == nil {
		return it.misfit(event, nil)
	}
	var request struct {
		ID    string
		Value json.RawMessage
	}
	if err := json.Unmarshal(event.Payload, &request); err != nil {
		return &model.JournalDamaged{Run: it.Run, Seq: event.Seq, Problem: err.Error()}
	}
	reply := &scope{it: it, kind: replyScope, message: request.ID}
	fiber := &Fiber{it: it, path: fmt.Sprintf("u%d/", it.updated), scope: reply}
	fiber.body = func(f *Fiber) (err error) {
		f.result, err = update.Handle(f, request.Value)
		return err
	}
	it.updated++
	it.ready.push(turn{fiber: fiber})
	it.runBeside(fiber)
	return nil
}

func (it *Interpreter) takeClosing(event *model.Event) error {
	outcome := it.Outcome
	terminated := event.Kind == model.Failed && event.Name == model.Terminated
	fits := outcome != nil && outcome.Kind == event.Kind
	if fits && (event.Kind == model.Completed || event.Kind == model.Continued) {
		fits = bytes.Equal(outcome.Payload, event.Payload)
	}
	if it.closed || !(terminated || fits) {
		return it.misfit(event, nil)
	}
	it.closed = true
	it.pending = commands{byID: map[string]*Command{}}
	return nil
}

// ---- what an engine asks ----------------------------------------------------------------------------------------------------

// Settled says whether no fiber can run without another event.
func (it *Interpreter) Settled() bool { return it.ready.empty() }

// Pending is a command that waits for an answer, or nil.
func (it *Interpreter) Pending(id string) *Command { return it.pending.byID[id] }

// Waiting lists the pending commands in order of issue.
func (it *Interpreter) Waiting() []*Command { return it.pending.list() }

// Open is the number of pending commands.
func (it *Interpreter) Open() int { return len(it.pending.byID) }

// CancelAsked says whether the run was asked to stop.
func (it *Interpreter) CancelAsked() bool { return it.root != nil && it.root.cancel != nil }

// RefusesSignal says why a message does not fit the fiber that waits for it, or nil.
func (it *Interpreter) RefusesSignal(name string, payload []byte) error {
	if waiting := it.listeners[name]; len(waiting) > 0 {
		return waiting[0].probe(payload)
	}
	return nil
}

// RefusesUpdate says why an update is refused, or nil: nothing handles it, its argument does not fit, or its validator says so.
func (it *Interpreter) RefusesUpdate(name string, payload []byte) error {
	update := it.updates[name]
	if update == nil {
		return &model.UnknownName{What: "update", Name: name, Known: it.handled}
	}
	return update.Validate(payload)
}

// Unread lists the signals that came and were not taken, per name oldest first.
func (it *Interpreter) Unread() []model.Letter { return it.mail.list() }

// Draw is a number from the run's own chance, for a purpose that no fiber has.
func (it *Interpreter) Draw(purpose string) float64 { return it.chance.Random(purpose) }

// Close evicts the run: every coroutine is unwound. What deferred functions ask for is refused, nothing of it is journaled.
func (it *Interpreter) Close() {
	alive := it.beside.list()
	if it.root != nil {
		alive = append(alive, it.root)
	}
	for len(alive) > 0 {
		fiber := alive[len(alive)-1]
		alive = alive[:len(alive)-1]
		if scope, ok := fiber.waits.(*scope); ok {
			for _, child := range scope.fibers {
				if !child.done {
					alive = append(alive, child)
				}
			}
		}
		fiber.unwind()
	}
	it.ready = queue{}
	it.current = nil
}

// Position is a name for what a command brings about, the same in every replay and in no other journal of this run.
func (it *Interpreter) Position(command, mark string) string {
	if it.Started.Chain == 0 {
		return it.Run + mark + command
	}
	return fmt.Sprintf("%s~%d%s%s", it.Run, it.Started.Chain, mark, command)
}

// ---- running fibers -----------------------------------------------------------------------------------------------------------

// run lets one fiber run until it waits, ends, or the budget is used up.
func (it *Interpreter) run(f *Fiber, answer error) {
	switch {
	case !f.begun && f.cancel != nil: // never ran, never runs
		f.delivered = true
		it.ended(f, f.cancel)
		return
	case f.single != nil && !f.begun:
		f.begun = true
		it.issue(f, f.single)
		return
	case f.single != nil:
		it.ended(f, answer)
		return
	}
	it.current = f
	f.resume(answer)
	it.current = nil
	switch {
	case f.next != nil: // it goes on as a new journal
		next := f.next
		f.next, f.done = nil, true
		f.unwind()
		it.closeRun(next)
	case f.ended:
		it.ended(f, f.err)
	case f.paused:
		f.paused = false
		it.ready.pushFront(turn{fiber: f})
	case f.cancel != nil && !f.delivered && !f.done:
		it.deliver(f)
	}
}

func (it *Interpreter) ended(f *Fiber, err error) {
	f.done, f.err, f.waits = true, err, nil
	for _, joiner := range f.joiners {
		it.resume(joiner, err)
	}
	f.joiners = nil
	if f.scope != nil {
		f.scope.heard(f)
	}
	it.beside.remove(f)
	if f == it.root {
		it.closeRun(it.outcome(f, err))
	} else if it.closing != nil {
		it.finish()
	}
}

func (it *Interpreter) outcome(f *Fiber, err error) *Outcome {
	it.Err = err
	if err == nil {
		return &Outcome{Kind: model.Completed, Payload: f.result}
	}
	if cancelled, ok := asCancelled(err); ok {
		return &Outcome{Kind: model.WasCancelled, Payload: model.CancelledPayload(cancelled.Reason)}
	}
	return &Outcome{Kind: model.Failed, Payload: model.FailureOf(err, it.Started.Attempt).Encode()}
}

// closeRun says that the root has ended: what was spawned and still runs is cancelled, then the run ends.
func (it *Interpreter) closeRun(outcome *Outcome) {
	if it.closing == nil {
		it.closing = outcome
	}
	for _, fiber := range it.beside.list() {
		it.part(fiber)
	}
	it.finish()
}

// runBeside keeps a fiber that no scope waits for; one that is made while the run ends shares its end.
func (it *Interpreter) runBeside(f *Fiber) {
	it.beside.add(f)
	if it.closing != nil {
		it.part(f)
	}
}

// part is for a fiber that has not ended when the root has: children go by their policy, all else is cancelled.
func (it *Interpreter) part(f *Fiber) {
	policy := model.CancelChild
	if command, ok := f.waits.(*Command); ok && command == f.single && command.Call != nil {
		policy = command.Call.Options.OnParentClose
	}
	switch policy {
	case model.AbandonChild:
		it.abandon(f)
	case model.WaitForChild:
	default:
		it.Cancel(f, "the run has ended")
	}
}

func (it *Interpreter) finish() {
	if it.beside.empty() {
		it.Outcome = it.closing
	}
}

// abandon lets a child go on by itself: nobody waits for it any more.
func (it *Interpreter) abandon(f *Fiber) {
	if command, ok := f.waits.(*Command); ok {
		command.Abandoned = true
		it.pending.remove(command)
	}
	f.done, f.waits, f.err = true, nil, &model.Cancelled{Reason: "the run has ended"}
	for _, joiner := range f.joiners {
		it.resume(joiner, f.err)
	}
	it.beside.remove(f)
}

// resume puts a waiting fiber at the end of the queue, with its answer.
func (it *Interpreter) resume(f *Fiber, err error) {
	f.waits = nil
	it.ready.push(turn{f, err})
}

// Cancel cancels a fiber, once; the cancellation is its answer where it waits, or at its next wait.
func (it *Interpreter) Cancel(f *Fiber, reason string) {
	if f.cancel == nil && !f.done {
		f.cancel = &model.Cancelled{Reason: reason}
		if f.waits != nil {
			it.deliver(f)
		}
	}
}

// deliver cancels where a fiber waits; where that is a scope, in its branches, outermost and first ones first.
func (it *Interpreter) deliver(f *Fiber) {
	for stack := []*Fiber{f}; len(stack) > 0; {
		f := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		inside, ok := f.waits.(*scope)
		if !ok {
			it.throw(f)
			continue
		}
		if inside.kind == shieldScope {
			continue
		}
		inside.closing = true
		var waiting []*Fiber
		for _, child := range inside.fibers {
			if child.done || child.cancel != nil {
				continue
			}
			child.cancel = &model.Cancelled{Reason: f.cancel.Reason}
			if child.waits != nil {
				waiting = append(waiting, child)
			}
		}
		slices.Reverse(waiting)
		stack = append(stack, waiting...)
	}
}

func (it *Interpreter) throw(f *Fiber) {
	switch waits := f.waits.(type) {
	case *Command:
		it.Withdrawn = append(it.Withdrawn, waits)
		if waits.Kind == Step && waits.Step.Options.WaitOnCancel {
			waits.Cancelled, f.delivered = true, true
			return
		}
		it.forget(waits)
	case *Fiber:
		waits.joiners = slices.DeleteFunc(waits.joiners, func(other *Fiber) bool { return other == f })
	}
	f.delivered = true
	it.resume(f, f.cancel)
}

// issue asks the world.
func (it *Interpreter) issue(f *Fiber, command *Command) {
	command.ID, command.fiber, command.IssuedAt = f.nextID(), f, it.Clock
	it.pending.add(command)
	it.Issued = append(it.Issued, command)
	f.waits = command
}

// forget: nobody waits for this answer any more.
func (it *Interpreter) forget(command *Command) {
	it.pending.remove(command)
	if command.Kind == Signal {
		waiting := it.listeners[command.Name]
		if waiting[0] == command {
			waiting = waiting[1:]
		} else {
			waiting = slices.DeleteFunc(waiting, func(other *Command) bool { return other == command })
		}
		if len(waiting) == 0 {
			delete(it.listeners, command.Name)
		} else {
			it.listeners[command.Name] = waiting
		}
	}
}

// SavepointPayload is what the event of a pending savepoint holds: its notes, and with state all that recovery needs.
func (it *Interpreter) SavepointPayload(command *Command) []byte {
	if command.State == nil {
		return append(append([]byte(`{"notes":`), command.Notes...), '}')
	}
	payload, _ := model.Resume{ // its parts were spelt canonically before
		State: command.State, Next: command.fiber.commands, Outs: command.fiber.outs, Updates: it.updated,
		Patches: it.Spec.Patches, Mail: it.Unread(), Notes: command.Notes,
	}.Encode()
	return payload
}

// ContinuedPayload spells a continued event.
func ContinuedPayload(next *Next) []byte {
	payload, _ := codec.Marshal(map[string]any{"input": json.RawMessage(next.Input), "workflow": next.Workflow})
	return payload
}
