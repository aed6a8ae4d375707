package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.org/replay"
	"example.org/replay/client"
	"example.org/replay/internal/servertest"
	"example.org/replay/model"
	"example.org/replay/worker"
)

// ---- what the tests run ----------------------------------------------------------------------------------------------------

type declined struct{ Card string }

func (d *declined) Error() string { return d.Card + " was declined" }

var (
	attempts  sync.Map // of idempotency key to *atomic.Int32
	begun     = make(chan struct{})
	release   = make(chan struct{})
	cancelled = make(chan string, 16)
	increment = replay.NewStep("increment", func(_ context.Context, n int) (int, error) { return n + 1, nil })
	flaky     = replay.NewStep("flaky", tried, replay.StepOptions{Retry: replay.Retry{MaxAttempts: 3, Initial: time.Millisecond}})
	broken    = replay.NewStep("broken", func(context.Context, replay.None) (int, error) { panic("out of order") })
	slow      = replay.NewStep("slow", waiting, replay.StepOptions{Timeout: 50 * time.Millisecond})
	endless   = replay.NewStep("endless", waiting)
	patient   = replay.NewStep("patient", func(context.Context, replay.None) (string, error) {
		close(begun)
		<-release
		return "done", nil
	})
	paying     = replay.NewStep("paying", pay, replay.StepOptions{Raises: []replay.Raise{replay.Raises[*declined]()}})
	elsewhere  = replay.NewStep("elsewhere", farAway, replay.StepOptions{Queue: "gpu"})
	appending  = replay.NewStep("appending", appendLine)
	noteOnce   = replay.NewStep("note_once", appendLine, replay.StepOptions{AtMostOnce: true})
	counting   = replay.NewWorkflow("go.counting", count)
	failing    = replay.NewWorkflow("go.failing", fail)
	approving  = replay.NewWorkflow("go.approving", approve)
	tidying    = replay.NewWorkflow("go.tidying", tidy)
	family     = replay.NewWorkflow("go.family", haveChildren)
	logging    = replay.NewWorkflow("go.logging", logLines)
	generation = replay.NewWorkflow("go.generation", generations)
	resuming   = replay.NewResumable("go.resuming", resume)
	writing    = replay.NewWorkflow("go.writing", write)
	bulky      = replay.NewWorkflow("go.bulky", fill)
	mixed      = replay.NewWorkflow("go.mixed", mix)
	careful    = replay.NewStep("careful", finish, replay.StepOptions{WaitOnCancel: true})
	stubborn   = replay.NewWorkflow("go.stubborn", func(run *replay.Run, file string) (any, error) { return replay.Call(run, careful, file) })
	climb      = replay.NewStep("climb", climbOn)
	climbing   = replay.NewWorkflow("go.climbing", func(run *replay.Run, _ replay.None) (int, error) { return replay.Call(run, climb, replay.None{}) })
	alive      = replay.NewStep("alive", liveOn)
	living     = replay.NewWorkflow("go.living", func(run *replay.Run, _ replay.None) (bool, error) { return replay.Call(run, alive, replay.None{}) })
	silent     = replay.NewStep("silent", fallSilent, replay.StepOptions{Heartbeat: 500 * time.Millisecond})
	deadly     = replay.NewStep("deadly", kill)
	dying      = replay.NewWorkflow("go.dying", func(run *replay.Run, _ replay.None) (int, error) { return replay.Call(run, deadly, replay.None{}) })
	large      = replay.NewStep("large", func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil })
	lingering  = replay.NewWorkflow("go.lingering", func(run *replay.Run, _ replay.None) (string, error) {
		return replay.Call(run, patient, replay.None{})
	}, replay.WorkflowOptions{Version: "2"})
	offers = []replay.Offer{
		counting, failing, approving, tidying, family, logging, generation, resuming, writing, lingering, bulky, mixed, stubborn, climbing,
		living, dying, elsewhere, increment,
	}
)

func tried(ctx context.Context, until int) (int, error) {
	key := replay.InfoOf(ctx).IdempotencyKey
	n, _ := attempts.LoadOrStore(key, &atomic.Int32{})
	if got := int(n.(*atomic.Int32).Add(1)); got < until {
		return 0, fmt.Errorf("attempt %d fails", got)
	}
	return replay.InfoOf(ctx).Attempt, nil
}

// farAway fails once for an odd number: it needs a second attempt.
func farAway(ctx context.Context, n int) (int, error) {
	if n%2 == 1 && replay.InfoOf(ctx).Attempt == 1 {
		return 0, errors.New("odd")
	}
	return 10 * n, nil
}

func waiting(ctx context.Context, _ replay.None) (string, error) {
	<-ctx.Done()
	var why *replay.Cancelled
	if errors.As(context.Cause(ctx), &why) {
		cancelled <- why.Reason
	}
	return "", ctx.Err()
}

// climbOn tells where it is, and stays there; another attempt has arrived.
func climbOn(ctx context.Context, _ replay.None) (int, error) {
	if camp, ok, err := replay.Progress[int](ctx); ok || err != nil {
		return camp, err
	}
	for camp := range 9 {
		if err := replay.Heartbeat(ctx, camp); err != nil {
			return 0, err
		}
	}
	<-ctx.Done()
	return 0, replay.Heartbeat(ctx, 100) // nobody hears it
}

