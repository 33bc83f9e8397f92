package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// floodBytes is what one container writes into its log, in lines of 100 bytes.
const floodBytes = 512 << 20

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
func (p *peer) flood() (f flood, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	daemon, err := p.daemonPid()
	if err != nil {
		return f, err
	}
	before := processes()
	writer, err := p.run(ctx)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.stop(ctx, writer), p.remove(ctx, writer)) }()
	text := fmt.Sprintf("yes %099d | head -c %d", 7, floodBytes)
	if err := p.create(ctx, writer, p.containerConfig("sh", "-c", text)); err != nil {
		return f, err
	}
	helpers, _ := helpersOf(before)
	helpers = append(helpers, daemon)
	used, begin := cpuNanoseconds(helpers), time.Now()
	if err := p.start(ctx, writer); err != nil {
		return f, err
	}
	for over := false; !over && err == nil; {
		other := timings{}
		if err = p.cycle(other); err == nil {
			f.starts = append(f.starts, other[startSum]...)
			f.took, f.helpers = time.Since(begin), cpuNanoseconds(helpers)-used
			over, err = p.exited(ctx, writer)
		}
	}
	return f, err
}

// logs measures one peer after the other.
func logs(peers []*peer) error {
	results := map[string]timings{}
	speed := figure{name: "log throughput of one container (MB/s)", format: "%.0f"}
	cost := figure{name: "CPU of daemon and helpers (core-seconds a GB)", format: "%.1f"}
	for _, p := range peers {
		f, err := p.flood()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		speed.values = append(speed.values, floodBytes/1e6/f.took.Seconds())
		cost.values = append(cost.values, f.helpers/1e9/(floodBytes/1e9))
		results[p.name] = timings{startSum: f.starts}
	}
	printFigures(fmt.Sprintf("One container writes %d MiB of lines, while other pods start", floodBytes>>20), peers, []figure{speed, cost})
	printTimings("Other pods meanwhile (ms)", []string{startSum}, peers, results)
	return nil
}
