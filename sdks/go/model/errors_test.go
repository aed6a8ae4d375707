package model

import (
	"errors"
	"fmt"
	"testing"
)

func TestAnErrorHasOneNameEverywhere(t *testing.T) {
	late := &TimedOut{What: "step ship", Seconds: 1}
	for _, wrapped := range []error{late, fmt.Errorf("shipping: %w", late), errors.Join(errors.New("lost"), fmt.Errorf("and %w", late))} {
		if found, name := Named(wrapped); found != late || name != "TimedOut" {
			t.Errorf("%v: expected TimedOut, got %s %v", wrapped, name, found)
		}
	}
	for _, foreign := range []error{nil, errors.New("other"), &PanicError{Value: "out of order"}} {
		if found, name := Named(foreign); found != nil || name != "" {
			t.Errorf("%v: expected none of replay's own, got %s", foreign, name)
		}
	}
	failed := Revive("RunFailed", []byte(`{"run": "r", "status": "failed", "error_type": "E", "message": "m", "unknown": 1}`))
	if failed == nil || failed.Error() != "run r failed: E: m" {
		t.Errorf("got %v", failed)
	}
	if other := Revive("NobodysError", []byte(`{}`)); other != nil {
		t.Errorf("got %v", other)
	}
}
