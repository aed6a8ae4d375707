package interpreter

import (
	"errors"
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"strconv"

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
	waits     any // *Command, *scope or *Fiber; nil when it can run
	scope     *scope
	index     int
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
	f.err = f.body(f)
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

func asCancelled(err error) (*model.Cancelled, bool) {
	var cancelled *model.Cancelled
	ok := errors.As(err, &cancelled)
	return cancelled, ok
}

// ---- scopes ----------------------------------------------------------------------------------------------------------------

type scopeKind uint8

const (
	gatherScope scopeKind = iota
	raceScope
	timeoutScope
	shieldScope
	replyScope
)

// scope is a combinator at work: it starts branches, hears of their ends, and answers its owner when the last has ended. No
// branch outlives it: when its answer is known, those that still run are cancelled, in order.
type scope struct {
	it       *Interpreter
	kind     scopeKind
	owner    *Fiber
	path     string
	branches []Body
	policy   Gathering
	fibers   []*Fiber
	live     int
	done     int // branches of a gather that succeeded
	failures int
	winner   int
	closing  bool
	err      error
	failed   error
	seconds  float64
	message  string
	frames   frames
}

// Gathering says how a gather goes about it.
type Gathering struct {
	Limit         int  // so many branches at a time; 0 for all
	MinSuccessful int  // enough successes; 0 for all
	ReturnErrors  bool // failures are results
}

func (s *scope) start(fiber *Fiber) {
	fiber.it, fiber.scope, fiber.index = s.it, s, len(s.fibers)
	fiber.path = s.path + "/" + strconv.Itoa(fiber.index) + "/"
	s.fibers = append(s.fibers, fiber)
	s.live++
	s.it.ready.push(turn{fiber: fiber})
}

// fill starts branches as far as the limit allows.
func (s *scope) fill() {
	limit := s.policy.Limit
	if limit == 0 {
		limit = len(s.branches)
	}
	for len(s.fibers) < len(s.branches) && s.live < limit {
		s.start(&Fiber{body: s.branches[len(s.fibers)]})
	}
}

// heard: one branch has ended.
func (s *scope) heard(f *Fiber) {
	if s.kind == replyScope {
		s.reply(f)
		return
	}
	s.live--
	if !s.closing {
		s.settle(f)
	}
	if s.live > 0 {
		return
	}
	owner := s.owner
	if owner.cancel != nil && !owner.delivered && s.kind != shieldScope {
		owner.delivered = true
		s.it.resume(owner, owner.cancel)
		return
	}
	s.it.resume(owner, s.err)
}

// settle is what a branch's end means.
func (s *scope) settle(f *Fiber) {
	switch s.kind {
	case gatherScope:
		s.gathered(f)
	case raceScope:
		if f.err == nil {
			s.winner, s.failed = f.index, nil
			s.close("another branch won the race")
			return
		}
		if s.failed == nil {
			s.failed = f.err
		}
		if s.live == 0 {
			s.err = s.failed
		}
	case timeoutScope:
		if f.index == 0 {
			s.err = f.err
			s.close("the branch has ended")
		} else {
			s.err = &model.TimedOut{What: "the branch", Seconds: s.seconds}
			s.close("the branch took too long")
		}
	case shieldScope:
		s.err = f.err
	}
}

func (s *scope) gathered(f *Fiber) {
	least := s.policy.MinSuccessful
	if f.err == nil {
		s.done++
	} else {
		s.failures++
		if s.failed == nil {
			s.failed = f.err
		}
	}
	hopeless := s.failures > 0 && !s.policy.ReturnErrors
	if least > 0 {
		hopeless = len(s.branches)-s.failures < least
	}
	switch {
	case hopeless:
		s.err = s.failed
		s.close("another branch of gather failed")
	case least > 0 && s.done >= least:
		s.close("gather has enough results")
	default:
		s.fill()
	}
}

// close: the answer is known, or nobody wants it; what still runs is cancelled, in order.
func (s *scope) close(reason string) {
	s.closing = true
	for _, fiber := range s.fibers {
		if !fiber.done {
			s.it.Cancel(fiber, reason)
		}
	}
}

// reply says what the handler of an update came to.
func (s *scope) reply(f *Fiber) {
	label, payload := "ok", f.result
	if f.err != nil {
		label, payload = "error", model.FailureOf(f.err, 1).Encode()
	}
	s.it.Outputs = append(s.it.Outputs, Said{f.path + "reply", "reply", s.message, label, payload})
}
