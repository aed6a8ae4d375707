package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/interpreter"
	"example.org/replay/internal/service"
	"example.org/replay/model"
)

const (
	breath       = time.Millisecond      // between two claims at the least
	idleBreath   = 5 * time.Millisecond  // the same when the server says that something changed
	busyBreath   = 20 * time.Millisecond // the same while this worker commits
	claimShare   = 20                    // while runs are under way, claiming takes one part in so many of the time
	stuckPause   = 30 * time.Second      // until a run that is stuck is tried again; fitting code may have been deployed meanwhile
	claimLimit   = 500                   // runs taken in one claim at most
	replayBudget = 5_000                 // old events fed per round, so that one long journal does not hold up the others
	patience     = 20 * time.Second      // of a call that waits for something to change
)

// Worker is one worker over one server. One goroutine holds everything: it takes what has come in, lets every run that heard
// something take a turn, commits all turns in one call (whatever arrived during the last commit is committed together now: group
// commit without a timer), and only then acts. A worker keeps nothing that the server does not know: a run that only waits is
// given back, but for a few that are kept a moment because they may soon go on.
type Worker struct {
	conn      *service.Connection
	set       model.WorkerOptions                // with all defaults
	workflows map[string][]*interpreter.Workflow // by name; of its versions the highest comes first, none last
	names     []string
	inbox     chan func() // what was heard, for the one goroutine to take in
	live      map[string]*Live
	touched   []*Live
	todo      []*Live // with steps that wait for room
	attempts  int
	claiming  bool
	claims    int
	hungry    bool
	waiting   bool
	seen      int64
	claimAt   int64
	claimedAt int64
	renewAt   int64
	committed bool // since the last claim
	failures  int
	presence  presence
	line      line            // runs in doubt
	refused   error           // what the server said when it gave this worker no runs at all
	leaveAt   int64           // when steps that run are given up, or 0 while nobody has asked to leave
	asked     context.Context // ends when the worker is asked to leave
	steps     context.Context // ends when steps are given up
	calls     context.Context // ends with the worker
}

// NewWorker makes a worker that offers some workflows.
func NewWorker(conn *service.Connection, options model.WorkerOptions, workflows []*interpreter.Workflow) (*Worker, error) {
	w := &Worker{
		conn: conn, set: options, workflows: map[string][]*interpreter.Workflow{}, inbox: make(chan func(), 1_024), live: map[string]*Live{},
	}
	slices.SortFunc(workflows, func(a, b *interpreter.Workflow) int { return strings.Compare(b.Version, a.Version) })
	for _, workflow := range workflows {
		versions := w.workflows[workflow.Name]
		if n := len(versions); n > 0 && versions[n-1] != workflow && versions[n-1].Version == workflow.Version {
			problem := fmt.Sprintf("two of version '%s' are offered", workflow.Version)
			return nil, &model.DefinitionError{What: workflow.Name, Problem: problem, Advice: "name one of them otherwise"}
		}
		w.workflows[workflow.Name] = append(versions, workflow)
	}
	if len(w.workflows) == 0 {
		return nil, &model.DefinitionError{What: "worker", Problem: "it offers nothing", Advice: "give it workflows and steps"}
	}
	w.names = slices.Sorted(maps.Keys(w.workflows))
	return w, nil
}

// Run works until ctx ends, then drains: it takes no more runs, lets steps that run come to an end for a while, and gives
// everything back. A server that refuses to give it runs ends it with that error.
func (w *Worker) Run(ctx context.Context) error {
	background := context.WithoutCancel(ctx)
	var stopSteps, stopCalls context.CancelFunc
	w.steps, stopSteps = context.WithCancel(background)
	w.calls, stopCalls = context.WithCancel(background)
	w.asked = ctx
	ended := false
	defer func() {
		if !ended {
			w.set.Logger.Error("a workflow called runtime.Goexit, which ends its worker: return an error instead")
		}
		for _, live := range w.live {
			live.Interp.Close()
		}
		stopSteps()
		stopCalls()
	}()
	leaving := ctx.Done()
	alarm := time.NewTimer(0)
	for !ended {
		if len(w.touched) == 0 {
			alarm.Reset(w.untilNext())
			select {
			case heard := <-w.inbox:
				heard()
			case <-alarm.C:
			case <-leaving:
				leaving = nil
			}
		}
		for more := true; more; {
			select {
			case heard := <-w.inbox:
				heard()
			default:
				more = false
			}
		}
		w.heed()
		if w.refused != nil {
			w.giveBackAll()
		}
		ended = w.refused != nil || w.round()
	}
	w.disappear()
	return w.refused
}

// heed begins to leave when the worker was asked to.
func (w *Worker) heed() {
	if w.leaveAt == 0 && w.asked.Err() != nil {
		w.leaveAt = w.conn.Now() + w.set.Grace.Microseconds()
		w.set.Logger.Info("worker leaves", "grace", w.set.Grace)
		w.restNoMore()
	}
}

// report hands something that another goroutine heard to the worker's own.
func (w *Worker) report(heard func()) {
	select {
	case w.inbox <- heard:
	case <-w.calls.Done():
	}
}

