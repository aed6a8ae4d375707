// Package engine is the only room that acts: it claims runs, feeds them, commits, and then does what their commands ask.
package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"runtime/debug"
	"slices"
	"strings"

	"example.org/replay/internal/codec"
	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

const (
	turnLimit    = 2_000  // events that one commit of one run holds at most; the rest follows in the next
	heed         = 100    // after so many answers in a row a run hears a timer or a message
	answerBudget = 20_000 // immediate answers that a workflow gives itself before other runs have their turn
	second       = 1_000_000
	never        = math.MaxInt64

	replyTopic, notesTopic, logTopic = "~reply:", "~notes:", "~log:"
	progressKey, lostKey             = "~progress", "~lost"
)

// Live is one claimed run in memory: what it has been told, what it wants, and the commit that makes a turn durable.
//
// Rule 1: a turn feeds first. Answers, messages and timers become events, the interpreter takes them at once, and all that they
// led to is collected; nothing of it is done before the commit that this type builds has been applied.
// Rule 2: no I/O. A Live takes facts and a moment, and returns a commit and a list of commands to act on.
// Rule 3: what an interpreter says while it is driven over old events has been said: only outputs after `applied` count.
type Live struct {
	Run       *wire.Run
	Lease     *wire.Lease
	Interp    *interpreter.Interpreter
	Acting    []*interpreter.Command // to act on once the next commit is applied
	Withdrawn []*interpreter.Command // to stop once the next commit is applied
	Paused    bool

	journal    []*model.Event // old events, of which `fed` have been fed, and `said` had their outputs applied
	fed, said  int
	arrived    bool
	committed  int64
	applied    int64
	answers    []*model.Event // what the world told of commands: Kind, Command, Payload, Attempt and Duration
	mail       []*wire.Message
	known      map[string]bool
	timers     []timer         // by moment, the earliest first
	intents    map[string]bool // at-most-once steps whose beginning was noted in this life
	cancelling bool
	terminated bool
	maxPayload int
	err        error              // why today's code cannot go on
	turn       *wire.Commit       // all that this turn led to, so far
	logged     []interpreter.Said // lines to hand to the logger once the next commit is applied
	state      map[string][]byte  // what it shows, by key; replay's own keys begin with a tilde
	tags       map[string]string
	progress   map[string]json.RawMessage // what steps told of themselves, by command
	saveAt     int64                      // when that is saved, or never while there is nothing new
	savedAt    int64

	lost   int    // workers that it will have cost in a row if this one dies now; 0 when it is not in doubt
	doing  string // what it is about to do, once that is written down
	inLine bool   // it is in doubt, and waits for its turn to be driven

	tasks    map[string]*attempt // what the worker has under way for it
	parking  bool
	queued   []*interpreter.Command
	restless int64 // moment at which it is given back if nothing happens, or 0
	touched  bool
}

// NewLive takes a claimed run into memory.
func NewLive(claimed *wire.Claimed, workflow *interpreter.Workflow, maxPayload int) *Live {
	run := claimed.Run
	live := &Live{
		Run: run, Lease: claimed.Lease, Interp: interpreter.New(workflow, run.Key.Id), Paused: run.Status == "paused",
		journal: claimed.Journal, committed: run.Seq, applied: run.Applied, maxPayload: maxPayload,
		known: map[string]bool{}, intents: map[string]bool{},
		tasks: map[string]*attempt{}, state: map[string][]byte{}, tags: map[string]string{}, turn: newTurn(),
		progress: map[string]json.RawMessage{}, saveAt: never,
	}
	_ = json.Unmarshal(run.State[progressKey], &live.progress)
	maps.Copy(live.tags, run.Tags)
	maps.Copy(live.state, run.State)
	maps.DeleteFunc(live.state, func(key string, _ []byte) bool { return strings.HasPrefix(key, "~") })
	for _, event := range live.journal {
		if event.Seq <= run.Applied {
			live.said++
		}
	}
	live.Deliver(claimed.Mail...)
	return live
}

