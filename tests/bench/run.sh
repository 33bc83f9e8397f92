#!/bin/bash
# Measures gantryd beside containerd and runc in one run, call by call in turn, and prints tables.
#
#   run.sh [--number N] [--pods N] [--rest 60s] [--parts PART,PART] [--runtimes gantryd,containerd] [--keep]
#          [--pull-scale 1] [--rounds 3]
#
# Everything that it needs is built first, once (tests/conformance/tools.sh); it runs in namespaces of its own. GANTRY_BIN is
# the folder of gantryd and its helpers, default the newest build: take a release build. Exit status 77: cannot run here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../conformance/pins.sh"

runtimes=gantryd,containerd keep="" options=() parts="" pull_scale=1 pull_options=() disk=""
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --number | --pods | --rest | --rounds) options+=("-${1#--}" "$2"); shift ;;
    --parts) parts=$2; options+=(-parts "$2"); shift ;;
    --pull-scale) pull_scale=$2; shift ;;
    --runtimes) runtimes=$2; shift ;;
    --keep) keep=1 ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift
done

if [ -z "${LANE_ISOLATED:-}" ]; then
  trouble=$(go_trouble)
  [ -z "$trouble" ] || skip "$trouble"
  "$lane/tools.sh" crictl busybox programs
  [[ ,$runtimes, != *,containerd,* ]] || "$lane/tools.sh" containerd runc
  (cd "$here/.." && GOWORK=off GOFLAGS=-mod=readonly go build -o "$cache/bin/" ./bench/criload ./bench/mlimage)
  LANE_ISOLATED=1 exec "$lane/isolate.sh" "$here/run.sh" "${arguments[@]}"
fi
. "$lane/runtimes.sh"
. "$here/image.sh"
folder=$(mktemp -d /var/tmp/gantry-bench.XXXXXX)
chmod 755 "$folder"

finish() {
  end_lane "$folder"
  if [ -n "$disk" ]; then
    umount "$folder" || umount -l "$folder" || true
    if [ -n "$keep" ]; then echo "kept: $disk, a file system"; else rm -f "$disk"; fi
    rmdir "$folder"
  elif [ -n "$keep" ]; then
    echo "kept: $folder"
  else
    rm -rf --one-file-system "$folder"
  fi
}
trap finish EXIT

describe_machine() {
  echo "$(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(awk '/^MemTotal/ {printf "%.0f", $2 / 1048576}' /proc/meminfo) GiB," \
    "Linux $(uname -r), load before $(cut -d' ' -f1 /proc/loadavg)"
  [[ ,$runtimes, != *,containerd,* ]] ||
    echo "containerd ${containerd[1]}, runc ${runc[1]}, both built by $(go env GOVERSION)"
}

describe_machine
if [[ ,$parts, = *,pull,* ]]; then
  mount_disk "$folder" "$pull_scale"
  serve_image "$folder" "$pull_scale"
fi
start_registry "$folder"
servers=()
for runtime in ${runtimes//,/ }; do
  start_runtime "$runtime" "$folder/$runtime"
  mirror_image "$folder/$runtime/certs.d"
  socket=socket_$runtime
  servers+=("$runtime=$folder/$runtime=${!socket}")
done
"$cache/bin/criload" "${options[@]}" "${pull_options[@]}" "${servers[@]}"
