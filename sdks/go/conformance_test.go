package replay_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"example.org/replay/internal/codec"
	"example.org/replay/internal/interpreter"
	"example.org/replay/model"
)

// The shared cases of tests/conformance: what any release of any SDK wrote, every later one reads.

type object = map[string]json.RawMessage

type scenario struct {
	Name, Workflow, Run string
	Script              []object
	Commands            [][]object
	Withdrawn           [][]string
	Abandoned           [][]object
	Outputs             [][]object
	Unread              []object
	Outcome             object
	Error               object
}

// bytesOf reads a field of bytes in any of its spellings.
func bytesOf(t *testing.T, entry object, name string) []byte {
	t.Helper()
	var text string
	switch {
	case entry[name+"_base64"] != nil:
		must(t, json.Unmarshal(entry[name+"_base64"], &text))
		data, err := base64.StdEncoding.DecodeString(text)
		must(t, err)
		return data
	case entry[name+"_text"] != nil:
		must(t, json.Unmarshal(entry[name+"_text"], &text))
		return []byte(text)
	case entry[name] != nil:
		spelt, err := codec.Canonical(entry[name])
		must(t, err)
		return spelt
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func field[T any](t *testing.T, entry object, name string) (value T) {
	t.Helper()
	if entry[name] != nil {
		must(t, json.Unmarshal(entry[name], &value))
	}
	return value
}

func eventOf(t *testing.T, entry object) *model.Event {
	t.Helper()
	return &model.Event{
		Seq: field[int64](t, entry, "seq"), Kind: field[string](t, entry, "kind"), Command: field[string](t, entry, "command"),
		Name: field[string](t, entry, "name"), At: field[int64](t, entry, "at"), Check: field[uint32](t, entry, "check"),
		Payload: bytesOf(t, entry, "payload"),
	}
}

// shown is what is compared: the fields of an entry, those of bytes in one spelling.
type shown = map[string]any

func expected(t *testing.T, entries [][]object) [][]shown {
	t.Helper()
	made := [][]shown{}
	for _, after := range entries {
		made = append(made, flat(t, after))
	}
	return made
}

func flat(t *testing.T, entries []object) []shown {
	t.Helper()
	made := []shown{}
	for _, entry := range entries {
		one := shown{}
		for key, raw := range entry {
			name := strings.TrimSuffix(strings.TrimSuffix(key, "_text"), "_base64")
			if name == "payload" || name == "arguments" {
				one[name] = string(bytesOf(t, entry, name))
				continue
			}
			var value any
			must(t, codec.Unmarshal(raw, &value))
			one[key] = value
		}
		made = append(made, one)
	}
	return made
}

func number[T int | int64 | uint32](n T) json.Number {
	spelt, _ := codec.Marshal(n)
	return json.Number(spelt)
}

type player struct {
	t         *testing.T
	machine   *interpreter.Interpreter
	commands  [][]shown
	withdrawn [][]string
	abandoned [][]shown
	outputs   [][]shown
	failure   error
}

func newPlayer(t *testing.T, c *scenario) *player {
	t.Helper()
	workflow := conformance[c.Workflow]
	if workflow == nil {
		t.Fatalf("no workflow %s", c.Workflow)
	}
	p := &player{t: t, machine: interpreter.New(workflow, c.Run)}
	p.commands, p.withdrawn, p.abandoned, p.outputs = [][]shown{}, [][]string{}, [][]shown{}, [][]shown{}
	t.Cleanup(p.machine.Close)
	return p
}

func (p *player) feed(event *model.Event) {
	p.machine.Withdrawn, p.machine.Issued, p.machine.Outputs = nil, nil, nil
	if p.failure = p.machine.Feed([]*model.Event{event}, interpreter.Unlimited); p.failure == nil {
		p.note()
	}
}

func (p *player) note() {
	machine := p.machine
	commands, abandoned := []shown{}, []shown{}
	for _, command := range machine.Waiting() {
		commands = append(commands, p.command(command))
	}
	for _, command := range machine.Issued {
		if command.Abandoned {
			abandoned = append(abandoned, p.command(command))
		}
	}
	withdrawn := []string{}
	for _, command := range machine.Withdrawn {
		withdrawn = append(withdrawn, command.ID)
	}
	outputs := []shown{}
	for _, said := range machine.Outputs {
		one := shown{"id": said.ID, "name": said.Name}
		give(one, "target", said.Target)
		give(one, "label", said.Label)
		if said.Name == "send_signal" {
			one["message"] = machine.Position(said.ID, ":")
		}
		payload := said.Payload
		if said.Name == "reply" && said.Label == "error" {
			payload = told(p.t, payload)
		}
		give(one, "payload", string(payload))
		outputs = append(outputs, one)
	}
	p.commands = append(p.commands, commands)
	p.withdrawn = append(p.withdrawn, withdrawn)
	p.abandoned = append(p.abandoned, abandoned)
	p.outputs = append(p.outputs, outputs)
}

func give(one shown, key, value string) {
	if value != "" {
		one[key] = value
	}
}

func (p *player) command(command *interpreter.Command) shown {
	one := shown{"id": command.ID, "kind": string(command.Kind), "name": command.Name}
	if command.Kind == interpreter.StepCall || command.Kind == interpreter.Child {
		one["arguments"] = string(command.Arguments)
	}
	if command.Kind == interpreter.Child {
		one["run"] = p.machine.ChildID(command)
	}
	if command.Kind == interpreter.Savepoint {
		one["payload"] = string(p.machine.SavepointPayload(command))
	}
	if check := command.Check(); check != 0 {
		one["check"] = number(check)
	}
	if command.Timed {
		one["due"] = number(command.Due)
	}
	if command.Attempts > 0 {
		one["attempts"] = number(command.Attempts)
	}
	if command.Intent {
		one["intent"] = true
	}
	if command.Cancelled {
		one["cancelled"] = true
	}
	return one
}

// told is, of a failure, what is the same on every machine.
func told(t *testing.T, payload []byte) []byte {
	t.Helper()
	failure := model.DecodeFailure(payload)
	spelt, err := codec.Marshal(map[string]string{"type": failure.Type, "message": failure.Message})
	must(t, err)
	return spelt
}

func (p *player) outcome() shown {
	outcome := p.machine.Outcome
	if outcome == nil {
		return nil
	}
	payload := outcome.Payload
	if outcome.Kind == model.Failed {
		payload = told(p.t, payload)
	}
	one := shown{"kind": outcome.Kind}
	give(one, "payload", string(payload))
	return one
}

func (p *player) unread() []shown {
	made := []shown{}
	for _, letter := range p.machine.Unread() {
		made = append(made, shown{"name": letter.Name, "payload": string(letter.Payload)})
	}
	return made
}

func (p *player) error() shown {
	var misfit *model.NonDeterminismError
	var damaged *model.JournalDamaged
	switch {
	case errors.As(p.failure, &misfit):
		return shown{"type": "NonDeterminismError", "seq": number(misfit.Seq), "recorded": misfit.Recorded, "asked": misfit.Asked}
	case errors.As(p.failure, &damaged):
		return shown{"type": "JournalDamaged", "seq": number(damaged.Seq)}
	case p.failure != nil:
		return shown{"type": p.failure.Error()}
	}
	return nil
}

func one(t *testing.T, entry object) shown {
	t.Helper()
	if entry == nil {
		return nil
	}
	return flat(t, []object{entry})[0]
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Errorf("%s:\nexpected %v\ngot      %v", what, want, got)
	}
}

// compare compares what a player saw with the entries of a case from a place on.
func compare(t *testing.T, c *scenario, p *player, from int) {
	t.Helper()
	same(t, "commands", expected(t, c.Commands)[from:], p.commands)
	same(t, "withdrawn", c.Withdrawn[from:], p.withdrawn)
	same(t, "abandoned", expected(t, c.Abandoned)[from:], p.abandoned)
	same(t, "outputs", expected(t, c.Outputs)[from:], p.outputs)
	same(t, "unread", flat(t, c.Unread), p.unread())
	same(t, "outcome", one(t, c.Outcome), p.outcome())
	same(t, "error", one(t, c.Error), p.error())
}

func readCases(t *testing.T) map[string]*scenario {
	t.Helper()
	paths, err := filepath.Glob("../../tests/conformance/cases/*.json")
	must(t, err)
	if len(paths) < 100 {
		t.Fatalf("found %d cases only", len(paths))
	}
	found := map[string]*scenario{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		must(t, err)
		c := &scenario{}
		must(t, json.Unmarshal(text, c))
		found[c.Name] = c
	}
	return found
}

func TestCasesArePlayedAsTheyWereRecorded(t *testing.T) {
	for name, c := range readCases(t) {
		t.Run(name, func(t *testing.T) {
			p := newPlayer(t, c)
			for _, entry := range c.Script {
				p.feed(eventOf(t, entry))
			}
			compare(t, c, p, 0)
		})
	}
}

// seal is the CRC-32 of the fields that replay reads, as every store keeps it.
func seal(e *model.Event) uint32 {
	head := fmt.Sprintf("%d\n%s\n%s\n%s\n%d\n%d\n", e.Seq, e.Kind, e.Command, e.Name, e.At, e.Check)
	return crc32.ChecksumIEEE(append([]byte(head), e.Payload...))
}

func TestEveryEventKeepsItsSeal(t *testing.T) {
	for name, c := range readCases(t) {
		for _, entry := range c.Script {
			event := eventOf(t, entry)
			same(t, name, field[uint32](t, entry, "seal"), seal(event))
		}
	}
}

func TestACaseMayBeCutAnywhere(t *testing.T) {
	for name, c := range readCases(t) {
		t.Run(name, func(t *testing.T) {
			commands, outputs := expected(t, c.Commands), expected(t, c.Outputs)
			for cut := 1; cut < len(commands); cut++ {
				p := newPlayer(t, c)
				first := make([]*model.Event, cut)
				for i := range first {
					first[i] = eventOf(t, c.Script[i])
				}
				must(t, p.machine.Feed(first, interpreter.Unlimited))
				p.feed(eventOf(t, c.Script[cut]))
				same(t, "commands", commands[cut], p.commands[0])
				same(t, "outputs", outputs[cut], p.outputs[0])
			}
		})
	}
}

func TestGoingOnEqualsStartingAgain(t *testing.T) {
	played := 0
	for name, c := range readCases(t) {
		for place, entry := range c.Script {
			savepoint := eventOf(t, entry)
			if savepoint.Kind != model.SavepointTaken {
				continue
			}
			if resume, err := model.DecodeResume(savepoint.Payload); err != nil || resume == nil {
				continue
			}
			played++
			t.Run(name, func(t *testing.T) {
				p := newPlayer(t, c)
				started := eventOf(t, c.Script[0])
				must(t, p.machine.Recover(started, savepoint, interpreter.Unlimited))
				p.note()
				for _, later := range c.Script[place+1:] {
					p.feed(eventOf(t, later))
				}
				compare(t, c, p, place)
			})
		}
	}
	if played == 0 {
		t.Error("no case has a savepoint with state")
	}
}