// untilNext is how long nothing is due.
func (w *Worker) untilNext() time.Duration {
	next := w.conn.Now() + patience.Microseconds()
	if w.leaveAt != 0 {
		next = min(next, w.leaveAt)
	} else if !w.claiming {
		next = min(next, w.claimAt)
	}
	if len(w.live) > 0 {
		next = min(next, w.renewAt)
	}
	if len(w.line.waiting) > 0 && w.leaveAt == 0 {
		next = min(next, w.line.until)
	}
	if !w.presence.already {
		next = min(next, w.presence.due)
	}
	for _, live := range w.live {
		next = min(next, live.nextLook())
	}
	return max(0, time.Duration(next-w.conn.Now())*time.Microsecond)
}

// nextLook is when a run that nothing happens to must be looked at.
func (l *Live) nextLook() int64 {
	if l.inLine {
		return never
	}
	return min(l.nextTimer(), cmp.Or(l.restless, never), l.saveAt)
}

// round is one round of work; whether the worker has ended.
func (w *Worker) round() (ended bool) {
	defer func() {
		if cause := recover(); cause != nil {
			w.set.Logger.Error("worker forgets all runs and reads them again", "panic", cause, "stack", string(debug.Stack()))
			w.giveBackAll()
			w.claimAt = w.conn.Now() + busyBreath.Microseconds()
		}
	}()
	now := w.conn.Now()
	if now >= w.renewAt { // first: what has merely ended is still ours until someone claims it
		w.renew(now)
	}
	for _, live := range w.live {
		if live.nextLook() <= now {
			live.parking = live.restless != 0 && live.restless <= now
			w.touch(live)
		}
	}
	if w.leaveAt == 0 {
		w.claim(now)
		w.letIn(now)
	}
	w.announce(now)
	w.turns(now)
	w.fill()
	return w.leaveAt != 0 && w.drained(now)
}

// ---- claiming --------------------------------------------------------------------------------------------------------------

// claim asks for runs when it is time.
func (w *Worker) claim(now int64) {
	if w.claiming || now < w.claimAt {
		return
	}
	w.claiming, w.claimedAt, w.committed = true, now, false
	w.claimAt = now + w.set.Poll.Microseconds() // or earlier, by what is heard from here on
	room := max(0, w.set.Concurrency-len(w.live))
	first := w.claims % len(w.set.Queues) // another one each time
	w.claims++
	request := &wire.ClaimRequest{
		Worker: w.set.Name, Namespace: w.set.Namespace, Queues: slices.Concat(w.set.Queues[first:], w.set.Queues[:first]), Workflows: w.names,
		Limits: w.limits(), Limit: int32(min(room, claimLimit)), Ttl: w.set.Lease.Microseconds(),
	}
	go func() {
		began := time.Now()
		answer, err := w.conn.Claim(w.calls, request)
		took := time.Since(began)
		w.report(func() { w.claimed(answer, err, room, took) })
	}()
}

// limits are those of the queues, with what is left of their room here.
func (w *Worker) limits() (made []*wire.QueueLimits) {
	for queue, limits := range w.set.Limits {
		one := &wire.QueueLimits{
			Name: queue, Concurrency: service.Optional(int32(limits.Concurrency)), PerKey: service.Optional(int32(limits.PerKey)),
			RateCount: service.Optional(int64(limits.Rate)), RatePer: cmp.Or(limits.Per, time.Second).Seconds(),
		}
		if limits.Here > 0 {
			here := int32(limits.Here)
			for _, live := range w.live {
				if live.Run.Queue == queue {
					here--
				}
			}
			here = max(0, here)
			one.Here = &here
		}
		made = append(made, one)
	}
	return made
}

// listen asks to be told when something changes. A worker that commits is not told: each of its own commits would be such a change,
// so it asks for runs as often as it may.
func (w *Worker) listen() {
	if w.waiting || w.leaveAt != 0 {
		return
	}
	w.waiting = true
	seen := w.seen
	go func() {
		answer, err := w.conn.Worker.Wait(w.calls, &wire.WaitRequest{Seen: seen, Timeout: patience.Seconds()})
		if err == nil && answer.Seen == seen { // no room for those who wait, or nothing changed
			time.Sleep(idleBreath)
		}
		w.report(func() {
			if w.waiting = false; err != nil {
				w.unavailable("wait", err)
				return
			}
			w.seen = answer.Seen
			w.claimAt = min(w.claimAt, w.claimedAt+idleBreath.Microseconds())
		})
	}()
}

