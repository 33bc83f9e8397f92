package main

import (
	"context"
	"fmt"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A step is one call of the life that each cycle leads.
type step struct {
	name string
	call func(context.Context, *peer, *pod) error
}

// A shell that ends at once on SIGTERM: what StopContainer costs is the runtime's part.
var waiter = []string{"/bin/sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"}

var afterRun = []step{
	{"CreateContainer", func(ctx context.Context, p *peer, w *pod) error {
		return p.create(ctx, w, p.containerConfig(waiter...))
	}},
	{"StartContainer", func(ctx context.Context, p *peer, w *pod) error { return p.start(ctx, w) }},
	{"ExecSync true", func(ctx context.Context, p *peer, w *pod) error { return p.exec(ctx, w, "true") }},
	{"StopContainer", func(ctx context.Context, p *peer, w *pod) error { return p.stopContainer(ctx, w) }},
	{"RemoveContainer", func(ctx context.Context, p *peer, w *pod) error { return p.removeContainer(ctx, w) }},
	{"StopPodSandbox", func(ctx context.Context, p *peer, w *pod) error { return p.stop(ctx, w) }},
	{"RemovePodSandbox", func(ctx context.Context, p *peer, w *pod) error { return p.remove(ctx, w) }},
}

// timings has the durations of each step by name, in the order of the cycles.
type timings map[string][]time.Duration

const (
	runStep   = "RunPodSandbox"
	startSum  = "Run + Create + Start"
	wholeStep = "whole cycle"
)

// cycle leads one pod through its life and adds what each call took.
func (p *peer) cycle(into timings) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	begin := time.Now()
	which, err := p.run(ctx)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", p.name, runStep, err)
	}
	into[runStep] = append(into[runStep], time.Since(begin))
	for _, s := range afterRun {
		before := time.Now()
		if err := s.call(ctx, p, which); err != nil {
			return fmt.Errorf("%s: %s: %w", p.name, s.name, err)
		}
		into[s.name] = append(into[s.name], time.Since(before))
		if s.name == "StartContainer" {
			into[startSum] = append(into[startSum], time.Since(begin))
		}
	}
	into[wholeStep] = append(into[wholeStep], time.Since(begin))
	return nil
}

// cycles interleaves the peers, so that whatever else the machine does falls on both; the first round is not counted.
func cycles(peers []*peer, number int, network string) error {
	results := map[string]timings{}
	for round := range number + 1 {
		for _, p := range peers {
			if round <= 1 {
				results[p.name] = timings{}
			}
			if err := p.cycle(results[p.name]); err != nil {
				return err
			}
		}
	}
	rows := []string{runStep}
	for _, s := range afterRun {
		rows = append(rows, s.name)
		if s.name == "StartContainer" {
			rows = append(rows, startSum)
		}
	}
	rows = append(rows, wholeStep)
	printTimings(fmt.Sprintf("One pod after the other in the %s network, %d times each, interleaved (ms)", network, number), rows, peers, results)
	return nil
}

// bridgeCycles is the same with the network that both servers are configured with: a bridge, host-local addresses, portmap.
func bridgeCycles(peers []*peer, number int) error {
	for _, p := range peers {
		p.network = cri.NamespaceMode_POD
		defer func() { p.network = cri.NamespaceMode_NODE }()
	}
	return cycles(peers, number, "bridge's")
}
