package worker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"example.org/replay/client"
	"example.org/replay/internal/engine"
	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/interpreter"
	"example.org/replay/internal/servertest"
	"example.org/replay/internal/service"
	"example.org/replay/model"
	"example.org/replay/worker"
)

// bare is what the same server takes when nothing but commits of one event each go over the stream: the limit of what follows.
func bare(b *testing.B, s *servertest.Server, commits int) float64 {
	b.Helper()
	ctx := context.Background()
	conn, err := service.Open(ctx, s.URL)
	fatal(b, err)
	defer conn.Close() //nolint:errcheck // the benchmark ends
	key := &wire.RunKey{Namespace: "bare", Id: fmt.Sprint("bare-", time.Now().UnixNano())}
	made := engine.NewRun(key, model.Started{Workflow: "bare", Patches: []string{}}, model.RunOptions{Queue: "bare"}, conn.Now())
	created, err := conn.Worker.Create(ctx, &wire.CreateRequest{Runs: []*wire.NewRun{made}, Worker: "bare", Ttl: int64(time.Minute / time.Microsecond)})
	fatal(b, err)
	began := time.Now()
	for i := range commits {
		event := &wire.Event{Seq: int64(i + 2), Kind: model.StepCompleted, Command: fmt.Sprint(i), Name: "increment", At: conn.Now(), Payload: []byte("1")}
		commit := &wire.Commit{Lease: created.Runs[0].Lease, Expected: int64(i + 1), Events: []*wire.Event{event}, Status: "running", Applied: int64(i + 2)}
		answer, err := conn.Commit(ctx, &wire.CommitRequest{Commits: []*wire.Commit{commit}})
		fatal(b, err)
		if answer.Fates[0] != wire.Committed_COMMITTED_APPLIED {
			b.Fatal(answer.Fates)
		}
	}
	return float64(commits) / time.Since(began).Seconds()
}

func fatal(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func scene(b *testing.B) (*servertest.Server, *client.Client) {
	b.Helper()
	s := servertest.Start(b)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx, s.URL, worker.Options{Logger: quiet}, offers...) }()
	c, err := client.Dial(ctx, s.URL)
	fatal(b, err)
	b.Cleanup(func() {
		_ = c.Close()
		cancel()
		<-ended
	})
	return s, c
}

// BenchmarkSequence is W2 over the wire: one run, 1,000 steps in sequence.
func BenchmarkSequence(b *testing.B) {
	const steps = 1_000
	s, c := scene(b)
	ctx := context.Background()
	limit := bare(b, s, steps)
	took := time.Duration(0)
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		handles, err := client.StartMany(ctx, c, counting, []string{fmt.Sprint("sequence-", i)}, func(string) int { return steps })
		fatal(b, err)
		got, err := handles[0].Result(ctx)
		fatal(b, err)
		if got != steps {
			b.Fatal(got)
		}
		took += time.Since(began)
	}
	rate := steps * float64(b.N) / took.Seconds()
	b.ReportMetric(rate, "steps/s")
	b.ReportMetric(rate/max(limit, bare(b, s, steps)), "of-the-limit")
}

// BenchmarkMany is W3 over the wire: 500 runs of 5 steps each, started in one call.
func BenchmarkMany(b *testing.B) {
	const runs, steps = 500, 5
	s, c := scene(b)
	ctx := context.Background()
	took := time.Duration(0)
	for i := 0; b.Loop(); i++ {
		var ids []string
		for n := range runs {
			ids = append(ids, fmt.Sprintf("many-%d-%d", i, n))
		}
		began := time.Now()
		_, err := client.StartMany(ctx, c, counting, ids, func(string) int { return steps })
		fatal(b, err)
		for open := true; open; {
			time.Sleep(10 * time.Millisecond) // looking takes the server away from its work
			page, err := c.Page(ctx, client.Filter{Prefix: fmt.Sprintf("many-%d-", i), Statuses: []string{"pending", "running", "waiting"}}, 1, "")
			fatal(b, err)
			open = len(page.Runs) > 0
		}
		took += time.Since(began)
	}
	rate := runs * float64(b.N) / took.Seconds()
	b.ReportMetric(rate, "runs/s")
	b.ReportMetric(rate*steps/bare(b, s, 1_000), "steps-per-bare-commit")
}

// BenchmarkLatency is W5 over the wire: from the start of a run of one step to its result, one after the other.
func BenchmarkLatency(b *testing.B) {
	_, c := scene(b)
	ctx := context.Background()
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		handle, err := client.Start(ctx, c, counting, 1)
		fatal(b, err)
		_, err = handle.Result(ctx)
		fatal(b, err)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
}

// BenchmarkReplay is the interpreter alone: one run driven over a journal of 10,000 steps in sequence.
func BenchmarkReplay(b *testing.B) {
	const steps = 10_000
	spec := counting.Definition()
	begin, err := model.Started{Workflow: counting.Name(), Input: fmt.Appendf(nil, "[%d]", steps)}.Encode()
	fatal(b, err)
	journal := []*model.Event{{Seq: 1, Kind: model.Begun, Name: counting.Name(), Payload: begin}}
	first := interpreter.New(spec, "run")
	fatal(b, first.Feed(journal, interpreter.Unlimited))
	for i := range steps {
		command := first.Waiting()[0]
		event := &model.Event{
			Seq: int64(i + 2), Kind: model.StepCompleted, Command: command.ID, Name: command.Name, Payload: fmt.Append(nil, i+1), Check: command.Check(),
		}
		journal = append(journal, event)
		fatal(b, first.Feed(journal[i+1:], interpreter.Unlimited))
	}
	b.ReportAllocs()
	for b.Loop() {
		machine := interpreter.New(spec, "run")
		fatal(b, machine.Feed(journal, interpreter.Unlimited))
		if machine.Outcome == nil {
			b.Fatal("the run goes on")
		}
	}
	b.ReportMetric(steps*float64(b.N)/b.Elapsed().Seconds(), "replayed/s")
}
