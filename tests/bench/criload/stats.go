package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// statisticsRounds: the first call of each kind opens and counts what later ones find; it is not counted.
const statisticsRounds = 30

// A question is one of the lists that the kubelet asks for every few seconds.
type question struct {
	name string
	ask  func(context.Context, *peer) (int, error) // how many the answer tells of
}

var questions = []question{
	{"ListContainerStats", func(ctx context.Context, p *peer) (int, error) {
		answer, err := p.runtime.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
		return len(answer.GetStats()), err
	}},
	{"ListPodSandboxStats", func(ctx context.Context, p *peer) (int, error) {
		answer, err := p.runtime.ListPodSandboxStats(ctx, &cri.ListPodSandboxStatsRequest{})
		return len(answer.GetStats()), err
	}},
	{"ListPodSandboxMetrics", func(ctx context.Context, p *peer) (int, error) {
		answer, err := p.runtime.ListPodSandboxMetrics(ctx, &cri.ListPodSandboxMetricsRequest{})
		return len(answer.GetPodMetrics()), err
	}},
}

// askAll says how long each call took, and how many milliseconds of CPU it has cost the daemon.
func (p *peer) askAll(number int) (timings, map[string]float64, error) {
	measured, cost := timings{}, map[string]float64{}
	daemon, err := p.daemonPid()
	if err != nil {
		return nil, nil, err
	}
	for _, q := range questions {
		var used float64
		for round := range statisticsRounds + 1 {
			if round == 1 {
				used = cpuNanoseconds([]int{daemon})
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			before := time.Now()
			told, err := q.ask(ctx, p)
			passed := time.Since(before)
			cancel()
			if err == nil && told != number {
				err = fmt.Errorf("told of %d of %d", told, number)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %s: %w", p.name, q.name, err)
			}
			if round > 0 {
				measured[q.name] = append(measured[q.name], passed)
			}
		}
		cost[q.name] = (cpuNanoseconds([]int{daemon}) - used) / statisticsRounds / 1e6
	}
	return measured, cost, nil
}

// withParents gives the pods cgroups as a kubelet would: containerd's statistics of pods need them.
func (p *peer) withParents(work func() error) error {
	p.parent = "/criload-" + p.name
	defer func() {
		groups, _ := filepath.Glob("/sys/fs/cgroup/*" + p.parent)
		for _, group := range append(groups, "/sys/fs/cgroup"+p.parent) {
			pods, _ := filepath.Glob(group + "/bench-*")
			for _, pod := range append(pods, group) {
				os.Remove(pod) // what is still in use stays
			}
		}
		p.parent = ""
	}()
	return work()
}

func statistics(peers []*peer, number int) error {
	results, costs := map[string]timings{}, map[string]map[string]float64{}
	for _, p := range peers {
		err := p.withParents(func() (err error) {
			all, err := p.startPods(number)
			defer func() { err = errors.Join(err, p.removePods(all)) }()
			if err == nil {
				results[p.name], costs[p.name], err = p.askAll(number)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	var rows []string
	var figures []figure
	for _, q := range questions {
		rows = append(rows, q.name)
		cost := figure{name: q.name, format: "%.1f"}
		for _, p := range peers {
			cost.values = append(cost.values, costs[p.name][q.name])
		}
		figures = append(figures, cost)
	}
	printTimings(fmt.Sprintf("Statistics of %d pods of one container each (ms)", number), rows, peers, results)
	printFigures("CPU of the daemon a call (ms)", peers, figures)
	return nil
}
