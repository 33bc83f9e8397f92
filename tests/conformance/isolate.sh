#!/bin/bash
# Runs a command in network, mount, IPC and PID namespaces of its own, as root: bridges, firewall rules, mounts, segments
# and processes of the lane touch nobody else's, and are gone when it ends, however it ends.
#
#   isolate.sh COMMAND [ARGUMENT…]
set -euo pipefail
. "$(dirname "$0")/pins.sh"
[ "$(id -u)" = 0 ] || skip "the lane needs root"
[ $# -gt 0 ] || die "no command"
# What runtimes leave in fixed places is left in memory: the folders stay, and stay empty.
places="/run/netns /run/containerd /var/lib/cni"
mkdir -p $places
# Private first, then shared again: a peer group of our own, which the mount propagation specs need.
exec unshare --net --ipc --mount --propagation private --pid --fork --kill-child --mount-proc bash -c '
  mount --make-rshared /
  for place in '"$places"'; do mount -t tmpfs lane "$place"; done
  ip link set lo up
  exec "$@"' isolate "$@"
