// Package service is one connection to a replay server: its URL, its clock, its errors, and the stream that commits go over.
//
// Rule 1: what may be repeated is tried again by gRPC itself when the server cannot be reached; a commit is not, for the engine
// must know that its answer was not heard.
// Rule 2: the clock is the server's: its offset from this machine's monotonic clock is learned from every answer that carries it.
// Rule 3: the error that was raised at the server is the one that is returned here, out of the trailer that carries it.
package service

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	wire "example.org/replay/internal/generated"
	"example.org/replay/model"
)

// Version is what this SDK calls itself at Hello.
const Version = "go/0.1.0"

const (
	protocol = 1
	deadline = 30 * time.Second // of a call that its caller gave none
	jump     = 1_000_000        // microseconds from which on the server's clock went back; less is a correction
	trailer  = "replay-error-bin"
	// Every verb is tried again but for those that are named: they are neither idempotent by ids nor reading only. A client waits for a
	// server that is away; an engine has ways of its own.
	methods = `{"methodConfig": [
		{"name": [{"service": "replay.v1.WorkerService"}], "retryPolicy": POLICY},
		{"name": [{"service": "replay.v1.ClientService"}], "waitForReady": true, "retryPolicy": POLICY},
		{"name": [{"service": "replay.v1.WorkerService", "method": "Claim"}, {"service": "replay.v1.WorkerService", "method": "Commit"},
		{"service": "replay.v1.WorkerService", "method": "CommitStream"}]},
		{"name": [{"service": "replay.v1.ClientService", "method": "DebounceRun"}, {"service": "replay.v1.ClientService", "method": "ControlRun"},
		{"service": "replay.v1.ClientService", "method": "ForkRun"}, {"service": "replay.v1.ClientService", "method": "PublishTopic"}],
		"waitForReady": true}]}`
	policy = `{"maxAttempts": 5, "initialBackoff": "0.05s", "maxBackoff": "2s", "backoffMultiplier": 4, "retryableStatusCodes": ["UNAVAILABLE"]}`
)

// Connection is a server that was greeted.
type Connection struct {
	Worker wire.WorkerServiceClient
	Client wire.ClientServiceClient
	URL    string
	Hello  *wire.HelloResponse

	conn     *grpc.ClientConn
	born     time.Time
	mu       sync.Mutex
	offset   int64
	latest   int64
	lineLock sync.Mutex
	line     wire.WorkerService_CommitStreamClient
	hangUp   context.CancelFunc
}

// Open connects to the server of a URL: grpc://host:port or grpcs://host:port, with the options token (or REPLAY_TOKEN in the
// environment), max_message in bytes, and for grpcs the files ca, cert and key.
func Open(ctx context.Context, address string) (*Connection, error) {
	target, options, err := dialing(address)
	if err != nil {
		return nil, err
	}
	c := &Connection{URL: target.Scheme + "://" + target.Host, born: time.Now(), offset: math.MinInt64 / 2}
	options = append(options, grpc.WithUnaryInterceptor(c.unary), grpc.WithStreamInterceptor(c.stream))
	if c.conn, err = grpc.NewClient("passthrough:///"+target.Host, options...); err != nil {
		return nil, invalid(address, err.Error())
	}
	c.Worker, c.Client = wire.NewWorkerServiceClient(c.conn), wire.NewClientServiceClient(c.conn)
	if c.Hello, err = c.Worker.Hello(ctx, &wire.HelloRequest{Protocol: protocol, Client: Version}); err != nil {
		_ = c.conn.Close()
		return nil, err
	}
	return c, nil
}

func invalid(address, problem string) error {
	shown, _, _ := strings.Cut(address, "?")
	return &model.InvalidRequest{What: "server URL " + shown, Problem: problem, Advice: "write grpc://host:port?token=…"}
}

