# shellcheck shell=bash disable=SC2034
# What the lane is made of, and where it is kept. Sourced by the scripts of tests/conformance and tests/bench.

lane=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$lane/../.." && pwd)
cache=${GANTRY_CACHE:-$repository/build/conformance}

# module version h1-sum: `go mod download` gives the same bytes or we stop
critools=(sigs.k8s.io/cri-tools v1.36.0 h1:Xt+LLvBVH1Fnp/AR2EyHApyWS/88y2KlWjlDc2HR+aw=)
# It has specs of image volumes and pod metrics that the other one lacks.
critools_newer=(sigs.k8s.io/cri-tools v1.37.0 h1:BmTImEoTX3KPXCLwmIU9mfCC8umUqF4R8WibY9eVU9Y=)
containerd=(github.com/containerd/containerd/v2 v2.4.2 h1:p6Qg+xbEz8lvwdhHDx0U469xENvp4LgGBx+E7djXkGw=)
runc=(github.com/opencontainers/runc v1.3.6 h1:SLGIymCtsk80iNPWgbc8dtjI30r+5mTVV+4dN8/17Sk=)

# cri-tools 1.36 says so in its go.mod
go_needed=1.26.4

die() { echo "${0##*/}: $*" >&2; exit 1; }

# Exit status 77 is what ctest takes for "skipped".
skip() { echo "SKIPPED: $*" >&2; exit 77; }

# Prints why Go cannot serve; nothing when it can.
go_trouble() {
  command -v go >/dev/null || { echo "no go in PATH (version $go_needed or newer is needed)"; return; }
  local have
  have=$(GOTOOLCHAIN=local go env GOVERSION)
  have=${have#go}
  [ "$(printf '%s\n' "$go_needed" "$have" | sort -V | head -1)" = "$go_needed" ] ||
    echo "go is $have, and cri-tools ${critools[1]} needs $go_needed or newer"
}
