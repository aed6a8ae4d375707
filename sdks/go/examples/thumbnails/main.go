// Thumbnails: a step for each picture, three at a time, on a queue of their own, and a picture that cannot be read.
//
//	go run ./examples/thumbnails
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"example.org/replay"
	"example.org/replay/client"
	"example.org/replay/examples/internal/server"
	"example.org/replay/worker"
)

// Shrink is done by workers that serve the queue "pictures", in whatever language they are written.
var Shrink = replay.NewStep("shrink", shrink, replay.StepOptions{Queue: "pictures"})

func shrink(_ context.Context, name string) (string, error) {
	if strings.HasSuffix(name, ".txt") {
		return "", fmt.Errorf("%s is no picture", name)
	}
	return strings.Replace(name, ".", "-small.", 1), nil
}

// Album shrinks pictures three at a time; those that fail do not keep the others back.
var Album = replay.NewWorkflow("album", func(run *replay.Run, names []string) (map[string]string, error) {
	var branches []replay.Branch[string]
	for _, name := range names {
		branches = append(branches, replay.Calling(Shrink, name))
	}
	results, err := replay.GatherWith(run, replay.GatherOptions{Limit: 3, ReturnErrors: true}, branches...)
	if err != nil {
		return nil, err
	}
	made := map[string]string{}
	for i, result := range results {
		made[names[i]] = result.Value
		if !result.OK {
			made[names[i]] = result.Err.Error()
		}
	}
	return made, nil
})

func main() {
	if err := show(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func show(ctx context.Context, out io.Writer) error {
	url, stop, err := server.Start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	driving := server.Work(ctx, url, worker.Options{}, Album)
	defer driving() //nolint:errcheck // asked below
	shrinking := server.Work(ctx, url, worker.Options{Queues: []string{"pictures"}}, Shrink)
	defer shrinking() //nolint:errcheck // asked below

	c, err := client.Dial(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the program ends
	handle, err := client.Start(ctx, c, Album, []string{"cat.png", "dog.png", "notes.txt", "owl.png"})
	if err != nil {
		return err
	}
	album, err := handle.Result(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"cat.png", "dog.png", "notes.txt", "owl.png"} {
		fmt.Fprintf(out, "%s: %s\n", name, album[name])
	}
	return errors.Join(driving(), shrinking())
}