func newTurn() *wire.Commit {
	return &wire.Commit{State: map[string][]byte{}, Tags: map[string]string{}}
}

// ---- what comes in ---------------------------------------------------------------------------------------------------------

// Deliver takes in messages, and says whether there were any that it had not seen before.
func (l *Live) Deliver(mail ...*wire.Message) (fresh bool) {
	for _, message := range mail {
		if !l.known[message.Id] {
			l.known[message.Id], fresh = true, true
			l.mail = append(l.mail, message)
		}
	}
	return fresh
}

// Tell takes in an answer.
func (l *Live) Tell(answer *model.Event) { l.answers = append(l.answers, answer) }

// saveSoon: a step has told how far it has come.
func (l *Live) saveSoon(now int64) { l.saveAt = min(l.saveAt, max(now, l.savedAt+second)) }

// forgetProgress: its command waits for no further attempt.
func (l *Live) forgetProgress(command string) {
	if l.progress[command] != nil {
		delete(l.progress, command)
		l.saveAt = l.savedAt
	}
}

// Drive lets the run take a turn, after as many of its old events as the budget allows; whether it rests then. What the author's types
// panic with while they are read is an error of this run.
func (l *Live) Drive(budget *int, now int64) (rests bool, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &model.PanicError{Value: fmt.Sprint("panic: ", cause), Stack: string(debug.Stack())}
		}
	}()
	if !l.arrived {
		*budget = l.replay(max(*budget, 1))
	}
	if l.arrived || l.Over() {
		l.turnOn(now)
		rests = l.Interp.Settled() || l.Over()
	}
	return rests, l.err
}

// replay feeds old events; what is left of the budget.
func (l *Live) replay(budget int) int {
	it := l.Interp
	if it.Seq == 0 && l.Run.Base > 1 && len(l.journal) > 1 {
		l.err = it.Recover(l.journal[0], l.journal[1], answerBudget)
		l.fed = 2
	} else if !it.Settled() {
		it.Advance(answerBudget)
	}
	l.forgetSaid()
	for l.err == nil && it.Settled() && budget > 0 && l.fed < len(l.journal) {
		until := len(l.journal)
		if l.fed < l.said {
			until = l.said
		}
		before := it.Seq
		l.err = it.Feed(l.journal[l.fed:min(until, l.fed+budget)], answerBudget)
		l.fed += int(it.Seq - before)
		budget -= int(it.Seq - before)
		l.forgetSaid()
	}
	switch {
	case l.err != nil || l.fed < len(l.journal):
	case it.Settled():
		l.journal, l.arrived = nil, true
		l.arrive()
	default:
		l.terminateBusy()
	}
	return budget
}

// forgetSaid: outputs of events up to `applied` were said long ago, and what they issued may have been answered since. Only a
// child that was asked for and abandoned in the same breath is nowhere else to be found.
func (l *Live) forgetSaid() {
	l.Interp.Issued = slices.DeleteFunc(l.Interp.Issued, func(c *interpreter.Command) bool { return !c.Abandoned || l.fed <= l.said })
	if l.fed <= l.said {
		l.Interp.Outputs = nil
	}
}

// arrive: all old events are fed; what is pending now is what the run wants.
func (l *Live) arrive() {
	it := l.Interp
	abandoned := it.Issued
	it.Issued, it.Withdrawn = nil, nil
	l.cancelling = it.CancelAsked()
	if it.Started.Deadline != nil && !l.cancelling {
		l.remind(*it.Started.Deadline, nil)
	}
	l.want(append(it.Waiting(), abandoned...))
	l.hear()
	l.close() // the closing event itself may have been lost with its worker
}

// ---- a turn ----------------------------------------------------------------------------------------------------------------

