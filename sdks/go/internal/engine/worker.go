package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	breath        = time.Millisecond      // between two claims at the least
	idleBreath    = 5 * time.Millisecond  // the same when the server says that something changed
	busyBreath    = 20 * time.Millisecond // the same while this worker commits
	claimShare    = 10                    // while runs are under way, claiming takes one part in so many of the time
	stuckPause    = 30 * time.Second      // until a run that is stuck is tried again; fitting code may have been deployed meanwhile
	claimLimit    = 500                   // runs taken in one claim at most
	maxRecoveries = 10                    // workers in a row that a run may lose before it is set aside
	replayBudget  = 5_000                 // old events fed per round, so that one long journal does not hold up the others
	patience      = 20 * time.Second      // of a call that waits for something to change
)

// Settings say how a worker works.
type Settings struct {
	Name        string
	Namespace   string
	Queues      []string
	Concurrency int // runs that it holds at most
	Steps       int // attempts of steps under way at most
	TTL         time.Duration
	Poll        time.Duration
	Linger      time.Duration // how long a run that only waits is kept
	Keep        int           // how many such runs are kept at most
	Grace       time.Duration // how long steps may go on when it leaves
	MaxPayload  int
	Logger      *slog.Logger
}

// Worker is one worker over one server. One goroutine holds everything: it takes what has come in, lets every run that heard
// something take a turn, commits all turns in one call (whatever arrived during the last commit is committed together now: group
// commit without a timer), and only then acts. A worker keeps nothing that the server does not know: a run that only waits is
// given back, but for a few that are kept a moment because they may soon go on.
type Worker struct {
	conn      *service.Connection
	set       Settings
	workflows map[string]map[string]*interpreter.Workflow
	names     []string
	inbox     chan any
	live      map[string]*Live
	touched   []*Live
	todo      []*Live // with steps that wait for room
	attempts  int
	resting   int
	claiming  bool
	hungry    bool
	waiting   bool
	seen      int64
	claimAt   int64
	claimedAt int64
	renewAt   int64
	committed bool // since the last claim
	failures  int
	refused   error           // what the server said when it gave this worker no runs at all
	leaveAt   int64           // when steps that run are given up, or 0 while nobody has asked to leave
	asked     context.Context // ends when the worker is asked to leave
	steps     context.Context // ends when steps are given up
	calls     context.Context // ends with the worker
}

type (
	claims struct {
		answer *wire.ClaimResponse
		err    error
		room   int
		took   time.Duration
	}
	woke struct {
		seen int64
		err  error
	}
)

// NewWorker makes a worker that offers some workflows and steps.
func NewWorker(conn *service.Connection, settings Settings, workflows []*interpreter.Workflow, steps []*interpreter.Step) (*Worker, error) {
	w := &Worker{
		conn: conn, set: settings, workflows: map[string]map[string]*interpreter.Workflow{}, inbox: make(chan any, 1_024), live: map[string]*Live{},
	}
	for _, step := range steps {
		workflows = append(workflows, interpreter.StepWorkflow(step))
	}
	for _, workflow := range workflows {
		versions := w.workflows[workflow.Name]
		if versions == nil {
			versions = map[string]*interpreter.Workflow{}
			w.workflows[workflow.Name] = versions
			w.names = append(w.names, workflow.Name)
		}
		if other := versions[workflow.Version]; other != nil && other != workflow {
			problem := fmt.Sprintf("two of version '%s' are offered", workflow.Version)
			return nil, &model.DefinitionError{What: workflow.Name, Problem: problem, Advice: "name one of them otherwise"}
		}
		versions[workflow.Version] = workflow
	}
	if len(w.names) == 0 {
		return nil, &model.DefinitionError{What: "worker", Problem: "it offers nothing", Advice: "give it workflows and steps"}
	}
	slices.Sort(w.names)
	return w, nil
}

// Run works until ctx ends, then drains: it takes no more runs, lets steps that run come to an end for a while, and gives
// everything back. A server that refuses to give it runs ends it with that error.
func (w *Worker) Run(ctx context.Context) (err error) {
	background := context.WithoutCancel(ctx)
	var stopSteps, stopCalls context.CancelFunc
	w.steps, stopSteps = context.WithCancel(background)
	w.calls, stopCalls = context.WithCancel(background)
	defer stopCalls()
	defer stopSteps()
	ended := false
	defer func() {
		if !ended { // a workflow ended the goroutine that it was driven by
			err = errors.New("a workflow called runtime.Goexit, which ends its worker: return an error instead")
		}
		for _, live := range w.live {
			live.Interp.Close()
		}
	}()
	w.asked = ctx
	leaving := ctx.Done()
	alarm := time.NewTimer(0)
	for {
		if len(w.touched) == 0 {
			alarm.Reset(w.untilNext())
			select {
			case item := <-w.inbox:
				w.takeIn(item)
			case <-alarm.C:
			case <-leaving:
				leaving = nil
			}
		}
		w.takeAll()
		w.heed()
		if w.refused != nil {
			w.forgetAll()
			ended = true
			return w.refused
		}
		if w.round() {
			ended = true
			return nil
		}
	}
}

