package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A habit is a call that a kubelet 1.36 with 15 quiet pods makes so many times a second.
type habit struct {
	rate float64
	call func(context.Context, *peer, *pod) error
}

var habits = []habit{
	{2.4, func(ctx context.Context, p *peer, w *pod) error {
		_, err := p.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: w.container})
		return err
	}},
	{1.9, func(ctx context.Context, p *peer, _ *pod) error {
		_, err := p.runtime.ListContainers(ctx, &cri.ListContainersRequest{})
		return err
	}},
	{1.8, func(ctx context.Context, p *peer, _ *pod) error {
		_, err := p.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		return err
	}},
	{0.45, func(ctx context.Context, p *peer, _ *pod) error {
		_, err := p.runtime.Version(ctx, &cri.VersionRequest{})
		return err
	}},
	{0.2, func(ctx context.Context, p *peer, _ *pod) error {
		_, err := p.runtime.Status(ctx, &cri.StatusRequest{})
		return err
	}},
	{0.1, func(ctx context.Context, p *peer, _ *pod) error {
		_, err := p.images.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{})
		return err
	}},
	{0.1, func(ctx context.Context, p *peer, _ *pod) error {
		_, err := p.runtime.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
		return err
	}},
	{0.03, func(ctx context.Context, p *peer, _ *pod) error {
		_, err := p.images.ListImages(ctx, &cri.ListImagesRequest{})
		return err
	}},
}

// live makes each habit's calls at its rate for some time.
func (p *peer) live(ctx context.Context, all []*pod, rest time.Duration) error {
	made := make([]int, len(habits))
	for begin := time.Now(); time.Since(begin) < rest; time.Sleep(20 * time.Millisecond) {
		for i, h := range habits {
			for float64(made[i]) < h.rate*time.Since(begin).Seconds() {
				if err := h.call(ctx, p, all[made[i]%len(all)]); err != nil {
					return fmt.Errorf("%s: %w", p.name, err)
				}
				made[i]++
			}
		}
	}
	return nil
}

func (p *peer) underKubelet(number int, rest time.Duration) (daemonCPU, allCPU float64, err error) {
	daemon, err := p.daemonPid()
	if err != nil {
		return 0, 0, err
	}
	before := processes()
	all, err := p.startPods(number)
	defer func() { err = errors.Join(err, p.removePods(all)) }()
	if err != nil {
		return 0, 0, err
	}
	helpers, _ := helpersOf(before)
	return cpuDuring(daemon, helpers, func() error { return p.live(context.Background(), all, rest) })
}

func kubelet(peers []*peer, number int, rest time.Duration) error {
	alone := figure{name: "daemon (% of a core)", format: "%.2f"}
	together := figure{name: "daemon and helpers (% of a core)", format: "%.2f"}
	for _, p := range peers {
		daemonCPU, allCPU, err := p.underKubelet(number, rest)
		if err != nil {
			return err
		}
		alone.values = append(alone.values, daemonCPU)
		together.values = append(together.values, allCPU)
	}
	printFigures(fmt.Sprintf("%d quiet pods under a kubelet's calls for %.0f s", number, rest.Seconds()), peers, []figure{alone, together})
	return nil
}
