#!/usr/bin/env bash
# Runs one container with Gantry, from nothing: installs what a build needs, builds, starts a private
# gantryd, runs the container, prints its output and how long each step took, and cleans up.
#
#   manifests/quickstart.sh [IMAGE [COMMAND…]]
#
# Without an argument no network is needed beyond the packages: an image is made of this machine's
# static busybox and imported as a docker archive. With one, IMAGE is pulled from its registry.
# It needs root. Nothing of an installed Gantry is used or touched: root, state folder, socket and
# cgroup are its own. BUILD=FOLDER takes binaries that are built already.
# Exit status: the container's.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${BUILD:-$repository/build/release}
binaries=(gantryd gantry-shim gantry-init gantry-puller gantry-unpacker gantry)
daemon='' folder='' steps=''

die() { echo "quickstart: $*" >&2; exit 1; }

say() { echo "quickstart: $*" >&2; }

# step NAME COMMAND…: runs it and notes how long it took; a failure ends the script.
step() {
  local name=$1 started=${EPOCHREALTIME/./}
  shift
  "$@"
  steps+=$(printf '%10s ms  %s' "$(((${EPOCHREALTIME/./} - started) / 1000))" "$name")$'\n'
}

run_container() {
  "$build/bin/gantry" run --rm --net none "$image" "$@" || status=$?
}

cleanup() {
  local status=$?
  trap - EXIT INT TERM
  if [ -n "$daemon" ]; then
    # Pods outlive gantryd: they are removed first.
    remove_containers >/dev/null 2>&1 || :
    kill "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null || :
  fi
  if [ -n "$folder" ]; then
    unmount_all
    remove_cgroup
    rm -rf --one-file-system "$folder"
  fi
  exit "$status"
}

remove_containers() {
  local ids
  ids=$("$build/bin/gantry" ps --all --quiet)
  # shellcheck disable=SC2086
  [ -z "$ids" ] || "$build/bin/gantry" rm --force $ids
}

# Deepest first. Normally nothing is left.
unmount_all() {
  local path
  while read -r path; do umount -l "$path" 2>/dev/null || :; done \
    < <(awk -v folder="$folder/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
}

remove_cgroup() {
  local path
  for path in /sys/fs/cgroup{,/*}/"$cgroup"; do rmdir "$path" 2>/dev/null || :; done
}

install_packages() {
  "$repository/manifests/install-deps.sh" --build >&2
  [ -n "${1:-}" ] || [ -x "$(command -v busybox)" ] ||
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends busybox-static >&2
}

compile() {
  local log=$folder/build.log
  { (cd "$repository" && cmake --preset release) && cmake --build "$build" -j "$(nproc)" --target "${binaries[@]}"; } \
    >"$log" 2>&1 || { tail -n 30 "$log" >&2; die "the build failed"; }
}

# A docker archive by hand: one layer with busybox under the name of each of its programs, a config and
# a list. `docker save` writes the same.
make_archive() {
  local rootfs=$folder/rootfs archive=$folder/archive busybox diff_id config_id
  busybox=$(command -v busybox)
  mkdir -p "$rootfs"/{bin,etc,root,tmp} "$archive"
  chmod 1777 "$rootfs/tmp"
  cp "$busybox" "$rootfs/bin/busybox"
  "$rootfs/bin/busybox" --install "$rootfs/bin"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$rootfs/etc/passwd"
  echo 'root:x:0:' >"$rootfs/etc/group"
  tar -C "$rootfs" --numeric-owner --owner=0 --group=0 --sort=name --mtime=@0 -cf "$archive/layer.tar" .
  diff_id=$(sha256sum "$archive/layer.tar" | cut -d' ' -f1)
  printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$diff_id" >"$archive/config"
  config_id=$(sha256sum "$archive/config" | cut -d' ' -f1)
  mv "$archive/config" "$archive/$config_id.json"
  printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config_id" "$image" >"$archive/manifest.json"
  tar -C "$archive" -cf "$folder/image.tar" manifest.json "$config_id.json" layer.tar
}

write_config() {
  {
    printf 'root = "%s"\nstate = "%s"\nlisten = "%s"\nlog_level = "warning"\n' "$folder/root" "$folder/state" "$GANTRY_SOCKET"
    printf '[network]\nconf_dir = "%s/no-network"\n[runtime]\nshim_cgroup = "/%s"\n' "$folder" "$cgroup"
  } >"$folder/config.toml"
}

start_daemon() {
  local deadline=$((SECONDS + 20))
  mkdir -m 0711 "$folder/root" "$folder/state"
  write_config
  "$build/bin/gantryd" --config "$folder/config.toml" >"$folder/gantryd.log" 2>&1 &
  daemon=$!
  until "$build/bin/gantry" version >/dev/null 2>&1; do
    kill -0 "$daemon" 2>/dev/null || { cat "$folder/gantryd.log" >&2; daemon=; die "gantryd ended"; }
    [ "$SECONDS" -lt "$deadline" ] || { cat "$folder/gantryd.log" >&2; die "gantryd does not answer"; }
    sleep 0.02
  done
}

case ${1:-} in -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'; exit ;; esac
[ "$(id -u)" = 0 ] || die "run it as root: containers need namespaces, mounts and cgroups"
wanted=${1:-} image=${1:-localhost/quickstart:latest}
[ $# = 0 ] || shift
[ -n "$wanted" ] || set -- sh -c 'echo "Hello from a container: $(uname -s) $(uname -r), pid $$, $(id)"'
cgroup=gantry-quickstart-$$
folder=$(mktemp -d /var/tmp/gantry-quickstart.XXXXXX)
chmod 0711 "$folder"
export GANTRY_SOCKET=unix://$folder/state/gantry.sock
trap cleanup EXIT
trap 'exit 130' INT TERM

if [ -z "${BUILD:-}" ]; then
  step "packages" install_packages "$wanted"
  say "building (the first time takes some minutes)"
  step "build" compile
fi
step "start gantryd" start_daemon
if [ -n "$wanted" ]; then
  step "pull $image" "$build/bin/gantry" pull "$image"
else
  step "make an image of busybox" make_archive
  step "import it" "$build/bin/gantry" image import "$folder/image.tar"
fi
status=0
step "run" run_container "$@"
printf '%s' "$steps" >&2
exit "$status"