// heed begins to leave when the worker was asked to.
func (w *Worker) heed() {
	if w.leaveAt == 0 && w.asked.Err() != nil {
		w.leaveAt = w.conn.Now() + w.set.Grace.Microseconds()
		w.set.Logger.Info("worker leaves", "grace", w.set.Grace)
		w.restNoMore()
	}
}

func (w *Worker) takeAll() {
	for {
		select {
		case item := <-w.inbox:
			w.takeIn(item)
		default:
			return
		}
	}
}

func (w *Worker) takeIn(item any) {
	switch item := item.(type) {
	case done:
		w.done(item)
	case late:
		w.tooLate(item.attempt)
	case claims:
		w.claimed(item)
	case woke:
		if w.waiting = false; item.err != nil {
			w.unavailable("wait", item.err)
			return
		}
		w.seen = item.seen
		w.claimAt = min(w.claimAt, w.claimedAt+idleBreath.Microseconds())
	}
}

// report hands the goroutine of a step back to the worker's.
func (w *Worker) report(item any) {
	select {
	case w.inbox <- item:
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
	for _, live := range w.live {
		if moment := live.nextLook(); moment < next {
			next = moment
		}
	}
	return max(0, time.Duration(next-w.conn.Now())*time.Microsecond)
}

// nextLook is when a run that nothing happens to must be looked at.
func (l *Live) nextLook() int64 {
	moment := l.nextTimer()
	if l.restless != 0 {
		moment = min(moment, l.restless)
	}
	return moment
}

// round is one round of work; whether the worker has ended.
func (w *Worker) round() (ended bool) {
	defer func() {
		if cause := recover(); cause != nil {
			w.set.Logger.Error("worker forgets all runs and reads them again", "panic", cause, "stack", string(debug.Stack()))
			w.forgetAll()
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
	}
	w.turns(now)
	w.fill()
	return w.leaveAt != 0 && w.drained(now)
}

// ---- claiming --------------------------------------------------------------------------------------------------------------

// claim asks for runs when it is time, and, when nothing else is to be done, to be told when something changes.
func (w *Worker) claim(now int64) {
	if !w.claiming && now >= w.claimAt {
		w.claiming, w.claimedAt, w.committed = true, now, false
		room := max(0, w.set.Concurrency-len(w.live))
		request := &wire.ClaimRequest{
			Worker: w.set.Name, Namespace: w.set.Namespace, Queues: w.set.Queues, Workflows: w.names, Limit: int32(min(room, claimLimit)), Ttl: w.set.TTL.Microseconds(),
		}
		go func() {
			began := time.Now()
			answer, err := w.conn.Claim(w.calls, request)
			w.report(claims{answer, err, room, time.Since(began)})
		}()
	}
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
		w.report(woke{answer.GetSeen(), err})
	}()
}

func (w *Worker) claimed(got claims) {
	w.claiming = false
	now := w.conn.Now()
	w.claimAt = now + w.set.Poll.Microseconds()
	if refused := (*model.StoreRefused)(nil); errors.As(got.err, &refused) {
		w.refused = refused // asking again does not help
		return
	}
	if got.err != nil {
		w.unavailable("claim", got.err)
		w.claimAt = now + w.pause().Microseconds()
		return
	}
	w.failures = 0
	if got.answer.NextAt != nil {
		w.claimAt = min(w.claimAt, max(*got.answer.NextAt, now+breath.Microseconds()))
	}
	w.hungry = len(got.answer.Runs) == got.room
	if got.room == 0 {
		w.restNoMore()
	}
	if !w.hungry && len(got.answer.Runs) == claimLimit {
		w.claimAt = now
	}
	if w.leaveAt != 0 { // it was on its way when the worker was asked to leave
		var leases []*wire.Lease
		for _, claimed := range got.answer.Runs {
			leases = append(leases, claimed.Lease)
		}
		w.giveBack(leases)
		return
	}
	for _, claimed := range got.answer.Runs {
		w.take(claimed)
	}
	for _, message := range got.answer.Mail {
		if live := w.live[message.Key.Id]; live != nil && !live.known[message.Id] {
			live.Deliver([]*wire.Message{message})
			w.touch(live)
		}
	}
	if w.committed = w.committed || len(got.answer.Runs) > 0; w.committed && len(w.live) > 0 {
		w.claimAt = min(w.claimAt, now+max(busyBreath, claimShare*got.took).Microseconds())
	} else {
		w.listen()
	}
}

// workflow is the version that a run began with when it is offered, else today's code: the one of no or the highest version.
func (w *Worker) workflow(name, version string) *interpreter.Workflow {
	versions := w.workflows[name]
	if found := versions[version]; found != nil {
		return found
	}
	if found := versions[""]; found != nil {
		return found
	}
	highest := ""
	for other := range versions {
		highest = max(highest, other)
	}
	return versions[highest]
}

// take takes a claimed run into memory.
func (w *Worker) take(claimed *wire.Claimed) {
	run, lease := claimed.Run, claimed.Lease
	workflow := w.workflow(run.Workflow, run.Version)
	if workflow == nil {
		w.giveBack([]*wire.Lease{lease})
		return
	}
	if run.Recoveries >= maxRecoveries && !slices.ContainsFunc(claimed.Mail, putsBack) {
		note := fmt.Sprintf("it was set aside after %d workers in a row died while they drove it; resume puts it back", run.Recoveries)
		w.set.Logger.Error("run is stuck", "run", run.Key.Id, "workflow", run.Workflow, "error", note)
		w.send([]*wire.Commit{{Lease: lease, Expected: run.Seq, Status: "stuck", Applied: run.Applied, Note: note, Release: true}})
		return
	}
	if known := w.live[run.Key.Id]; known != nil {
		if known.committed == run.Seq && known.Lease.Fence+1 == lease.Fence { // it ended unnoticed, and nobody else was there
			known.Lease = lease
			known.Deliver(claimed.Mail)
			w.touch(known)
			return
		}
		w.drop(known)
	}
	live := NewLive(claimed, workflow, w.set.MaxPayload)
	w.live[run.Key.Id] = live
	if due := lease.Until - w.set.TTL.Microseconds()*2/3; w.renewAt == 0 || due < w.renewAt || len(w.live) == 1 {
		w.renewAt = due
	}
	w.touch(live)
}

// putsBack says whether a message has a run that was set aside driven again.
func putsBack(message *wire.Message) bool {
	return slices.Contains([]string{"resume", "cancel", "terminate"}, message.Kind)
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
	if live.restless != 0 {
		live.restless = 0
		w.resting--
	}
	if !live.touched {
		live.touched = true
		w.touched = append(w.touched, live)
	}
}

// ---- turns -----------------------------------------------------------------------------------------------------------------

// turns lets every run that heard something take a turn, commits all turns at once, then acts.
func (w *Worker) turns(now int64) {
	touched := w.touched
	w.touched = nil
	var batch []*wire.Commit
	var turned []*Live
	budget := replayBudget
	for _, live := range touched {
		live.touched = false
		if w.live[live.Run.Key.Id] != live {
			continue
		}
		rests, err := drive(live, &budget, now)
		if err != nil {
			w.stuck(live, err)
		} else if !rests {
			w.touch(live)
		} else if commit := w.commitOf(live, now); commit != nil {
			batch, turned = append(batch, commit), append(turned, live)
		} else {
			w.act(live, now)
		}
	}
	if len(batch) > 0 {
		for i, fate := range w.send(batch) {
			w.settle(turned[i], batch[i], fate, now)
		}
	}
}

// drive lets one run take a turn; whether it rests. What the author's types panic with while they are read sets the run aside, and the
// others go on.
func drive(live *Live, budget *int, now int64) (rests bool, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &model.PanicError{Value: fmt.Sprint("panic: ", cause), Stack: string(debug.Stack())}
		}
	}()
	if !live.arrived {
		if *budget, err = live.Replay(max(*budget, 1)); err != nil || (!live.arrived && !live.Over()) {
			return false, err
		}
	}
	if err := live.Turn(now); err != nil {
		return false, err
	}
	return live.Interp.Settled() || live.Over(), nil
}

