package interpreter

import (
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"

	"example.org/replay/internal/codec"
	"example.org/replay/model"
)

// Kind is what a command asks for.
type Kind string

// Kinds of commands.
const (
	Step      Kind = "step"
	Timer     Kind = "timer"
	Signal    Kind = "signal"
	Savepoint Kind = "savepoint"
	Child     Kind = "child"
)

// StepCall is what an engine needs to know to do a step.
type StepCall struct {
	Options model.StepOptions
	Do      any // *authoring.Step; nil where only its name is known
}

// ChildCall is what an engine needs to know to start a child.
type ChildCall struct {
	Options model.RunOptions
	Version string
	Patches []string
}

// Command is an effect as issued: what the world is asked to answer.
type Command struct {
	ID        string // path of its fiber and number within it
	Kind      Kind
	Name      string
	Arguments []byte // of a step or child
	Due       int64  // when its timer fires, if it is Timed
	Timed     bool
	IssuedAt  int64 // the workflow's clock at its issue
	Step      *StepCall
	Call      *ChildCall
	Notes     []byte // of a savepoint
	State     []byte // of a savepoint with state
	Attempts  int    // that have failed so far
	Failure   []byte // payload of the last one that did
	FailedAt  int64
	Intent    bool // an at-most-once step was begun
	Cancelled bool // a cancellation waits for its end
	Abandoned bool // a child that goes on by itself, its parent having ended

	span          int64
	accept        func(payload []byte) error // takes the answer, where the author's type is known
	probe         func(payload []byte) error // would it?
	fail          func(payload []byte) error // makes the failure
	fiber         *Fiber
	before, after *Command
	frames        frames
}

// Check is the CRC-32 of the encoded arguments, or 0 where nothing is compared.
func (c *Command) Check() uint32 {
	switch c.Kind {
	case Step:
		if c.Step.Options.IgnoreArguments {
			return 0
		}
		return crc32.ChecksumIEEE(c.Arguments)
	case Child:
		return crc32.ChecksumIEEE(c.Arguments)
	case Savepoint:
		return crc32.ChecksumIEEE(c.Notes)
	}
	return 0
}

// Takes says whether an answer of this kind would be taken.
func (c *Command) Takes(kind string) bool {
	switch c.Kind {
	case Step:
		return kind == model.StepCompleted || kind == model.StepGaveUp
	case Child:
		return kind == model.ChildCompleted || kind == model.ChildEnded
	case Timer:
		return kind == model.TimerFired
	case Savepoint:
		return kind == model.SavepointTaken
	}
	return false // signals are matched by name
}

func (c *Command) agrees(event *model.Event, kind string) bool {
	if !c.Takes(kind) || event.Name != c.Name {
		return false
	}
	if event.Check == 0 {
		return true
	}
	check := c.Check()
	return check == 0 || check == event.Check
}

func (c *Command) String() string {
	switch c.Kind {
	case Step, Child:
		text := string(c.Arguments)
		if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
			text = "(" + text[1:len(text)-1] + ")"
		}
		if runes := []rune(text); len(runes) > shown {
			text = string(runes[:shown]) + "…)"
		}
		return string(c.Kind) + " " + c.Name + text
	case Timer:
		if c.span < 0 {
			return "sleep until a moment"
		}
		return "sleep " + model.Short(float64(c.span)/1e6) + " s"
	}
	return string(c.Kind) + " " + c.Name
}

// Line is the file:line of the author's code that asked, or empty. A branch of one command has no code of its own: its combinator's
// line counts.
func (c *Command) Line() string {
	line := c.frames.line()
	for f := c.fiber; line == "" && f != nil && f.scope != nil; f = f.scope.owner {
		line = f.scope.frames.line()
	}
	return line
}

// frames are where an effect was asked for; what they mean is found out only when somebody wants to know.
type frames [4]uintptr

func (f *frames) here() { runtime.Callers(3, f[:]) }

func (f *frames) line() string {
	if f[0] == 0 {
		return ""
	}
	for callers := runtime.CallersFrames(f[:]); ; {
		frame, more := callers.Next()
		if frame.File != "" && !isOurs(frame.File) && !strings.HasPrefix(frame.Function, "iter.") && !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", frame.File, frame.Line)
		}
		if !more {
			return ""
		}
	}
}

// home is where this module's files are, as the compiler names them.
var home = func() string {
	_, file, _, _ := runtime.Caller(0)
	return strings.TrimSuffix(file, "internal/interpreter/effects.go")
}()

// isOurs says whether a file is replay's own: names of functions do not tell, as generic ones are compiled where they are used.
func isOurs(file string) bool {
	rest, inside := strings.CutPrefix(file, home)
	return inside && !strings.HasSuffix(rest, "_test.go") && (!strings.Contains(rest, "/") || strings.HasPrefix(rest, "internal/"))
}

const shown = 120 // characters of arguments and payloads in a report

