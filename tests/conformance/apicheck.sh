#!/bin/bash
# Compares our runtime.v1 with the published one. usage: apicheck.sh DESCRIPTORS   (cri/proto/cri.desc of a build folder)
set -euo pipefail
. "$(dirname "$0")/pins.sh"
[ $# = 1 ] || die "usage: apicheck.sh DESCRIPTORS"
descriptors=$(realpath "$1")
trouble=$(go_trouble)
[ -z "$trouble" ] || skip "$trouble"
cd "$lane/.."
mkdir -p "$cache/bin"
GOWORK=off GOFLAGS=-mod=readonly go build -o "$cache/bin/apicheck" ./conformance/apicheck
exec "$cache/bin/apicheck" -descriptors "$descriptors"
