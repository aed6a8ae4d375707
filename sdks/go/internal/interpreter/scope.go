package interpreter

import (
	"slices"
	"strconv"

	"example.org/replay/model"
)

// scope is a combinator at work: it starts branches, hears of their ends, and answers its owner when the last has ended. No
// branch outlives it: when its answer is known, those that still run are cancelled, in order.
type scope struct {
	owner   *Fiber
	path    string
	fibers  []*Fiber
	live    int
	joins   bool // it ends with the last of its branches, whatever becomes of the others
	shields bool // cancellation does not enter it
	closing bool
	err     error
	settle  func(branch *Fiber) // what the end of a branch means while it is not closing
	frames  frames
}

// within begins a combinator.
func (f *Fiber) within() *scope {
	f.enter()
	s := &scope{owner: f, path: f.nextID()}
	s.frames.here()
	return s
}

// answer waits until all branches have ended.
func (s *scope) answer() error {
	s.owner.waits = s
	return s.owner.wait()
}

func (s *scope) start(fiber *Fiber) {
	fiber.it, fiber.scope, fiber.index = s.owner.it, s, len(s.fibers)
	fiber.path = s.path + "/" + strconv.Itoa(fiber.index) + "/"
	s.fibers = append(s.fibers, fiber)
	s.live++
	fiber.it.resume(fiber, nil)
}

// heard: one branch has ended.
func (s *scope) heard(branch *Fiber) {
	s.live--
	if !s.closing {
		s.settle(branch)
	}
	if s.live > 0 {
		return
	}
	owner := s.owner
	if owner.cancel != nil && !owner.delivered && !s.shields {
		owner.delivered = true
		s.err = owner.cancel
	}
	owner.it.resume(owner, s.err)
}

// close: the answer is known; what still runs is cancelled, in order.
func (s *scope) close(err error, reason string) {
	s.err, s.closing = err, true
	for _, fiber := range s.fibers {
		if !fiber.done {
			s.owner.it.Cancel(fiber, reason)
		}
	}
}

// Gather runs branches side by side.
func (f *Fiber) Gather(branches []Body, policy model.GatherOptions) error {
	s := f.within()
	s.joins = true
	if len(branches) == 0 {
		f.answered()
		return nil
	}
	fill := func() {
		for len(s.fibers) < len(branches) && (policy.Limit == 0 || s.live < policy.Limit) {
			s.start(&Fiber{body: branches[len(s.fibers)]})
		}
	}
	least, done, failures := policy.MinSuccessful, 0, 0
	var failed error
	s.settle = func(branch *Fiber) {
		if branch.err == nil {
			done++
		} else if failures++; failures == 1 {
			failed = branch.err
		}
		hopeless := failures > 0 && !policy.ReturnErrors
		if least > 0 {
			hopeless = len(branches)-failures < least
		}
		switch {
		case hopeless:
			s.close(failed, "another branch of gather failed")
		case least > 0 && done >= least:
			s.close(nil, "gather has enough results")
		default:
			fill()
		}
	}
	fill()
	return s.answer()
}

// Race answers with the branch that ends well first.
func (f *Fiber) Race(branches []Body) (winner int, err error) {
	s := f.within()
	if len(branches) == 0 {
		return 0, &model.EffectError{Got: "race was given no branch", Advice: "give it at least one"}
	}
	var failed error
	s.settle = func(branch *Fiber) {
		if branch.err == nil {
			winner = branch.index
			s.close(nil, "another branch won the race")
			return
		}
		if failed == nil {
			failed = branch.err
		}
		if s.live == 0 {
			s.err = failed
		}
	}
	for _, branch := range branches {
		s.start(&Fiber{body: branch})
	}
	err = s.answer()
	return winner, err
}

// Timeout runs a branch beside a timer.
func (f *Fiber) Timeout(branch Body, span int64) error {
	s := f.within()
	s.settle = func(ended *Fiber) {
		if ended.index == 0 {
			s.close(ended.err, "the branch has ended")
		} else {
			s.close(&model.TimedOut{What: "the branch", Seconds: float64(span) / 1e6}, "the branch took too long")
		}
	}
	s.start(&Fiber{body: branch})
	s.start(&Fiber{single: &Command{Kind: Timer, Name: "timeout", Timed: true, Span: span}})
	return s.answer()
}

// Shield runs a branch that cancellation does not enter.
func (f *Fiber) Shield(branch Body) error {
	s := f.within()
	s.joins, s.shields = true, true
	s.settle = func(ended *Fiber) { s.err = ended.err }
	s.start(&Fiber{body: branch})
	return s.answer()
}

// ---- branches that no scope waits for ----------------------------------------------------------------------------------------

// Spawn runs a branch beside this fiber.
func (f *Fiber) Spawn(branch Body) *Fiber {
	it := f.Instant()
	spawned := &Fiber{it: it, path: f.nextID() + "/0/", body: branch}
	it.resume(spawned, nil)
	it.runBeside(spawned)
	return spawned
}

// StartChild asks for a child at once, so that it is asked for even when its parent ends in the same breath.
func (f *Fiber) StartChild(command *Command, accept func([]byte) error) (*Fiber, string) {
	it := f.Instant()
	command.accept = accept
	command.frames.here()
	spawned := &Fiber{it: it, path: f.nextID() + "/0/", single: command, begun: true}
	it.issue(spawned, command)
	it.runBeside(spawned)
	return spawned, it.ChildID(command)
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
	if target.waitsFor(f, map[*Fiber]bool{}) {
		return &model.EffectError{Got: "fibers join each other in a ring", Advice: "none of them could ever end; let one of them go on without the others"}
	}
	target.joiners = append(target.joiners, f)
	f.waits = target
	return f.wait()
}

// waitsFor says whether a fiber cannot end before another one has: it joins it, gathers it, or waits so for one that does.
func (f *Fiber) waitsFor(other *Fiber, met map[*Fiber]bool) bool {
	if f == other || met[f] {
		return f == other
	}
	met[f] = true
	switch waits := f.waits.(type) {
	case *Fiber:
		return waits.waitsFor(other, met)
	case *scope: // a race frees the others
		return waits.joins && slices.ContainsFunc(waits.fibers, func(branch *Fiber) bool { return !branch.done && branch.waitsFor(other, met) })
	}
	return false
}
