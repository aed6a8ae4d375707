package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.org/replay"
)

// Cart is what a customer orders.
type Cart struct {
	Card  string   `json:"card"`
	Cents int      `json:"cents"`
	Items []string `json:"items"`
}

// Declined is an error that the workflow wants back as itself.
type Declined struct {
	Card string `json:"card"`
}

func (d *Declined) Error() string { return "card " + d.Card + " was declined" }

// Charge may fail for a moment, so it is tried again; a card that was declined stays declined.
var Charge = replay.NewStep("charge", charge, replay.StepOptions{
	Timeout: 10 * time.Second,
	Retry:   replay.Retry{MaxAttempts: 5, Initial: 200 * time.Millisecond},
	Raises:  []replay.Raise{replay.Raises[*Declined]("shop.Declined")},
})

func charge(ctx context.Context, cart Cart) (string, error) {
	if cart.Card == "stolen" {
		return "", replay.Permanent(&Declined{cart.Card})
	}
	// A real bank is told the key, so that a charge that is sent twice is made once.
	return "receipt for " + replay.InfoOf(ctx).IdempotencyKey, nil
}

// Ship and Refund are steps like any other.
var (
	Ship   = replay.NewStep("ship", func(_ context.Context, item string) (string, error) { return item + " shipped", nil })
	Refund = replay.NewStep("refund", func(_ context.Context, receipt string) (replay.None, error) { return replay.None{}, nil })
)

// Ordering charges, waits three days for an approval, then ships all items side by side, or refunds.
var Ordering = replay.NewWorkflow("ordering", ordering)

func ordering(run *replay.Run, cart Cart) (result []string, err error) {
	receipt, err := replay.Call(run, Charge, cart)
	var declined *Declined
	if errors.As(err, &declined) {
		return []string{"try another card than " + declined.Card}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil { // cancelled, or shipping failed: the money goes back
			_, failed := replay.Call(run, Refund, receipt)
			err = errors.Join(err, failed)
		}
	}()
	approved, err := replay.SignalOr(run, "approved", 72*time.Hour, false)
	if err != nil {
		return nil, err
	}
	if !approved {
		return nil, fmt.Errorf("nobody approved %s", receipt)
	}
	var shipping []replay.Branch[string]
	for _, item := range cart.Items {
		shipping = append(shipping, replay.Calling(Ship, item))
	}
	return replay.Gather(run, shipping...)
}
