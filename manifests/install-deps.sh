#!/usr/bin/env bash
# Installs the Debian packages that Gantry is built with, tested with, and runs with.
#
#   manifests/install-deps.sh [--build] [--test] [--go-path]
#
#   (no option)  what a node needs to run gantryd
#   --build      also what a build needs
#   --test       also what the tests need, Go among it
#   --go-path    installs nothing; prints the folder of a Go that serves the tests, or fails with
#                the reason
#
# Idempotent: it asks dpkg what is missing and returns at once when nothing is. Services that come
# with a package are neither started nor enabled. Debian 12 is the base; "a|b" names alternatives
# of other releases. A test package that this release lacks is named and left out: what needs it
# is then reported as skipped. Without Go $go_version or newer, one is fetched as a Go module.
set -euo pipefail

runtime_packages=(iptables iproute2)
build_packages=(
  build-essential cmake ninja-build pkg-config ccache git
  libgrpc++-dev protobuf-compiler-grpc protobuf-compiler libprotobuf-dev libabsl-dev
  libseccomp-dev libcap-dev libsqlite3-dev libcurl4-openssl-dev libssl-dev libisal-dev libzstd-dev
  zlib1g-dev nlohmann-json3-dev libtomlplusplus-dev libyaml-cpp-dev "libboost1.81-dev|libboost-dev" libsystemd-dev
  libcli11-dev libspdlog-dev libfmt-dev libgtest-dev libgmock-dev libbenchmark-dev
)
test_packages=(
  busybox-static docker-registry user-mode-linux skopeo jq containernetworking-plugins
  clang "libclang-rt-dev|libclang-rt-14-dev" clang-format clang-tidy universal-ctags strace util-linux dpkg-dev bzip2 e2fsprogs
  procps openssl python3 python3-yaml zstd apparmor libarchive-dev libarchive-tools umoci
)

# cri-tools 1.36 asks for it. The sums are those of the toolchain modules of that version.
go_version=1.26.4
declare -A go_sums=(
  [amd64]="h1:wAoHYF9gHXZdyCyZT4yuWhbjdIC/Iv5dpQsE+H3FgGU="
  [arm64]="h1:jN5t8dCFiH2UQGMwT5Vm2S11spA4Aaed7jd/eaS9ouk="
)
go_cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/gantry/go$go_version

say() { echo "install-deps: $*"; }
die() { echo "install-deps: $*" >&2; exit 1; }

installed() { # installed PACKAGE: true when dpkg has it, or something that provides it
  [ -n "${have[$1]:-}" ]
}