// turnOn feeds what has come in, until nothing more has or the turn is long enough.
func (l *Live) turnOn(now int64) {
	if l.terminated {
		return
	}
	if !l.Interp.Settled() {
		settled := l.Interp.Advance(answerBudget)
		if l.gatherIn(); !settled {
			l.terminateBusy()
			return
		}
	}
	for streak := 1; l.err == nil && len(l.turn.Events) < turnLimit && !l.Over() && l.Interp.Settled(); streak++ {
		mailed := now
		if len(l.mail) > 0 {
			mailed = min(now, l.mail[0].At)
		}
		switch {
		case len(l.answers) > 0 && streak%heed != 0:
			answer := l.answers[0]
			l.answers = l.answers[1:]
			l.takeAnswer(answer, now)
		case l.nextTimer() <= mailed:
			l.time(now)
		case len(l.mail) > 0:
			message := l.mail[0]
			l.mail = l.mail[1:]
			l.takeMessage(message, now)
		case len(l.answers) == 0:
			return
		}
	}
}

// terminateBusy: code that never rests hears no message; it can be ended from outside all the same.
func (l *Live) terminateBusy() {
	if i := slices.IndexFunc(l.mail, func(m *wire.Message) bool { return m.Kind == "terminate" }); i >= 0 && l.err == nil {
		message := l.mail[i]
		l.mail = slices.Delete(l.mail, i, i+1)
		l.takeMessage(message, message.At)
	}
}

// Over says whether the run has ended, as far as this turn knows.
func (l *Live) Over() bool { return l.Interp.Outcome != nil || l.terminated }

func (l *Live) takeAnswer(answer *model.Event, now int64) {
	command := l.Interp.Pending(answer.Command)
	if command == nil {
		return // withdrawn meanwhile
	}
	command.RetryAt = 0
	l.feedAnswer(answer.Kind, command, answer, now)
	if answer.Kind == model.AttemptFailed {
		l.retryLater(command)
	} else {
		l.forgetProgress(answer.Command)
	}
}

// feedAnswer feeds what answers a command, or tells of it.
func (l *Live) feedAnswer(kind string, command *interpreter.Command, event *model.Event, now int64) {
	event.Kind, event.Command, event.Name, event.Check = kind, command.ID, command.Name, command.Check()
	l.feed(event, now)
}

// retryLater: the next attempt follows when the pause that the failed one recorded is over.
func (l *Live) retryLater(command *interpreter.Command) {
	if command.RetryAt == 0 {
		command.RetryAt = command.FailedAt + int64(math.RoundToEven(model.DecodeFailure(command.Failure).RetryIn*second))
	}
	l.remind(command.RetryAt, command)
}

// giveUp: its end is awaited by a cancellation, and no other attempt will follow.
func (l *Live) giveUp(command *interpreter.Command) {
	l.Tell(&model.Event{Kind: model.StepGaveUp, Command: command.ID, Payload: command.Failure, Attempt: int32(command.Attempts)})
}

func (l *Live) takeMessage(message *wire.Message, now int64) {
	l.turn.Consumed = append(l.turn.Consumed, message.Id)
	switch message.Kind {
	case "signal":
		if refused := l.Interp.RefusesSignal(message.Name, message.Payload); refused != nil {
			l.note(fmt.Sprintf("signal '%s' was refused: %v", message.Name, refused))
			return
		}
		l.feed(&model.Event{Kind: model.SignalReceived, Name: message.Name, Payload: message.Payload}, now)
	case "update":
		if refused := l.Interp.RefusesUpdate(message.Name, message.Payload); refused != nil {
			l.say(replyTopic+message.Id, map[string]any{"refused": refused.Error()})
			return
		}
		payload, err := codec.Enclose(map[string]any{"id": message.Id, "value": json.RawMessage(message.Payload)})
		if l.err = err; err == nil {
			l.feed(&model.Event{Kind: model.UpdateReceived, Name: message.Name, Payload: payload}, now)
		}
	case "query":
		l.reply(message.Id, l.Interp.Query(message.Name, message.Payload))
	case "cancel":
		l.cancel("cancel", message.Payload, now)
	case "terminate":
		l.terminate(message, now)
	case "pause":
		l.Paused = true
		l.Acting = slices.DeleteFunc(l.Acting, func(c *interpreter.Command) bool { return !l.intents[c.ID] }) // those count as begun
	case "resume":
		if l.Paused {
			l.Paused = false
			l.want(slices.DeleteFunc(l.Interp.Waiting(), func(c *interpreter.Command) bool { return l.tasks[c.ID] != nil }))
		}
	case "answer":
		if command := l.Interp.Pending(message.Command); command == nil || !command.Takes(message.Name) {
			l.note(fmt.Sprintf("an answer (%s) came for command %s, which the code does not ask for", message.Name, message.Command))
			return
		}
		l.takeAnswer(&model.Event{Kind: message.Name, Command: message.Command, Payload: message.Payload}, now)
	}
}

