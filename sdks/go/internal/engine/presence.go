package engine

import (
	"context"
	"os"
	"strings"
	"time"

	"example.org/replay/internal/codec"
	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/service"
	"example.org/replay/model"
)

const (
	everyBeat = 5 * time.Second  // between two heartbeats
	firstBeat = time.Second      // before the first: a program that ends sooner leaves no trace
	entryKept = 60 * time.Second // after its last heartbeat an entry may be taken away
	entry     = "~worker"        // workflow, queue and state key of an entry
)

// presence is how others see a worker: a run that it creates and holds, in a namespace beside that of its runs, and that shows what the
// worker tells of itself. Whoever leaves takes it away; those of the dead are taken away by those who live.
type presence struct {
	lease   *wire.Lease
	began   int64
	due     int64
	upkeep  int64 // when the lease is renewed, and the dead are looked for
	already bool  // under way
}

// announce tells of the worker, beside its work: a server that is slow to hear it holds nothing up.
func (w *Worker) announce(now int64) {
	p := &w.presence
	if p.due == 0 {
		p.began, p.due = now, now+firstBeat.Microseconds()
	}
	if p.already || now < p.due {
		return
	}
	p.already, p.due = true, now+everyBeat.Microseconds()
	host, _ := os.Hostname()
	var offered []string
	for _, name := range w.names {
		for _, workflow := range w.workflows[name] {
			offered = append(offered, strings.TrimSuffix(name+"@"+workflow.Version, "@"))
		}
	}
	shown, _ := codec.Marshal(map[string]any{
		"host": host, "pid": os.Getpid(), "version": service.Version, "queues": w.set.Queues, "workflows": offered, "capacity": w.set.Concurrency,
		"runs": len(w.live), "step_capacity": w.set.Steps, "steps": w.attempts, "started_at": p.began, "draining": w.leaveAt != 0,
		"every": everyBeat.Microseconds(),
	})
	go func() {
		lease, err := w.beat(p.lease, map[string][]byte{entry: shown}, now >= p.upkeep)
		w.report(func() {
			if p.already, p.lease = false, lease; err != nil {
				w.unavailable("announce", err)
			} else if now >= p.upkeep {
				p.upkeep = now + entryKept.Microseconds()/2
			}
		})
	}()
}

// beat shows the entry, which is made when it is not there, and looks after all of them when it is time; it answers with its lease.
func (w *Worker) beat(lease *wire.Lease, shown map[string][]byte, upkeep bool) (*wire.Lease, error) {
	namespace, ttl := "~workers:"+w.set.Namespace, entryKept.Microseconds()
	if lease != nil {
		heartbeat := &wire.Commit{Lease: lease, Expected: 1, Applied: 1, Status: "running", State: shown}
		answer, err := w.conn.Worker.Commit(w.calls, &wire.CommitRequest{Commits: []*wire.Commit{heartbeat}})
		if err != nil {
			return lease, err
		}
		if answer.Fates[0] != wire.Committed_COMMITTED_APPLIED { // it was late for so long that others took it away
			lease = nil
		}
	}
	if lease == nil {
		key := &wire.RunKey{Namespace: namespace, Id: w.set.Name}
		made := NewRun(key, model.Started{Workflow: entry}, model.RunOptions{Queue: entry}, w.conn.Now())
		made.State = shown
		created, err := w.conn.Worker.Create(w.calls, &wire.CreateRequest{Runs: []*wire.NewRun{made}, Worker: key.Id, Ttl: ttl})
		if err != nil {
			return nil, err
		}
		lease = created.Runs[0].Lease
	}
	if !upkeep || lease == nil {
		return lease, nil
	}
	if _, err := w.conn.Worker.Renew(w.calls, &wire.RenewRequest{Leases: []*wire.Lease{lease}, Ttl: ttl}); err != nil {
		return lease, err
	}
	names := []string{entry}
	claim := &wire.ClaimRequest{Worker: w.set.Name, Namespace: namespace, Queues: names, Workflows: names, Limit: 100, Ttl: ttl}
	dead, err := w.conn.Worker.Claim(w.calls, claim)
	for _, one := range dead.GetRuns() {
		w.takeAway(w.calls, one.Lease)
	}
	return lease, err
}

// disappear takes the worker's own entry away.
func (w *Worker) disappear() {
	if w.presence.lease != nil {
		ctx, cancel := context.WithTimeout(w.calls, everyBeat)
		defer cancel()
		w.takeAway(ctx, w.presence.lease)
	}
}

// takeAway ends an entry; where that fails it ends by itself.
func (w *Worker) takeAway(ctx context.Context, lease *wire.Lease) {
	end := &wire.Commit{Lease: lease, Expected: 1, Applied: 1, Status: "completed", Result: []byte("null"), Release: true}
	if _, err := w.conn.Worker.Commit(ctx, &wire.CommitRequest{Commits: []*wire.Commit{end}}); err == nil {
		_, _ = w.conn.Worker.Delete(ctx, &wire.DeleteRequest{Keys: []*wire.RunKey{lease.Key}})
	}
}
