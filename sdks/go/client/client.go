// Package client starts runs, tells them things, and looks at them. It needs a server, and no worker of its own.
//
// Server URLs are grpc://host:port, or grpcs://host:port with TLS. Options in the query: token (or REPLAY_TOKEN in the
// environment), max_message in bytes, and for grpcs the files ca, cert and key (mutual TLS).
//
// Every call takes a context and waits for a server that is restarting, 30 s when the context has no deadline. Errors are those of
// the server, as themselves: errors.As finds an [*UnknownRun], a [*RunExists], a [*RunFailed], …
package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"

	"example.org/replay"
	"example.org/replay/internal/engine"
	wire "example.org/replay/internal/generated"
	"example.org/replay/internal/service"
	"example.org/replay/model"
)

// Errors of calls; errors.As tells them apart. Their fields are documented in package model.
type (
	UnknownRun     = model.UnknownRun       // there is no run of that id in that namespace
	UnknownName    = model.UnknownName      // a savepoint, update or event of that name is not known
	RunExists      = model.RunExists        // the id is taken by a run of another workflow or with other input
	RunClosed      = model.RunClosed        // the run has ended and takes no more messages
	RunFailed      = model.RunFailed        // a run has no result: it failed, was cancelled or terminated, or is stuck
	UpdateRefused  = model.UpdateRefused    // the workflow refused an update
	InvalidRequest = model.InvalidRequest   // an argument does not fit
	Unavailable    = model.StoreUnavailable // the server cannot be reached: the outcome is unknown, and asking again is right
	Refused        = model.StoreRefused     // the server does not do this: a missing right, a message too large, another protocol
)

// Client is a connection to a server, for one namespace. It may be used by many goroutines.
type Client struct {
	conn      *service.Connection
	namespace string
}

// Dial connects to a server. The namespace is "default" unless one is named.
func Dial(ctx context.Context, url string, namespace ...string) (*Client, error) {
	conn, err := service.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	return &Client{conn, append(namespace, "default")[0]}, nil
}

// Close hangs up.
func (c *Client) Close() error { return c.conn.Close() }

func (c *Client) key(id string) *wire.RunKey { return &wire.RunKey{Namespace: c.namespace, Id: id} }

// Start starts a run; its id and other options come from the workflow's With. Starting the same id with the same input again is
// the same run; with other input it is RunExists. Without an id it gets one by chance.
func Start[I, O any](ctx context.Context, c *Client, workflow *replay.Workflow[I, O], in I) (*Handle[O], error) {
	request, err := startRequest(c, workflow, in)
	if err != nil {
		return nil, err
	}
	started, err := c.conn.Client.StartRun(ctx, request)
	return handle[O](c, started.GetRun().GetKey().GetId(), err)
}

func handle[O any](c *Client, id string, err error) (*Handle[O], error) {
	if err != nil {
		return nil, err
	}
	return Of[O](c, id), nil
}

// StartMany starts runs of one workflow, by id, in one call of the server: what Start does for each of them. The handles are in the
// order of the ids that are given.
func StartMany[I, O any](ctx context.Context, c *Client, workflow *replay.Workflow[I, O], ids []string, in func(id string) I) ([]*Handle[O], error) {
	core := workflow.Definition()
	var handles []*Handle[O]
	request := &wire.CreateRequest{}
	for _, id := range ids {
		input, err := model.SpellArguments("arguments of workflow", core.Name, in(id))
		if err != nil {
			return nil, err
		}
		begin := model.Started{Workflow: core.Name, Version: core.Version, Input: input, Patches: core.Patches}
		request.Runs = append(request.Runs, engine.NewRun(c.key(id), begin, core.Options, c.conn.Now()))
		handles = append(handles, Of[O](c, id))
	}
	answer, err := c.conn.Worker.Create(ctx, request)
	if err != nil {
		return nil, err
	}
	for i, created := range answer.Runs {
		if asked := request.Runs[i]; !created.New && created.Run.Digest != asked.Digest {
			existing := created.Run.Workflow + " " + created.Run.Digest
			return nil, &RunExists{Run: asked.Key.Id, Existing: existing, Asked: asked.Workflow + " " + asked.Digest}
		}
	}
	return handles, nil
}