func dialing(address string) (*url.URL, []grpc.DialOption, error) {
	target, err := url.Parse(address)
	if err != nil {
		return nil, nil, invalid(address, "it is no URL")
	}
	given := target.Query()
	for name := range given {
		if !strings.Contains(" token max_message ca cert key ", " "+name+" ") {
			return nil, nil, invalid(address, "unknown option "+name)
		}
	}
	if target.Hostname() == "" || (target.Scheme != "grpc" && target.Scheme != "grpcs") {
		return nil, nil, invalid(address, "it names no host, or is neither grpc:// nor grpcs://")
	}
	if target.Port() == "" {
		target.Host += ":7233"
	}
	largest := 64 << 20
	if text := given.Get("max_message"); text != "" {
		if largest, err = strconv.Atoi(text); err != nil || largest <= 0 {
			return nil, nil, invalid(address, "max_message is no number of bytes")
		}
	}
	transport := insecure.NewCredentials()
	if target.Scheme == "grpcs" {
		config, err := tlsConfig(given)
		if err != nil {
			return nil, nil, invalid(address, err.Error())
		}
		transport = credentials.NewTLS(config)
	}
	return target, []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(token(cmp.Or(given.Get("token"), os.Getenv("REPLAY_TOKEN")))),
		grpc.WithDefaultServiceConfig(strings.ReplaceAll(methods, "POLICY", policy)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largest), grpc.MaxCallSendMsgSize(largest)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}, nil
}

func tlsConfig(given url.Values) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := given.Get("ca"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate", file)
		}
	}
	if cert, key := given.Get("cert"), given.Get("key"); cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// token goes with every call.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if t == "" {
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

func (t token) RequireTransportSecurity() bool { return false }

// Close hangs up.
func (c *Connection) Close() error {
	c.lineLock.Lock()
	defer c.lineLock.Unlock()
	c.dropLine()
	return c.conn.Close()
}

// ---- calls -----------------------------------------------------------------------------------------------------------------

func (c *Connection) unary(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	mine := ctx
	if _, limited := ctx.Deadline(); !limited && !strings.HasSuffix(method, "/UpdateRun") {
		var cancel context.CancelFunc
		mine, cancel = context.WithTimeout(ctx, deadline)
		defer cancel()
	}
	var after metadata.MD
	asked := time.Since(c.born)
	if err := call(mine, method, request, answer, conn, append(options, grpc.Trailer(&after))...); err != nil {
		return c.revive(ctx, err, after)
	}
	if timed, ok := answer.(interface{ GetNow() int64 }); ok {
		c.learn(asked, timed.GetNow())
	}
	return nil
}

func (c *Connection) stream(ctx context.Context, about *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	made, err := open(ctx, about, conn, method, options...)
	if err != nil {
		return nil, c.revive(ctx, err, nil)
	}
	return &stream{made, c, ctx}, nil
}

type stream struct {
	grpc.ClientStream
	c      *Connection
	caller context.Context //nolint:containedctx // the stream's own context also ends with the connection
}

func (s *stream) RecvMsg(answer any) error {
	err := s.ClientStream.RecvMsg(answer)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return s.c.revive(s.caller, err, s.Trailer())
}

// Claim asks for runs that are ready, each with all of its journal.
func (c *Connection) Claim(ctx context.Context, request *wire.ClaimRequest) (*wire.ClaimResponse, error) {
	answer, err := c.Worker.Claim(ctx, request)
	if err != nil {
		return nil, err
	}
	for _, claimed := range answer.Runs {
		if !claimed.Partial {
			continue
		}
		last := claimed.Journal[len(claimed.Journal)-1].Seq
		if len(claimed.Journal) == 1 {
			last = max(last, claimed.Run.Base-1)
		}
		rest, err := c.Journal(ctx, claimed.Run.Key, last, math.MaxInt32)
		if err != nil { // the lease ends by itself, and the run is claimed again
			return nil, err
		}
		claimed.Journal = append(claimed.Journal, rest...)
	}
	return answer, nil
}

// Journal reads events after a seq.
func (c *Connection) Journal(ctx context.Context, key *wire.RunKey, after, limit int64) ([]*wire.Event, error) {
	pages, err := c.Worker.Journal(ctx, &wire.JournalRequest{Key: key, After: after, Limit: limit})
	if err != nil {
		return nil, err
	}
	var events []*wire.Event
	for {
		page, err := pages.Recv()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		events = append(events, page.Events...)
	}
}

// Commit makes turns durable, over one stream; requests and answers alternate. A stream that breaks is opened anew with the next
// request, and where the server has no room for streams each commit is a call of its own.
func (c *Connection) Commit(ctx context.Context, request *wire.CommitRequest) (*wire.CommitResponse, error) {
	c.lineLock.Lock()
	defer c.lineLock.Unlock()
	asked := time.Since(c.born)
	answer, err := c.overLine(request)
	if _, refused := errors.AsType[*model.StoreRefused](err); refused {
		return c.Worker.Commit(ctx, request)
	}
	if err != nil {
		return nil, err
	}
	c.learn(asked, answer.Now)
	return answer, nil
}

