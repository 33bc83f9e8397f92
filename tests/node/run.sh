#!/usr/bin/env bash
# Runs a command as root on a user-mode Linux node: a kernel 6.1 with nothing but cgroup v2.
#
#   tests/node/run.sh [--mem SIZE] [--disk SIZE] [--drive IMAGE] [--bare] [--timeout SECONDS] COMMAND [ARG…]
#
# The node sees this machine's file system read-only, under the same paths, and its own writable
# /run (tmpfs), /tmp and /var/lib (ext4 on a disk of its own). Its kernel is the same as Debian 12's,
# so what runs there has proved its fallbacks. $NODE_EXCHANGE names a folder that both sides see and
# that is removed afterwards; copy what must stay from there with --keep DIR. --drive gives the node a
# second disk, /dev/ubdb, which is the caller's and stays. --bare loads no modules, for a quicker boot.
# SIGTERM cuts its power: when run.sh has ended, nothing writes to a drive any more.
# Exit status: the command's; 124 when the node was still running at the deadline, 125 when it could
# not be booted (the console's last lines are printed then).
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mem=1G disk=2G timeout=600 keep= drive= bare=
while [ $# -gt 0 ]; do
  case $1 in
    --mem) mem=$2; shift 2 ;;
    --disk) disk=$2; shift 2 ;;
    --timeout) timeout=$2; shift 2 ;;
    --keep) keep=$2; shift 2 ;;
    --drive) drive=$2; shift 2 ;;
    --bare) bare=1; shift ;;
    --) shift; break ;;
    -*) echo "node: unknown option $1" >&2; exit 125 ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 125; }
kernel=$(command -v linux.uml || command -v linux) ||
  { echo "node: no user-mode Linux kernel (package user-mode-linux)" >&2; exit 125; }

exchange=$(mktemp -d /var/tmp/gantry-node.XXXXXX) || exit 125
node= tail=
cleanup() {
  # The node's user processes are traced children of the kernel process: the whole session ends.
  if [ -n "$node" ]; then
    kill -KILL -- "-$node" 2>/dev/null
    wait "$node" 2>/dev/null
    # Its helper that writes to the disks is a process of its own; a zombie holds no file.
    while pgrep -g "$node" -r D,R,S,T,t >/dev/null; do sleep 0.05; done
  fi
  [ -n "$tail" ] && kill "$tail" 2>/dev/null
  rm -rf "$exchange"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

truncate -s "$disk" "$exchange/disk.img" && mkfs.ext4 -q -F "$exchange/disk.img" || exit 125
mkdir "$exchange/shared"
printf '%q ' "$@" >"$exchange/shared/command"
printf 'cd %q\n' "$PWD" >"$exchange/shared/folder"
: >"$exchange/shared/output"

# setsid makes the kernel the leader of a process group of its own, so that one kill ends it all.
TMPDIR=${TMPDIR:-/dev/shm} setsid "$kernel" mem="$mem" \
  root=/dev/root rootfstype=hostfs rootflags=/ ro ubd0="$exchange/disk.img" ${drive:+ubd1="$drive"} \
  uml_dir="$exchange/uml" con=null con0=null,fd:1 quiet loglevel=3 panic=-1 \
  security=apparmor apparmor=1 init="$here/init.sh" "NODE_SHARED=$exchange/shared" ${bare:+NODE_BARE=1} "NODE_CALLER_PATH=$PATH" \
  "NODE_HERE=$(cd "$here/../.." && pwd)" </dev/null >"$exchange/console" 2>&1 &
node=$!
tail -n +1 -f "$exchange/shared/output" --pid="$node" &
tail=$!

deadline=$((SECONDS + timeout))
while kill -0 "$node" 2>/dev/null && [ ! -e "$exchange/shared/status" ]; do
  [ "$SECONDS" -lt "$deadline" ] ||
    { echo "node: still running after $timeout s" >&2; exit 124; }
  sleep 0.2
done
# The node powers itself off; what it wrote through hostfs is already here.
for _ in $(seq 50); do kill -0 "$node" 2>/dev/null || break; sleep 0.1; done
kill -KILL -- "-$node" 2>/dev/null
wait "$node" 2>/dev/null
wait "$tail" 2>/dev/null
tail= node=
if [ -n "$keep" ]; then mkdir -p "$keep" && cp -r "$exchange/shared/." "$keep/" && cp "$exchange/console" "$keep/"; fi
if [ ! -e "$exchange/shared/status" ]; then
  echo "node: it went down without a status; its console ended with:" >&2
  tail -n 20 "$exchange/console" >&2
  exit 125
fi
exit "$(cat "$exchange/shared/status")"
