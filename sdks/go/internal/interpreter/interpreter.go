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
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"example.org/replay/model"
)

// Unlimited is a budget of immediate answers without an end.
const Unlimited = -1

// Body is what a fiber runs: the author's code, with its result encoded, or put where the author's types are known.
type Body func(*Fiber) ([]byte, error)

// Outcome is how a run ends: the closing event's kind and payload.
type Outcome struct {
	Kind    string
	Payload []byte
	Next    *Workflow // that goes on as a new journal, with this input
	Input   []byte
}

// Said is an output: it tells the world something, once, in the commit of the event that led to it.
type Said struct {
	ID, Name, Target, Label string
	Payload                 []byte
}

// Update answers updates of a name.
type Update struct {
	Validate func(payload []byte) error
	Handle   func(f *Fiber, payload []byte) ([]byte, error)
}

// letters are the signals of one name that nobody has read.
type letters struct {
	number   int
	payloads [][]byte
}

type turn struct {
	fiber *Fiber
	err   error
}

// Interpreter is one run, as far as its events tell. Its exported fields are read, and those of what was issued, withdrawn and
// said also emptied, by whoever drives it.
type Interpreter struct {
	Run       string
	Workflow  *Workflow
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
	pending   map[string]*Command
	beside    map[*Fiber]int // those that no scope waits for, and which of them came first
	ready     []turn         // fibers that can run, first ready first: the only source of order
	listeners map[string][]*Command
	mail      map[string]*letters // signals that nobody has read, by name
	count     int                 // of what is listed in the order in which it came
	updates   map[string]*Update
	updated   int
	queries   map[string]func(arguments []byte) ([]byte, error)
	chance    Chance
	patches   []string
	closing   *Outcome
	closed    bool
	left      int
	recent    [3]*model.Event
}

// New makes an interpreter that was told nothing.
func New(workflow *Workflow, run string) *Interpreter {
	return &Interpreter{
		Run: run, Workflow: workflow, left: Unlimited, listeners: map[string][]*Command{}, updates: map[string]*Update{},
		pending: map[string]*Command{}, beside: map[*Fiber]int{}, mail: map[string]*letters{},
		queries: map[string]func([]byte) ([]byte, error){},
	}
}

// ---- feeding ---------------------------------------------------------------------------------------------------------------