func (c *Connection) overLine(request *wire.CommitRequest) (answer *wire.CommitResponse, err error) {
	defer func() {
		if err != nil {
			c.dropLine()
		}
	}()
	if c.line == nil {
		var ctx context.Context
		ctx, c.hangUp = context.WithCancel(context.Background())
		if c.line, err = c.Worker.CommitStream(ctx); err != nil {
			return nil, err
		}
	}
	defer time.AfterFunc(deadline, c.hangUp).Stop() // a stream as such would wait for ever
	if err := c.line.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if answer, err = c.line.Recv(); errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return nil, &model.StoreUnavailable{Store: c.URL, Reason: "the stream of commits ended without an answer", Advice: "try again"}
	}
	return answer, err
}

func (c *Connection) dropLine() {
	if c.hangUp != nil {
		c.hangUp()
	}
	c.line, c.hangUp = nil, nil
}

// ---- the clock -------------------------------------------------------------------------------------------------------------

// learn takes the server's time from an answer. The server looked at its clock between the moment of asking and this one, so each
// answer bounds the offset from both sides.
func (c *Connection) learn(asked time.Duration, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = min(max(c.offset, now-time.Since(c.born).Microseconds()), now-asked.Microseconds())
}

// Now is the server's clock; it goes back only when the server's did, not for the sake of a correction.
func (c *Connection) Now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.offset + time.Since(c.born).Microseconds()
	if back := c.latest - found; back <= 0 || back >= jump {
		c.latest = found
	}
	return c.latest
}

// ---- errors ----------------------------------------------------------------------------------------------------------------

var refusals = map[codes.Code]string{
	codes.Unauthenticated:   "pass a valid token: grpc://host:port?token=…, or REPLAY_TOKEN",
	codes.PermissionDenied:  "use a token that has the scope and the namespace",
	codes.ResourceExhausted: "send less at once, or raise --max-message on the server and ?max_message= on the client",
	codes.Unimplemented:     "the server speaks another protocol: check host and port, or upgrade it",
	codes.InvalidArgument:   "client and server do not understand each other: upgrade the older of the two",
	codes.OutOfRange:        "client and server do not understand each other: upgrade the older of the two",
}

// hints say what to do about a word in an error; the first that fits.
var hints = [][2]string{
	{"certificate", "look at the certificates: grpcs://host:port?ca=FILE, and on the server --tls-cert"},
	{"tls", "look at TLS: a server with TLS needs grpcs://, with mutual TLS also ?cert=FILE&key=FILE; one without needs grpc://"},
}

// revive makes the error that a call failed with: as itself where replay knows it, else Unavailable when it is unknown whether
// the call took effect or asking again may help, and Refused when the server said no.
func (c *Connection) revive(ctx context.Context, err error, after metadata.MD) error {
	said := status.Convert(err)
	if details := after.Get(trailer); len(details) > 0 {
		return c.revived([]byte(details[0]), said.Message())
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	reason := said.Code().String() + ": " + said.Message()
	if advice, no := refusals[said.Code()]; no {
		return &model.StoreRefused{Store: c.URL, Reason: reason, Advice: advice}
	}
	advice := "check that the server runs and can be reached, then try again"
	if strings.HasPrefix(c.URL, "grpcs:") { // one that wants to see a certificate hangs up without a word
		advice = "check that the server runs and can be reached, and with mutual TLS add ?cert=FILE&key=FILE, then try again"
	}
	if at := slices.IndexFunc(hints, func(hint [2]string) bool { return strings.Contains(strings.ToLower(reason), hint[0]) }); at >= 0 {
		advice = hints[at][1]
	}
	return &model.StoreUnavailable{Store: c.URL, Reason: reason, Advice: advice}
}

func (c *Connection) revived(detail []byte, text string) error {
	var told wire.ErrorDetail
	unexpected := &model.StoreRefused{Store: c.URL, Reason: "it failed unexpectedly: " + text, Advice: "look at the server's log"}
	if proto.Unmarshal(detail, &told) != nil {
		return unexpected
	}
	if told.Error == "ValueError" {
		return &model.InvalidRequest{What: "request", Problem: text}
	}
	if made := model.Revive(told.Error, []byte(told.Facts)); made != nil {
		return made
	}
	return unexpected
}

// IsUnavailable says whether it is unknown if a call took effect.
func IsUnavailable(err error) bool {
	_, away := errors.AsType[*model.StoreUnavailable](err)
	return away
}

// Optional is a field that is left out when it has its zero value.
func Optional[T comparable](value T) *T {
	if value == *new(T) {
		return nil
	}
	return &value
}