// SignalWithStart starts a run unless it exists, and leaves it a message.
func SignalWithStart[I, O any](ctx context.Context, c *Client, workflow *replay.Workflow[I, O], in I, signal string, value any) (*Handle[O], error) {
	request, err := startRequest(c, workflow, in)
	if err != nil {
		return nil, err
	}
	payload, err := model.Spell("signal", signal, value)
	if err != nil {
		return nil, err
	}
	started, err := c.conn.Client.SignalWithStart(ctx, &wire.SignalWithStartRequest{
		Start: request, Signal: &wire.SignalRunRequest{Name: signal, Payload: payload, MessageId: rand.Text()},
	})
	return handle[O](c, started.GetRun().GetKey().GetId(), err)
}

// Debounce starts a run when it has not been called for a while, with the input of the last call for the same workflow and key. The
// longest is when the run begins at the latest after the first call; 0 for no end.
func Debounce[I, O any](ctx context.Context, c *Client, workflow *replay.Workflow[I, O], in I, key string, delay, longest time.Duration) (*Handle[O], error) {
	request, err := startRequest(c, workflow, in)
	if err != nil {
		return nil, err
	}
	if workflow.Definition().Options.ID == "" {
		request.Key.Id = "" // one of the server's choice, the same for all calls
	}
	answer, err := c.conn.Client.DebounceRun(ctx, &wire.DebounceRunRequest{
		Start: request, Key: key, Delay: delay.Seconds(), MaxWait: service.Optional(longest.Seconds()),
	})
	return handle[O](c, answer.GetRunId(), err)
}

func startRequest[I, O any](c *Client, workflow *replay.Workflow[I, O], in I) (*wire.StartRunRequest, error) {
	core := workflow.Definition()
	options := core.Options
	input, err := model.SpellArguments("arguments of workflow", core.Name, in)
	return &wire.StartRunRequest{
		Key: c.key(cmp.Or(options.ID, rand.Text())), Workflow: core.Name, Version: core.Version, Input: input, Queue: options.Queue,
		Priority: options.Priority, Delay: options.Delay.Microseconds(), Deadline: service.Optional(options.Deadline.Microseconds()), Tags: options.Tags,
		Patches: core.Patches, KnowsPatches: true, FairnessKey: options.FairnessKey,
	}, err
}

// Run is a run as the index shows it.
type Run struct {
	ID, Namespace string
	Workflow      string
	Version       string
	Queue         string
	Status        string // pending, running, waiting, paused, stuck, completed, failed, cancelled, terminated or continued
	Note          string // why it is stuck
	Priority      int32
	Parent        string
	Tags          map[string]string
	State         map[string]json.RawMessage // what it shows, by key
	Length        int64                      // of its journal
	Source        string                     // run and event that it was forked from
	Worker        string                     // who holds it
	CreatedAt     time.Time
	UpdatedAt     time.Time
	WakeAt        time.Time // when its next timer is due; zero for never
	Result        json.RawMessage
}

// Closed says whether it has ended.
func (r *Run) Closed() bool {
	switch r.Status {
	case "completed", "failed", "cancelled", "terminated", "continued":
		return true
	}
	return false
}

func runIn(r *wire.Run) *Run {
	made := &Run{
		ID: r.Key.Id, Namespace: r.Key.Namespace, Workflow: r.Workflow, Version: r.Version, Queue: r.Queue, Status: r.Status, Note: r.Note,
		Priority: r.Priority, Parent: r.Parent, Tags: r.Tags, State: map[string]json.RawMessage{}, Length: r.Seq, Source: r.Source,
		Worker: r.Worker, CreatedAt: time.UnixMicro(r.CreatedAt), UpdatedAt: time.UnixMicro(r.UpdatedAt), Result: r.Result,
	}
	for key, value := range r.State {
		made.State[key] = value
	}
	if r.WakeAt != nil {
		made.WakeAt = time.UnixMicro(*r.WakeAt)
	}
	return made
}

// Filter says which runs to find; what is empty does not narrow.
type Filter struct {
	Workflow      string
	Statuses      []string          // any of these
	Tags          map[string]string // all of these
	Prefix        string            // what the id begins with
	Parent        string
	FairnessKey   string
	CreatedAfter  time.Time // inclusive
	CreatedBefore time.Time // exclusive
}

// Page is some of what was found, newest first; Cursor asks for the next one, empty when there is none.
type Page struct {
	Runs   []*Run
	Cursor string
}

