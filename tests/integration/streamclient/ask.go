package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	restclient "k8s.io/client-go/rest"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Where a URL comes from.
type ask struct {
	url                          string
	socket, container, pod, kind string
	ca, certificate, key         string // files of TLS
}

// A URL serves once: each session finds its own.
func (a *ask) find(ctx context.Context, s *session) (string, error) {
	if a.url != "" {
		return a.url, nil
	}
	if a.socket == "" {
		return "", fmt.Errorf("neither --url nor --cri is given")
	}
	conn, err := grpc.NewClient("unix://"+a.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return a.request(ctx, cri.NewRuntimeServiceClient(conn), s)
}

func (a *ask) request(ctx context.Context, runtime cri.RuntimeServiceClient, s *session) (string, error) {
	switch a.kind {
	case "exec":
		answer, err := runtime.Exec(ctx, &cri.ExecRequest{ContainerId: a.container, Cmd: s.command, Tty: s.tty,
			Stdin: s.hasStdin(), Stdout: s.stdout, Stderr: s.wantsStderr()})
		return answer.GetUrl(), err
	case "attach":
		answer, err := runtime.Attach(ctx, &cri.AttachRequest{ContainerId: a.container, Tty: s.tty,
			Stdin: s.hasStdin(), Stdout: s.stdout, Stderr: s.wantsStderr()})
		return answer.GetUrl(), err
	case "portforward":
		answer, err := runtime.PortForward(ctx, &cri.PortForwardRequest{PodSandboxId: a.pod})
		return answer.GetUrl(), err
	}
	return "", fmt.Errorf("there is no kind %q", a.kind)
}

// What client-go wants to know of a server. Without --ca any certificate will do: a kubelet makes its own.
func (a *ask) configOf(address string) (*restclient.Config, *url.URL, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, nil, err
	}
	config := &restclient.Config{Host: parsed.Scheme + "://" + parsed.Host}
	if parsed.Scheme == "https" {
		config.TLSClientConfig = restclient.TLSClientConfig{Insecure: a.ca == "", CAFile: a.ca, CertFile: a.certificate,
			KeyFile: a.key}
	}
	return config, parsed, nil
}
