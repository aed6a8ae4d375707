package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.org/replay/internal/codec"
	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

const (
	doubt   = 3 // workers that a run loses in a row, among others, before it is driven alone
	shown   = 5 // steps that are named at most
	itsCode = "its own code, before any step"
)

// line is the runs in doubt that one worker holds: those that lost one worker after the other.
//
// Rule 1: the server counts. A run's recoveries grow when a lease ended without being given back, and begin anew with every commit that
// takes the run on; so only workers that died in a row without having moved it are counted.
// Rule 2: all runs of a worker die with it. So a run that lost `doubt` in a row is driven alone: of those in doubt a worker drives one
// at a time, and the next follows when that one has moved, or has lived for the length of a lease.
// Rule 3: before a run in doubt is driven, not even replayed, the number of workers that it will have cost is written down, and before
// it acts, what it is about to do. Workers of all languages write the same.
// Rule 4: beyond the limit a run is set aside: stuck, with the reason, until `resume`, `cancel` or `terminate` puts it back.
type line struct {
	waiting []*Live
	driven  *Live
	until   int64 // when the next may follow
}

// lostAlone is how many workers died while they drove a run alone, and what was under way on the last of them. One that gave the run
// back, as in draining, did not die: then its recoveries have not grown since it wrote that down.
func lostAlone(claimed *wire.Claimed) (count int, doing string) {
	var before int
	if json.Unmarshal(claimed.Run.State[lostKey], &[]any{&count, &before, &doing}) != nil || doing == "" {
		return 0, ""
	}
	if int(claimed.Run.Recoveries) <= before {
		count--
	}
	return min(count, int(claimed.Run.Recoveries)), doing
}

// isInDoubt says whether a run has lost so many workers that it is driven alone.
func (w *Worker) isInDoubt(run *wire.Run) bool {
	return int(run.Recoveries) >= min(doubt, w.set.MaxRecoveries)
}

// isBeyond says whether it has lost more than it may, and nobody wants it driven again.
func (w *Worker) isBeyond(claimed *wire.Claimed) bool {
	lost, _ := lostAlone(claimed)
	return w.isInDoubt(claimed.Run) && lost > max(0, w.set.MaxRecoveries-doubt) && !isPutBack(claimed)
}

// isPutBack says whether a message has a run that was set aside driven again.
func isPutBack(claimed *wire.Claimed) bool {
	return slices.ContainsFunc(claimed.Mail, func(m *wire.Message) bool { return m.Kind == "resume" || m.Kind == "cancel" || m.Kind == "terminate" })
}

// enterLine has a run wait for its turn when it is in doubt.
func (w *Worker) enterLine(claimed *wire.Claimed, live *Live) bool {
	if live.inLine = w.isInDoubt(claimed.Run); live.inLine {
		if !isPutBack(claimed) {
			live.lost, _ = lostAlone(claimed)
		}
		w.line.waiting = append(w.line.waiting, live)
	}
	return live.inLine
}

// letIn drives the next run in doubt, once it is written down that it is to blame if this worker dies.
func (w *Worker) letIn(now int64) {
	for len(w.line.waiting) > 0 && now >= w.line.until {
		live := w.line.waiting[0]
		if w.line.waiting = w.line.waiting[1:]; !live.inLine {
			continue
		}
		live.inLine = false
		live.lost++
		w.line.driven, w.line.until = live, now+w.set.Lease.Microseconds()
		warning := &wire.Commit{
			Lease: live.Lease, Expected: live.committed, Applied: live.applied, Status: "running",
			State: map[string][]byte{lostKey: live.warning(itsCode)},
		}
		if live.Paused {
			warning.Status = "paused"
		}
		if w.send([]*wire.Commit{warning})[0] == nil {
			w.touch(live)
			return
		}
		w.drop(live)
		w.release(live.Lease)
	}
}

// leaveLine: a run is in doubt no more, or gone; another may follow.
func (w *Worker) leaveLine(live *Live) {
	live.inLine = false
	if w.line.driven == live {
		w.line.driven, w.line.until = nil, 0
	}
}

func (l *Live) warning(doing string) []byte {
	told, _ := codec.Marshal([]any{l.lost, l.Run.Recoveries, "under way on " + l.Lease.Worker + ": " + doing}) // texts and numbers
	return told
}

// warns says whether a run in doubt is about to act, and has not yet told what it will do; now it does.
func (l *Live) warns() bool {
	if l.lost == 0 || l.doing != "" || len(l.Acting) == 0 {
		return false
	}
	var steps []string
	for _, command := range l.Interp.Waiting() {
		if command.Kind == interpreter.StepCall && !l.isRemote(command) {
			place := strings.TrimSuffix("command "+command.ID+", "+command.Line(), ", ")
			steps = append(steps, fmt.Sprintf("step %s (%s)", command.Name, place))
		}
	}
	if more := len(steps) - shown; more > 0 {
		steps = append(steps[:shown], fmt.Sprint(more, " more"))
	}
	l.doing = strings.Join(steps, ", ")
	return true
}

// coming are events that come to a run, or only announce what it is about to do.
var coming = []string{model.SignalReceived, model.UpdateReceived, model.TimerFired, model.CancelRequested, model.StepIntent}

// sayLost: a run in doubt tells what it is about to do; one that has moved is in doubt no more.
func (l *Live) sayLost(made *wire.Commit) {
	moved := made.Release || slices.ContainsFunc(made.Events, func(e *wire.Event) bool { return !slices.Contains(coming, e.Kind) })
	switch {
	case l.lost == 0:
	case moved:
		l.lost = 0
		made.State[lostKey] = []byte("[]")
	case l.doing != "":
		made.State[lostKey] = l.warning(l.doing)
	}
}

// setAside leaves a run that lost too many workers until somebody puts it back.
func (w *Worker) setAside(claimed *wire.Claimed) {
	run, last := claimed.Run, claimed.Journal[len(claimed.Journal)-1]
	note := run.Note
	if run.Status != "stuck" || note == "" { // else it was set aside before, and the reason still holds
		lost, doing := lostAlone(claimed)
		note = fmt.Sprintf("set aside: %d workers in a row died while they held it, since event #%d (%s); in the last %d of them no other run in "+
			"doubt was driven beside it; %s. Mend what ends them, then `replay resume %s` puts it back",
			run.Recoveries, last.Seq, strings.TrimSpace(last.Kind+" "+last.Name), lost, doing, run.Key.Id)
	}
	w.set.Logger.Error("run is stuck", "run", run.Key.Id, "workflow", run.Workflow, "error", note)
	w.send([]*wire.Commit{{Lease: claimed.Lease, Expected: run.Seq, Status: "stuck", Applied: run.Applied, Note: note, Release: true}})
}