func (l *Live) cancel(name string, payload []byte, now int64) {
	if !l.cancelling {
		l.cancelling = true
		l.feed(&model.Event{Kind: model.CancelRequested, Name: name, Payload: payload}, now)
	}
}

func (l *Live) terminate(message *wire.Message, now int64) {
	said := struct{ Reason string }{"terminated"}
	_ = json.Unmarshal(message.Payload, &said)
	failure := model.Failure{Type: "Terminated", Message: said.Reason, Attempts: 1}
	l.record(&model.Event{Kind: model.Failed, Name: model.Terminated, Payload: failure.Encode()}, now)
	l.terminated = true
	for _, command := range l.Interp.Waiting() { // none of its code runs, so nobody else would tell them
		child := command.Kind == interpreter.Child && cmp.Or(command.Workflow.Options.OnParentClose, model.CancelChild) == model.CancelChild
		if child || l.isRemote(command) {
			l.callOff(command, "was terminated")
		}
	}
}

// time: the earliest timer, retry or deadline is due.
func (l *Live) time(now int64) {
	command := l.timers[0].command
	l.timers = l.timers[1:]
	switch {
	case command == nil:
		l.cancel("deadline", model.CancelledPayload("the deadline has passed"), now)
	case command.Timed:
		l.feedAnswer(model.TimerFired, command, &model.Event{}, now)
	case command.RetryAt != 0 && !l.Paused:
		command.RetryAt = 0
		l.Acting = append(l.Acting, command)
	}
}

// Announce says whether a step may begin now. One that is done at most once is noted first, and begins when that is durable; one
// that was begun in an earlier life has its answer instead.
func (l *Live) Announce(command *interpreter.Command, now int64) (bool, error) {
	if !command.Step.Options.AtMostOnce || l.intents[command.ID] {
		return true, nil
	}
	if command.Intent {
		failure := model.FailureOf(&model.StepInterrupted{Step: command.Name}, 1)
		l.Tell(&model.Event{Kind: model.StepGaveUp, Command: command.ID, Payload: failure.Encode(), Attempt: 1})
		return false, nil
	}
	l.intents[command.ID] = true
	l.feedAnswer(model.StepIntent, command, &model.Event{}, now)
	l.Acting = append(l.Acting, command)
	return false, l.err
}

// record is told an event with all that its kind does not say.
func (l *Live) record(event *model.Event, now int64) *model.Event {
	event.Seq, event.At, event.Worker = l.Interp.Seq+1, max(now, l.Interp.Clock), l.Lease.GetWorker()
	if command := l.Interp.Pending(event.Command); command != nil {
		event.Line = command.Line()
	}
	l.turn.Events = append(l.turn.Events, event)
	return event
}

// feed hands an event to the interpreter, and collects what it led to.
func (l *Live) feed(event *model.Event, now int64) {
	if l.err = l.Interp.Feed([]*model.Event{l.record(event, now)}, answerBudget); l.err != nil {
		return
	}
	if event.Kind == model.SavepointTaken {
		if resume, err := model.DecodeResume(event.Payload); err == nil && resume != nil {
			l.turn.Base = event.Seq
		}
	}
	l.gatherIn()
}