// Feed takes in the next events, one after the other, as far as the budget of immediate answers allows; Seq tells how far.
func (it *Interpreter) Feed(journal []*model.Event, budget int) error {
	it.Advance(Unlimited) // the last event has all of its consequences before the next comes
	it.left = budget
	for _, event := range journal {
		if err := it.feed(event); err != nil {
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
		return it.damaged(event.Seq, fmt.Sprintf("after #%d comes #%d", it.Seq, it.Seq+1))
	}
	it.Seq = event.Seq
	it.Issued = it.Issued[:0]
	it.Clock = max(it.Clock, event.At)
	command := it.Pending(event.Command)
	if command == nil || !command.agrees(event, event.Kind) {
		return it.take(event)
	}
	var answer error
	if event.Kind == model.StepGaveUp || event.Kind == model.ChildEnded {
		answer = command.failed(event.Payload)
	} else if command.accept != nil {
		if err := command.accept(event.Payload); err != nil {
			return err
		}
	}
	delete(it.pending, command.ID)
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

// take is for events that answer no pending command; an answer is taken only by the command that it fits.
func (it *Interpreter) take(event *model.Event) error {
	switch {
	case model.Closing(event.Kind):
		return it.takeClosing(event)
	case it.closed || it.Outcome != nil:
		return it.misfit(event)
	}
	switch event.Kind {
	case model.Begun:
		return it.begin(event, nil)
	case model.AttemptFailed, model.StepIntent:
		return it.takeAttempt(event)
	case model.TimerFired:
		return it.takeTimer(event)
	case model.SignalReceived:
		return it.takeSignal(event)
	case model.UpdateReceived:
		return it.takeUpdate(event)
	case model.CancelRequested:
		said := struct{ Reason string }{"cancelled"}
		_ = json.Unmarshal(event.Payload, &said)
		it.Cancel(it.root, said.Reason)
		return nil
	case model.StepCompleted, model.StepGaveUp, model.ChildCompleted, model.ChildEnded, model.SavepointTaken:
		return it.misfit(event)
	}
	return it.damaged(event.Seq, fmt.Sprintf("of unknown kind %q: upgrade the SDK", event.Kind))
}

func (it *Interpreter) damaged(seq int64, problem string) error {
	return &model.JournalDamaged{Run: it.Run, Seq: seq, Problem: problem}
}

// Advance lets every fiber run that can, as far as the budget allows; whether none is left that can.
func (it *Interpreter) Advance(budget int) bool {
	it.left = budget
	return it.advance()
}

func (it *Interpreter) advance() bool {
	for it.left != 0 && len(it.ready) > 0 {
		next := it.ready[0]
		it.ready = it.ready[1:]
		it.run(next.fiber, next.err)
	}
	return it.Settled()
}

// Recover begins at a savepoint with state instead of at the beginning; then feed what comes after it.
func (it *Interpreter) Recover(started, savepoint *model.Event, budget int) error {
	resume, err := model.DecodeResume(savepoint.Payload)
	if err != nil || resume == nil || savepoint.Kind != model.SavepointTaken {
		return it.damaged(savepoint.Seq, "it is no savepoint with state")
	}
	if err := it.begin(started, resume); err != nil {
		return err
	}
	it.Seq, it.Clock = savepoint.Seq, savepoint.At
	it.root.commands, it.root.outs, it.updated = resume.Next, resume.Outs, resume.Updates
	it.chance.Rebase(savepoint.Seq)
	it.Advance(budget)
	return nil
}

// begin makes the root fiber, for the beginning or for a savepoint with state, and puts it into the queue.
func (it *Interpreter) begin(event *model.Event, resume *model.Resume) (err error) {
	if it.Started, err = model.DecodeStarted(event, it.Run); err != nil {
		return err
	}
	it.Started.Seed = cmp.Or(it.Started.Seed, it.Run)
	it.chance = Chance{seed: it.Started.Seed, drawn: map[string]int{}}
	if it.patches = it.Started.Patches; it.patches == nil {
		it.patches = it.Workflow.Patches
	}
	mail, state := it.Started.Mail, []byte(nil)
	if resume != nil {
		mail, state, it.patches = resume.Mail, resume.State, resume.Patches
	}
	for _, letter := range mail {
		it.putMail(letter.Name, letter.Payload)
	}
	body, err := it.Workflow.Begin(it.Started.Input, state)
	if err != nil {
		return err
	}
	it.root = &Fiber{it: it, body: body}
	it.resume(it.root, nil)
	return nil
}

// ---- one method per kind of event that no command waits for -------------------------------------------------------------------

func (it *Interpreter) passSavepoint(event *model.Event) error {
	resume, err := model.DecodeResume(event.Payload)
	if err != nil {
		return it.damaged(event.Seq, err.Error())
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
	command := it.Pending(event.Command)
	if command == nil || !command.agrees(event, kind) {
		return it.misfit(event)
	}
	if command.Intent = event.Kind == model.StepIntent; !command.Intent {
		command.Attempts++
		command.Failure, command.FailedAt = event.Payload, event.At
	}
	return nil
}

// takeTimer takes in the timer of a wait for a signal; that of a sleep is its answer.
func (it *Interpreter) takeTimer(event *model.Event) error {
	command := it.Pending(event.Command)
	if command == nil || command.Kind != Signal || !command.Timed || event.Name != command.Name {
		return it.misfit(event)
	}
	it.forget(command)
	it.resume(command.fiber, &model.TimedOut{What: "signal " + command.Name, Seconds: float64(command.Span) / 1e6})
	return nil
}

func (it *Interpreter) takeSignal(event *model.Event) error {
	waiting := it.listeners[event.Name]
	if len(waiting) == 0 {
		it.putMail(event.Name, event.Payload)
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
		return it.misfit(event)
	}
	var request struct {
		ID    string
		Value json.RawMessage
	}
	if err := json.Unmarshal(event.Payload, &request); err != nil {
		return it.damaged(event.Seq, err.Error())
	}
	fiber := &Fiber{it: it, path: fmt.Sprintf("u%d/", it.updated)}
	fiber.reply = func(f *Fiber) {
		label, payload := "ok", f.result
		if f.err != nil {
			label, payload = "error", model.FailureOf(f.err, 1).Encode()
		}
		it.Outputs = append(it.Outputs, Said{f.path + "reply", "reply", request.ID, label, payload})
	}
	fiber.body = func(f *Fiber) ([]byte, error) { return update.Handle(f, request.Value) }
	it.updated++
	it.resume(fiber, nil)
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
		return it.misfit(event)
	}
	it.closed = true
	clear(it.pending)
	return nil
}

// ---- what an engine asks ----------------------------------------------------------------------------------------------------

// Settled says whether no fiber can run without another event.
func (it *Interpreter) Settled() bool { return len(it.ready) == 0 }

// Pending is a command that waits for an answer, or nil.
func (it *Interpreter) Pending(id string) *Command { return it.pending[id] }

// Waiting lists the pending commands in order of issue.
func (it *Interpreter) Waiting() []*Command {
	return slices.SortedFunc(maps.Values(it.pending), func(a, b *Command) int { return a.number - b.number })
}

// Open is the number of pending commands.
func (it *Interpreter) Open() int { return len(it.pending) }

// CancelAsked says whether the run was asked to stop.
func (it *Interpreter) CancelAsked() bool { return it.root != nil && it.root.cancel != nil }

// RefusesSignal says why a message does not fit the fiber that waits for it, or nil.
func (it *Interpreter) RefusesSignal(name string, payload []byte) error {
	if waiting := it.listeners[name]; len(waiting) > 0 {
		return waiting[0].accept(payload)
	}
	return nil
}

// RefusesUpdate says why an update is refused, or nil: nothing handles it, its argument does not fit, or its validator says so.
func (it *Interpreter) RefusesUpdate(name string, payload []byte) error {
	update := it.updates[name]
	if update == nil {
		return &model.UnknownName{What: "update", Name: name, Known: slices.Sorted(maps.Keys(it.updates))}
	}
	return update.Validate(payload)
}

// OnUpdate answers updates of a name from here on.
func (it *Interpreter) OnUpdate(name string, update *Update) {
	it.updates[name] = update
}

// OnQuery answers queries of a name from here on.
func (it *Interpreter) OnQuery(name string, answer func(arguments []byte) ([]byte, error)) {
	it.queries[name] = answer
}

// Query is the reply to a query, under the same words as an update's.
func (it *Interpreter) Query(name string, arguments []byte) map[string]any {
	answer := it.queries[name]
	if answer == nil {
		unknown := &model.UnknownName{What: "query", Name: name, Known: slices.Sorted(maps.Keys(it.queries))}
		return map[string]any{"refused": unknown.Error()}
	}
	reply, err := answer(arguments)
	if err != nil {
		return map[string]any{"error": json.RawMessage(model.FailureOf(err, 1).Encode())}
	}
	return map[string]any{"ok": json.RawMessage(reply)}
}

// Patched says whether this run began with code that declares the patch; it panics when the workflow does not declare it.
func (it *Interpreter) Patched(name string) bool {
	if !slices.Contains(it.Workflow.Patches, name) {
		panic(&model.EffectError{
			Got:    fmt.Sprintf("patched(%q) is not declared by workflow %s", name, it.Workflow.Name),
			Advice: fmt.Sprintf("declare the workflow with Patches: []string{%q}", name),
		})
	}
	return slices.Contains(it.patches, name)
}

func (it *Interpreter) next() int {
	it.count++
	return it.count
}

// apart lists the fibers that no scope waits for, oldest first.
func (it *Interpreter) apart() []*Fiber {
	return slices.SortedFunc(maps.Keys(it.beside), func(a, b *Fiber) int { return it.beside[a] - it.beside[b] })
}

func (it *Interpreter) putMail(name string, payload []byte) {
	if it.mail[name] == nil {
		it.mail[name] = &letters{number: it.next()}
	}
	it.mail[name].payloads = append(it.mail[name].payloads, payload)
}

func (it *Interpreter) takeMail(name string) ([]byte, bool) {
	box := it.mail[name]
	if box == nil {
		return nil, false
	}
	first := box.payloads[0]
	if box.payloads = box.payloads[1:]; len(box.payloads) == 0 {
		delete(it.mail, name)
	}
	return first, true
}

// Unread lists the signals that came and were not taken, per name oldest first, names in the order of their first one.
func (it *Interpreter) Unread() (unread []model.Letter) {
	for _, name := range slices.SortedFunc(maps.Keys(it.mail), func(a, b string) int { return it.mail[a].number - it.mail[b].number }) {
		for _, payload := range it.mail[name].payloads {
			unread = append(unread, model.Letter{Name: name, Payload: payload})
		}
	}
	return unread
}

// Draw is a number from the run's own chance, for a purpose that no fiber has.
func (it *Interpreter) Draw(purpose string) float64 { return it.chance.Random(purpose) }

// Close evicts the run: every coroutine is unwound. What deferred functions ask for is refused, nothing of it is journaled.
func (it *Interpreter) Close() {
	if it.root != nil {
		it.root.close()
	}
	for _, fiber := range it.apart() {
		fiber.close()
	}
	it.ready, it.current = nil, nil
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
		it.ready = append([]turn{{fiber: f}}, it.ready...)
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
	} else if f.reply != nil {
		f.reply(f)
	}
	delete(it.beside, f)
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
	if cancelled, ok := errors.AsType[*model.Cancelled](err); ok {
		return &Outcome{Kind: model.WasCancelled, Payload: model.CancelledPayload(cancelled.Reason)}
	}
	return &Outcome{Kind: model.Failed, Payload: model.FailureOf(err, it.Started.Attempt).Encode()}
}

// closeRun says that the root has ended: what was spawned and still runs is cancelled, then the run ends.
func (it *Interpreter) closeRun(outcome *Outcome) {
	if it.closing == nil {
		it.closing = outcome
	}
	for _, fiber := range it.apart() {
		it.part(fiber)
	}
	it.finish()
}

// runBeside keeps a fiber that no scope waits for; one that is made while the run ends shares its end.
func (it *Interpreter) runBeside(f *Fiber) {
	it.beside[f] = it.next()
	if it.closing != nil {
		it.part(f)
	}
}

// part is for a fiber that has not ended when the root has: children go by their policy, all else is cancelled.
func (it *Interpreter) part(f *Fiber) {
	policy := model.CancelChild
	if command, ok := f.waits.(*Command); ok && command == f.single && command.Workflow != nil {
		policy = command.Workflow.Options.OnParentClose
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
	if len(it.beside) == 0 {
		it.Outcome = it.closing
	}
}

// abandon lets a child go on by itself: nobody waits for it any more.
func (it *Interpreter) abandon(f *Fiber) {
	if command, ok := f.waits.(*Command); ok {
		command.Abandoned = true
		delete(it.pending, command.ID)
	}
	it.ended(f, &model.Cancelled{Reason: "the run has ended"})
}

// resume puts a waiting fiber at the end of the queue, with its answer.
func (it *Interpreter) resume(f *Fiber, err error) {
	f.waits = nil
	it.ready = append(it.ready, turn{f, err})
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
	inside, ok := f.waits.(*scope)
	if !ok {
		it.throw(f)
		return
	}
	if inside.shields {
		return
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
	for _, child := range waiting {
		it.deliver(child)
	}
}

func (it *Interpreter) throw(f *Fiber) {
	switch waits := f.waits.(type) {
	case *Command:
		it.Withdrawn = append(it.Withdrawn, waits)
		if waits.Kind == StepCall && waits.Step.Options.WaitOnCancel {
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
	command.ID, command.fiber, command.IssuedAt, command.number = f.nextID(), f, it.Clock, it.next()
	if command.Timed && command.Span >= 0 {
		command.Due = it.Clock + command.Span
	}
	it.pending[command.ID] = command
	it.Issued = append(it.Issued, command)
	f.waits = command
}

// forget: nobody waits for this answer any more.
func (it *Interpreter) forget(command *Command) {
	delete(it.pending, command.ID)
	if command.Kind == Signal {
		waiting := it.listeners[command.Name]
		if waiting[0] == command {
			it.listeners[command.Name] = waiting[1:]
		} else {
			it.listeners[command.Name] = slices.DeleteFunc(waiting, func(other *Command) bool { return other == command })
		}
		if len(it.listeners[command.Name]) == 0 {
			delete(it.listeners, command.Name)
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
		Patches: it.Workflow.Patches, Mail: it.Unread(), Notes: command.Notes,
	}.Encode()
	return payload
}

// ChildID is the id of a child, or of a step's run: the one it was given, or its parent's and its command's; position is identity.
func (it *Interpreter) ChildID(command *Command) string {
	given := ""
	if command.Workflow != nil {
		given = command.Workflow.Options.ID
	} else if command.Step != nil {
		given = command.Step.Options.ID
	}
	return cmp.Or(given, it.Position(command.ID, "."))
}
