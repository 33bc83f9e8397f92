#!/bin/bash
# Builds what the lane runs into the cache folder ($GANTRY_CACHE, default build/conformance), each piece once.
#
#   tools.sh [critest] [critest-newer] [crictl] [busybox] [programs] [ginkgo] [streamclient] [kubelet] [kube-apiserver] [kubectl] [etcd]
#            [containerd] [runc]     default: critest crictl busybox programs
#
# critest, crictl, containerd (with its shim) and runc are built from their Go modules, at the versions and with the
# dependencies that their authors pinned. busybox is built from Debian's source package. Exit status 77: no fit Go.
set -euo pipefail
. "$(dirname "$0")/pins.sh"
bin=$cache/bin
work=$cache/work
jobs=${JOBS:-2}
mkdir -p "$bin" "$work"

# Prints the folder of a module's source. usage: module_source MODULE VERSION SUM
module_source() {
  local answer sum
  answer=$(cd "$work" && GOFLAGS=-mod=mod GOWORK=off go mod download -json "$1@$2") || die "$1 $2: $answer"
  sum=$(sed -n 's/^\t"Sum": "\(.*\)",\{0,1\}$/\1/p' <<<"$answer")
  [ -z "$3" ] || [ "$sum" = "$3" ] || die "$1 $2 has sum $sum, expected $3"
  sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p' <<<"$answer"
}

# A tool is there when it and a note of its version are. usage: present NAME VERSION
present() { [ -x "$bin/$1" ] && [ "$(cat "$bin/$1.version" 2>/dev/null)" = "$2" ]; }
note() { echo "$2" > "$bin/$1.version"; }

# usage: in_module MODULE VERSION SUM go-arguments...   (runs in the module's own folder, with its own go.sum)
in_module() {
  local source
  source=$(module_source "$1" "$2" "$3")
  shift 3
  (cd "$source" && GOFLAGS=-mod=readonly GOWORK=off nice go "$@")
}

need_go() {
  local trouble
  trouble=$(go_trouble)
  [ -z "$trouble" ] || skip "$trouble"
}

# usage: critest_as NAME MODULE VERSION SUM
critest_as() {
  present "$1" "$3" && return
  need_go
  in_module "${@:2}" test -c -p "$jobs" -o "$bin/$1" ./cmd/critest
  note "$1" "$3"
}

build_critest() { critest_as critest "${critools[@]}"; }
build_critest-newer() { critest_as critest-newer "${critools_newer[@]}"; }

build_crictl() {
  present crictl "${critools[1]}" && return
  need_go
  in_module "${critools[@]}" build -p "$jobs" -trimpath -o "$bin/crictl" ./cmd/crictl
  note crictl "${critools[1]}"
}

# The command that critest calls to run on several nodes, at the version that it was made with.
build_ginkgo() {
  present ginkgo "${critools[1]}" && return
  need_go
  in_module "${critools[@]}" build -p "$jobs" -trimpath -o "$bin/ginkgo" github.com/onsi/ginkgo/v2/ginkgo
  note ginkgo "${critools[1]}"
}

# Ours, of tests/integration, with client-go at the version in tests/go.mod.
build_streamclient() {
  local tests=$repository/tests
  [ -x "$bin/streamclient" ] &&
    [ -z "$(find "$tests/go.mod" "$tests/go.sum" "$tests/integration/streamclient" -newer "$bin/streamclient")" ] && return
  need_go
  (cd "$tests" && GOFLAGS=-mod=readonly GOWORK=off nice go build -p "$jobs" -o "$bin/streamclient" ./integration/streamclient)
}

