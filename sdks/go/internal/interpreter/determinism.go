package interpreter

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/replay/model"
)

const listed = 5 // pending commands in a report

// misfit is the report of an event that does not fit: it compares and shows both sides, it never repairs.
func (it *Interpreter) misfit(event *model.Event) error {
	report := &model.NonDeterminismError{
		Run: it.Run, Seq: event.Seq, Recorded: event.Kind + " " + event.Name, Asked: "nothing is waited for", RecordedLine: event.Line,
	}
	if event.Command != "" {
		report.Recorded += " as command " + event.Command
	}
	for _, past := range it.recent {
		if past != nil {
			report.Before = append(report.Before, model.Show(past))
		}
	}
	command, waiting := it.Pending(event.Command), it.Waiting()
	switch {
	case it.Outcome != nil:
		report.Asked = "the workflow has ended: " + it.Outcome.Kind + " " + model.Cut(string(it.Outcome.Payload), shown, "…")
		if model.Closing(event.Kind) {
			report.Recorded += " " + model.Cut(string(event.Payload), shown, "…")
		}
	case event.Kind == model.UpdateReceived:
		report.Asked = fmt.Sprintf("handles no update '%s'; known: %s", event.Name, model.Listed(slices.Sorted(maps.Keys(it.updates))))
	case command != nil:
		report.Asked, report.AskedLine = command.String()+" as command "+command.ID, command.Line()
		if event.Name == command.Name && event.Check != 0 && event.Check != command.Check() {
			report.Asked += ", with other arguments"
		}
	case len(waiting) > 0:
		var asked []string
		for _, other := range waiting[:min(listed, len(waiting))] {
			asked = append(asked, other.String()+" as command "+other.ID)
		}
		if len(waiting) > listed {
			asked = append(asked, fmt.Sprintf("and %d more", len(waiting)-listed))
		}
		report.Asked, report.AskedLine = strings.Join(asked, "; "), waiting[0].Line()
	}
	return report
}

// Chance is the random source of one run: a counter under SHA-256. Draw n of a fiber is the digest of seed, base, path and n
// with line feeds between, base being the seq of the last savepoint with state.
type Chance struct {
	seed  string
	base  int64
	drawn map[string]int
}

// Rebase counts from 0 again, under the number of a savepoint with state.
func (c *Chance) Rebase(seq int64) {
	c.base = seq
	clear(c.drawn)
}

func (c *Chance) draw(path string) [32]byte {
	number := c.drawn[path]
	c.drawn[path] = number + 1
	return sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%s\n%d", c.seed, c.base, path, number))
}

// Random is a number in [0, 1).
func (c *Chance) Random(path string) float64 {
	digest := c.draw(path)
	return float64(binary.BigEndian.Uint64(digest[:8])>>11) / (1 << 53)
}

// UUID is one of version 4.
func (c *Chance) UUID(path string) [16]byte {
	digest := c.draw(path)
	made := [16]byte(digest[:16])
	made[6] = made[6]&0x0f | 0x40
	made[8] = made[8]&0x3f | 0x80
	return made
}
