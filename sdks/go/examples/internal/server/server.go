// Package server gives an example a replay server to talk to: the one that REPLAY_SERVER names, or one of its own for as long as the
// example runs.
package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"

	"example.org/replay"
	"example.org/replay/worker"
)

var address = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// Start answers with the server's URL, and with a function that takes it down again.
func Start(ctx context.Context) (url string, stop func(), err error) {
	if given := os.Getenv("REPLAY_SERVER"); given != "" {
		return given, func() {}, nil
	}
	command, err := find()
	if err != nil {
		return "", nil, err
	}
	folder, err := os.MkdirTemp("", "replay-example-")
	if err != nil {
		return "", nil, err
	}
	process := exec.CommandContext(ctx, command, "serve", "--store", "sqlite:///"+filepath.Join(folder, "runs.db"), "--listen", "127.0.0.1:0")
	output, err := process.StdoutPipe()
	if err == nil {
		err = process.Start()
	}
	if err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		_ = os.RemoveAll(folder)
	}
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if found := address.FindString(lines.Text()); found != "" {
			return "grpc://" + found, stop, nil
		}
	}
	stop()
	return "", nil, errors.New("the server ended before it said where it listens")
}

// find looks for the replay command: the one that REPLAY_COMMAND names, one on the path, else one in a virtual environment above this folder.
func find() (string, error) {
	if given := os.Getenv("REPLAY_COMMAND"); given != "" {
		return given, nil
	}
	if found, err := exec.LookPath("replay"); err == nil {
		return found, nil
	}
	folder, err := os.Getwd()
	for ; err == nil && folder != "/"; folder = filepath.Dir(folder) {
		if found := filepath.Join(folder, ".venv", "bin", "replay"); exists(found) {
			return found, nil
		}
	}
	return "", fmt.Errorf("no replay command: install replay-engine, or name a server in REPLAY_SERVER")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Work runs a worker beside the example; the function that it answers with lets it drain.
func Work(ctx context.Context, url string, options worker.Options, offers ...replay.Offer) (leave func() error) {
	working, cancel := context.WithCancel(ctx)
	left := make(chan error, 1)
	go func() { left <- worker.Run(working, url, options, offers...) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-left
	})
}