// ---- commands ----------------------------------------------------------------------------------------------------------------

// Ask issues a command and waits for its answer: nil when it was accepted, else its failure.
func (f *Fiber) Ask(command *Command, accept, fail func([]byte) error) error {
	f.enter()
	command.accept, command.fail = accept, fail
	command.frames.here()
	f.it.issue(f, command)
	return f.wait()
}

// Sleep waits for a span of microseconds by the workflow's clock.
func (f *Fiber) Sleep(span int64) error {
	f.enter()
	return f.Ask(&Command{Kind: Timer, Name: "sleep", Timed: true, Due: f.it.Clock + max(span, 0), span: max(span, 0)}, nil, nil)
}

// SleepUntil waits for a moment in microseconds.
func (f *Fiber) SleepUntil(moment int64) error {
	return f.Ask(&Command{Kind: Timer, Name: "sleep", Timed: true, Due: moment, span: -1}, nil, nil)
}

// Listen waits for the next message of a name; within a span of microseconds when that is not negative.
func (f *Fiber) Listen(name string, span int64, accept, probe func([]byte) error) error {
	f.enter()
	if payload, ok := f.it.mail.take(name); ok {
		f.nextID()
		err := accept(payload)
		f.answered()
		return err
	}
	command := &Command{Kind: Signal, Name: name, accept: accept, probe: probe}
	if span >= 0 {
		command.Timed, command.Due, command.span = true, f.it.Clock+span, span
	}
	command.fail = func([]byte) error {
		return &model.TimedOut{What: "signal " + name, Seconds: float64(span) / 1e6}
	}
	command.frames.here()
	f.it.issue(f, command)
	f.it.listeners[name] = append(f.it.listeners[name], command)
	return f.wait()
}

// Savepoint marks a place to fork from; with state, to recover from.
func (f *Fiber) Savepoint(name string, notes []byte, state any, withState bool) error {
	f.enter()
	command := &Command{Kind: Savepoint, Name: name, Notes: notes}
	if withState {
		if f != f.it.root || f.it.pending.first != nil || !f.it.beside.empty() {
			return &model.EffectError{
				Got:    fmt.Sprintf("savepoint %q with state while something else is in flight", name),
				Advice: "take it in the root fiber, with nothing pending and no spawned fiber alive; or leave the state out",
			}
		}
		if err := f.it.Spec.TakesState(state); err != nil {
			return err
		}
		spelt, err := codec.Marshal(state)
		if err != nil {
			return &model.PayloadError{Where: "state of savepoint " + name, Expected: fmt.Sprintf("%T", state), Got: err.Error()}
		}
		command.State = spelt
	}
	return f.Ask(command, nil, nil)
}

// ChildID is a child's id: the one it was given, or its parent's and its command's; position is identity.
func (it *Interpreter) ChildID(command *Command) string {
	given := ""
	if command.Call != nil {
		given = command.Call.Options.ID
	} else if command.Step != nil {
		given = command.Step.Options.ID
	}
	if given != "" {
		return given
	}
	return it.Position(command.ID, ".")
}

// ---- combinators -------------------------------------------------------------------------------------------------------------

func (f *Fiber) within(s *scope) error {
	s.it, s.owner = f.it, f
	f.waits = s
	return f.wait()
}

// Gather runs branches side by side.
func (f *Fiber) Gather(branches []Body, policy Gathering) error {
	f.enter()
	s := &scope{kind: gatherScope, it: f.it, path: f.nextID(), branches: branches, policy: policy}
	if len(branches) == 0 {
		f.answered()
		return nil
	}
	s.frames.here()
	s.fill()
	return f.within(s)
}

// Race answers with the branch that ends well first.
func (f *Fiber) Race(branches []Body) (int, error) {
	f.enter()
	s := &scope{kind: raceScope, it: f.it, path: f.nextID(), branches: branches}
	if len(branches) == 0 {
		return 0, &model.EffectError{Got: "race was given no branch", Advice: "give it at least one"}
	}
	s.frames.here()
	s.fill()
	err := f.within(s)
	return s.winner, err
}

// Timeout runs a branch beside a timer.
func (f *Fiber) Timeout(branch Body, span int64) error {
	f.enter()
	s := &scope{kind: timeoutScope, it: f.it, path: f.nextID(), seconds: float64(span) / 1e6}
	s.frames.here()
	s.start(&Fiber{body: branch})
	timer := &Command{Kind: Timer, Name: "timeout", Timed: true, Due: f.it.Clock + span, span: span}
	timer.frames.here()
	s.start(&Fiber{single: timer})
	return f.within(s)
}

// Shield runs a branch that cancellation does not enter.
func (f *Fiber) Shield(branch Body) error {
	f.enter()
	s := &scope{kind: shieldScope, it: f.it, path: f.nextID()}
	s.frames.here()
	s.start(&Fiber{body: branch})
	return f.within(s)
}

