#!/bin/bash
# Runs the real binaries on private folders, in namespaces of their own, driven by crictl.
#
#   run.sh [WORD…]     only tests whose names have one of the words; default: all
#
#   GANTRY_BIN      folder of gantryd, gantry-shim, gantry-init, gantry-puller, gantry-unpacker and gantry
#                   (default: that of the newest gantryd in build)
#   GANTRY_CACHE    folder that has or gets crictl and streamclient (default: build/conformance)
#   KEEP=1          leaves the folders of a run, with the daemons' logs, in place
#
# Ends with the line "N passed, N failed, N skipped"; exit status 1 when a test failed, 77 when nothing can run here.
set -euo pipefail
tests=$(cd "$(dirname "$0")" && pwd)
. "$tests/../conformance/pins.sh"

if [ -z "${LANE_ISOLATED:-}" ]; then
  "$tests/../conformance/tools.sh" crictl streamclient
  LANE_ISOLATED=1 exec "$tests/../conformance/isolate.sh" "$tests/run.sh" "$@"
fi
if [ -z "${GANTRY_BIN:-}" ]; then
  newest=$(ls -t "$repository"/build/*/bin/gantryd /usr/bin/gantryd 2>/dev/null | head -1) || true  # ls complains of what is not there
  [ -n "$newest" ] || skip "no gantryd in build/*/bin: build it, or set GANTRY_BIN"
  GANTRY_BIN=$(dirname "$newest")
fi
# A child and not exec: this shell is PID 1 here and reaps what orphans leave.
python3 -B "$tests/main.py" --bin "$GANTRY_BIN" --crictl "$cache/bin/crictl" --streamclient "$cache/bin/streamclient" "$@"