read_installed() {
  declare -gA have=()
  local name state provides
  while IFS=$'\t' read -r name state provides; do
    [[ $state == *" ok installed" ]] || continue
    have[$name]=1
    for name in ${provides//,/ }; do have[$name]=1; done
  done < <(dpkg-query -W -f '${Package}\t${Status}\t${Provides}\n')
}

missing_of() { # missing_of NAME[|NAME]…: those of which no alternative is installed
  local wanted name found
  for wanted in "$@"; do
    found=
    for name in ${wanted//|/ }; do installed "$name" && found=1; done
    [ -n "$found" ] || echo "$wanted"
  done
}

candidate() { # candidate NAME[|NAME]…: the first that this release has
  local name
  for name in ${1//|/ }; do
    if [ -n "$(apt-cache show --no-all-versions "$name" 2>/dev/null)" ]; then
      echo "$name"
      return
    fi
  done
}

# Packages with a service (docker-registry) would start it: policy-rc.d says no meanwhile.
guard_services() {
  [ ! -e /usr/sbin/policy-rc.d ] || return 0
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

# "Enabled" would mean started at the next boot. Only units of packages installed just now.
disable_services() {
  local package unit
  [ -x "$(command -v systemctl)" ] || return 0
  for package in "$@"; do
    for unit in $(dpkg -L "$package" 2>/dev/null | sed -n 's|.*/systemd/system/\([^/]*\.service\)$|\1|p'); do
      case $unit in
        docker-registry.service) systemctl disable --quiet "$unit" 2>/dev/null || : ;;
      esac
    done
  done
}

install_packages() { # install_packages MUST-COUNT NAME…: the first MUST-COUNT may not lack
  local must=$1 wanted name names=() position=0
  shift
  [ "$(id -u)" = 0 ] || die "missing: $* (run as root to install them)"
  say "reading the package lists"
  apt-get update -qq || say "the package lists could not be refreshed, going on with the old ones"
  for wanted in "$@"; do
    position=$((position + 1))
    name=$(candidate "$wanted")
    if [ -n "$name" ]; then
      names+=("$name")
    elif [ "$position" -le "$must" ]; then
      die "this release has no package $wanted"
    else
      say "this release has no package $wanted; what needs it is skipped"
    fi
  done
  [ ${#names[@]} -gt 0 ] || return 0
  say "installing ${names[*]}"
  guard_services
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${names[@]}" \
    >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get install failed"; }
  disable_services "${names[@]}"
}

at_least() { # at_least VERSION WANTED
  [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

find_go() { # prints the folder of the first Go that is new enough
  local go version
  for go in "$(command -v go || :)" /usr/local/go/bin/go /usr/lib/go-*/bin/go "$go_cache/bin/go"; do
    [ -x "$go" ] || continue
    version=$(cd / && GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || continue
    if at_least "${version#go}" "$go_version"; then
      dirname "$go"
      return
    fi
  done
  return 1
}

any_go() {
  local go
  for go in "$(command -v go || :)" /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
    [ -x "$go" ] && { echo "$go"; return; }
  done
  return 1
}

# The toolchain of a release is a Go module; any older Go can fetch one and checks its sum. A module
# carries no execute bits and no go.mod of nested modules: both are put back as the go command does.
fetch_go() {
  local go module json dir sum work
  local arch
  arch=$(dpkg --print-architecture)
  [ -n "${go_sums[$arch]:-}" ] || { say "no Go toolchain is known for $arch"; return 1; }
  if ! go=$(any_go); then
    read_installed
    install_packages 0 golang-go
    go=$(any_go) || { say "golang-go could not be installed"; return 1; }
  fi
  module=golang.org/toolchain@v0.0.1-go$go_version.linux-$arch
  say "fetching $module with $("$go" env GOVERSION)"
  work=$(mktemp -d)
  if ! json=$(cd "$work" && GOTOOLCHAIN=local GOFLAGS=-modcacherw GOPATH=$work "$go" mod download -json "$module"); then
    rm -rf "$work"
    say "it could not be fetched: $(printf '%s' "$json" | tr -s '\n\t ' ' ')"
    return 1
  fi
  dir=$(sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p' <<<"$json")
  sum=$(sed -n 's/^\t"Sum": "\(.*\)",\{0,1\}$/\1/p' <<<"$json")
  if [ "$sum" != "${go_sums[$arch]}" ]; then
    rm -rf "$work"
    say "the module has the sum $sum, expected ${go_sums[$arch]}"
    return 1
  fi
  chmod -R u+w "$dir"
  chmod +x "$dir"/bin/* && find "$dir/pkg/tool" -type f -exec chmod +x {} +
  find "$dir/src" -name _go.mod -execdir cp {} go.mod \;
  mkdir -p "$(dirname "$go_cache")"
  rm -rf "$go_cache"
  mv "$dir" "$go_cache"
  rm -rf "$work"
}

main() {
  local build= test= option musts=() missing=() optional=()
  log=$(mktemp)
  for option in "$@"; do
    case $option in
      --build) build=1 ;;
      --test) test=1 ;;
      --go-path) find_go || die "no Go $go_version or newer (install-deps.sh --test fetches one)"; exit ;;
      -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'; exit ;;
      *) die "unknown option $option (see --help)" ;;
    esac
  done
  [ -x "$(command -v dpkg-query)" ] || die "this is no Debian system: install by hand what this script lists"
  musts=("${runtime_packages[@]}")
  [ -z "$build" ] || musts+=("${build_packages[@]}")
  read_installed
  mapfile -t missing < <(missing_of "${musts[@]}")
  [ -z "$test" ] || mapfile -t optional < <(missing_of "${test_packages[@]}")
  if [ $((${#missing[@]} + ${#optional[@]})) -gt 0 ]; then
    install_packages ${#missing[@]} "${missing[@]}" "${optional[@]}"
  fi
  if [ -n "$test" ] && ! find_go >/dev/null; then
    fetch_go || say "no Go $go_version or newer: what needs it is skipped"
  fi
  rm -f "$log"
  say "everything is in place${test:+, Go in $(find_go || echo "no folder")}"
}

main "$@"
