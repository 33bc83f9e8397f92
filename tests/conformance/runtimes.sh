# shellcheck shell=bash
# A private registry and private runtimes: functions for scripts that have sourced pins.sh and run inside isolate.sh.
# They set: registry (host:port), pinned (digest of the image that critest pins), socket_gantryd, socket_containerd.

cni_bin=${CNI_BIN:-/usr/lib/cni}
mirrored=(registry.k8s.io k8s.gcr.io gcr.io public.ecr.aws docker.io)

# usage: wait_for SECONDS COMMAND…   Tries until the command succeeds; false when the time is over.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

# What the images depend on.
images_stamp() { cat "$lane"/images/*.py "$cache"/bin/{busybox,web,pause,euid} | sha256sum | cut -d' ' -f1; }

# usage: serve_registry FOLDER ADDRESS STORE   Serves a registry's store; FOLDER gets its log. Sets served_pid.
serve_registry() {
  command -v docker-registry >/dev/null || skip "no docker-registry in PATH (Debian package docker-registry)"
  mkdir -p "$1"
  cat > "$1/registry.yml" <<Y
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $3}}
http: {addr: $2}
Y
  OTEL_TRACES_EXPORTER=none docker-registry serve "$1/registry.yml" > "$1/registry.log" 2>&1 </dev/null &
  served_pid=$!
  wait_for 20 bash -c "exec 3<>/dev/tcp/${2/:/\/}" || die "the registry does not answer: $1/registry.log"
}

# usage: start_registry FOLDER [PORT]   Serves the images, pushing them when the cache has none or others.
start_registry() {
  local folder=$1 data=$cache/registry stamp
  registry=127.0.0.1:${2:-5000}
  stamp=$(images_stamp)
  if [ "$(cat "$data/stamp" 2>/dev/null)" != "$stamp" ]; then
    # On the node of tests/node what is not below $folder cannot be written.
    if [ -w "$cache" ]; then rm -rf "$data"; else data=$folder/registry; fi
  fi
  mkdir -p "$data/store" "$folder"
  serve_registry "$folder" "$registry" "$data/store"
  registry_pid=$served_pid
  if [ ! -f "$data/stamp" ]; then
    python3 -B "$lane/images/push.py" "$cache/bin" "$registry" > "$data/pinned" || die "no images"
    echo "$stamp" > "$data/stamp"
  fi
  pinned=$(cat "$data/pinned")
}

# usage: write_mirrors FOLDER   containerd's certs.d layout: every host of critest's images is our registry.
write_mirrors() {
  local host
  for host in "${mirrored[@]}"; do
    mkdir -p "$1/$host"
    cat > "$1/$host/hosts.toml" <<T
server = "http://$registry"
[host."http://$registry"]
  capabilities = ["pull", "resolve"]
T
  done
}

# usage: write_network FOLDER BRIDGE SUBNET STATE
write_network() {
  [ -x "$cni_bin/bridge" ] || skip "no CNI plugins in $cni_bin (Debian package containernetworking-plugins)"
  mkdir -p "$1"
  cat > "$1/10-lane.conflist" <<J
{"cniVersion": "1.0.0", "name": "$2", "plugins": [
  {"type": "bridge", "bridge": "$2", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$4", "ranges": [[{"subnet": "$3"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
J
}

# Prints the folder of gantryd and its helpers: $GANTRY_BIN, else the newest build.
gantry_bin() {
  local newest
  [ -z "${GANTRY_BIN:-}" ] || { echo "$GANTRY_BIN"; return; }
  newest=$(ls -t "$repository"/build/*/bin/gantryd /usr/bin/gantryd 2>/dev/null | head -1) || true  # ls complains of what is not there
  [ -n "$newest" ] || die "no gantryd in build/*/bin: build it, or set GANTRY_BIN"
  dirname "$newest"
}

