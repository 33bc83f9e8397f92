package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"

	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// streamBytes is what the large exec sends.
const streamBytes = 256 << 20

// stream executes a command as `kubectl exec` does: an URL, then SPDY, the output to nowhere.
func (p *peer) stream(ctx context.Context, in *pod, command ...string) error {
	answer, err := p.runtime.Exec(ctx, &cri.ExecRequest{ContainerId: in.container, Cmd: command, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	address, err := url.Parse(answer.Url)
	if err != nil {
		return err
	}
	config := &restclient.Config{Host: address.Scheme + "://" + address.Host}
	executor, err := remotecommand.NewSPDYExecutor(config, "POST", address)
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
}

// streams measures execs through a stream, interleaved; the first round is not counted.
func streams(peers []*peer, number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	rows := []string{"exec of true", fmt.Sprintf("exec that prints %d MiB", streamBytes>>20)}
	results, stand := map[string]timings{}, map[string]*pod{}
	for _, p := range peers {
		all, err := p.startPods(1)
		if err != nil {
			return err
		}
		defer p.removePods(all)
		stand[p.name], results[p.name] = all[0], timings{}
	}
	for round := range number + 1 {
		for _, p := range peers {
			for row, command := range [][]string{{"true"}, {"head", "-c", fmt.Sprint(streamBytes), "/dev/zero"}} {
				if row == 1 && round > 5 {
					continue
				}
				before := time.Now()
				if err := p.stream(ctx, stand[p.name], command...); err != nil {
					return fmt.Errorf("%s: %s: %w", p.name, rows[row], err)
				}
				if round > 0 {
					results[p.name][rows[row]] = append(results[p.name][rows[row]], time.Since(before))
				}
			}
		}
	}
	printTimings("Exec through a SPDY stream (ms)", rows, peers, results)
	return nil
}