// commitOf is what must become durable before anything else is done; nil when there is nothing.
func (w *Worker) commitOf(live *Live, now int64) *wire.Commit {
	parking := live.parking
	live.parking = false
	if live.Over() {
		return live.Commit(true)
	}
	if live.idle() {
		if parking || live.Paused || w.leaveAt != 0 || w.hungry || w.resting >= w.set.Keep {
			return live.Commit(true)
		}
		live.restless = now + w.set.Linger.Microseconds()
		w.resting++
	}
	if live.unsaid() {
		return live.Commit(false)
	}
	return nil
}

// fate is what became of a commit; err when it cannot be spelt or was refused for itself.
type fate struct {
	committed wire.Committed
	err       error
}

// send commits, again and again until the server answers; what was applied unheard is recognised.
func (w *Worker) send(batch []*wire.Commit) []fate {
	unsure := false
	for {
		answer, err := w.conn.Commit(w.calls, &wire.CommitRequest{Commits: batch})
		switch {
		case err == nil && len(answer.Fates) == len(batch):
			fates := make([]fate, len(batch))
			for i, committed := range answer.Fates {
				fates[i].committed = committed
				if unsure && committed != wire.Committed_COMMITTED_APPLIED {
					if fates[i].committed, err = w.recognise(batch[i], committed); err != nil {
						break
					}
				}
			}
			if err == nil {
				w.failures = 0
				return fates
			}
			w.unavailable("commit", err)
		case err == nil || service.IsUnavailable(err):
			unsure = true
			w.unavailable("commit", err)
		case len(batch) == 1:
			return []fate{{err: err}}
		default: // whose commit it is shows when each is sent alone
			var fates []fate
			for _, commit := range batch {
				fates = append(fates, w.send([]*wire.Commit{commit})...)
			}
			return fates
		}
		if w.heed(); w.leaveAt != 0 && w.conn.Now() >= w.leaveAt {
			return slices.Repeat([]fate{{committed: wire.Committed_COMMITTED_FENCED}}, len(batch))
		}
		time.Sleep(w.pause())
	}
}