# Of the module tests/kubelet. The programs of Kubernetes do not start without a version.
# usage: of_the_cluster NAME MODULE PACKAGE   (the module whose version in go.mod is the program's)
of_the_cluster() {
  local version
  version=$(sed -n "s|.*${2//./\\.} \\(v[0-9.]*\\)$|\\1|p" "$repository/tests/kubelet/go.mod")
  present "$1" "$version" && return
  need_go
  (cd "$repository/tests/kubelet" && GOFLAGS=-mod=readonly GOWORK=off nice go build -p "$jobs" \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" -o "$bin/$1" "$3")
  note "$1" "$version"
}

build_kubelet() { of_the_cluster kubelet k8s.io/kubernetes k8s.io/kubernetes/cmd/kubelet; }
build_kube-apiserver() { of_the_cluster kube-apiserver k8s.io/kubernetes k8s.io/kubernetes/cmd/kube-apiserver; }
build_kubectl() { of_the_cluster kubectl k8s.io/kubernetes k8s.io/kubernetes/cmd/kubectl; }
build_etcd() { of_the_cluster etcd go.etcd.io/etcd/server/v3 go.etcd.io/etcd/server/v3; }

build_containerd() {
  present containerd "${containerd[1]}" && present containerd-shim-runc-v2 "${containerd[1]}" && return
  need_go
  local tags=no_btrfs,no_zfs,no_devmapper,no_aufs
  local flags="-s -w -X ${containerd[0]}/version.Version=${containerd[1]}"
  CGO_ENABLED=0 in_module "${containerd[@]}" build -p "$jobs" -tags "$tags" -ldflags "$flags" \
    -o "$bin/containerd-shim-runc-v2" ./cmd/containerd-shim-runc-v2
  in_module "${containerd[@]}" build -p "$jobs" -tags "$tags" -ldflags "$flags" -o "$bin/containerd" ./cmd/containerd
  note containerd "${containerd[1]}"
  note containerd-shim-runc-v2 "${containerd[1]}"
}

build_runc() {
  present runc "${runc[1]}" && return
  need_go
  in_module "${runc[@]}" build -p "$jobs" -tags seccomp -ldflags "-X main.version=${runc[1]#v}" -o "$bin/runc" .
  note runc "${runc[1]}"
}

# A sources list of our own: the machine's Debian entries with deb-src in the place of deb, in lists of our own.
busybox_source() {
  local folder=$1 entry
  mkdir -p "$folder/lists/partial" "$folder/parts"
  for entry in /etc/apt/sources.list.d/*.sources; do
    [ -f "$entry" ] && grep -q debian-archive-keyring "$entry" &&
      sed 's/^Types:.*/Types: deb-src/' "$entry" > "$folder/parts/${entry##*/}"
  done
  [ -f /etc/apt/sources.list ] && sed -n 's/^deb \(.*debian\.org.*\)/deb-src \1/p' /etc/apt/sources.list > "$folder/parts/main.list"
  local options=(-q -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$folder/parts"
    -o "Dir::State::Lists=$folder/lists" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$folder" && apt-get "${options[@]}" source --download-only busybox)
  rm -rf "$folder/tree"
  dpkg-source -x "$folder"/busybox_*.dsc "$folder/tree"
}

build_busybox() {
  present busybox debian && return
  local folder=$work/busybox
  busybox_source "$folder" > "$work/busybox.log" 2>&1 || die "the source of busybox: see $work/busybox.log"
  (
    cd "$folder/tree"
    make -s defconfig
    # Static: it runs in images with nothing else in them. tc: does not compile against newer kernel headers.
    sed -i -e 's/^# CONFIG_STATIC is not set/CONFIG_STATIC=y/' -e 's/^CONFIG_TC=y/# CONFIG_TC is not set/' .config
    yes '' | make -s oldconfig || true
    nice make -s -j"$jobs" busybox || nice make -s busybox # its own makefile races now and then
  ) >> "$work/busybox.log" 2>&1 </dev/null || die "busybox: see $work/busybox.log"
  cp "$folder/tree/busybox" "$bin/busybox"
  note busybox debian
}

build_programs() {
  local name
  for name in web pause euid; do
    [ "$bin/$name" -nt "$lane/images/$name.c" ] && continue
    ${CC:-gcc} -std=gnu11 -O2 -s -static -Wall -Wextra -Werror -o "$bin/$name" "$lane/images/$name.c"
  done
}

[ $# -gt 0 ] || set -- critest crictl busybox programs
for tool; do
  declare -F "build_$tool" >/dev/null || die "nothing is known of a tool $tool"
  "build_$tool"
done