// Page finds runs, a page at a time: limit of them at most, 100 when it is 0.
func (c *Client) Page(ctx context.Context, filter Filter, limit int, cursor string) (*Page, error) {
	moment := func(t time.Time) *int64 {
		if t.IsZero() {
			return nil
		}
		return service.Optional(t.UnixMicro())
	}
	query := &wire.Filter{
		Namespace: c.namespace, Statuses: filter.Statuses, Tags: filter.Tags, Workflow: service.Optional(filter.Workflow), Prefix: service.Optional(filter.Prefix),
		Parent: service.Optional(filter.Parent), FairnessKey: service.Optional(filter.FairnessKey),
		CreatedAfter: moment(filter.CreatedAfter), CreatedBefore: moment(filter.CreatedBefore),
	}
	answer, err := c.conn.Client.ListRuns(ctx, &wire.ListRunsRequest{Filter: query, Limit: int32(min(limit, 1_000)), Cursor: cursor})
	if err != nil {
		return nil, err
	}
	page := &Page{Cursor: answer.Cursor}
	for _, run := range answer.Runs {
		page.Runs = append(page.Runs, runIn(run))
	}
	return page, nil
}

// List finds all runs, newest first, page by page as they are asked for.
func (c *Client) List(ctx context.Context, filter Filter) iter.Seq2[*Run, error] {
	return func(yield func(*Run, error) bool) {
		for cursor, first := "", true; first || cursor != ""; first = false {
			page, err := c.Page(ctx, filter, 0, cursor)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, run := range page.Runs {
				if !yield(run, nil) {
					return
				}
			}
			cursor = page.Cursor
		}
	}
}

// Entry is one entry of a topic; offsets grow, and may have gaps.
type Entry struct {
	Offset int64
	At     time.Time
	Value  json.RawMessage
}

// Publish appends to a topic.
func (c *Client) Publish(ctx context.Context, topic string, value any) error {
	payload, err := model.Spell("topic", topic, value)
	if err != nil {
		return err
	}
	_, err = c.conn.Client.PublishTopic(ctx, &wire.PublishTopicRequest{
		Namespace: c.namespace, Entries: []*wire.TopicEntry{{Topic: topic, Payload: payload}},
	})
	return err
}

// Topic reads the entries of a topic after an offset, and, when it is followed, what comes until ctx ends.
func (c *Client) Topic(ctx context.Context, topic string, after int64, follow bool) iter.Seq2[Entry, error] {
	open := func(ctx context.Context) (receiver[wire.ReadTopicResponse], error) {
		return c.conn.Client.ReadTopic(ctx, &wire.ReadTopicRequest{Namespace: c.namespace, Topic: topic, After: after, Follow: follow})
	}
	return following(ctx, follow, open, func(page *wire.ReadTopicResponse, yield func(Entry) bool) bool {
		for _, entry := range page.Entries {
			after = entry.Offset
			if !yield(Entry{entry.Offset, time.UnixMicro(entry.At), entry.Payload}) {
				return false
			}
		}
		return true
	})
}

type receiver[T any] interface {
	Recv() (*T, error)
	grpc.ClientStream
}

// following yields what `each` finds in the answers of a stream, until it has enough, or to the stream's end unless it is followed: a
// server that closes ends its streams. Where the connection breaks it is opened anew; `open` asks for what is still missing.
func following[A, T any](
	ctx context.Context, follow bool, open func(context.Context) (receiver[A], error), each func(answer *A, yield func(T) bool) bool,
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for failures := 0; ; {
			stream, err := open(ctx)
			for err == nil {
				var answer *A
				if answer, err = stream.Recv(); err == nil {
					failures = 0
					if !each(answer, func(value T) bool { return yield(value, nil) }) {
						return
					}
				}
			}
			ended := errors.Is(err, io.EOF)
			if ended && !follow {
				return
			}
			failures++
			if (ended || service.IsUnavailable(err)) && ctx.Err() == nil && failures <= patience {
				select {
				case <-ctx.Done():
					err = context.Cause(ctx)
				case <-time.After(min(time.Second, 20*time.Millisecond<<failures)):
					continue
				}
			}
			yield(*new(T), err)
			return
		}
	}
}

const patience = 30 // times in a row that a stream is opened in vain, about half a minute