// hear takes down what the interpreter said.
func (l *Live) hear() {
	for _, said := range l.Interp.Outputs {
		switch said.Name {
		case "send_signal":
			l.turn.Posts = append(l.turn.Posts, &wire.Message{
				Id: l.Interp.Position(said.ID, ":"), Key: l.key(said.Target), Kind: "signal", Name: said.Label, Payload: said.Payload,
			})
		case "publish":
			l.turn.Topics = append(l.turn.Topics, &wire.TopicEntry{Topic: said.Target, Payload: said.Payload})
		case "set_state":
			l.turn.State[said.Target] = said.Payload
		case "set_tags":
			_ = json.Unmarshal(said.Payload, &l.turn.Tags)
		case "reply":
			l.reply(said.Target, map[string]any{said.Label: json.RawMessage(said.Payload)})
		default:
			topic, level := notesTopic, "info"
			if said.Name == "log" {
				topic, level = logTopic, said.Target
				l.logged = append(l.logged, said)
			}
			entry := map[string]any{"text": said.Label, "level": level, "fields": json.RawMessage(said.Payload), "seq": l.Interp.Seq}
			if chain := l.Interp.Started.Chain; chain > 0 {
				entry["chain"] = chain
			}
			l.say(topic+l.Run.Key.Id, entry)
		}
	}
	l.Interp.Outputs = l.Interp.Outputs[:0]
}

// gatherIn collects what the interpreter said, withdrew and asked for.
func (l *Live) gatherIn() {
	it := l.Interp
	l.hear()
	if len(it.Withdrawn) > 0 {
		l.withdraw()
	}
	if len(it.Issued) > 0 {
		issued := it.Issued
		it.Issued = nil
		l.want(slices.DeleteFunc(issued, func(c *interpreter.Command) bool { return it.Pending(c.ID) != c && !c.Abandoned }))
	}
	l.close()
}

// want sorts commands by who answers them: a savepoint at once, a child by being created, a step by acting, a timer by time.
func (l *Live) want(commands []*interpreter.Command) {
	for _, command := range commands {
		switch {
		case command.Kind == interpreter.Savepoint:
			l.Tell(&model.Event{Kind: model.SavepointTaken, Command: command.ID, Payload: l.Interp.SavepointPayload(command)})
		case command.Kind == interpreter.StepCall && command.Attempts > 0 && command.Cancelled:
			l.giveUp(command)
		case command.Kind == interpreter.StepCall && command.Attempts > 0:
			l.retryLater(command)
		case l.Paused:
		case command.Kind == interpreter.Child, l.isRemote(command):
			l.turn.Children = append(l.turn.Children, l.asked(command))
		case command.Kind == interpreter.StepCall:
			l.Acting = append(l.Acting, command)
		}
		if command.Timed {
			l.remind(command.Due, command)
		}
	}
}

func (l *Live) isRemote(command *interpreter.Command) bool {
	return command.Kind == interpreter.StepCall && command.Step.Options.Queue != "" && command.Step.Options.Queue != l.Run.Queue
}

// withdraw: children and remote steps get a message; what runs here is stopped after the commit.
func (l *Live) withdraw() {
	withdrawn := l.Interp.Withdrawn
	l.Interp.Withdrawn = nil
	for _, command := range withdrawn {
		waits := command.RetryAt != 0
		command.RetryAt = 0
		l.forgetProgress(command.ID)
		switch {
		case command.Kind == interpreter.Child || l.isRemote(command):
			l.callOff(command, "no longer waits for it")
		case command.Cancelled && waits:
			l.giveUp(command)
		default:
			l.Withdrawn = append(l.Withdrawn, command)
		}
	}
	l.Acting = slices.DeleteFunc(l.Acting, func(c *interpreter.Command) bool { return !c.Cancelled && l.Interp.Pending(c.ID) != c })
}

// callOff asks a child, or a step elsewhere, to stop.
func (l *Live) callOff(command *interpreter.Command, why string) {
	target := l.Interp.ChildID(command)
	payload := model.CancelledPayload("its parent " + l.Run.Key.Id + " " + why)
	l.turn.Posts = append(l.turn.Posts, &wire.Message{Id: target + ":cancel", Key: l.key(target), Kind: "cancel", Name: "cancel", Payload: payload})
}

