#!/bin/bash
# A real kubelet, without an API server, over the real binaries: pods from files, asked through its own API.
#
#   run.sh [WORD…]     only tests whose names have one of the words; default: all
#
#   GANTRY_BIN, GANTRY_CACHE, KEEP: as for tests/integration/run.sh. The kubelet is built into GANTRY_CACHE once, from its
#   Go module: some minutes, 2 GB of memory.
#
# Ends with the line "N passed, N failed, N skipped"; exit status 1 when a test failed, 77 when nothing can run here.
set -euo pipefail
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/../conformance/pins.sh"
[ -n "${LANE_ISOLATED:-}" ] || "$tests/../conformance/tools.sh" kubelet
KUBELET=$cache/bin/kubelet exec "$tests/../integration/run.sh" --tests "$tests" "$@"