# usage: configure_gantryd FOLDER   FOLDER holds all of the daemon; its state must be walkable by other users, since the
# root of a user namespace is one. FOLDER/launch becomes the script that turns into the daemon.
configure_gantryd() {
  local bin
  bin=$(gantry_bin)
  socket_gantryd=$1/state/gantry.sock
  mkdir -p "$1/state"
  write_mirrors "$1/certs.d"
  write_network "$1/net.d" lane0 10.81.0.0/16 "$1/ipam"
  cat > "$1/gantry.toml" <<T
[image]
registry_config_path = "$1/certs.d"
[network]
conf_dir = "$1/net.d"
bin_dirs = ["$cni_bin"]
[runtime]
cgroup_driver = "cgroupfs"
T
  write_launch "$1" "$bin/gantryd" --config "$1/gantry.toml" --root "$1/root" --state "$1/state" \
    --listen "unix://$socket_gantryd" --log-level "${LOG_LEVEL:-info}"
}

# usage: configure_containerd FOLDER   As its defaults, but for our paths and for what a root without
# CAP_SYS_RESOURCE cannot do.
configure_containerd() {
  socket_containerd=$1/state/c.sock
  mkdir -p "$1/state"
  write_mirrors "$1/certs.d"
  write_network "$1/net.d" lane1 10.82.0.0/16 "$1/ipam"
  local runtime="plugins.'io.containerd.cri.v1.runtime'" images="plugins.'io.containerd.cri.v1.images'"
  cat > "$1/config.toml" <<T
version = 3
root = "$1/root"
state = "$1/state"
[grpc]
  address = "$socket_containerd"
[$images.pinned_images]
  sandbox = "registry.k8s.io/pause:3.10"
[$images.registry]
  config_path = "$1/certs.d"
[$runtime]
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  restrict_oom_score_adj = true
[$runtime.cni]
  bin_dirs = ["$cni_bin"]
  conf_dir = "$1/net.d"
[$runtime.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  runtime_path = "$cache/bin/containerd-shim-runc-v2"
[$runtime.containerd.runtimes.runc.options]
  BinaryName = "$cache/bin/runc"
  Root = "$1/state/runc"
  SystemdCgroup = false
[plugins.'io.containerd.internal.v1.opt']
  path = "$1/opt"
[plugins.'io.containerd.nri.v1.nri']
  disable = true
T
  write_launch "$1" env "PATH=$cache/bin:$PATH" "$cache/bin/containerd" --config "$1/config.toml" --log-level "${LOG_LEVEL:-info}"
}

# usage: write_launch FOLDER COMMAND…
write_launch() {
  local folder=$1
  shift
  printf '#!/bin/bash\nexec >> %q 2>&1 < /dev/null\nexec' "$folder/log" > "$folder/launch"
  printf ' %q' "$@" >> "$folder/launch"
  echo >> "$folder/launch"
  chmod +x "$folder/launch"
}

# usage: start_runtime gantryd|containerd FOLDER   Configures, launches, waits for an answer. FOLDER/pid has the PID.
start_runtime() {
  local socket=socket_$1
  mkdir -p "$2"
  "configure_$1" "$2"
  "$2/launch" &
  echo $! > "$2/pid"
  wait_for 30 "$cache/bin/crictl" -r "unix://${!socket}" version || {
    tail -5 "$2/log" >&2
    die "$1 does not answer: $2/log"
  }
}

# The cgroups that runtimes make for containers without a parent. usage: default_cgroups   (prints those that are there)
default_cgroups() {
  find /sys/fs/cgroup -maxdepth 2 -type d \( -name k8s.io -o -name gantry -o -name gantry-shims \) | sort
}
cgroups_before=$(default_cgroups)

# Ends everything in our PID namespace but this script, whose PID is 1 there; takes away mounts below FOLDER and the
# default cgroups that were not there before. usage: end_lane FOLDER
end_lane() {
  local path
  [ $$ = 1 ] || return 0
  { kill -KILL -1 || true; wait; } 2>/dev/null # quiet: the shell would name each job that was killed
  awk -v top="$1/" 'index($5, top) == 1 {print $5}' /proc/self/mountinfo | tac | while read -r path; do
    umount -l "$path" || true
  done
  comm -13 <(echo "$cgroups_before") <(default_cgroups) | while read -r path; do
    find "$path" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}
