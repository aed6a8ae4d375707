package model

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"example.org/replay/internal/codec"
)

const (
	messageLimit   = 4_000
	tracebackLimit = 8_000
)

// Failure is an error as data: what it becomes when it is journaled.
type Failure struct {
	Type      string            `json:"type"`
	Message   string            `json:"message"`
	Attempts  int               `json:"attempts"`
	Traceback string            `json:"traceback"`
	Args      []json.RawMessage `json:"args,omitzero"`
	RetryIn   float64           `json:"retry_in,omitempty"`
}

// FailureOf is what is kept of an error.
func FailureOf(err error, attempts int) Failure {
	made := Failure{Type: TypeOf(err), Message: Cut(err.Error(), messageLimit, ""), Attempts: attempts}
	if panicked, ok := errors.AsType[*PanicError](err); ok {
		stack := panicked.Stack
		made.Traceback = strings.ToValidUTF8(stack[max(0, len(stack)-tracebackLimit):], "?")
	}
	known, _ := Named(err)
	if late, ok := known.(*TimedOut); ok { // made again from these where it comes back
		return made.With(late.What, late.Seconds)
	}
	return made
}

// With is a failure with arguments, out of which its error is made again.
func (f Failure) With(arguments ...any) Failure {
	for _, argument := range arguments {
		spelt, _ := codec.Marshal(argument) // plain texts and numbers
		f.Args = append(f.Args, spelt)
	}
	return f
}

// Encode is its journal form.
func (f Failure) Encode() []byte {
	payload, err := codec.Marshal(f)
	if err != nil { // arguments that were no JSON
		f.Args = nil
		payload, _ = codec.Marshal(f)
	}
	return payload
}

// DecodeFailure reads a failure from its journal form; what is missing or does not fit has its default.
func DecodeFailure(payload []byte) Failure {
	made := Failure{Type: "Exception", Attempts: 1}
	_ = json.Unmarshal(payload, &made) // it passes over what does not fit
	return made
}

// DecodeEnd reads the closing event of a run that came to no result: its failure, or why it was cancelled.
func DecodeEnd(payload []byte) Failure {
	said := struct{ Type, Message, Reason, Traceback string }{Type: "Cancelled"}
	_ = json.Unmarshal(payload, &said)
	return Failure{Type: said.Type, Message: cmp.Or(said.Message, said.Reason), Attempts: 1, Traceback: said.Traceback}
}

// Arg reads one of its arguments; false when there is none, or it does not fit.
func (f Failure) Arg(place int, into any) bool {
	return place < len(f.Args) && json.Unmarshal(f.Args[place], into) == nil
}

// TypeOf is the name under which an error is journaled: replay's own are the same in every language, others are named by
// their Go type.
func TypeOf(err error) string {
	if known, name := Named(err); known != nil {
		return "replay.errors." + name
	}
	if _, panicked := errors.AsType[*PanicError](err); panicked {
		return "panic"
	}
	for strings.HasPrefix(fmt.Sprintf("%T", err), "*fmt.wrapError") && errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return TypeName(reflect.TypeOf(err))
}

// TypeName is the name of a Go type with its package's path.
func TypeName(kind reflect.Type) string {
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if kind.PkgPath() == "" {
		return kind.String()
	}
	return kind.PkgPath() + "." + kind.Name()
}

// Cut keeps the first characters of a text, and says with what follows that there were more.
func Cut(text string, limit int, more string) string {
	runes := []rune(strings.ToValidUTF8(text, "?"))
	if len(runes) <= limit {
		return string(runes)
	}
	return string(runes[:limit]) + more
}

// CancelledPayload is the journal form of a cancellation.
func CancelledPayload(reason string) []byte {
	payload, _ := codec.Marshal(map[string]string{"reason": Cut(reason, messageLimit, "")})
	return payload
}