// liveOn tells that it is alive, and nothing else, for long enough that it is saved.
func liveOn(ctx context.Context, _ replay.None) (bool, error) {
	_, told, err := replay.Progress[int](ctx)
	if err == nil {
		err = replay.Heartbeat(ctx)
	}
	time.Sleep(100 * time.Millisecond)
	return told, err
}

// fallSilent is alive for longer than it may be silent.
func fallSilent(ctx context.Context, _ replay.None) (int, error) {
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		if err := replay.Heartbeat(ctx); err != nil {
			return 0, err
		}
	}
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// kill takes its worker with it, if that is one that expects it.
func kill(context.Context, replay.None) (int, error) {
	if os.Getenv(brief) != "" {
		return 0, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return 1, nil
}

func pay(_ context.Context, card string) (string, error) {
	return "", fmt.Errorf("bank: %w", &declined{card})
}

type line struct {
	replay.Args
	File string
	Text string
}

func appendLine(_ context.Context, in line) (int, error) {
	file, err := os.OpenFile(in.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close() //nolint:errcheck // the write tells
	return file.WriteString(in.Text + "\n")
}

func count(run *replay.Run, n int) (int, error) {
	total := 0
	for range n {
		next, err := replay.Call(run, increment, total)
		if err != nil {
			return 0, err
		}
		total = next
	}
	return total, nil
}

func fail(run *replay.Run, how string) (string, error) {
	switch how {
	case "retry":
		n, err := replay.Call(run, flaky, 3)
		return fmt.Sprint(n), err
	case "give up":
		_, err := replay.Call(run, flaky, 9)
		var failed *replay.StepFailed
		errors.As(err, &failed)
		return fmt.Sprint(failed.Message, " ", failed.Attempts), nil
	case "panic":
		_, err := replay.Call(run, broken, replay.None{})
		var failed *replay.StepFailed
		errors.As(err, &failed)
		return fmt.Sprint(failed.ErrorType, " ", failed.Message, " ", strings.Contains(failed.Traceback, "worker_test.go")), nil
	case "silence":
		_, err := replay.Call(run, silent, replay.None{})
		return fmt.Sprint(err), nil
	case "timeout":
		_, err := replay.Call(run, slow, replay.None{})
		return fmt.Sprint(err), nil
	case "typed":
		_, err := replay.Call(run, paying, "visa")
		var no *declined
		return fmt.Sprint(errors.As(err, &no), no), nil
	}
	return "", &declined{how}
}

func approve(run *replay.Run, _ replay.None) (bool, error) {
	total := 0
	replay.OnQuery(run, "missing", func(goal int) (int, error) { return goal - total, nil })
	replay.OnUpdate(run, "add", func(run *replay.Run, n int) (int, error) {
		total += n
		return n + 1, replay.SetState(run, "added", n)
	}, func(n int) error {
		if n < 0 {
			return errors.New("negative")
		}
		return nil
	})
	return replay.Signal[bool](run, "approved")
}

func tidy(run *replay.Run, file string) (out string, err error) {
	defer func() {
		if replay.IsCancelled(err) {
			_, failed := replay.Call(run, appending, line{File: file, Text: "cleaned up"})
			err = errors.Join(err, failed)
		}
	}()
	return replay.Call(run, endless, replay.None{})
}

func haveChildren(run *replay.Run, n int) ([]int, error) {
	child := func(run *replay.Run) (int, error) { return replay.Child(run, counting, n) }
	again := elsewhere.With(replay.StepOptions{Retry: replay.Retry{MaxAttempts: 2}}) // the call's policy goes with it
	return replay.Gather(run, child, replay.Calling(again, n), child)
}

func logLines(run *replay.Run, _ replay.None) (string, error) {
	replay.Log(run, slog.LevelWarn, "before", "n", 1)
	if err := replay.Sleep(run, 300*time.Millisecond); err != nil { // longer than it is kept: it is read again
		return "", err
	}
	replay.Log(run, slog.LevelInfo, "after")
	return "logged", replay.Publish(run, "news", "logged")
}

func generations(run *replay.Run, n int) (string, error) {
	if n < 3 {
		return "", replay.ContinueAsNew(run, n+1)
	}
	return fmt.Sprintf("generation %d, chain %d", n, replay.Info(run).Chain), nil
}

func resume(run *replay.Run, file string, state *int) (int, error) {
	n := 0
	if state != nil {
		n = *state
	}
	for ; n < 4; n++ {
		if n == 2 {
			if _, err := replay.Signal[any](run, "go on"); err != nil {
				return 0, err
			}
		}
		if _, err := replay.Call(run, appending, line{File: file, Text: fmt.Sprint("turn ", n)}); err != nil {
			return 0, err
		}
		if err := replay.SavepointState(run, fmt.Sprint("turn ", n), n+1, replay.Notes{"goal": "four turns"}); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// fill makes a journal that no single message carries, and waits.
func fill(run *replay.Run, n int) (int, error) {
	size := 0
	for range n {
		got, err := replay.Call(run, large, 64<<10)
		if err != nil {
			return 0, err
		}
		size += len(got)
	}
	_, err := replay.Signal[any](run, "go on")
	return size, err
}

// mix is written in Python too, below.
func mix(run *replay.Run, n int) ([]any, error) {
	first, err := replay.Call(run, increment, n)
	if err != nil {
		return nil, err
	}
	word, err := replay.Signal[string](run, "word")
	if err != nil {
		return nil, err
	}
	second, err := replay.Call(run, increment, first)
	return []any{first, word, second, replay.UUID(run)}, err
}

const python = `
import sys
import replay

@replay.step(name="increment")
def increment(n: int) -> int:
    return n + 1

@replay.workflow(name="go.mixed")
def mixed(n: int) -> replay.Workflow[list]:
    first = yield from increment(n)
    word = yield from replay.signal("word", str)
    second = yield from increment(first)
    return [first, word, second, str((yield from replay.uuid()))]

with replay.Engine(sys.argv[1], workflows=[mixed]) as engine:
    print("begins", flush=True)
    sys.stdin.read()
`

// finish is told that it was cancelled, and comes to its end all the same.
func finish(ctx context.Context, file string) (int, error) {
	if _, err := appendLine(ctx, line{File: file, Text: "begun"}); err != nil {
		return 0, err
	}
	<-replay.InfoOf(ctx).Hurry
	return appendLine(ctx, line{File: file, Text: fmt.Sprint("ended ", ctx.Err())})
}

// write appends numbered lines: each step must happen, and what was answered must not happen again.
func write(run *replay.Run, in struct {
	replay.Args
	File  string
	Lines int
}) (int, error) {
	for i := range in.Lines {
		if _, err := replay.Call(run, noteOnce, line{File: in.File, Text: fmt.Sprint(i)}); err != nil {
			var lost *replay.StepInterrupted
			if !errors.As(err, &lost) {
				return 0, err
			}
		}
		if err := replay.Sleep(run, 5*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return in.Lines, nil
}

// ---- scenery ---------------------------------------------------------------------------------------------------------------

const (
	workerProcess = "REPLAY_TEST_WORKER"
	brief         = "REPLAY_TEST_BRIEF" // set in a worker that will not live for long
)

// TestMain is also the worker process that some tests kill.
func TestMain(m *testing.M) {
	if url := os.Getenv(workerProcess); url != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		options := worker.Options{Queues: []string{"default", "gpu"}, Lease: time.Second, Logger: quiet}
		if os.Getenv(brief) != "" {
			options.Lease, options.MaxRecoveries = time.Second, 4
		}
		if err := worker.Run(ctx, url, options, offers...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func spawnWorker(t *testing.T, url string) *exec.Cmd {
	t.Helper()
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), workerProcess+"="+url)
	process.Stderr = os.Stderr
	check(t, process.Start())
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	return process
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same[T comparable](t *testing.T, want, got T) {
	t.Helper()
	if want != got {
		t.Errorf("expected %v, got %v", want, got)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, s *servertest.Server) *client.Client {
	t.Helper()
	c, err := client.Dial(within(t), s.URL)
	check(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// work runs a worker in this process; the function that it returns drains it.
func work(t *testing.T, s *servertest.Server, options worker.Options) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	if options.Logger == nil {
		options.Logger = quiet
	}
	if options.Queues == nil {
		options.Queues = []string{"default", "gpu"}
	}
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx, s.URL, options, offers...) }()
	drain := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			check(t, err)
		case <-time.After(30 * time.Second):
			t.Error("the worker did not end")
		}
	})
	t.Cleanup(drain)
	return drain
}

func start[I, O any](t *testing.T, c *client.Client, workflow *replay.Workflow[I, O], in I, id string) *client.Handle[O] {
	t.Helper()
	handle, err := client.Start(within(t), c, workflow.With(replay.RunOptions{ID: id}), in)
	check(t, err)
	return handle
}

func result[O any](t *testing.T, handle *client.Handle[O]) O {
	t.Helper()
	got, err := handle.Result(within(t))
	check(t, err)
	return got
}

func linesOf(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	check(t, err)
	return strings.Fields(string(text))
}

// until waits for what another process does.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// ---- tests -----------------------------------------------------------------------------------------------------------------

func TestARunIsStartedDrivenAndAnswered(t *testing.T) {
	s := servertest.Start(t)
	work(t, s, worker.Options{})
	c := dial(t, s)
	handle := start(t, c, counting, 5, "five")
	same(t, 5, result(t, handle))

	again := start(t, c, counting, 5, "five")
	same(t, handle.ID, again.ID)
	_, err := client.Start(within(t), c, counting.With(replay.RunOptions{ID: "five"}), 6)
	var exists *client.RunExists
	if !errors.As(err, &exists) || exists.Run != "five" {
		t.Errorf("expected RunExists, got %v", err)
	}
	kinds := []string{}
	for event, err := range handle.Journal(within(t), 0, true) {
		check(t, err)
		kinds = append(kinds, event.Kind)
		if event.Kind == model.StepCompleted && !strings.Contains(event.Line, "worker_test.go:") {
			t.Errorf("expected the line that asked, got %q", event.Line)
		}
	}
	same(t, "started step_completed step_completed step_completed step_completed step_completed completed", strings.Join(kinds, " "))
}

func TestStepsFailAsTheyShould(t *testing.T) {
	s := servertest.Start(t)
	work(t, s, worker.Options{})
	c := dial(t, s)
	for how, want := range map[string]string{
		"retry": "3", "give up": "attempt 3 fails 3", "panic": "panic out of order true", "timeout": "step slow did not end within 0.05 s",
		"typed": "true visa was declined", "silence": "the silence of step silent did not end within 0.5 s",
	} {
		same(t, want, result(t, start(t, c, failing, how, how)))
	}
	_, err := start(t, c, failing, "cash", "uncaught").Result(within(t))
	var failed *client.RunFailed
	if !errors.As(err, &failed) || failed.Message != "cash was declined" || failed.Status != "failed" {
		t.Errorf("expected RunFailed, got %v", err)
	}
}

func TestSignalsUpdatesAndStates(t *testing.T) {
	s := servertest.Start(t)
	work(t, s, worker.Options{})
	c := dial(t, s)
	handle := start(t, c, approving, replay.None{}, "approve-me")
	var reply int
	check(t, handle.Update(within(t), "add", 4, &reply))
	same(t, 5, reply)
	err := handle.Update(within(t), "add", -1, nil)
	var refused *client.UpdateRefused
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "negative") {
		t.Errorf("expected UpdateRefused, got %v", err)
	}
	check(t, handle.Query(within(t), "missing", 10, &reply))
	same(t, 6, reply)
	var misfit *client.InvalidRequest
	if err := handle.Query(within(t), "sum", replay.None{}, nil); !errors.As(err, &misfit) || !strings.Contains(misfit.Problem, "known: missing") {
		t.Errorf("expected InvalidRequest, got %v", err)
	}
	run, err := handle.Run(within(t))
	check(t, err)
	same(t, "4", string(run.State["added"]))
	check(t, handle.Signal(within(t), "approved", true))
	same(t, true, result(t, handle))
	var closed *client.RunClosed
	if err := handle.Signal(within(t), "approved", true); !errors.As(err, &closed) {
		t.Errorf("expected RunClosed, got %v", err)
	}
	if err := handle.Query(within(t), "missing", 1, nil); !errors.As(err, &closed) {
		t.Errorf("expected RunClosed, got %v", err)
	}

	both, err := client.SignalWithStart(within(t), c, approving.With(replay.RunOptions{ID: "both"}), replay.None{}, "approved", false)
	check(t, err)
	same(t, false, result(t, both))
	var unknown *client.UnknownRun
	if err := client.Of[any](c, "nobody").Cancel(within(t), ""); !errors.As(err, &unknown) || unknown.Run != "nobody" {
		t.Errorf("expected UnknownRun, got %v", err)
	}
}

func TestACancelledRunCleansUp(t *testing.T) {
	s := servertest.Start(t)
	work(t, s, worker.Options{})
	c := dial(t, s)
	file := filepath.Join(t.TempDir(), "lines")
	handle := start(t, c, tidying, file, "tidy-me")
	until(t, "the step begins", func() bool {
		run, err := handle.Run(within(t))
		return err == nil && run.Status == "running" && run.Worker != ""
	})
	check(t, handle.Cancel(within(t), "enough"))
	_, err := handle.Result(within(t))
	var failed *client.RunFailed
	if !errors.As(err, &failed) || failed.Status != "cancelled" || failed.Message != "enough" {
		t.Errorf("expected a cancelled run, got %v", err)
	}
	same(t, "cleaned up", strings.Join(linesOf(t, file), " "))
}

func TestChildrenAndStepsElsewhere(t *testing.T) {
	s := servertest.Start(t)
	work(t, s, worker.Options{Queues: []string{"default"}})
	work(t, s, worker.Options{Queues: []string{"gpu"}})
	c := dial(t, s)
	got := result(t, start(t, c, family, 3, "family"))
	same(t, "[3 30 3]", fmt.Sprint(got))
	runs := []string{}
	for run, err := range c.List(within(t), client.Filter{Parent: "family"}) {
		check(t, err)
		runs = append(runs, run.Workflow+" "+run.Queue+" "+run.Status)
	}
	same(t, 3, len(runs))
	same(t, true, strings.Contains(strings.Join(runs, "; "), "step:elsewhere gpu completed"))
}

func TestALineIsLoggedOnce(t *testing.T) {
	s := servertest.Start(t)
	var mu sync.Mutex
	var lines []string
	logger := slog.New(slog.NewJSONHandler(writer(func(text []byte) {
		mu.Lock()
		defer mu.Unlock()
		var said struct{ Msg, Level, Run string }
		if json.Unmarshal(text, &said) == nil && said.Run == "log" {
			lines = append(lines, said.Level+" "+said.Msg)
		}
	}), nil))
	work(t, s, worker.Options{Logger: logger, Linger: time.Millisecond})
	c := dial(t, s)
	same(t, "logged", result(t, start(t, c, logging, replay.None{}, "log")))
	for entry, err := range c.Topic(within(t), "news", 0, true) {
		check(t, err)
		same(t, `"logged"`, string(entry.Value))
		break
	}
	mu.Lock()
	defer mu.Unlock()
	same(t, "WARN before; INFO after", strings.Join(lines, "; "))
}

type writer func([]byte)

func (w writer) Write(text []byte) (int, error) { w(text); return len(text), nil }

func TestContinueAsNew(t *testing.T) {
	s := servertest.Start(t)
	work(t, s, worker.Options{})
	same(t, "generation 3, chain 3", result(t, start(t, dial(t, s), generation, 0, "generations")))
}

func TestAKilledWorkerIsReplacedAndNothingIsDoneTwice(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	file := filepath.Join(t.TempDir(), "lines")
	handle := start(t, c, writing, struct {
		replay.Args
		File  string
		Lines int
	}{File: file, Lines: 60}, "killed")
	for _, seen := range []int{5, 20, 35} {
		process := spawnWorker(t, s.URL)
		until(t, fmt.Sprintf("%d lines are written", seen), func() bool { return len(linesOf(t, file)) >= seen })
		check(t, process.Process.Signal(syscall.SIGKILL))
	}
	work(t, s, worker.Options{})
	same(t, 60, result(t, handle))
	seen := map[string]int{}
	for _, text := range linesOf(t, file) {
		if seen[text]++; seen[text] > 1 {
			t.Errorf("line %s was written twice", text)
		}
	}
	if len(seen) < 57 { // a step that was interrupted is not done again: one for each kill at most
		t.Errorf("only %d of 60 lines were written", len(seen))
	}
}

func TestRecoveryBeginsAtASavepointWithState(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	file := filepath.Join(t.TempDir(), "lines")
	handle := start(t, c, resuming, file, "resume")
	drain := work(t, s, worker.Options{})
	until(t, "two turns are done", func() bool {
		points, err := handle.Savepoints(within(t))
		return err == nil && len(points) == 2
	})
	drain()
	work(t, s, worker.Options{})
	check(t, handle.Signal(within(t), "go on", nil))
	same(t, 4, result(t, handle))
	same(t, "turn 0 turn 1 turn 2 turn 3", strings.Join(linesOf(t, file), " "))
	points, err := handle.Savepoints(within(t))
	check(t, err)
	same(t, true, points[0].HasState)
	same(t, `{"goal":"four turns"}`, string(points[0].Notes))
	fork, err := handle.Fork(within(t), client.ForkOptions{At: "turn 2"})
	check(t, err)
	same(t, 4, result(t, fork))
}

func TestProgressOutlivesItsWorker(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	handle := start(t, c, climbing, replay.None{}, "climb")
	process := spawnWorker(t, s.URL)
	told := func() string {
		run, err := handle.Run(within(t))
		check(t, err)
		return string(run.State["~progress"])
	}
	until(t, "its progress is saved", func() bool { return told() == `{"0":8}` })
	check(t, process.Process.Signal(syscall.SIGKILL))
	work(t, s, worker.Options{})
	same(t, 8, result(t, handle))
	same(t, "{}", told())
}

func TestAHeartbeatWithoutProgressLeavesNone(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	work(t, s, worker.Options{})
	handle := start(t, c, living, replay.None{}, "living")
	same(t, false, result(t, handle))
	run, err := handle.Run(within(t))
	check(t, err)
	same(t, "{}", string(run.State["~progress"]))
	same(t, 0, len(model.NewAttempt(model.StepInfo{}, []byte("null")).Progress())) // as Python spells it
}

func TestARunThatKillsItsWorkersIsDrivenAloneAndSetAside(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	t.Setenv(brief, "yes")
	handle := start(t, c, dying, replay.None{}, "dying")
	victim := start(t, c, approving, replay.None{}, "victim") // dies with it, and is not to blame
	for range 5 {
		if killed := new(exec.ExitError); !errors.As(spawnWorker(t, s.URL).Wait(), &killed) {
			t.Fatal("the worker outlived it")
		}
	}
	leaving := spawnWorker(t, s.URL)
	_, err := handle.Result(within(t))
	var failed *client.RunFailed
	if !errors.As(err, &failed) || failed.Status != "stuck" {
		t.Fatalf("expected a stuck run, got %v", err)
	}
	for _, part := range []string{
		"set aside: 5 workers in a row died while they held it, since event #1 (started go.dying); in the last 2 of them no other run in doubt was driven",
		": step deadly (command 0, ", "worker_test.go:", "Mend what ends them, then `replay resume dying` puts it back",
	} {
		if !strings.Contains(failed.Message, part) {
			t.Errorf("expected %q in %s", part, failed.Message)
		}
	}
	check(t, leaving.Process.Signal(syscall.SIGTERM))
	check(t, leaving.Wait())
	t.Setenv(brief, "")
	work(t, s, worker.Options{})
	check(t, handle.Resume(within(t)))
	until(t, "it is tried again", func() bool { run, err := handle.Run(within(t)); return err == nil && run.Status != "stuck" })
	same(t, 1, result(t, handle))
	check(t, victim.Signal(within(t), "approved", true))
	same(t, true, result(t, victim))
}

func TestLimitsOfAQueueHoldOverAllWorkers(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	var mu sync.Mutex
	here, most, all := map[string]int{}, map[string]int{}, 0
	occupied := func(name string) *replay.Workflow[replay.None, int] {
		step := replay.NewStep("occupy", func(context.Context, replay.None) (int, error) {
			mu.Lock()
			here[name]++
			all++
			most[name], most["all"] = max(most[name], here[name]), max(most["all"], all)
			mu.Unlock()
			time.Sleep(30 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			here[name]--
			all--
			return 1, nil
		})
		return replay.NewWorkflow("go.occupying", func(run *replay.Run, _ replay.None) (int, error) { return replay.Call(run, step, replay.None{}) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	for name, limits := range map[string]worker.QueueLimits{"one": {Concurrency: 3, Here: 1}, "two": {Concurrency: 3}} {
		options := worker.Options{Queues: []string{"slots"}, Limits: map[string]worker.QueueLimits{"slots": limits}, Logger: quiet, Name: name}
		go func() { ended <- worker.Run(ctx, s.URL, options, occupied(name)) }()
	}
	var handles []*client.Handle[int]
	for i := range 20 {
		handles = append(handles, start(t, c, occupied("").With(replay.RunOptions{Queue: "slots"}), replay.None{}, fmt.Sprint("slot-", i)))
	}
	for _, handle := range handles {
		same(t, 1, result(t, handle))
	}
	cancel()
	check(t, errors.Join(<-ended, <-ended))
	same(t, "1 3", fmt.Sprint(most["one"], " ", most["all"]))

	err := worker.Run(within(t), s.URL, worker.Options{Limits: map[string]worker.QueueLimits{"gpu": {Here: 1}}}, counting)
	var invalid *client.InvalidRequest
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "queue gpu") {
		t.Errorf("expected InvalidRequest, got %v", err)
	}
}

func TestDrainingLetsStepsEndAndGivesRunsBack(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	drain := work(t, s, worker.Options{})
	handle := start(t, c, lingering, replay.None{}, "linger")
	<-begun
	go func() {
		time.Sleep(50 * time.Millisecond)
		close(release)
	}()
	drain()
	run, err := handle.Run(within(t))
	check(t, err)
	same(t, "", run.Worker)
	same(t, "completed", run.Status)
}

func TestAWorkerIsSeenWhileItWorks(t *testing.T) {
	s := servertest.Start(t)
	drain := work(t, s, worker.Options{Name: "gopher", Queues: []string{"default"}})
	listed := func() string {
		told, err := exec.CommandContext(within(t), s.Command(), "workers", "--store", s.URL, "--json").Output()
		check(t, err)
		return string(told)
	}
	line := listed()
	for line == "" { // it tells of itself a second after it has begun
		line = listed()
	}
	var told struct {
		ID, Version       string
		Queues, Workflows []string
		Capacity          int
		Late              bool
	}
	check(t, json.Unmarshal([]byte(line), &told))
	same(t, "gopher go/0.1.0 [default] 1000 false", fmt.Sprint(told.ID, " ", told.Version, " ", told.Queues, " ", told.Capacity, " ", told.Late))
	for _, offered := range []string{"go.counting", "go.lingering@2", "step:increment"} {
		same(t, true, slices.Contains(told.Workflows, offered))
	}
	drain()
	same(t, "", listed())
}

func TestSigtermDrainsAWorkerProcess(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	process := spawnWorker(t, s.URL)
	same(t, 2, result(t, start(t, c, counting, 2, "before")))
	waits := start(t, c, approving, replay.None{}, "waits")
	check(t, waits.Update(within(t), "add", 1, nil))
	check(t, process.Process.Signal(syscall.SIGTERM))
	check(t, process.Wait())
	run, err := waits.Run(within(t))
	check(t, err)
	same(t, "", run.Worker)
	same(t, "waiting", run.Status)
}

func TestAServerThatIsKilledAndRestartedIsFoundAgain(t *testing.T) {
	s := servertest.Start(t)
	work(t, s, worker.Options{})
	c := dial(t, s)
	file := filepath.Join(t.TempDir(), "lines")
	handle := start(t, c, writing, struct {
		replay.Args
		File  string
		Lines int
	}{File: file, Lines: 40}, "survives")
	got := make(chan int, 1)
	go func() {
		n, err := handle.Result(within(t))
		if err != nil {
			t.Error(err)
		}
		got <- n
	}()
	for _, seen := range []int{5, 20} {
		until(t, fmt.Sprintf("%d lines are written", seen), func() bool { return len(linesOf(t, file)) >= seen })
		s.Kill()
		s.Restart()
	}
	same(t, 40, <-got)
	same(t, 40, len(linesOf(t, file)))
}

func TestAWorkerLeavesAlsoWhenItsServerIsGone(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	file := filepath.Join(t.TempDir(), "lines")
	drain := work(t, s, worker.Options{Grace: time.Second})
	start(t, c, writing, struct {
		replay.Args
		File  string
		Lines int
	}{File: file, Lines: 1_000}, "lost")
	until(t, "a line is written", func() bool { return len(linesOf(t, file)) > 0 })
	s.Kill()
	time.Sleep(50 * time.Millisecond)
	drain()
}

func TestAWrongTokenIsRefused(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens.json")
	check(t, os.WriteFile(tokens, []byte(`[{"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "namespace": "shop", "scopes": ["read", "start"]},
		{"sha256": "4381dc2ab14285160c808659aee005d51255add7264b318d07c7417292c7442c", "namespace": "bank", "scopes": ["work"]}]`), 0o600))
	s := servertest.Start(t, "--tokens", tokens)
	var refused *client.Refused
	_, err := client.Dial(within(t), s.URL+"?token=wrong", "shop")
	if !errors.As(err, &refused) || !strings.Contains(refused.Advice, "token") {
		t.Errorf("expected Refused, got %v", err)
	}
	c, err := client.Dial(within(t), s.URL+"?token=test", "shop")
	check(t, err)
	defer c.Close() //nolint:errcheck // the test ends
	start(t, c, counting, 1, "allowed")
	other, err := client.Dial(within(t), s.URL+"?token=test", "bank")
	check(t, err)
	defer other.Close() //nolint:errcheck // the test ends
	if _, err := client.Start(within(t), other, counting, 1); !errors.As(err, &refused) {
		t.Errorf("expected Refused, got %v", err)
	}
	for _, token := range []string{"wrong", "test", "bank"} { // the second may not work, the third not here
		if err := worker.Run(within(t), s.URL+"?token="+token, worker.Options{Logger: quiet}, offers...); !errors.As(err, &refused) {
			t.Errorf("expected Refused, got %v", err)
		}
	}
}

func TestCodeThatDoesNotFitLeavesTheRunStuckAndSaysWhy(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	old := replay.NewWorkflow("go.changing", func(run *replay.Run, n int) (bool, error) {
		if _, err := replay.Call(run, increment, n); err != nil {
			return false, err
		}
		return replay.Signal[bool](run, "go")
	})
	changed := replay.NewWorkflow("go.changing", func(run *replay.Run, n int) (bool, error) {
		_, err := replay.Call(run, increment, n+1)
		return false, err
	})
	begin := func(offer replay.Offer) func() {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- worker.Run(ctx, s.URL, worker.Options{Logger: quiet}, offer) }()
		return sync.OnceFunc(func() { cancel(); check(t, <-ended) })
	}
	drain := begin(old)
	handle := start(t, c, old, 1, "changing")
	until(t, "the step is journaled", func() bool { run, err := handle.Run(within(t)); return err == nil && run.Length == 2 })
	drain()
	drain = begin(changed)
	check(t, handle.Signal(within(t), "go", true))
	_, err := handle.Result(within(t))
	var failed *client.RunFailed
	if !errors.As(err, &failed) || failed.Status != "stuck" {
		t.Fatalf("expected a stuck run, got %v", err)
	}
	drain()
	for _, part := range []string{
		"does not fit its journal at event #2", "recorded:  step_completed increment as command 0", "worker_test.go:",
		"now asks:  step increment(2) as command 0, with other arguments", "before it: #1 started", "what to do:",
	} {
		if !strings.Contains(failed.Message, part) {
			t.Errorf("expected %q in the report:\n%s", part, failed.Message)
		}
	}
	defer begin(old)()
	check(t, handle.Resume(within(t)))
	until(t, "it is tried again", func() bool { run, err := handle.Run(within(t)); return err == nil && run.Status != "stuck" })
	same(t, true, result(t, handle))
}

// moody panics when it is read.
type moody struct{}

func (*moody) UnmarshalJSON([]byte) error { panic("not today") }

func TestATypeThatPanicsSetsItsOwnRunAsideAndNoOther(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	reading := replay.NewStep("reading", func(context.Context, replay.None) (*moody, error) { return &moody{}, nil })
	panicking := replay.NewWorkflow("go.panicking", func(run *replay.Run, _ replay.None) (any, error) { return replay.Call(run, reading, replay.None{}) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx, s.URL, worker.Options{Logger: quiet}, panicking, counting) }()
	defer func() { cancel(); check(t, <-ended) }()
	_, err := start(t, c, panicking, replay.None{}, "panicking").Result(within(t))
	var failed *client.RunFailed
	if !errors.As(err, &failed) || failed.Status != "stuck" || !strings.Contains(failed.Message, "not today") {
		t.Errorf("expected a stuck run, got %v", err)
	}
	same(t, 2, result(t, start(t, c, counting, 2, "other")))
}

func TestPausingAndListing(t *testing.T) {
	s := servertest.Start(t)
	work(t, s, worker.Options{})
	c := dial(t, s)
	for i := range 5 {
		tags := map[string]string{"parity": []string{"even", "odd"}[i%2]}
		_, err := client.Start(within(t), c, counting.With(replay.RunOptions{ID: fmt.Sprint("page-", i), Tags: tags}), i)
		check(t, err)
	}
	page, err := c.Page(within(t), client.Filter{Prefix: "page-"}, 2, "")
	check(t, err)
	same(t, 2, len(page.Runs))
	same(t, false, page.Cursor == "")
	odd := 0
	for run, err := range c.List(within(t), client.Filter{Tags: map[string]string{"parity": "odd"}}) {
		check(t, err)
		same(t, "odd", run.Tags["parity"])
		odd++
	}
	same(t, 2, odd)

	handle := start(t, c, approving, replay.None{}, "pause-me")
	check(t, handle.Pause(within(t)))
	until(t, "it is paused", func() bool { run, err := handle.Run(within(t)); return err == nil && run.Status == "paused" })
	check(t, handle.Resume(within(t)))
	check(t, handle.Signal(within(t), "approved", true))
	same(t, true, result(t, handle))
	check(t, start(t, c, approving, replay.None{}, "end-me").Terminate(within(t), "no use"))
	_, err = client.Of[bool](c, "end-me").Result(within(t))
	var failed *client.RunFailed
	if !errors.As(err, &failed) || failed.Status != "terminated" || failed.Message != "no use" {
		t.Errorf("expected a terminated run, got %v", err)
	}
}

func TestAJournalThatNoMessageCarriesIsReadInParts(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	drain := work(t, s, worker.Options{})
	handle := start(t, c, bulky, 80, "bulky") // 5 MB; a claim carries 3
	until(t, "the journal is long", func() bool { run, err := handle.Run(within(t)); return err == nil && run.Length == 81 })
	drain()
	work(t, s, worker.Options{})
	check(t, handle.Signal(within(t), "go on", nil))
	same(t, 80*64<<10, result(t, handle))
}

func TestAWorkerThatLostItsLeaseDropsItsTurn(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	file := filepath.Join(t.TempDir(), "lines")
	handle := start(t, c, writing, struct {
		replay.Args
		File  string
		Lines int
	}{File: file, Lines: 30}, "stolen")
	process := spawnWorker(t, s.URL) // with a lease of one second
	until(t, "five lines are written", func() bool { return len(linesOf(t, file)) >= 5 })
	check(t, process.Process.Signal(syscall.SIGSTOP))
	drain := work(t, s, worker.Options{})
	until(t, "another worker has it", func() bool { return len(linesOf(t, file)) >= 15 })
	check(t, process.Process.Signal(syscall.SIGCONT))
	same(t, 30, result(t, handle))
	drain()
	check(t, process.Process.Signal(syscall.SIGTERM))
	check(t, process.Wait())
	seen := map[string]bool{}
	for _, text := range linesOf(t, file) {
		if seen[text] {
			t.Errorf("line %s was written twice", text)
		}
		seen[text] = true
	}
}

func TestACancelledStepMayBeWaitedFor(t *testing.T) {
	s := servertest.Start(t)
	work(t, s, worker.Options{})
	c := dial(t, s)
	file := filepath.Join(t.TempDir(), "lines")
	handle := start(t, c, stubborn, file, "stubborn")
	until(t, "the step begins", func() bool { return len(linesOf(t, file)) == 1 })
	check(t, handle.Cancel(within(t), "enough"))
	_, err := handle.Result(within(t))
	var failed *client.RunFailed
	if !errors.As(err, &failed) || failed.Status != "cancelled" {
		t.Errorf("expected a cancelled run, got %v", err)
	}
	same(t, "begun ended <nil>", strings.Join(linesOf(t, file), " "))
}

func TestWhatGoBeginsPythonFinishesAndTheOtherWayRound(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s)
	inPython := func() func() {
		process := exec.Command(filepath.Join(filepath.Dir(s.Command()), "python"), "-c", python, s.URL)
		process.Stderr = os.Stderr
		input, err := process.StdinPipe()
		check(t, err)
		output, err := process.StdoutPipe()
		check(t, err)
		check(t, process.Start())
		_, err = output.Read(make([]byte, 16))
		check(t, err)
		return func() { check(t, input.Close()); check(t, process.Wait()) }
	}
	inGo := func() func() { return work(t, s, worker.Options{}) }
	journals := []string{}
	for _, order := range [][]func() func(){{inGo, inPython}, {inPython, inGo}, {inGo, inGo}} {
		id := fmt.Sprint("mixed-", len(journals))
		handle := start(t, c, mixed, 1, id)
		leave := order[0]()
		until(t, "the first step is done", func() bool { run, err := handle.Run(within(t)); return err == nil && run.Length == 2 })
		leave()
		leave = order[1]()
		check(t, handle.Signal(within(t), "word", "é"))
		got := result(t, handle)
		same(t, "2 é 3", strings.TrimSpace(fmt.Sprintln(got[:3]...)))
		leave()
		journal := ""
		for event, err := range handle.Journal(within(t), 1, false) {
			check(t, err)
			uuid := fmt.Sprint(got[3])
			journal += strings.ReplaceAll(fmt.Sprintf("%s %d %s\n", model.Show(event), event.Check, event.Payload), uuid, "UUID")
		}
		journals = append(journals, journal)
	}
	same(t, journals[2], journals[0])
	same(t, journals[2], journals[1])
}
