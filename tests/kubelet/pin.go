// Package pin names the programs that this module is for, so that their dependencies stay in go.sum.
//
// Kubernetes publishes its parts as modules of their own, and its own module names them by relative paths only: go.mod
// replaces each by the release of the same day. etcd is of the release whose client the API server is made with.
package pin

import (
	_ "go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/kubectl/pkg/cmd"
	_ "k8s.io/kubernetes/cmd/kube-apiserver/app"
	_ "k8s.io/kubernetes/cmd/kubelet/app"
)
