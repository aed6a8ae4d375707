package interpreter

import (
	"context"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"

	"example.org/replay/internal/codec"
	"example.org/replay/model"
)

// StepRun is what the workflow name of a run of kind step begins with.
const StepRun = "step:"

// Step is a function whose result is journaled, and how it is done.
type Step struct {
	Name     string
	Options  model.StepOptions
	Declared model.StepOptions // Options, before any call changed them
	Do       func(ctx context.Context, arguments []byte) ([]byte, error)
}

// Workflow is what an interpreter needs to know of a workflow, and how it is started by default.
type Workflow struct {
	Name, Version string
	Step          *Step            // that it consists of, when that was sent here
	Patches       []string         // sorted
	Retry         model.Retry      // tells when a failed run is begun again
	Options       model.RunOptions // of its runs
	// Begin decodes input and, where it recovers from a savepoint, state; the function that it returns is the root fiber's,
	// and returns the encoded result.
	Begin func(input, state []byte) (Body, error)
	// TakesState refuses a savepoint's state that Begin would not take.
	TakesState func(state any) error
}

// StepWorkflow is the workflow of one step that was sent here: results pass through as the step spells them.
func StepWorkflow(step *Step) *Workflow {
	return &Workflow{
		Name: StepRun + step.Name, Step: step, Patches: []string{},
		Begin: func(input, _ []byte) (Body, error) {
			return func(f *Fiber) (result []byte, err error) {
				called := *step
				called.Options = step.Options.Under(f.it.Started.Step)
				called.Options.Queue = ""
				command := &Command{Kind: StepCall, Name: step.Name, Arguments: input, Step: &called}
				err = f.Ask(command, func(payload []byte) error { result = payload; return nil })
				return result, err
			}, nil
		},
	}
}

// Kind is what a command asks for.
type Kind string

// Kinds of commands.
const (
	StepCall  Kind = "step"
	Timer     Kind = "timer"
	Signal    Kind = "signal"
	Savepoint Kind = "savepoint"
	Child     Kind = "child"
)

// Command is an effect as issued: what the world is asked to answer.
type Command struct {
	ID        string // path of its fiber and number within it
	Kind      Kind
	Name      string
	Arguments []byte    // of a step or child
	Step      *Step     // that is called
	Workflow  *Workflow // of a child
	Timed     bool
	Span      int64  // of its timer, microseconds; negative when Due was given instead
	Due       int64  // when its timer fires
	IssuedAt  int64  // the workflow's clock at its issue
	Notes     []byte // of a savepoint
	State     []byte // of a savepoint with state
	Attempts  int    // that have failed so far
	Failure   []byte // payload of the last one that did
	FailedAt  int64
	RetryAt   int64 // when the next attempt is due, for whoever makes them; 0 while none is
	Intent    bool  // an at-most-once step was begun
	Cancelled bool  // a cancellation waits for its end
	Abandoned bool  // a child that goes on by itself, its parent having ended

	accept func(payload []byte) error // takes the answer, where the author's type is known
	fiber  *Fiber
	number int // in order of issue
	frames frames
}

// Check is the CRC-32 of the encoded arguments, or 0 where nothing is compared.
func (c *Command) Check() uint32 {
	switch {
	case c.Kind == StepCall && !c.Step.Options.IgnoreArguments, c.Kind == Child:
		return crc32.ChecksumIEEE(c.Arguments)
	case c.Kind == Savepoint:
		return crc32.ChecksumIEEE(c.Notes)
	}
	return 0
}

// answers are the kinds of events that answer a command, success first; signals are matched by name.
var answers = map[Kind][]string{
	StepCall:  {model.StepCompleted, model.StepGaveUp},
	Child:     {model.ChildCompleted, model.ChildEnded},
	Timer:     {model.TimerFired},
	Savepoint: {model.SavepointTaken},
}

// Takes says whether an answer of this kind would be taken.
func (c *Command) Takes(kind string) bool { return slices.Contains(answers[c.Kind], kind) }

func (c *Command) agrees(event *model.Event, kind string) bool {
	check := c.Check()
	return c.Takes(kind) && event.Name == c.Name && (event.Check == 0 || check == 0 || check == event.Check)
}

// failed is the error that the answer of one that failed comes back as.
func (c *Command) failed(payload []byte) error {
	failure := model.DecodeFailure(payload)
	if c.Kind == Child {
		made := &model.ChildFailed{Workflow: c.Name, ErrorType: failure.Type, Message: failure.Message, Status: "failed"}
		failure.Arg(0, &made.Run)
		failure.Arg(1, &made.Status)
		return made
	}
	for _, raise := range c.Step.Options.Raises {
		if raise.Name == failure.Type && failure.Args != nil {
			arguments, _ := codec.Marshal(failure.Args)
			if err, ok := raise.Revive(arguments); ok {
				return err
			}
		}
	}
	switch failure.Type {
	case "replay.errors.TimedOut":
		late := &model.TimedOut{}
		if failure.Arg(0, &late.What) && failure.Arg(1, &late.Seconds) {
			return late
		}
	case "replay.errors.StepInterrupted":
		return &model.StepInterrupted{Step: c.Name}
	}
	return &model.StepFailed{
		Step: c.Name, ErrorType: failure.Type, Message: failure.Message, Attempts: failure.Attempts, Traceback: failure.Traceback,
	}
}

const shown = 120 // characters of arguments and payloads in a report

func (c *Command) String() string {
	switch c.Kind {
	case StepCall, Child:
		text := string(c.Arguments)
		if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
			text = "(" + text[1:len(text)-1] + ")"
		}
		return string(c.Kind) + " " + c.Name + model.Cut(text, shown, "…)")
	case Timer:
		if c.Span < 0 {
			return "sleep until a moment"
		}
		return "sleep " + model.Short(float64(c.Span)/1e6) + " s"
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
	return strings.TrimSuffix(file, "internal/interpreter/command.go")
}()

// isOurs says whether a file is replay's own: names of functions do not tell, as generic ones are compiled where they are used.
func isOurs(file string) bool {
	rest, inside := strings.CutPrefix(file, home)
	return inside && !strings.HasSuffix(rest, "_test.go") && (!strings.Contains(rest, "/") || strings.HasPrefix(rest, "internal/"))
}