func (l *Live) key(id string) *wire.RunKey {
	return &wire.RunKey{Namespace: l.Run.Key.Namespace, Id: id}
}

// close: when the workflow has ended, its closing event says how.
func (l *Live) close() {
	outcome := l.Interp.Outcome
	if outcome == nil || l.closing() != nil || l.err != nil {
		return
	}
	kind, name, payload := outcome.Kind, l.Interp.Started.Workflow, outcome.Payload
	if kind == model.Completed && len(payload) > l.maxPayload {
		tooLarge := &model.PayloadTooLarge{Where: "result of workflow " + name, Size: len(payload), Limit: l.maxPayload}
		kind, name, payload = model.Failed, model.Terminated, model.FailureOf(tooLarge, 1).Encode()
	}
	l.feed(&model.Event{Kind: kind, Name: name, Payload: payload}, l.Interp.Clock)
}

// closing is the event of this turn that ends the run, or nil.
func (l *Live) closing() *wire.Event {
	if n := len(l.turn.Events); n > 0 && model.Closing(l.turn.Events[n-1].Kind) {
		return l.turn.Events[n-1]
	}
	return nil
}

func (l *Live) say(topic string, value any) {
	payload, err := codec.Enclose(value)
	if err != nil {
		payload = []byte(`{"text":"it cannot be spelt"}`)
	}
	l.turn.Topics = append(l.turn.Topics, &wire.TopicEntry{Topic: topic, Payload: payload})
}

// reply replies to an update or a query; what is too large for a journal is too large for whoever asked.
func (l *Live) reply(id string, said map[string]any) {
	for _, part := range said {
		if payload, ok := part.(json.RawMessage); ok && len(payload) > l.maxPayload {
			tooLarge := &model.PayloadTooLarge{Where: "a reply", Size: len(payload), Limit: l.maxPayload}
			said = map[string]any{"error": json.RawMessage(model.FailureOf(tooLarge, 1).Encode())}
		}
	}
	l.say(replyTopic+id, said)
}

func (l *Live) note(text string) {
	l.say(notesTopic+l.Run.Key.Id, map[string]any{"text": text, "fields": map[string]any{}})
}

// ---- runs that this one asks for -------------------------------------------------------------------------------------------

// asked is the run of a child, or of a step that is done elsewhere.
func (l *Live) asked(command *interpreter.Command) *wire.NewRun {
	begin := model.Started{
		Workflow: command.Name, Input: command.Arguments, Parent: l.Run.Key.Id, ParentCommand: command.ID, Deadline: l.Interp.Started.Deadline,
	}
	var options model.RunOptions
	if step := command.Step; step != nil {
		begin.Workflow, begin.Patches = interpreter.StepRun+command.Name, []string{}
		options.Queue, options.Priority = step.Options.Queue, l.Run.Priority
		begin.Step = step.Options.Difference(step.Declared)
	} else {
		begin.Version, begin.Patches, options = command.Workflow.Version, command.Workflow.Patches, command.Workflow.Options
	}
	options.Queue, options.FairnessKey = cmp.Or(options.Queue, l.Run.Queue), cmp.Or(options.FairnessKey, l.Run.FairnessKey)
	return NewRun(l.key(l.Interp.ChildID(command)), begin, options, command.IssuedAt)
}

// NewRun is a run that begins with one event. Of two deadlines the earlier counts.
func NewRun(key *wire.RunKey, begin model.Started, options model.RunOptions, at int64) *wire.NewRun {
	begin.Seed, begin.Namespace, begin.Tags = cmp.Or(begin.Seed, key.Id), key.Namespace, options.Tags
	if own := at + options.Deadline.Microseconds(); options.Deadline > 0 && (begin.Deadline == nil || own < *begin.Deadline) {
		begin.Deadline = &own
	}
	payload, _ := begin.Encode() // its parts were spelt before
	made := &wire.NewRun{
		Key: key, Workflow: begin.Workflow, Version: begin.Version, Queue: cmp.Or(options.Queue, "default"), Digest: digest(begin.Workflow, begin.Input),
		Events: []*wire.Event{{Seq: 1, Kind: model.Begun, Name: begin.Workflow, At: at, Payload: payload}},
		Parent: begin.Parent, ParentCommand: begin.ParentCommand, Tags: begin.Tags, Status: "pending",
		Priority: options.Priority, FairnessKey: options.FairnessKey,
	}
	if options.Delay > 0 {
		made.ReadyAt = at + options.Delay.Microseconds()
	}
	return made
}

