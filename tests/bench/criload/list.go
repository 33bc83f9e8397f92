package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const listPods, listEach = 10, 100

// fill makes pods with many containers, created and not started.
func (p *peer) fill(ctx context.Context) (all []*pod, err error) {
	for range listPods {
		which, err := p.run(ctx)
		if err != nil {
			return all, err
		}
		all = append(all, which)
		for number := range listEach {
			config := p.containerConfig(workload, "36000")
			config.Metadata.Name = fmt.Sprintf("main-%d", number)
			config.LogPath = config.Metadata.Name + ".log"
			if err := p.create(ctx, which, config); err != nil {
				return all, fmt.Errorf("%s: container %d: %w", p.name, number, err)
			}
		}
	}
	return all, nil
}

func (p *peer) timeList(ctx context.Context) (durations []time.Duration, err error) {
	all, err := p.fill(ctx)
	defer func() { err = errors.Join(err, p.removePods(all)) }()
	if err != nil {
		return nil, err
	}
	for range 50 {
		before := time.Now()
		answer, err := p.runtime.ListContainers(ctx, &cri.ListContainersRequest{})
		if err == nil && len(answer.Containers) != listPods*listEach {
			err = fmt.Errorf("%s lists %d containers", p.name, len(answer.Containers))
		}
		if err != nil {
			return nil, err
		}
		durations = append(durations, time.Since(before))
	}
	return durations, nil
}

func list(peers []*peer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	results := map[string]timings{}
	for _, p := range peers {
		durations, err := p.timeList(ctx)
		if err != nil {
			return err
		}
		results[p.name] = timings{"ListContainers": durations}
	}
	printTimings(fmt.Sprintf("%d containers (ms)", listPods*listEach), []string{"ListContainers"}, peers, results)
	return nil
}