// Spawn runs a branch beside this fiber.
func (f *Fiber) Spawn(branch Body) *Fiber {
	f.enter()
	spawned := &Fiber{it: f.it, path: f.nextID() + "/0/", body: branch}
	f.it.ready.push(turn{fiber: spawned})
	f.it.runBeside(spawned)
	f.answered()
	return spawned
}

// StartChild asks for a child at once, so that it is asked for even when its parent ends in the same breath.
func (f *Fiber) StartChild(command *Command, accept, fail func([]byte) error) (*Fiber, string) {
	f.enter()
	command.accept, command.fail = accept, fail
	command.frames.here()
	spawned := &Fiber{it: f.it, path: f.nextID() + "/0/", single: command, begun: true}
	f.it.issue(spawned, command)
	f.it.runBeside(spawned)
	f.answered()
	return spawned, f.it.ChildID(command)
}

// Join waits for a fiber to end.
func (f *Fiber) Join(target *Fiber) error {
	f.enter()
	if target == nil || target.it != f.it || target == f {
		return &model.EffectError{Got: "join was given no fiber of this run, or its own", Advice: "give it what Spawn or StartChild returned"}
	}
	if target.done {
		f.answered()
		return target.err
	}
	if target.waitsFor(f) {
		return &model.EffectError{Got: "fibers join each other in a ring", Advice: "none of them could ever end; let one of them go on without the others"}
	}
	target.joiners = append(target.joiners, f)
	f.waits = target
	return f.wait()
}

// waitsFor says whether a fiber cannot end before another one has: it joins it, gathers it, or waits so for one that does.
func (f *Fiber) waitsFor(other *Fiber) bool {
	met := map[*Fiber]bool{}
	for waiting := []*Fiber{f}; len(waiting) > 0; {
		here := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		if here == other {
			return true
		}
		if met[here] {
			continue
		}
		met[here] = true
		switch waits := here.waits.(type) {
		case *Fiber:
			waiting = append(waiting, waits)
		case *scope: // a race frees the others; a gather and a shield end with the last of their branches
			for _, branch := range waits.fibers {
				if !branch.done && (waits.kind == gatherScope || waits.kind == shieldScope) {
					waiting = append(waiting, branch)
				}
			}
		}
	}
	return false
}

// CancelFiber cancels a fiber that was spawned.
func (f *Fiber) CancelFiber(target *Fiber, reason string) {
	f.enter()
	f.it.Cancel(target, reason)
	f.answered()
}

// ---- pure effects ------------------------------------------------------------------------------------------------------------

// Now is the workflow's clock.
func (f *Fiber) Now() int64 {
	f.enter()
	f.answered()
	return f.it.Clock
}

// Random draws a number.
func (f *Fiber) Random() float64 {
	f.enter()
	drawn := f.it.chance.Random(f.path)
	f.answered()
	return drawn
}

// UUID draws a UUID.
func (f *Fiber) UUID() [16]byte {
	f.enter()
	drawn := f.it.chance.UUID(f.path)
	f.answered()
	return drawn
}

// Interpreter is what knows about the run.
func (f *Fiber) Interpreter() *Interpreter {
	f.enter()
	f.answered()
	return f.it
}

// Patched says whether this run began with code that declares the patch.
func (f *Fiber) Patched(name string) bool {
	f.enter()
	if !slices.Contains(f.it.Spec.Patches, name) {
		panic(&model.EffectError{
			Got:    fmt.Sprintf("patched(%q) is not declared by workflow %s", name, f.it.Spec.Name),
			Advice: fmt.Sprintf("declare the workflow with Patches: []string{%q}", name),
		})
	}
	f.answered()
	return slices.Contains(f.it.patches, name)
}

// ContinueAsNew ends this journal and begins a fresh one under the same id. It returns only when it is refused.
func (f *Fiber) ContinueAsNew(next *Next) error {
	f.enter()
	if f != f.it.root {
		return &model.EffectError{Got: "continue_as_new in a branch", Advice: "call it in the workflow's own body, after its branches ended"}
	}
	if f.cancel == nil || f.delivered {
		f.next = &Outcome{Kind: model.Continued, Payload: ContinuedPayload(next), Next: next}
	}
	return f.wait()
}

// Update answers updates of a name.
type Update struct {
	Validate func(payload []byte) error
	Handle   func(f *Fiber, payload []byte) ([]byte, error)
}

// OnUpdate answers updates of a name from here on.
func (f *Fiber) OnUpdate(name string, update *Update) {
	f.enter()
	if f.it.updates[name] == nil {
		f.it.handled = append(f.it.handled, name)
	}
	f.it.updates[name] = update
	f.answered()
}

// Say is an output.
func (f *Fiber) Say(name, target, label string, payload []byte) {
	f.enter()
	f.it.Outputs = append(f.it.Outputs, Said{fmt.Sprintf("%so%d", f.path, f.outs), name, target, label, payload})
	f.outs++
	f.answered()
}
