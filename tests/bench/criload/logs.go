package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A writer is a container that writes lines of 100 bytes into its log.
type writer struct {
	what  string
	bytes float64
	text  string // for the shell
}

const lineBytes, fileLines = 100, 160_000

func writers() []writer {
	line := fmt.Sprintf("%0*d", lineBytes-1, 7)
	const copies, lines = 32, 1_000_000
	return []writer{
		{"as a program with a buffer does", copies * fileLines * lineBytes, fmt.Sprintf(
			"yes %s | head -n %d > /tmp/lines; i=0; while [ $i -lt %d ]; do cat /tmp/lines; i=$((i+1)); done",
			line, fileLines, copies)},
		{"one line a time", lines * lineBytes, fmt.Sprintf(
			"i=0; while [ $i -lt %d ]; do echo %s; i=$((i+1)); done", lines, line)},
	}
}

// A flood is what was measured while one container wrote its log.
type flood struct {
	took    time.Duration
	helpers float64         // CPU of daemon and helpers, in nanoseconds
	starts  []time.Duration // of other pods in that time
}

func (p *peer) exited(ctx context.Context, which *pod) (bool, error) {
	answer, err := p.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: which.container})
	return err == nil && answer.Status.State == cri.ContainerState_CONTAINER_EXITED, err
}

// flood starts one pod after the other while the writer writes.
func (p *peer) flood(text string) (f flood, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	daemon, err := p.daemonPid()
	if err != nil {
		return f, err
	}
	before := processes()
	flooded, err := p.run(ctx)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.stop(ctx, flooded), p.remove(ctx, flooded)) }()
	if err := p.create(ctx, flooded, p.containerConfig("sh", "-c", text)); err != nil {
		return f, err
	}
	helpers, _ := helpersOf(before)
	helpers = append(helpers, daemon)
	used, begin := cpuNanoseconds(helpers), time.Now()
	if err := p.start(ctx, flooded); err != nil {
		return f, err
	}
	for over := false; !over && err == nil; {
		other := timings{}
		if err = p.cycle(other); err == nil {
			f.starts = append(f.starts, other[startSum]...)
			f.took, f.helpers = time.Since(begin), cpuNanoseconds(helpers)-used
			over, err = p.exited(ctx, flooded)
		}
	}
	return f, err
}

// logs measures one peer after the other, with each writer.
func logs(peers []*peer) error {
	for _, w := range writers() {
		results := map[string]timings{}
		speed := figure{name: "log throughput of one container (MB/s)", format: "%.0f"}
		cost := figure{name: "CPU of daemon and helpers (core-seconds a GB)", format: "%.1f"}
		for _, p := range peers {
			f, err := p.flood(w.text)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			speed.values = append(speed.values, w.bytes/1e6/f.took.Seconds())
			cost.values = append(cost.values, f.helpers/1e9/(w.bytes/1e9))
			results[p.name] = timings{startSum: f.starts}
		}
		title := fmt.Sprintf("One container writes %.0f MB of lines, %s, while other pods start", w.bytes/1e6, w.what)
		printFigures(title, peers, []figure{speed, cost})
		printTimings("Other pods meanwhile (ms)", []string{startSum}, peers, results)
	}
	return nil
}