// digest tells two starts of one id apart.
func digest(workflow string, input []byte) string {
	sum := sha256.Sum256(append([]byte(workflow+"\n"), input...))
	return hex.EncodeToString(sum[:])[:16]
}

// refusal is an answer in the place of a child whose id belongs to another run.
func (l *Live) refusal(child *wire.NewRun, problem error) *wire.Message {
	failure := model.Failure{Type: model.TypeOf(problem), Message: problem.Error(), Attempts: 1}
	kind := model.StepGaveUp
	if !isStep(child.Workflow) {
		kind, failure = model.ChildEnded, failure.With(child.Key.Id, "failed")
	}
	id := l.Interp.Position(child.ParentCommand, ".") + ":taken"
	return &wire.Message{Id: id, Key: l.Run.Key, Kind: "answer", Name: kind, Payload: failure.Encode(), Command: child.ParentCommand}
}

func isStep(workflow string) bool { return strings.HasPrefix(workflow, interpreter.StepRun) }

// ---- the commit ------------------------------------------------------------------------------------------------------------

// idle says whether nothing is under way for it in this process.
func (l *Live) idle() bool {
	return l.Interp.Settled() && len(l.tasks)+len(l.answers)+len(l.mail)+len(l.Acting) == 0
}

// unsaid says whether there is anything to commit.
func (l *Live) unsaid(now int64) bool {
	turn := l.turn
	said := len(turn.Events) + len(turn.Consumed) + len(turn.Posts) + len(turn.Children) + len(turn.Topics) + len(turn.State) + len(turn.Tags)
	return l.Interp.Settled() && (said > 0 || l.saveAt <= now)
}

// Commit is all of this turn, as one commit; afterwards the turn is empty.
func (l *Live) Commit(release bool) *wire.Commit {
	made := l.turn
	maps.Copy(l.state, made.State)
	maps.Copy(l.tags, made.Tags)
	maps.DeleteFunc(l.tags, func(_, word string) bool { return word == "" })
	if made.Status = "running"; release {
		made.Status = "waiting"
	}
	if moment := l.nextTimer(); l.Paused {
		made.Status = "paused"
	} else if moment != never {
		made.WakeAt = &moment
	}
	if closing := l.closing(); closing != nil {
		made.Status = closing.Kind
		if l.terminated {
			made.Status = model.Terminated
		}
		if made.Successor = l.successor(closing); made.Successor == nil {
			l.tellParent(closing, made.Status)
		}
		made.WakeAt, made.Result, release = nil, append([]byte{}, closing.Payload...), true
	}
	made.Lease, made.Expected, made.Applied, made.Release = l.Lease, l.committed, l.committed+int64(len(made.Events)), release
	l.sayProgress(made)
	l.sayLost(made)
	l.turn = newTurn()
	return made
}

// sayProgress: what steps told of themselves is shown while they are not answered.
func (l *Live) sayProgress(made *wire.Commit) {
	if l.saveAt == never {
		return
	}
	for id, task := range l.tasks {
		if !task.heard.Swap(false) {
			continue
		}
		if told := task.told.Progress(); told != nil {
			l.progress[id] = told
		}
	}
	made.State[progressKey], _ = codec.Enclose(l.progress) // its parts were spelt before
	l.savedAt, l.saveAt = l.saveAt, never
}

// Applied is told when a commit of this run has become durable.
func (l *Live) Applied(commit *wire.Commit) {
	l.committed += int64(len(commit.Events))
	l.applied = l.committed
	for _, id := range commit.Consumed {
		delete(l.known, id)
	}
}

