// Package pin names the program that this module is for, so that its dependencies stay in go.sum.
//
// Kubernetes publishes its parts as modules of their own, and its own module names them by relative paths only: go.mod
// replaces each by the release of the same day.
package pin

import _ "k8s.io/kubernetes/cmd/kubelet/app"
