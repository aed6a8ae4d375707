package engine

import (
	"context"
	"os"
	"strings"
	"time"

	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/service"
)

const (
	everyBeat = 5 * time.Second // between two heartbeats
	firstBeat = time.Second     // before the first: a program that ends sooner leaves no trace
)

// presence is how others see a worker: it tells the server of itself every so often, and the server keeps its entry.
type presence struct {
	began, due            int64
	already, told, failed bool // a heartbeat is under way, there was one, and the last one was not heard
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
	p.already, p.told, p.due = true, true, now+everyBeat.Microseconds()
	host, _ := os.Hostname()
	var offered []string
	for _, name := range w.names {
		for _, workflow := range w.workflows[name] {
			offered = append(offered, strings.TrimSuffix(name+"@"+workflow.Version, "@"))
		}
	}
	about := &wire.AnnounceRequest{
		Namespace: w.set.Namespace, Worker: w.set.Name, Every: everyBeat.Microseconds(), Host: host, Pid: int64(os.Getpid()),
		Version: service.Version, Queues: w.set.Queues, Workflows: offered, Capacity: int64(w.set.Concurrency), Runs: int64(len(w.live)),
		StepCapacity: int64(w.set.Steps), Steps: int64(w.attempts), StartedAt: p.began, Draining: w.leaveAt != 0,
	}
	go func() {
		_, err := w.conn.Worker.Announce(w.calls, about)
		w.report(func() {
			if err != nil && !p.failed {
				w.set.Logger.Warn("others do not see this worker", "worker", w.set.Name, "error", err)
			}
			p.already, p.failed = false, err != nil
		})
	}()
}

// disappear has the worker's entry taken away; where that fails it ends by itself.
func (w *Worker) disappear() {
	if w.presence.told {
		ctx, cancel := context.WithTimeout(w.calls, everyBeat)
		defer cancel()
		_, _ = w.conn.Worker.Announce(ctx, &wire.AnnounceRequest{Namespace: w.set.Namespace, Worker: w.set.Name, Leaving: true})
	}
}