func (w *Worker) pause() time.Duration {
	return min(time.Second, 10*time.Millisecond<<min(w.failures, 7))
}

// recognise: a refusal after an unheard answer may be our own commit; the events in the journal tell.
func (w *Worker) recognise(commit *wire.Commit, refused wire.Committed) (wire.Committed, error) {
	key := commit.Lease.Key
	ours, after := commit.Events, commit.Expected
	if commit.Successor != nil { // it has taken over the name
		ours, after = commit.Successor.Events, 0
	}
	if len(ours) == 0 { // it only gave the run back, and nobody has taken it since
		answer, err := w.conn.Worker.Get(w.calls, &wire.GetRequest{Keys: []*wire.RunKey{key}})
		if err != nil {
			return refused, err
		}
		if run := answer.Runs[0].Run; run != nil && run.Fence == commit.Lease.Fence && run.Worker == "" {
			return wire.Committed_COMMITTED_APPLIED, nil
		}
		return refused, nil
	}
	written, err := w.conn.Journal(w.calls, key, after, int64(len(ours)))
	if err == nil && sameEvents(written, ours) {
		return wire.Committed_COMMITTED_APPLIED, nil
	}
	return refused, err
}

// settle is what follows from a commit's fate.
func (w *Worker) settle(live *Live, commit *wire.Commit, became fate, now int64) {
	if became.err != nil {
		w.stuck(live, became.err)
		return
	}
	if became.committed != wire.Committed_COMMITTED_APPLIED {
		w.set.Logger.Warn("commit refused, the turn is dropped", "run", live.Run.Key.Id, "fate", became.committed.String())
		w.drop(live)
		if became.committed == wire.Committed_COMMITTED_CONFLICT {
			w.giveBack([]*wire.Lease{live.Lease})
		}
		return
	}
	w.committed = true
	live.Applied(commit)
	w.tell(live, commit)
	if err := w.greet(live, commit.Children); err != nil {
		w.set.Logger.Warn("run is read again", "run", live.Run.Key.Id, "error", err)
		w.drop(live)
		w.giveBack([]*wire.Lease{live.Lease})
		w.claimAt = 0
		return
	}
	if len(commit.Posts)+len(commit.Children) > 0 || commit.Successor != nil {
		w.claimAt = min(w.claimAt, now)
	}
	if commit.Release {
		w.drop(live)
		if commit.WakeAt != nil {
			w.claimAt = min(w.claimAt, *commit.WakeAt)
		}
		return
	}
	w.act(live, now)
}

