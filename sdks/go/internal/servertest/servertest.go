// Package servertest runs a real replay server for tests: the Python one of this repository, over SQLite in a temporary folder.
package servertest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// Server is a server that a test started; it is killed when the test ends.
type Server struct {
	URL     string // grpc://127.0.0.1:port
	t       testing.TB
	folder  string
	options []string
	process *exec.Cmd
}

var listens = regexp.MustCompile(`127\.0\.0\.1:(\d+)`)

// Start starts a server on a free port; options are those of `replay serve`.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	s := &Server{t: t, folder: t.TempDir(), options: options}
	s.serve("127.0.0.1:0")
	t.Cleanup(s.Kill)
	return s
}

// Command is the repository's replay command, found above the working folder; Python stands beside it.
func (s *Server) Command() string {
	if given := os.Getenv("REPLAY_COMMAND"); given != "" {
		return given
	}
	folder, _ := os.Getwd()
	for folder != "/" {
		if found := filepath.Join(folder, ".venv", "bin", "replay"); exists(found) {
			return found
		}
		folder = filepath.Dir(folder)
	}
	if os.Getenv("REPLAY_NO_SKIPS") != "" {
		s.t.Fatal("no .venv/bin/replay above this folder: run `make .venv/.dev`")
	}
	s.t.Skip("no .venv/bin/replay above this folder: run `make .venv/.dev`")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (s *Server) serve(address string) {
	s.t.Helper()
	arguments := append([]string{"serve", "--store", "sqlite:///" + filepath.Join(s.folder, "runs.db"), "--listen", address}, s.options...)
	s.process = exec.Command(s.Command(), arguments...)
	s.process.Stderr = os.Stderr
	output, err := s.process.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if found := listens.FindStringSubmatch(lines.Text()); found != nil {
			s.URL = "grpc://127.0.0.1:" + found[1]
			go func() {
				for lines.Scan() { // so that the server is never held up by a full pipe
				}
			}()
			return
		}
	}
	s.t.Fatal("the server ended before it said where it listens")
}

// Kill ends the server as a crash would.
func (s *Server) Kill() {
	if s.process.ProcessState == nil {
		_ = s.process.Process.Kill()
		_, _ = s.process.Process.Wait()
		_ = s.process.Wait()
	}
}

// Restart starts it again on the same port, over the same store.
func (s *Server) Restart() {
	s.t.Helper()
	time.Sleep(10 * time.Millisecond)
	s.serve(s.URL[len("grpc://"):])
}
