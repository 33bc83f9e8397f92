package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const image = "registry.k8s.io/e2e-test-images/busybox:1.29-2"

// A peer is one CRI server, with what is needed to talk to it and to start it again.
type peer struct {
	name    string
	folder  string // has launch (a script that becomes the daemon) and pid
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
	conn    *grpc.ClientConn
	pods    int    // counts, for names
	parent  string // cgroup of the pods' own cgroups; empty: none is asked for
	network cri.NamespaceMode
}

func dial(name, folder, socket string) (*peer, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		return nil, err
	}
	p := &peer{name: name, folder: folder, conn: conn, network: cri.NamespaceMode_NODE}
	p.runtime, p.images = cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)
	return p, nil
}

func (p *peer) pull() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := p.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}})
	return err
}

// The pod that the kubelet would ask for; but where CNI plugins are measured, in the host's network.
func (p *peer) podConfig() (*cri.PodSandboxConfig, error) {
	p.pods++
	name := fmt.Sprintf("bench-%d", p.pods)
	logs := filepath.Join(p.folder, "logs", name)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, err
	}
	parent := ""
	if p.parent != "" {
		parent = p.parent + "/" + name
	}
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name + "-uid", Namespace: "bench"},
		LogDirectory: logs,
		Labels:       map[string]string{"bench": "yes"},
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: parent, SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: p.namespaces(),
			Seccomp:          &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault},
		}},
	}, nil
}

func (p *peer) namespaces() *cri.NamespaceOption {
	return &cri.NamespaceOption{Network: p.network, Pid: cri.NamespaceMode_CONTAINER}
}

func (p *peer) containerConfig(command ...string) *cri.ContainerConfig {
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "main"},
		Image:    &cri.ImageSpec{Image: image},
		Command:  command,
		LogPath:  "main.log",
		Labels:   map[string]string{"bench": "yes"},
		Linux: &cri.LinuxContainerConfig{
			Resources: &cri.LinuxContainerResources{CpuShares: 102, MemoryLimitInBytes: 64 << 20, OomScoreAdj: 1000},
			SecurityContext: &cri.LinuxContainerSecurityContext{
				NamespaceOptions: p.namespaces(),
				Seccomp:          &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault},
			},
		},
	}
}

// A pod is one sandbox and its one container.
type pod struct {
	config             *cri.PodSandboxConfig
	sandbox, container string
}

func (p *peer) run(ctx context.Context) (*pod, error) {
	config, err := p.podConfig()
	if err != nil {
		return nil, err
	}
	answer, err := p.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, err
	}
	return &pod{config: config, sandbox: answer.PodSandboxId}, nil
}

func (p *peer) create(ctx context.Context, to *pod, config *cri.ContainerConfig) error {
	answer, err := p.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: to.sandbox, Config: config, SandboxConfig: to.config})
	if err == nil {
		to.container = answer.ContainerId
	}
	return err
}

func (p *peer) start(ctx context.Context, which *pod) error {
	_, err := p.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: which.container})
	return err
}

func (p *peer) exec(ctx context.Context, in *pod, command ...string) error {
	answer, err := p.runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: in.container, Cmd: command, Timeout: 10})
	if err == nil && answer.ExitCode != 0 {
		err = fmt.Errorf("exec %v: exit %d: %s", command, answer.ExitCode, answer.Stderr)
	}
	return err
}

func (p *peer) stopContainer(ctx context.Context, which *pod) error {
	_, err := p.runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: which.container, Timeout: 10})
	return err
}

func (p *peer) removeContainer(ctx context.Context, which *pod) error {
	_, err := p.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: which.container})
	return err
}

func (p *peer) stop(ctx context.Context, which *pod) error {
	_, err := p.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: which.sandbox})
	return err
}

func (p *peer) remove(ctx context.Context, which *pod) error {
	_, err := p.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: which.sandbox})
	return err
}

// running counts the containers that the server lists as running.
func (p *peer) running(ctx context.Context) (int, error) {
	answer, err := p.runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{
		State: &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}}})
	if err != nil {
		return 0, err
	}
	return len(answer.Containers), nil
}