// tell hands lines of workflows to the logger: once, when they are durable.
func (w *Worker) tell(live *Live, commit *wire.Commit) {
	for _, entry := range commit.Topics {
		if entry.Topic != logTopic+live.Run.Key.Id {
			continue
		}
		var said struct {
			Text, Level string
			Fields      map[string]any
		}
		_ = json.Unmarshal(entry.Payload, &said)
		level := map[string]slog.Level{"debug": slog.LevelDebug, "warning": slog.LevelWarn, "error": slog.LevelError, "critical": slog.LevelError}[said.Level]
		attributes := []any{"run", live.Run.Key.Id, "workflow", live.Run.Workflow}
		for key, value := range said.Fields {
			attributes = append(attributes, key, value)
		}
		w.set.Logger.Log(w.calls, level, said.Text, attributes...)
	}
}

// greet: a child whose given id belongs to another run will never answer; say so in its place.
func (w *Worker) greet(live *Live, children []*wire.NewRun) error {
	var given []*wire.NewRun
	request := &wire.GetRequest{}
	for _, child := range children {
		if child.Key.Id != live.Interp.Position(child.ParentCommand, ".") {
			given, request.Keys = append(given, child), append(request.Keys, child.Key)
		}
	}
	if len(given) == 0 {
		return nil
	}
	answer, err := w.conn.Worker.Get(w.calls, request)
	if err != nil {
		return err
	}
	for i, child := range given {
		run := answer.Runs[i].Run
		if run == nil || (run.Parent == child.Parent && run.ParentCommand == child.ParentCommand) {
			continue
		}
		problem := &model.RunExists{Run: run.Key.Id, Existing: run.Workflow + " " + run.Digest, Asked: child.Workflow + " " + child.Digest}
		if _, err := w.conn.Worker.Post(w.calls, &wire.PostRequest{Messages: []*wire.Message{live.refusal(child, problem)}}); err != nil {
			return err
		}
		w.claimAt = 0
	}
	return nil
}

// drop forgets a run: its coroutines are unwound, what runs for it is abandoned.
func (w *Worker) drop(live *Live) {
	if w.live[live.Run.Key.Id] == live {
		delete(w.live, live.Run.Key.Id)
	}
	if live.restless != 0 {
		live.restless = 0
		w.resting--
	}
	if w.hungry {
		w.claimAt = 0
	}
	if len(w.live) == 0 && !w.claiming {
		w.listen()
	}
	for _, attempt := range live.tasks {
		attempt.abandon(&model.Cancelled{Reason: "its run is no longer driven here"})
	}
	clear(live.tasks)
	live.Acting, live.queued = nil, nil
	live.Interp.Close()
}

// stuck: today's code cannot go on. The journal stays as it is, the note says why, and it is tried again later or with other code.
func (w *Worker) stuck(live *Live, problem error) {
	w.set.Logger.Error("run is stuck", "run", live.Run.Key.Id, "workflow", live.Run.Workflow, "error", problem)
	wake := w.conn.Now() + stuckPause.Microseconds()
	commit := &wire.Commit{
		Lease: live.Lease, Expected: live.committed, Status: "stuck", Applied: live.applied, Note: model.FailureOf(problem, 1).Message,
		WakeAt: &wake, Release: true,
	}
	w.drop(live)
	w.send([]*wire.Commit{commit})
}

// ---- acting ----------------------------------------------------------------------------------------------------------------

// act does what is durable enough to be done: it stops what was withdrawn, and begins what was asked for.
func (w *Worker) act(live *Live, now int64) {
	for _, command := range live.Withdrawn {
		attempt := live.tasks[command.ID]
		switch {
		case attempt == nil:
		case command.Cancelled:
			attempt.warn()
		default:
			delete(live.tasks, command.ID)
			attempt.abandon(&model.Cancelled{Reason: "nobody waits for it any more"})
		}
	}
	live.Withdrawn = nil
	acting := live.Acting
	live.Acting = nil
	for _, command := range acting {
		if w.leaveAt != 0 && !live.intents[command.ID] {
			live.Acting = append(live.Acting, command)
			continue
		}
		if err := w.begin(live, command, now); err != nil {
			w.stuck(live, err)
			return
		}
	}
	if len(live.answers)+len(live.mail)+len(live.fresh) > 0 || (live.idle() && live.restless == 0) {
		w.touch(live)
	}
}

