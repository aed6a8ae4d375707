package replay_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheReadmeShowsCodeThatRuns: every Go snippet stands, word for word, in an example or a test that is compiled and run.
func TestTheReadmeShowsCodeThatRuns(t *testing.T) {
	text, err := os.ReadFile("README.md")
	must(t, err)
	var code strings.Builder
	for _, pattern := range []string{"examples/*/*.go", "*_test.go"} {
		paths, err := filepath.Glob(pattern)
		must(t, err)
		for _, path := range paths {
			source, err := os.ReadFile(path)
			must(t, err)
			code.Write(source)
		}
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(snippets) < 5 {
		t.Fatalf("found %d snippets only", len(snippets))
	}
	for _, snippet := range snippets {
		if !strings.Contains(code.String(), snippet[1]) {
			t.Errorf("no example holds\n%s", snippet[1])
		}
	}
}

// TestTheRoomsImportDownwards: a room imports only from those before it.
func TestTheRoomsImportDownwards(t *testing.T) {
	rooms := []string{
		"internal/codec", "internal/generated", "model", "internal/interpreter", ".", "internal/service", "internal/engine", "client",
		"worker", "replaytest", "internal/servertest", "examples/internal/server",
	}
	height := map[string]int{}
	for i, room := range rooms {
		height[room] = i
		paths, err := filepath.Glob(filepath.Join(room, "*.go"))
		must(t, err)
		for _, path := range paths {
			source, err := os.ReadFile(path)
			must(t, err)
			for _, found := range regexp.MustCompile(`(?m)^\t(?:wire )?"example\.org/replay(?:/([a-z/]+))?"$`).FindAllStringSubmatch(string(source), -1) {
				imported := found[1]
				if imported == "" {
					imported = "."
				}
				if above, known := height[imported]; !strings.HasSuffix(path, "_test.go") && (!known || above >= height[room]) {
					t.Errorf("%s imports %s", path, imported)
				}
			}
		}
	}
}
