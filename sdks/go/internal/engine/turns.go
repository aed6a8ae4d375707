package engine

import (
	"encoding/json"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/interpreter"
	"example.org/replay/internal/service"
	"example.org/replay/model"
)

// turns lets every run that heard something take a turn, commits all turns at once, then acts.
func (w *Worker) turns(now int64) {
	touched := w.touched
	w.touched = nil
	var batch []*wire.Commit
	var turned []*Live
	budget := replayBudget
	for _, live := range touched {
		live.touched = false
		if w.live[live.Run.Key.Id] != live || live.inLine {
			continue
		}
		rests, err := live.Drive(&budget, now)
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

// commitOf is what must become durable before anything else is done; nil when there is nothing.
func (w *Worker) commitOf(live *Live, now int64) *wire.Commit {
	parking := live.parking
	live.parking = false
	if live.Over() {
		return live.Commit(true)
	}
	if live.idle() {
		if _, limited := w.set.Limits[live.Run.Queue]; parking || live.Paused || w.leaveAt != 0 || w.hungry || limited {
			return live.Commit(true)
		}
		live.restless = now + w.set.Linger.Microseconds()
	}
	if live.warns() || live.unsaid(now) {
		return live.Commit(false)
	}
	return nil
}

// notApplied is what a commit comes to that a server refused because the run has moved on.
type notApplied wire.Committed

func (n notApplied) Error() string { return wire.Committed(n).String() }

// send commits, again and again until the server answers; what was applied unheard is recognised. Of each commit it says why it was not
// applied, if it was not.
func (w *Worker) send(batch []*wire.Commit) []error {
	for unsure := false; ; {
		answer, err := w.conn.Commit(w.calls, &wire.CommitRequest{Commits: batch})
		switch {
		case err == nil && len(answer.Fates) == len(batch):
			fates := make([]error, len(batch))
			for i := 0; i < len(batch) && err == nil; i++ {
				applied := answer.Fates[i] == wire.Committed_COMMITTED_APPLIED
				if !applied && unsure {
					applied, err = w.recognise(batch[i])
				}
				if !applied {
					fates[i] = notApplied(answer.Fates[i])
				}
			}
			if err == nil {
				w.failures = 0
				return fates
			}
		case err == nil || service.IsUnavailable(err):
			unsure = true
		case len(batch) == 1:
			return []error{err}
		default: // whose commit it is shows when each is sent alone
			var fates []error
			for _, commit := range batch {
				fates = append(fates, w.send([]*wire.Commit{commit})...)
			}
			return fates
		}
		w.unavailable("commit", err)
		if w.heed(); w.leaveAt != 0 && w.conn.Now() >= w.leaveAt {
			return slices.Repeat([]error{notApplied(wire.Committed_COMMITTED_FENCED)}, len(batch))
		}
		time.Sleep(w.pause())
	}
}

func (w *Worker) pause() time.Duration {
	return min(time.Second, 10*time.Millisecond<<min(w.failures, 7))
}

// recognise: a refusal after an unheard answer may be our own commit; the events in the journal tell.
func (w *Worker) recognise(commit *wire.Commit) (applied bool, err error) {
	key, ours, after := commit.Lease.Key, commit.Events, commit.Expected
	if commit.Successor != nil { // it has taken over the name
		ours, after = commit.Successor.Events, 0
	}
	if len(ours) == 0 { // it only gave the run back, and nobody has taken it since
		answer, err := w.conn.Worker.Get(w.calls, &wire.GetRequest{Keys: []*wire.RunKey{key}})
		if err != nil {
			return false, err
		}
		run := answer.Runs[0].Run
		return run != nil && run.Fence == commit.Lease.Fence && run.Worker == "", nil
	}
	written, err := w.conn.Journal(w.calls, key, after, int64(len(ours)))
	return err == nil && slices.EqualFunc(written, ours, func(a, b *wire.Event) bool { return proto.Equal(a, b) }), err
}

// settle is what follows from a commit's fate.
func (w *Worker) settle(live *Live, commit *wire.Commit, err error, now int64) {
	switch problem := err.(type) {
	case nil:
	case notApplied:
		w.set.Logger.Warn("commit refused, the turn is dropped", "run", live.Run.Key.Id, "fate", problem.Error())
		w.drop(live)
		if problem == notApplied(wire.Committed_COMMITTED_CONFLICT) {
			w.release(live.Lease)
		}
		return
	default:
		w.stuck(live, err)
		return
	}
	w.committed = true
	live.Applied(commit)
	w.tell(live)
	if err := w.greet(live, commit.Children); err != nil {
		w.set.Logger.Warn("run is read again", "run", live.Run.Key.Id, "error", err)
		w.drop(live)
		w.release(live.Lease)
		w.claimAt = 0
		return
	}
	if live.lost == 0 {
		w.leaveLine(live)
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
func (w *Worker) tell(live *Live) {
	for _, line := range live.logged {
		fields := map[string]any{}
		_ = json.Unmarshal(line.Payload, &fields)
		attributes := []any{"run", live.Run.Key.Id, "workflow", live.Run.Workflow}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			attributes = append(attributes, key, fields[key])
		}
		w.set.Logger.Log(w.calls, levels[line.Target], line.Label, attributes...)
	}
	live.logged = nil
}

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "warning": slog.LevelWarn, "error": slog.LevelError, "critical": slog.LevelError}

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
	live.restless = 0
	w.leaveLine(live)
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
	if len(live.answers)+len(live.mail)+len(live.turn.Events) > 0 || (live.idle() && live.restless == 0) {
		w.touch(live)
	}
}

func (w *Worker) begin(live *Live, command *interpreter.Command, now int64) error {
	if ready, err := live.Announce(command, now); !ready {
		w.touch(live)
		return err
	}
	live.tasks[command.ID] = &attempt{live: live, command: command}
	if len(live.queued) == 0 {
		w.todo = append(w.todo, live)
	}
	live.queued = append(live.queued, command)
	return nil
}

// fill begins as many waiting steps as there is room for, one of each run in turn; when leaving, only those announced.
func (w *Worker) fill() {
	if now := w.conn.Now(); len(w.todo) > 0 && now >= w.renewAt { // after a long break: begin nothing for a run that another may hold by now
		w.renew(now)
	}
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
		if task == nil || task.told != nil {
			continue
		}
		if (w.leaveAt != 0 || live.Paused) && !live.intents[command.ID] {
			delete(live.tasks, command.ID)
			w.touch(live)
			continue
		}
		w.attempts++
		w.perform(task)
	}
}

func (w *Worker) answer(a *attempt, payload []byte, err error, took time.Duration) {
	live := a.live
	if live.tasks[a.command.ID] != a || w.live[live.Run.Key.Id] != live {
		return // one that nobody waits for any more
	}
	a.abandon(err)
	delete(live.tasks, a.command.ID)
	live.Answer(a.told, a.command, payload, err, took, rand.Float64())
	w.touch(live)
}
