package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/replay"
	"example.org/replay/client"
	"example.org/replay/internal/servertest"
	"example.org/replay/model"
)

var greeting = replay.NewWorkflow("go.greeting", func(_ *replay.Run, name string) (string, error) { return "hello " + name, nil })

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// authority signs certificates for 127.0.0.1 and writes them into a folder.
type authority struct {
	t      *testing.T
	folder string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, folder: t.TempDir()}
	a.sign("ca")
	return a
}

// sign makes NAME.pem and NAME.key; the first of them is the authority's own.
func (a *authority) sign(name string) (cert, key string) {
	a.t.Helper()
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if a.cert == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		a.cert, a.key = template, made
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &made.PublicKey, a.key)
	check(a.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(made)
	check(a.t, err)
	cert, key = filepath.Join(a.folder, name+".pem"), filepath.Join(a.folder, name+".key")
	check(a.t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(a.t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

func TestMutualTLS(t *testing.T) {
	signer := newAuthority(t)
	ca := filepath.Join(signer.folder, "ca.pem")
	cert, key := signer.sign("server")
	mine, secret := signer.sign("client")
	s := servertest.Start(t, "--tls-cert", cert, "--tls-key", key, "--tls-clients", ca)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	secure := strings.Replace(s.URL, "grpc://", "grpcs://", 1)
	c, err := client.Dial(ctx, fmt.Sprintf("%s?ca=%s&cert=%s&key=%s", secure, ca, mine, secret))
	check(t, err)
	defer c.Close() //nolint:errcheck // the test ends
	_, err = client.Start(ctx, c, greeting.With(replay.RunOptions{ID: "tls"}), "you")
	check(t, err)

	for wrong, advice := range map[string]string{s.URL: "can be reached", secure: "look at the certificates", secure + "?ca=" + ca: "mutual TLS"} {
		var away *client.Unavailable
		brief, stop := context.WithTimeout(ctx, 10*time.Second)
		if _, err := client.Dial(brief, wrong); !errors.As(err, &away) || !strings.Contains(away.Advice, advice) {
			t.Errorf("%s: got %v", wrong, err)
		}
		stop()
	}
}

func TestURLsThatDoNotFitAreRefusedAtOnce(t *testing.T) {
	for _, url := range []string{"", "http://127.0.0.1", "grpc://", "grpc://h?colour=blue", "grpc://h?max_message=x", "grpcs://h?ca=/no/such/file", "grpc://h:x"} {
		var invalid *client.InvalidRequest
		if _, err := client.Dial(context.Background(), url); !errors.As(err, &invalid) {
			t.Errorf("%s: got %v", url, err)
		}
	}
}

func TestAServerThatIsNotThereIsUnavailable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	address := listener.Addr().String()
	check(t, listener.Close())
	var away *client.Unavailable
	if _, err := client.Dial(context.Background(), "grpc://"+address); !errors.As(err, &away) {
		t.Errorf("got %v", err)
	}
}

func TestManyAreStartedInOneCallAndReadWithoutAWorker(t *testing.T) {
	s := servertest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, s.URL)
	check(t, err)
	defer c.Close() //nolint:errcheck // the test ends
	ids := []string{"a", "b", "ü😀"}
	name := func(id string) string { return "Mx " + id }
	for range 2 { // again is the same
		handles, err := client.StartMany(ctx, c, greeting, ids, name)
		check(t, err)
		if len(handles) != 3 || handles[2].ID != "ü😀" {
			t.Errorf("got %v", handles)
		}
	}
	var exists *client.RunExists
	if _, err := client.Start(ctx, c, greeting.With(replay.RunOptions{ID: "a"}), "another"); !errors.As(err, &exists) {
		t.Errorf("got %v", err)
	}
	if _, err := client.StartMany(ctx, c, greeting, ids, func(string) string { return "another" }); !errors.As(err, &exists) {
		t.Errorf("got %v", err)
	}
	_, err = client.Start(ctx, c, greeting.With(replay.RunOptions{ID: "a"}), name("a"))
	check(t, err) // one call or many: the same run

	for i := range 3 {
		check(t, c.Publish(ctx, "news", i))
	}
	var read []string
	for entry, err := range c.Topic(ctx, "news", 0, false) {
		check(t, err)
		read = append(read, string(entry.Value))
	}
	if strings.Join(read, " ") != "0 1 2" {
		t.Errorf("got %v", read)
	}
	handle := client.Of[string](c, "b")
	check(t, handle.Cancel(ctx, "enough"))
	events := 0
	for event, err := range handle.Journal(ctx, 0, false) {
		check(t, err)
		if events++; event.Kind != model.Begun {
			t.Errorf("got %s", model.Show(event))
		}
	}
	brief, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if _, err := handle.Result(brief); !errors.Is(err, context.DeadlineExceeded) || events != 1 {
		t.Errorf("got %v after %d events", err, events)
	}
}
