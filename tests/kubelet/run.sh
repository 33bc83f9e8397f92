#!/bin/bash
# A real kubelet over the real binaries: without an API server (test_kubelet_*: pods from files, asked through its own API),
# and behind a real one with a real etcd (test_cluster_*: what a user of a cluster does, by kubectl).
#
#   run.sh [WORD…]     only tests whose names have one of the words; default: all
#
#   GANTRY_BIN, GANTRY_CACHE, KEEP: as for tests/integration/run.sh. The kubelet, the API server, kubectl and
#   etcd are built into GANTRY_CACHE once, from their Go modules (go.mod): some ten minutes, 2 GB of memory.
#
# Ends with the line "N passed, N failed, N skipped"; exit status 1 when a test failed, 77 when nothing can run here.
set -euo pipefail
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/../conformance/pins.sh"
[ -n "${LANE_ISOLATED:-}" ] || "$tests/../conformance/tools.sh" kubelet kube-apiserver kubectl etcd
CLUSTER_BIN=$cache/bin exec "$tests/../integration/run.sh" --tests "$tests" "$@"
