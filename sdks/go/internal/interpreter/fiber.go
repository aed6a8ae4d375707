package interpreter

import (
	"encoding/json"
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"strconv"

	"example.org/replay/internal/codec"
	"example.org/replay/model"
)

// Fiber is one concurrent branch inside a workflow: a coroutine with a path. The root's path is empty and its commands are
// 0, 1, 2 …; a combinator takes one number n, and its branches are the fibers n/0/, n/1/ …
//
// A fiber is cancelled once. One that has an answer waiting receives the answer first and the cancellation at its next wait, so
// that nothing the world told is lost; one that never ran never runs.
type Fiber struct {
	it        *Interpreter
	path      string
	body      Body
	single    *Command // instead of a body: a branch of one command has no code of its own
	commands  int
	outs      int
	waits     any    // *Command, *scope or *Fiber; nil when it can run
	scope     *scope // that it is a branch of, its place there
	index     int
	reply     func(*Fiber) // what the end of an update's handler means
	cancel    *model.Cancelled
	joiners   []*Fiber
	err       error
	result    []byte
	answer    error
	next      *Outcome
	begun     bool
	delivered bool
	done      bool // it has ended, with err
	ended     bool // its coroutine has
	paused    bool // the budget was used up
	unwinding bool

	switchIn  func() (struct{}, bool)
	stop      func()
	switchOut func(struct{}) bool
}

// nextID is the id of its next command.
func (f *Fiber) nextID() string {
	id := f.path + strconv.Itoa(f.commands)
	f.commands++
	return id
}

// resume goes on with the coroutine until it waits or ends.
func (f *Fiber) resume(answer error) {
	f.answer = answer
	if !f.begun {
		f.begun = true
		f.switchIn, f.stop = iter.Pull(f.whole)
	}
	f.switchIn()
}

// whole is what the coroutine runs. What the author's code panics with ends its fiber; runtime.Goexit is how replay itself
// unwinds one, because no recover of the author's can mistake it for a failure.
func (f *Fiber) whole(yield func(struct{}) bool) {
	f.switchOut = yield
	defer func() {
		if cause := recover(); cause != nil {
			f.ended, f.err = true, panicked(cause)
		}
	}()
	f.result, f.err = f.body(f)
	f.ended = true
}

func panicked(cause any) error {
	if err, ok := cause.(error); ok {
		if misuse, _ := model.Named(err); misuse != nil {
			return misuse
		}
	}
	return &model.PanicError{Value: fmt.Sprint(cause), Stack: string(debug.Stack())}
}

// wait hands the baton back; the answer is what the interpreter resumes the fiber with.
func (f *Fiber) wait() error {
	if !f.switchOut(struct{}{}) {
		runtime.Goexit()
	}
	return f.answer
}

// enter is the door of every effect: only the fiber that has the baton may ask, and only while its run goes on.
func (f *Fiber) enter() {
	if f.unwinding {
		runtime.Goexit()
	}
	if f.it.current != f {
		panic(&model.EffectError{
			Got:    "an effect was asked for with the Run of another branch, or from a goroutine of its own",
			Advice: "use the Run that the branch was given, and Gather or Spawn instead of the go statement",
		})
	}
}

// Instant is the door of an effect that is answered at once, by what knows about the run.
func (f *Fiber) Instant() *Interpreter {
	f.enter()
	f.answered()
	return f.it
}

// answered counts an immediate answer: one that gives itself so many lets others have their turn.
func (f *Fiber) answered() {
	if f.it.left--; f.it.left == 0 {
		f.paused = true
		_ = f.wait()
	}
}

// unwind ends a coroutine that waits: its deferred functions run, what they ask for is refused.
func (f *Fiber) unwind() {
	f.unwinding = true
	if f.stop == nil || f.ended {
		return
	}
	f.ended = true
	unwound := make(chan struct{})
	go func() { // runtime.Goexit in a coroutine ends the goroutine that stops it, too
		defer close(unwound)
		f.stop()
	}()
	<-unwound
}

// close unwinds it and its branches.
func (f *Fiber) close() {
	inside, _ := f.waits.(*scope)
	f.unwind()
	if inside != nil {
		for _, branch := range inside.fibers {
			if !branch.done {
				branch.close()
			}
		}
	}
}

// ---- effects -----------------------------------------------------------------------------------------------------------------

// Ask issues a command and waits for its answer: nil when it was accepted, else its failure.
func (f *Fiber) Ask(command *Command, accept func([]byte) error) error {
	f.enter()
	command.accept = accept
	command.frames.here()
	f.it.issue(f, command)
	return f.wait()
}

// Listen waits for the next message of a name; within a span of microseconds when that is not negative.
func (f *Fiber) Listen(name string, span int64, accept func([]byte) error) error {
	f.enter()
	if payload, ok := f.it.takeMail(name); ok {
		f.nextID()
		err := accept(payload)
		f.answered()
		return err
	}
	command := &Command{Kind: Signal, Name: name, Timed: span >= 0, Span: span, accept: accept}
	command.frames.here()
	f.it.issue(f, command)
	f.it.listeners[name] = append(f.it.listeners[name], command)
	return f.wait()
}

// Savepoint marks a place to fork from, and with a state also to recover from.
func (f *Fiber) Savepoint(name string, notes any, state ...any) (err error) {
	f.enter()
	command := &Command{Kind: Savepoint, Name: name}
	for _, saved := range state {
		if f != f.it.root || len(f.it.pending) > 0 || len(f.it.beside) > 0 {
			return &model.EffectError{
				Got:    fmt.Sprintf("savepoint %q with state while something else is in flight", name),
				Advice: "take it in the root fiber, with nothing pending and no spawned fiber alive; or leave the state out",
			}
		}
		if err := f.it.Workflow.TakesState(saved); err != nil {
			return err
		}
		if command.State, err = model.Spell("state of savepoint", name, saved); err != nil {
			return err
		}
	}
	if command.Notes, err = model.Spell("notes of savepoint", name, notes); err != nil {
		return err
	}
	return f.Ask(command, nil)
}

// ContinueAsNew ends this journal and begins a fresh one under the same id. It returns only when it is refused.
func (f *Fiber) ContinueAsNew(next *Workflow, input []byte) error {
	f.enter()
	if f != f.it.root {
		return &model.EffectError{Got: "continue_as_new in a branch", Advice: "call it in the workflow's own body, after its branches ended"}
	}
	if f.cancel == nil || f.delivered {
		payload, _ := codec.Enclose(map[string]any{"input": json.RawMessage(input), "workflow": next.Name}) // it was spelt before
		f.next = &Outcome{Kind: model.Continued, Payload: payload, Next: next, Input: input}
	}
	return f.wait()
}

// Say is an output.
func (f *Fiber) Say(name, target, label string, payload []byte) {
	it := f.Instant()
	it.Outputs = append(it.Outputs, Said{fmt.Sprintf("%so%d", f.path, f.outs), name, target, label, payload})
	f.outs++
}

// Random draws a number in [0, 1).
func (f *Fiber) Random() float64 { return f.Instant().chance.Random(f.path) }

// UUID draws a UUID of version 4.
func (f *Fiber) UUID() [16]byte { return f.Instant().chance.UUID(f.path) }