func (w *Worker) begin(live *Live, command *interpreter.Command, now int64) error {
	if ready, err := live.Announce(command, now); !ready {
		w.touch(live)
		return err
	}
	live.tasks[command.ID] = &attempt{live: live, command: command, waiting: true}
	if len(live.queued) == 0 {
		w.todo = append(w.todo, live)
	}
	live.queued = append(live.queued, command)
	return nil
}

// fill begins as many waiting steps as there is room for, one of each run in turn; when leaving, only those announced.
func (w *Worker) fill() {
	for len(w.todo) > 0 && w.attempts < w.set.Steps {
		live := w.todo[0]
		w.todo = w.todo[1:]
		if len(live.queued) == 0 {
			continue
		}
		command := live.queued[0]
		if live.queued = live.queued[1:]; len(live.queued) > 0 {
			w.todo = append(w.todo, live)
		}
		task := live.tasks[command.ID]
		if task == nil || !task.waiting {
			continue
		}
		if (w.leaveAt != 0 || live.Paused) && !live.intents[command.ID] {
			delete(live.tasks, command.ID)
			w.touch(live)
			continue
		}
		task.waiting = false
		w.attempts++
		id := command.ID
		if given := command.Step.Options.ID; given != "" {
			id = given
		}
		task.begin(w.steps, model.StepInfo{
			RunID: live.Run.Key.Id, Workflow: live.Run.Workflow, Step: command.Name, Command: command.ID, Attempt: command.Attempts + 1,
			IdempotencyKey: live.Interp.Position(id, "#"),
		}, w.report)
	}
}

func (w *Worker) done(got done) {
	w.attempts--
	w.answer(got.attempt, got.payload, got.err, got.duration)
}

// tooLate: a goroutine cannot be stopped; its context ends, and its answer will be passed over.
func (w *Worker) tooLate(late *attempt) {
	limit := late.command.Step.Options.Timeout
	problem := &model.TimedOut{What: "step " + late.command.Name, Seconds: limit.Seconds()}
	w.answer(late, nil, problem, limit)
}

func (w *Worker) answer(a *attempt, payload []byte, err error, took time.Duration) {
	live := a.live
	if live.tasks[a.command.ID] != a || w.live[live.Run.Key.Id] != live {
		return // one that nobody waits for any more
	}
	a.abandon(err)
	delete(live.tasks, a.command.ID)
	answer := Outcome(a.command, payload, err, w.set.MaxPayload, rand.Float64())
	answer.Duration = took.Microseconds()
	live.Tell(answer)
	w.touch(live)
}

// ---- leases and leaving ----------------------------------------------------------------------------------------------------

func (w *Worker) renew(now int64) {
	w.renewAt = now + w.set.TTL.Microseconds()/3
	if len(w.live) == 0 {
		return
	}
	request := &wire.RenewRequest{Ttl: w.set.TTL.Microseconds()}
	held := make([]*Live, 0, len(w.live))
	for _, live := range w.live {
		held, request.Leases = append(held, live), append(request.Leases, live.Lease)
	}
	answer, err := w.conn.Worker.Renew(w.calls, request)
	if err != nil {
		w.unavailable("renew", err)
		w.renewAt = now + w.set.TTL.Microseconds()/10
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
	busy := w.claiming
	for _, live := range w.live {
		busy = busy || len(live.tasks) > 0 || len(live.answers) > 0 || live.touched
	}
	if busy && now < w.leaveAt {
		return false
	}
	var leases []*wire.Lease
	for _, live := range w.live {
		leases = append(leases, live.Lease)
		w.drop(live)
	}
	w.giveBack(leases)
	return true
}

func (w *Worker) giveBack(leases []*wire.Lease) {
	if len(leases) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(w.calls, 5*time.Second)
	defer cancel()
	if _, err := w.conn.Worker.Release(ctx, &wire.ReleaseRequest{Leases: leases}); err != nil {
		w.unavailable("release", err) // what cannot be given back ends by itself
	}
}

// forgetAll drops every run, unharmed, after an error that nobody expected.
func (w *Worker) forgetAll() {
	var leases []*wire.Lease
	for _, live := range w.live {
		leases = append(leases, live.Lease)
		w.drop(live)
	}
	w.touched, w.todo = nil, nil
	w.giveBack(leases)
	w.claimAt = w.conn.Now() + busyBreath.Microseconds()
}

func (w *Worker) unavailable(verb string, err error) {
	w.failures++
	if w.failures == 1 || w.failures == 10 || w.failures%100 == 0 {
		w.set.Logger.Warn("server does not answer", "verb", verb, "times", w.failures, "error", strings.TrimSpace(fmt.Sprint(err)))
	}
}
