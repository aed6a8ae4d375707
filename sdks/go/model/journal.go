package model

import (
	"encoding/json"
	"fmt"

	"example.org/replay/internal/codec"
)

// Format is the version of the journal's format that is written.
const Format = 1

// Letter is a signal that nobody has read.
type Letter struct {
	Name    string
	Payload []byte
}

// MarshalJSON spells it as [name, value].
func (l Letter) MarshalJSON() ([]byte, error) {
	return codec.Enclose([]any{l.Name, json.RawMessage(l.Payload)})
}

// UnmarshalJSON reads [name, value].
func (l *Letter) UnmarshalJSON(data []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil || len(pair) != 2 {
		return fmt.Errorf("expected [name, value], got %.80s", data)
	}
	payload, err := codec.Canonical(pair[1])
	l.Payload = payload
	if err != nil {
		return err
	}
	return json.Unmarshal(pair[0], &l.Name)
}

// Started is the first event's payload: all that a run is begun with. What is missing has its default.
type Started struct {
	Workflow      string            `json:"workflow"`
	Version       string            `json:"version,omitempty"`
	Input         json.RawMessage   `json:"input"`
	Seed          string            `json:"seed,omitempty"`
	Namespace     string            `json:"namespace,omitempty"`
	Parent        string            `json:"parent,omitempty"`
	ParentCommand string            `json:"parent_command,omitempty"`
	Patches       []string          `json:"patches,omitzero"` // nil when whoever started it did not have the code
	Deadline      *int64            `json:"deadline,omitempty"`
	Attempt       int               `json:"attempt"`
	Mail          []Letter          `json:"mail"`
	Tags          map[string]string `json:"tags,omitempty"`
	Chain         int               `json:"chain"`
	Budget        json.RawMessage   `json:"budget,omitempty"` // of calls of language models, for SDKs that have them; handed on as it is
	Spent         json.RawMessage   `json:"spent,omitempty"`
	Step          *StepPolicy       `json:"step,omitempty"` // of a step sent to another queue
	Format        int               `json:"format"`
}

// Encode is its journal form.
func (s Started) Encode() ([]byte, error) {
	s.Format = Format
	s.Attempt = max(1, s.Attempt)
	if len(s.Input) == 0 {
		s.Input = json.RawMessage("[]")
	}
	return codec.Enclose(s)
}

// DecodeStarted reads the first event of a journal.
func DecodeStarted(event *Event, run string) (Started, error) {
	damaged := func(problem string, args ...any) (Started, error) {
		return Started{}, &JournalDamaged{run, event.Seq, fmt.Sprintf(problem, args...)}
	}
	if event.Kind != Begun || event.Seq != 1 {
		return damaged("a journal begins with #1 started, here stands %s", Show(event))
	}
	made := Started{Input: json.RawMessage("[]"), Namespace: "default", Attempt: 1, Format: Format}
	if err := json.Unmarshal(event.Payload, &made); err != nil {
		return damaged("its payload does not fit: %v", err)
	}
	if made.Workflow == "" {
		return damaged("its payload names no workflow")
	}
	if made.Format > Format {
		return damaged("it was written in format %d, this code reads up to %d: upgrade the SDK", made.Format, Format)
	}
	input, err := codec.Canonical(made.Input)
	if err != nil {
		return damaged("its input does not fit: %v", err)
	}
	made.Input = input
	return made, nil
}

// Resume is a savepoint's payload when it carries state: all that recovery needs of what lies before.
type Resume struct {
	State   json.RawMessage `json:"state"`
	Next    int             `json:"next"`
	Outs    int             `json:"outs"`
	Updates int             `json:"updates"`
	Patches []string        `json:"patches"`
	Mail    []Letter        `json:"mail"`
	Notes   json.RawMessage `json:"notes"`
}

// Encode is its journal form.
func (r Resume) Encode() ([]byte, error) { return codec.Enclose(r) }

// DecodeResume reads a savepoint's payload; nil when it carries no state.
func DecodeResume(payload []byte) (*Resume, error) {
	var made Resume
	if err := json.Unmarshal(payload, &made); err != nil {
		return nil, err
	}
	if made.State == nil { // a state of null is the four letters, not nothing
		return nil, nil
	}
	return &made, nil
}