func (w *Worker) claimed(answer *wire.ClaimResponse, err error, room int, took time.Duration) {
	w.claiming = false
	now := w.conn.Now()
	if refused, no := errors.AsType[*model.StoreRefused](err); no {
		w.refused = refused // asking again does not help
		return
	}
	if err != nil {
		w.unavailable("claim", err)
		w.claimAt = now + w.pause().Microseconds()
		return
	}
	w.failures = 0
	if answer.NextAt != nil {
		w.claimAt = min(w.claimAt, max(*answer.NextAt, now+breath.Microseconds()))
	}
	w.hungry = len(answer.Runs) == room
	if room == 0 {
		w.restNoMore()
	}
	if !w.hungry && len(answer.Runs) == claimLimit {
		w.claimAt = now
	}
	if w.leaveAt != 0 { // it was on its way when the worker was asked to leave
		var leases []*wire.Lease
		for _, claimed := range answer.Runs {
			leases = append(leases, claimed.Lease)
		}
		w.release(leases...)
		return
	}
	for _, claimed := range answer.Runs {
		w.take(claimed)
	}
	for _, message := range answer.Mail {
		if live := w.live[message.Key.Id]; live != nil && live.Deliver(message) {
			w.touch(live)
		}
	}
	if w.committed = w.committed || len(answer.Runs) > 0; w.committed && len(w.live) > 0 {
		w.claimAt = min(w.claimAt, now+max(busyBreath, claimShare*took).Microseconds())
	} else {
		w.listen()
	}
}

// workflow is the version that a run began with when it is offered, else today's code: the one of no or the highest version.
func (w *Worker) workflow(name, version string) *interpreter.Workflow {
	versions := w.workflows[name]
	if len(versions) == 0 {
		return nil
	}
	place := slices.IndexFunc(versions, func(offered *interpreter.Workflow) bool { return offered.Version == version })
	if last := len(versions) - 1; place < 0 && versions[last].Version == "" {
		place = last
	}
	return versions[max(0, place)]
}

// take takes a claimed run into memory.
func (w *Worker) take(claimed *wire.Claimed) {
	run, lease := claimed.Run, claimed.Lease
	workflow := w.workflow(run.Workflow, run.Version)
	if workflow == nil {
		w.release(lease)
		return
	}
	if known := w.live[run.Key.Id]; known != nil {
		if known.committed == run.Seq && known.Lease.Fence+1 == lease.Fence { // it ended unnoticed, and nobody else was there
			known.Lease = lease
			known.Deliver(claimed.Mail...)
			w.touch(known)
			return
		}
		w.drop(known)
	}
	if w.isBeyond(claimed) {
		w.setAside(claimed)
		return
	}
	live := NewLive(claimed, workflow, w.set.MaxPayload)
	w.live[run.Key.Id] = live
	if due := lease.Until - w.set.Lease.Microseconds()*2/3; w.renewAt == 0 || due < w.renewAt || len(w.live) == 1 {
		w.renewAt = due
	}
	if !w.enterLine(claimed, live) {
		w.touch(live)
	}
}

func (w *Worker) restNoMore() {
	for _, live := range w.live {
		if live.restless != 0 {
			live.parking = true
			w.touch(live)
		}
	}
}

func (w *Worker) touch(live *Live) {
	if live.restless = 0; !live.touched {
		live.touched = true
		w.touched = append(w.touched, live)
	}
}

// ---- leases and leaving ----------------------------------------------------------------------------------------------------

func (w *Worker) renew(now int64) {
	w.renewAt = now + w.set.Lease.Microseconds()/3
	if len(w.live) == 0 {
		return
	}
	request, held := &wire.RenewRequest{Ttl: w.set.Lease.Microseconds()}, slices.Collect(maps.Values(w.live))
	for _, live := range held {
		request.Leases = append(request.Leases, live.Lease)
	}
	answer, err := w.conn.Worker.Renew(w.calls, request)
	if err != nil {
		w.unavailable("renew", err)
		w.renewAt = now + w.set.Lease.Microseconds()/10
		return
	}
	for i, kept := range answer.Kept {
		if live := held[i]; !kept {
			w.set.Logger.Warn((&model.LeaseLost{Run: live.Run.Key.Id, Fence: live.Lease.Fence}).Error())
			w.drop(live)
		}
	}
}

// drained waits for steps that run, as long as there is patience; then it gives everything back.
func (w *Worker) drained(now int64) bool {
	busy := w.claiming || w.presence.already
	for _, live := range w.live {
		busy = busy || len(live.tasks) > 0 || len(live.answers) > 0 || live.touched
	}
	if busy && now < w.leaveAt {
		return false
	}
	w.giveBackAll()
	return true
}

// giveBackAll drops all runs, unharmed, and gives them back.
func (w *Worker) giveBackAll() {
	var leases []*wire.Lease
	for _, live := range w.live {
		leases = append(leases, live.Lease)
		w.drop(live)
	}
	w.touched, w.todo = nil, nil
	w.release(leases...)
}

func (w *Worker) release(leases ...*wire.Lease) {
	if len(leases) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(w.calls, 5*time.Second)
	defer cancel()
	if _, err := w.conn.Worker.Release(ctx, &wire.ReleaseRequest{Leases: leases}); err != nil {
		w.unavailable("release", err) // what cannot be given back ends by itself
	}
}

func (w *Worker) unavailable(verb string, err error) {
	w.failures++
	if w.failures == 1 || w.failures == 10 || w.failures%100 == 0 {
		w.set.Logger.Warn("server does not answer", "verb", verb, "times", w.failures, "error", strings.TrimSpace(fmt.Sprint(err)))
	}
}
