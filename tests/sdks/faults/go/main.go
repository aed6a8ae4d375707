// The shop in Go: `shop worker URL LOG [MAX_RECOVERIES]`, `shop start URL ID SIZE`, `shop query URL ID MORE` and
// `shop slow URL TOPIC`.
//
// Each step notes in a file that it was begun. What a client or a worker is refused is told as a line of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.org/replay"
	"example.org/replay/client"
	"example.org/replay/model"
	"example.org/replay/worker"
)

// Large is what faults.filling is given: a struct that embeds Args is a list of arguments.
type Large struct {
	replay.Args
	Size    int
	Padding string
}

var name = fmt.Sprintf("go/%d", os.Getpid())

func note(ctx context.Context) error {
	log, err := os.OpenFile(os.Args[3], os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // nothing is buffered
	_, err = fmt.Fprintf(log, "%s %d %s\n", replay.InfoOf(ctx).IdempotencyKey, time.Now().UnixMicro(), name)
	return err
}

var (
	touch = replay.NewStep("faults.touch", func(ctx context.Context, number int) (int, error) {
		if err := note(ctx); err != nil {
			return 0, err
		}
		time.Sleep(50 * time.Millisecond)
		return 2 * number, nil
	})
	fill = replay.NewStep("faults.fill", func(_ context.Context, size int) (string, error) {
		return strings.Repeat("x", size), nil
	})
	linger = replay.NewStep("faults.linger", func(ctx context.Context, seconds int) (int, error) {
		if err := note(ctx); err != nil {
			return 0, err
		}
		time.Sleep(time.Duration(seconds) * time.Second)
		return seconds, nil
	})
)

// kill takes its worker with it until it is mended.
var kill = replay.NewStep("faults.kill", func(context.Context, replay.None) (string, error) {
	if _, err := os.Stat(os.Args[3] + ".mended"); err != nil {
		return "", syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return "mended", nil
})

var deadly = replay.NewWorkflow("faults.deadly", func(run *replay.Run, _ replay.None) (string, error) {
	return replay.Call(run, kill, replay.None{})
})

var order = replay.NewWorkflow("faults.order", func(run *replay.Run, steps int) (int, error) {
	total := 0
	for number := range steps {
		doubled, err := replay.Call(run, touch, number)
		if err != nil {
			return 0, err
		}
		total += doubled
	}
	return total, nil
})

var filling = replay.NewWorkflow("faults.filling", func(run *replay.Run, large Large) (int, error) {
	text, err := replay.Call(run, fill, large.Size)
	return len(text), err
})

var lingering = replay.NewWorkflow("faults.lingering", func(run *replay.Run, seconds int) (int, error) {
	replay.OnQuery(run, "planned", func(more int) (int, error) { return seconds + more, nil })
	lingered, err := replay.Call(run, linger, seconds)
	if err != nil {
		return 0, err
	}
	doubled, err := replay.Call(run, touch, 1)
	return lingered + doubled, err
})

func work(ctx context.Context, url string) (any, error) {
	options := worker.Options{Lease: 2 * time.Second, Concurrency: 4, Name: name}
	if len(os.Args) > 4 {
		options.MaxRecoveries, _ = strconv.Atoi(os.Args[4])
	}
	return nil, worker.Run(ctx, url, options, order, filling, lingering, deadly)
}

func start(ctx context.Context, url string) (any, error) {
	c, err := client.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // the program ends
	size, err := strconv.Atoi(os.Args[4])
	if err != nil {
		return nil, err
	}
	run, err := client.Start(ctx, c, filling.With(replay.RunOptions{ID: os.Args[3]}), Large{Size: 1, Padding: strings.Repeat("x", size)})
	if err != nil {
		return nil, err
	}
	return run.ID, nil
}

func query(ctx context.Context, url string) (any, error) {
	c, err := client.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // the program ends
	more, err := strconv.Atoi(os.Args[4])
	if err != nil {
		return nil, err
	}
	var planned int
	err = client.Of[any](c, os.Args[3]).Query(ctx, "planned", more, &planned)
	return planned, err
}

// slow reads one entry of a topic, then nothing until it is told to, then the rest.
func slow(ctx context.Context, url string) (any, error) {
	c, err := client.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // the program ends
	read := 0
	for _, err := range c.Topic(ctx, os.Args[3], 0, false) {
		if err != nil {
			return nil, err
		}
		if read++; read == 1 {
			fmt.Println("reading")
			_, _ = fmt.Scanln()
		}
	}
	return read, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	acts := map[string]func(context.Context, string) (any, error){"worker": work, "start": start, "query": query, "slow": slow}
	answer, err := acts[os.Args[1]](ctx, os.Args[2])
	told := map[string]any{"answer": answer}
	if err != nil {
		told = map[string]any{"type": "error", "message": err.Error()}
		if known, name := model.Named(err); known != nil {
			told["type"] = name
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(told)
	if err != nil {
		os.Exit(1)
	}
}
