package model

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"example.org/replay/internal/codec"
)

func TestACallsPolicyGoesAlongWhereItDiffers(t *testing.T) {
	declared := StepOptions{Retry: Retry{MaxAttempts: 3, Initial: time.Second}, Timeout: time.Minute, Queue: "gpu"}
	for want, called := range map[string]StepOptions{
		`null`:             declared,
		`{"timeout":null}`: {Retry: declared.Retry},
		`{"heartbeat":30}`: {Retry: declared.Retry, Timeout: time.Minute, Heartbeat: 30 * time.Second},
		`{"timeout":1.5}`:  {Retry: declared.Retry, Timeout: 1500 * time.Millisecond},
		`{"retry":{"factor":2,"initial":0.2,"jitter":0.5,"max_attempts":9,"max_delay":60}}`: {
			Retry: Retry{MaxAttempts: 9, Initial: 200 * time.Millisecond, Jitter: 0.5}, Timeout: time.Minute,
		},
	} {
		payload, err := codec.Marshal(called.Difference(declared))
		if err != nil || string(payload) != want {
			t.Errorf("expected %s, got %s, %v", want, payload, err)
		}
		var policy *StepPolicy
		if err := json.Unmarshal(payload, &policy); err != nil {
			t.Fatal(err)
		}
		got := declared.Under(policy)
		if got.Retry.policy() != called.Retry.policy() || got.Timeout != called.Timeout || got.Heartbeat != called.Heartbeat || got.Queue != "gpu" {
			t.Errorf("%s: expected %+v, got %+v", want, called, got)
		}
	}
}

func TestDelaysGrowToALimit(t *testing.T) {
	retry := Retry{MaxAttempts: 5, Initial: time.Second, MaxDelay: 5 * time.Second, Jitter: 0.5}
	for attempt, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 5 * time.Second, 5_000: 5 * time.Second} {
		if got := retry.Delay(attempt, 0); got != want {
			t.Errorf("attempt %d: expected %v, got %v", attempt, want, got)
		}
	}
	if got := retry.Delay(1, 1); got != 500*time.Millisecond {
		t.Errorf("expected chance to take half away, got %v", got)
	}
	failed := errors.New("failed")
	if !retry.Allows(failed, 4) || retry.Allows(failed, 5) || (&Retry{}).Allows(failed, 1) {
		t.Error("expected five attempts, and one by default")
	}
	retry.GiveUpOn = func(err error) bool { return errors.Is(err, failed) }
	if retry.Allows(failed, 1) {
		t.Error("expected it to give up")
	}
}