func (l *Live) tellParent(closing *wire.Event, status string) {
	started := l.Interp.Started
	if started.Parent == "" {
		return
	}
	message := &wire.Message{
		Id: l.Run.Key.Id + ":answer", Key: l.key(started.Parent), Kind: "answer", Command: started.ParentCommand, Payload: closing.Payload,
	}
	step, ok := isStep(started.Workflow), closing.Kind == model.Completed
	switch {
	case step && ok:
		message.Name = model.StepCompleted
	case step: // as the step itself failed, if it did
		message.Name, message.Payload = model.StepGaveUp, model.DecodeEnd(closing.Payload).Encode()
		for _, event := range l.turn.Events {
			if event.Kind == model.StepGaveUp {
				message.Payload = event.Payload
			}
		}
	case ok:
		message.Name = model.ChildCompleted
	default:
		message.Name, message.Payload = model.ChildEnded, model.DecodeEnd(closing.Payload).With(l.Run.Key.Id, status).Encode()
	}
	l.turn.Posts = append(l.turn.Posts, message)
}

// successor is the run that takes over the id: the next journal of continue_as_new, which keeps the state and tags that were set, or
// the next attempt of a failed run, which begins with those that it was begun with.
func (l *Live) successor(closing *wire.Event) *wire.NewRun {
	it := l.Interp
	old := it.Started
	begin := model.Started{
		Parent: old.Parent, ParentCommand: old.ParentCommand, Deadline: old.Deadline,
		Budget: old.Budget, Spent: old.Spent, Chain: old.Chain + 1, Seed: fmt.Sprintf("%s~%d", l.Run.Key.Id, old.Chain+1),
	}
	options := model.RunOptions{Queue: l.Run.Queue, Priority: l.Run.Priority, FairnessKey: l.Run.FairnessKey, Tags: old.Tags}
	var state map[string][]byte
	switch {
	case closing.Kind == model.Continued && it.Outcome != nil && it.Outcome.Next != nil:
		next := it.Outcome.Next
		begin.Workflow, begin.Version, begin.Input, begin.Patches, begin.Mail = next.Name, next.Version, it.Outcome.Input, next.Patches, it.Unread()
		options.Tags, state = l.tags, l.state
	case closing.Kind == model.Failed && !l.terminated && it.Err != nil && it.Workflow.Retry.Allows(it.Err, old.Attempt) && !isPermanent(it.Err):
		options.Delay = it.Workflow.Retry.Delay(old.Attempt, it.Draw("retry"))
		begin.Workflow, begin.Version, begin.Input, begin.Patches = old.Workflow, old.Version, old.Input, it.Workflow.Patches
		begin.Attempt = old.Attempt + 1
	default:
		return nil
	}
	made := NewRun(l.Run.Key, begin, options, closing.At)
	made.State, made.Digest = state, l.Run.Digest // to start it again is still to start the same
	return made
}

// ---- timers ----------------------------------------------------------------------------------------------------------------

type timer struct {
	moment  int64
	command *interpreter.Command // nil for the run's deadline
}

// isGone says whether nobody waits for it any more.
func (l *Live) isGone(t timer) bool {
	return t.command != nil && l.Interp.Pending(t.command.ID) != t.command
}

func (l *Live) remind(moment int64, command *interpreter.Command) {
	if len(l.timers) > 1_000 && len(l.timers) > 2*l.Interp.Open() {
		l.timers = slices.DeleteFunc(l.timers, l.isGone)
	}
	place, _ := slices.BinarySearchFunc(l.timers, moment+1, func(t timer, after int64) int { return cmp.Compare(t.moment, after) })
	l.timers = slices.Insert(l.timers, place, timer{moment, command})
}

// nextTimer is when the next timer, retry or deadline is due; those of commands that are gone are forgotten.
func (l *Live) nextTimer() int64 {
	for len(l.timers) > 0 && l.isGone(l.timers[0]) {
		l.timers = l.timers[1:]
	}
	if len(l.timers) == 0 {
		return never
	}
	return l.timers[0].moment
}
