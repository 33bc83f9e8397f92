package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Pairs of streams in one session: data to a port of the pod, and what went wrong there.
type forward struct {
	ports       []string
	pairs       int
	bytes       int64
	parallel    int
	resets      int
	cancelAfter int64
	thenPort    string
	hold        bool
}

// What became of one pair.
type pair struct {
	Port        string `json:"port"`
	Sent        flow   `json:"sent"`
	Received    flow   `json:"received"`
	ErrorStream string `json:"error_stream"`
	Error       string `json:"error"`
	Reset       bool   `json:"reset"` // by us
}

type forwarded struct {
	Error  string  `json:"error"` // of the session
	Pairs  []*pair `json:"pairs"`
	Then   *pair   `json:"then"`   // of --then-port, after all others
	Closed bool    `json:"closed"` // the server has closed the session
}

func forwardPorts(ctx context.Context, arguments []string) (any, error) {
	f := &forward{}
	flags, o := newFlags("forward")
	ports := flags.String("ports", "", "ports of the pod, by commas; pairs use them in turn")
	flags.IntVar(&f.pairs, "pairs", 1, "how many pairs of streams")
	flags.IntVar(&f.parallel, "parallel", 1000, "how many of them at once")
	flags.Int64Var(&f.bytes, "bytes", 1000, "what each sends before it says that this was all")
	flags.IntVar(&f.resets, "resets", 0, "so many pairs are reset after the first byte that comes back")
	flags.Int64Var(&f.cancelAfter, "cancel-after", 0, "every pair is reset after so many bytes came back")
	flags.StringVar(&f.thenPort, "then-port", "", "one more pair after all others")
	flags.BoolVar(&f.hold, "hold", false, "wait for the server to close the session")
	_ = flags.Parse(arguments)
	o.kind, f.ports = "portforward", strings.Split(*ports, ",")
	address, err := o.find(ctx, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return f.run(ctx, o, address), nil
}

func (f *forward) run(ctx context.Context, o *options, address string) *forwarded {
	result := &forwarded{}
	connection, err := dialForward(o, address)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	defer connection.Close()
	result.Pairs = make([]*pair, f.pairs)
	inParallel(f.pairs, f.parallel, func(number int) {
		limit := f.cancelAfter
		if number < f.resets {
			limit = 1
		}
		result.Pairs[number] = f.exchange(ctx, connection, number, o.rate, limit)
	})
	if f.thenPort != "" {
		last := *f
		last.ports = []string{f.thenPort}
		result.Then = last.exchange(ctx, connection, f.pairs, 0, 0)
	}
	if f.hold {
		select {
		case <-connection.CloseChan():
			result.Closed = true
		case <-ctx.Done():
		}
	}
	return result
}

func dialForward(o *options, address string) (httpstream.Connection, error) {
	config, parsed, err := o.configOf(address)
	if err != nil {
		return nil, err
	}
	var dialer httpstream.Dialer
	if o.transport == "websocket" {
		if dialer, err = portforward.NewSPDYOverWebsocketDialer(parsed, config); err != nil {
			return nil, err
		}
	} else {
		tripper, upgrader, err := spdy.RoundTripperFor(config)
		if err != nil {
			return nil, err
		}
		dialer = spdy.NewDialer(upgrader, &http.Client{Transport: tripper}, "POST", parsed)
	}
	connection, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err == nil && protocol != portforward.PortForwardProtocolV1Name {
		connection.Close()
		return nil, fmt.Errorf("the server speaks %q", protocol)
	}
	return connection, err
}

// As kubectl does for one local connection: the error stream first, finished at once; then data both ways.
func (f *forward) exchange(ctx context.Context, connection httpstream.Connection, number, rate int, limit int64) *pair {
	p := &pair{Port: f.ports[number%len(f.ports)]}
	fault, data, err := openPair(connection, p.Port, number)
	if err != nil {
		p.Error = err.Error()
		return p
	}
	defer connection.RemoveStreams(fault, data)
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()

	words := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(fault)
		words <- text
	}()
	var reset atomic.Bool
	received := &sink{newCounter(), rate, limit, func() {
		reset.Store(true)
		_ = data.Reset()
	}, ""}
	sent := newSource(ctx, "", f.bytes, uint64(number), false)
	sending := make(chan error, 1)
	go func() {
		_, err := io.Copy(data, sent)
		_ = data.Close() // the pod reads to its end
		sending <- err
	}()
	_, readError := io.Copy(received, data)
	writeError := waitFor(sending)
	p.Reset = reset.Load()
	if err := errors.Join(readError, writeError); err != nil && !p.Reset {
		p.Error = err.Error()
	}
	p.Sent, p.Received = sent.flow(), received.flow()
	if !p.Reset {
		p.ErrorStream = string(<-words)
	}
	_ = data.Reset()
	return p
}

// A pod that has closed takes nothing more: what is still being written is then of no interest.
func waitFor(sending <-chan error) error {
	select {
	case err := <-sending:
		return err
	case <-time.After(10 * time.Second):
		return errors.New("the end of the data was read, and writing did not end in 10 s")
	}
}

func openPair(connection httpstream.Connection, port string, number int) (httpstream.Stream, httpstream.Stream, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, port)
	headers.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(number))
	fault, err := connection.CreateStream(headers)
	if err != nil {
		return nil, nil, fmt.Errorf("error stream: %w", err)
	}
	_ = fault.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		connection.RemoveStreams(fault)
		return nil, nil, fmt.Errorf("data stream: %w", err)
	}
	return fault, data, nil
}
