package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// One exec or attach.
type session struct {
	command     []string
	protocols   string
	text        string
	upload      int64
	hold        bool
	stdin       bool
	stdout      bool
	stderr      bool
	tty         bool
	sizes       string
	cancelAfter int64
	ready       string
}

func (s *session) hasStdin() bool    { return s.stdin || s.hold || s.text != "" || s.upload > 0 }
func (s *session) wantsStderr() bool { return s.stderr && !s.tty }

func sessionFlags(name string, s *session) (*flag.FlagSet, *options) {
	flags, o := newFlags(name)
	flags.StringVar(&s.protocols, "protocols", "", "subprotocols to offer, by commas; default: the executor's own")
	flags.StringVar(&s.text, "text", "", "what stdin begins with")
	flags.Int64Var(&s.upload, "upload", 0, "bytes of noise for stdin")
	flags.BoolVar(&s.hold, "hold", false, "stdin has no end")
	flags.BoolVar(&s.stdin, "stdin", false, "there is a stdin, even with nothing in it")
	flags.BoolVar(&s.stdout, "stdout", true, "there is a stdout")
	flags.BoolVar(&s.stderr, "stderr", true, "there is a stderr (without --tty)")
	flags.BoolVar(&s.tty, "tty", false, "with a terminal")
	flags.StringVar(&s.sizes, "sizes", "", "sizes that the terminal has one after the other: 80x24,100x40")
	flags.Int64Var(&s.cancelAfter, "cancel-after", 0, "drop the connection after so many bytes of stdout")
	flags.StringVar(&s.ready, "ready", "", "a file that is made once there is output")
	return flags, o
}

type outcome struct {
	Error     string `json:"error"`     // how the session failed, "" for an exit code
	ExitCode  int    `json:"exit_code"` // of the command
	Cancelled bool   `json:"cancelled"` // by --cancel-after
	Stdin     flow   `json:"stdin"`     // as far as the executor has read it
	Stdout    flow   `json:"stdout"`
	Stderr    flow   `json:"stderr"`
}

func oneSession(ctx context.Context, arguments []string) (any, error) {
	s := &session{}
	flags, o := sessionFlags("session", s)
	_ = flags.Parse(arguments)
	s.command = flags.Args()
	return s.run(ctx, o)
}

type repeated struct {
	Times    int            `json:"times"`
	Outcomes map[string]int `json:"outcomes"` // "cancelled", "exit 0", or the text of an error
}

func manySessions(ctx context.Context, arguments []string) (any, error) {
	s := &session{}
	flags, o := sessionFlags("repeat", s)
	times := flags.Int("times", 100, "how often")
	parallel := flags.Int("parallel", 8, "how many at once")
	_ = flags.Parse(arguments)
	s.command = flags.Args()
	result := &repeated{*times, map[string]int{}}
	var mutex sync.Mutex
	inParallel(*times, *parallel, func(int) {
		what := s.describe(ctx, o)
		mutex.Lock()
		defer mutex.Unlock()
		result.Outcomes[what]++
	})
	return result, nil
}

// Calls `work` with 0 to times-1, some at once.
func inParallel(times, parallel int, work func(int)) {
	var group sync.WaitGroup
	turns := make(chan int)
	for range min(parallel, times) {
		group.Go(func() {
			for turn := range turns {
				work(turn)
			}
		})
	}
	for turn := range times {
		turns <- turn
	}
	close(turns)
	group.Wait()
}

func (s *session) describe(ctx context.Context, o *options) string {
	done, err := s.run(ctx, o)
	switch {
	case err != nil:
		return err.Error()
	case done.Cancelled:
		return "cancelled"
	case done.Error != "":
		return done.Error
	}
	return fmt.Sprintf("exit %d", done.ExitCode)
}

// A queue of sizes, all there at once; it is empty for good after them.
type sizeQueue struct {
	sizes chan remotecommand.TerminalSize
	ctx   context.Context
}

func newSizeQueue(ctx context.Context, list string) (*sizeQueue, error) {
	words := strings.Split(list, ",")
	queue := &sizeQueue{make(chan remotecommand.TerminalSize, len(words)), ctx}
	for _, word := range words {
		var size remotecommand.TerminalSize
		if _, err := fmt.Sscanf(word, "%dx%d", &size.Width, &size.Height); err != nil {
			return nil, fmt.Errorf("size %q: %w", word, err)
		}
		queue.sizes <- size
	}
	return queue, nil
}

func (q *sizeQueue) Next() *remotecommand.TerminalSize {
	select {
	case size := <-q.sizes:
		return &size
	case <-q.ctx.Done():
		return nil
	}
}

func (s *session) run(ctx context.Context, o *options) (*outcome, error) {
	address, err := o.find(ctx, s)
	if err != nil {
		return nil, err
	}
	executor, err := s.executor(o, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	stdin, done := newSource(ctx, s.text, s.upload, 0, s.hold), &outcome{}
	cancelled := make(chan struct{})
	stdout := &sink{newCounter(), o.rate, s.cancelAfter, func() { close(cancelled); cancel() }, s.ready}
	stderr := &sink{counter: newCounter()}
	streams := remotecommand.StreamOptions{Tty: s.tty}
	if s.hasStdin() {
		streams.Stdin = stdin
	}
	if s.stdout {
		streams.Stdout = stdout
	}
	if s.wantsStderr() {
		streams.Stderr = stderr
	}
	if s.sizes != "" {
		if streams.TerminalSizeQueue, err = newSizeQueue(ctx, s.sizes); err != nil {
			return nil, err
		}
	}
	done.ended(executor.StreamWithContext(ctx, streams))
	select {
	case <-cancelled:
		done.Cancelled = true
	default:
	}
	done.Stdin, done.Stdout, done.Stderr = stdin.flow(), stdout.flow(), stderr.flow()
	return done, nil
}

func (o *outcome) ended(err error) {
	var code exec.CodeExitError
	switch {
	case errors.As(err, &code):
		o.ExitCode = code.Code
	case err != nil:
		o.Error = err.Error()
	}
}

func (s *session) executor(o *options, address string) (remotecommand.Executor, error) {
	config, parsed, err := o.configOf(address)
	if err != nil {
		return nil, err
	}
	if o.transport == "websocket" {
		if s.protocols == "" {
			return remotecommand.NewWebSocketExecutor(config, "GET", address)
		}
		return remotecommand.NewWebSocketExecutorForProtocols(config, "GET", address, strings.Split(s.protocols, ",")...)
	}
	if s.protocols == "" {
		return remotecommand.NewSPDYExecutor(config, "POST", parsed)
	}
	tripper, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	return remotecommand.NewSPDYExecutorForProtocols(tripper, upgrader, "POST", parsed,
		strings.Split(s.protocols, ",")...)
}
