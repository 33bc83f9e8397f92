#!/usr/bin/env bash
# Sets up, builds and tests. Ends with the line "N passed, N failed, N skipped"; exit status 1 when
# something failed, 2 for a wrong call.
#
#   tests/run.sh [TIER…]      default: unit root integration conformance lint fuzz node
#
#   unit         test programs that need nothing
#   root         those that need root: each talks to the real kernel
#   integration  the real binaries on private folders
#   conformance  our API against the published one, critest (tests/conformance), a small run of the benchmark of pulls
#   lint         figures, names, includes, format, tidy; alone it looks at all files (tests/lint)
#   fuzz         every fuzz target for FUZZ_SECONDS (default 30) over its corpus (tests/fuzz)
#   node         root tests on a kernel 6.1 with cgroup v2, a few power cuts, critest's specs of AppArmor there (tests/node)
#   kubelet      a real kubelet over the real binaries, alone and behind an API server (tests/kubelet); the first build takes minutes
#   bench        the measurements beside containerd and runc (tests/bench); counts as one test
#   asan, tsan   the unit tests, and the root tests with asan, under a sanitizer: builds of their own
#
# PRESET=release builds and tests another preset, BUILD=FOLDER elsewhere than in build/PRESET;
# SETUP=no installs nothing; JOBS=N. What each tier printed lies in build/test-logs. With CI=true warnings are errors, and a
# tier that cannot run here has failed.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
preset=${PRESET:-dev}
build=${BUILD:-build/$preset}
logs=$PWD/build/test-logs
jobs=${JOBS:-$(nproc)}
fuzz_seconds=${FUZZ_SECONDS:-30}
node_words="thin_line dockerfile restart BadContainers Updates statistics" # what touches cgroups, mounts, root file systems, images
default_tiers=(unit root integration conformance lint fuzz node)
all_tiers=("${default_tiers[@]}" kubelet bench asan tsan)

# One line for each test: outcome, tier, name, reason; separated by tabs.
record() { # record OUTCOME NAME [REASON]
  printf '%s\t%s\t%s\t%s\n' "$1" "$tier" "$2" "$(tr -s '\t\n' ' ' <<<"${3:-}")" >>"$logs/outcome"
}

# A tier that cannot run is skipped with the reason; in CI, where everything is installed, it failed.
cannot_run() { # cannot_run NAME REASON
  if [ "${CI:-}" = true ]; then record failed "$1" "cannot run in CI: $2"; else record skipped "$1" "$2"; fi
}

count() { grep -c "^$1"$'\t'"$tier"$'\t' "$logs/outcome"; }

last_line() { grep -v '^[[:space:]]*$' "$1" | tail -n 1; }

set_up() {
  local go
  [ "${SETUP:-}" != no ] || return 0
  manifests/install-deps.sh --build --test || return 1
  ! go=$(manifests/install-deps.sh --go-path 2>/dev/null) || PATH=$go:$PATH
}

compile() { # compile PRESET FOLDER
  local preset=$1 werror=OFF
  [ "${CI:-}" != true ] || werror=ON
  echo "== build ($preset)"
  cmake --preset "$preset" -B "$2" -DGANTRY_WERROR=$werror >"$logs/configure-$preset.log" 2>&1 ||
    { tail -n 20 "$logs/configure-$preset.log"; return 1; }
  cmake --build "$2" -j "$jobs" >"$logs/build-$preset.log" 2>&1 ||
    { grep -E -A5 'FAILED|error:|Error' "$logs/build-$preset.log" | head -n 60; return 1; }
}

# Runs the ctest entries with a label and records their GoogleTest cases one by one.
run_label() { # run_label BUILD LABEL PARALLEL
  local dir=$logs/$tier-$2
  rm -rf "$dir" && mkdir -p "$dir"
  GTEST_OUTPUT=xml:$dir/ GANTRY_BIN=$PWD/$1/bin timeout -k 30 2400 ctest --test-dir "$1" -L "^$2\$" -j "$3" \
    --output-on-failure --output-junit "$dir/ctest.junit" >>"$logs/$tier.log" 2>&1 </dev/null
  tests/outcomes.py ctest "$tier" "$dir" >>"$logs/outcome" || record failed "$2" "ctest left no report"
}

tier_unit() { run_label "$build" unit "$jobs"; }

tier_root() {
  [ "$(id -u)" = 0 ] || { cannot_run root "not root"; return; }
  run_label "$build" root 1
}

tier_integration() {
  [ "$(id -u)" = 0 ] || { cannot_run integration "not root"; return; }
  run_label "$build" integration 1
  run_lane binaries tests/integration/run.sh
}

tier_conformance() {
  run_label "$build" api 1
  run_lane critest tests/conformance/run.sh
  run_lane critest-parallel tests/conformance/run.sh --parallel 4
  run_lane critest-newer tests/conformance/run.sh --newer
  run_lane bench tests/bench/smoke.sh
}

tier_kubelet() {
  [ "$(id -u)" = 0 ] || { cannot_run kubelet "not root"; return; }
  run_lane kubelet tests/kubelet/run.sh
}

# A lane is a program that prints "N passed, N failed, N skipped" and ends with 77 when it cannot run.
run_lane() { # run_lane NAME COMMAND…
  local name=$1 status
  shift
  [ -x "$1" ] || { record skipped "$name" "there is no $1 yet"; return; }
  GANTRY_BIN=$PWD/$build/bin timeout -k 30 2700 "$@" >"$logs/$name.log" 2>&1 </dev/null
  status=$?
  cat "$logs/$name.log" >>"$logs/$tier.log"
  if [ $status = 77 ]; then
    cannot_run "$name" "$(last_line "$logs/$name.log")"
  else
    tests/outcomes.py lane "$tier" "$name" "$status" "$logs/$name.log" >>"$logs/outcome"
  fi
}

tier_bench() {
  [ -x tests/bench/run.sh ] || { record skipped bench "there is no tests/bench/run.sh yet"; return; }
  compile release build/release || { record failed build "see build/test-logs/build-release.log"; return; }
  GANTRY_BIN=$PWD/build/release/bin timeout -k 30 3600 tests/bench/run.sh 2>&1 </dev/null | tee "$logs/bench.log"
  case ${PIPESTATUS[0]} in
    0) record passed bench ;;
    77) cannot_run bench "$(last_line "$logs/bench.log")" ;;
    *) record failed bench "$(last_line "$logs/bench.log")" ;;
  esac
}

tier_lint() {
  LINT_ALL=${LINT_ALL:-$lint_all} LINT_BUILD=$build tests/lint/run.sh --outcomes "$logs/lint.outcome" >"$logs/lint.log" 2>&1
  case $? in
    0 | 1) cat "$logs/lint.outcome" >>"$logs/outcome" ;;
    *) record failed lint "$(last_line "$logs/lint.log")" ;;
  esac
}

tier_fuzz() {
  local name target
  [ -x "$(command -v clang++)" ] || { cannot_run fuzz "no clang++"; return; }
  echo "== build (fuzz)"
  tests/fuzz/build.sh "$jobs" >"$logs/build-fuzz.log" 2>&1 ||
    { record failed build "$(grep -m 1 -E 'error|Error' "$logs/build-fuzz.log")"; return; }
  for target in build/fuzz/tests/fuzz/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=${target##*/}
    if tests/fuzz/run.sh "$target" "$fuzz_seconds" >>"$logs/fuzz.log" 2>&1; then
      record passed "$name"
    else
      record failed "$name" "$(grep -m 1 -E 'ERROR|SUMMARY|runtime error' "$logs/fuzz.log") (input kept in build/test-logs)"
    fi
  done
}

tier_node() {
  local dir=$logs/node programs=() status
  [ -x "$(command -v linux.uml)" ] || { cannot_run node "no user-mode Linux kernel (package user-mode-linux)"; return; }
  [ "$(id -u)" = 0 ] || { cannot_run node "not root"; return; }
  mapfile -t programs < <(tests/outcomes.py programs "$build" root node | sort -u)
  [ ${#programs[@]} -gt 0 ] || return 0
  rm -rf "$dir"
  tests/node/run.sh --timeout 1500 --keep "$dir" tests/node/suite.sh "${programs[@]}" >"$logs/node.log" 2>&1
  status=$?
  tests/outcomes.py node "$tier" "$dir" "$status" "${programs[@]}" >>"$logs/outcome"
  run_lane node-powercut tests/node/powercut.sh --cuts 6
  # The real binaries too. What the lane needs is built here: the node cannot write into the tree.
  if ! tests/conformance/tools.sh crictl streamclient critest busybox programs >>"$logs/node.log" 2>&1; then
    cannot_run node-crictl "$(last_line "$logs/node.log")"
    return
  fi
  # shellcheck disable=SC2086
  run_lane node-crictl tests/node/run.sh --mem 2G --timeout 1500 env GANTRY_BIN="$PWD/$build/bin" \
    ${GANTRY_CACHE:+GANTRY_CACHE="$GANTRY_CACHE"} tests/integration/run.sh $node_words
  run_lane node-apparmor tests/node/run.sh --mem 2G --timeout 1500 env GANTRY_BIN="$PWD/$build/bin" OUT=/tmp/report \
    ${GANTRY_CACHE:+GANTRY_CACHE="$GANTRY_CACHE"} tests/conformance/run.sh --apparmor
}

sanitize() { # sanitize PRESET LABEL…
  local preset=$1 label
  shift
  compile "$preset" "build/$preset" || { record failed build "see build/test-logs/build-$preset.log"; return; }
  for label in "$@"; do run_label "build/$preset" "$label" 1; done
}

tier_asan() { sanitize asan unit root; }
tier_tsan() { sanitize tsan unit; }

run_tier() {
  local started=$SECONDS
  tier=$1
  rm -f "$logs/$tier.log"
  echo "== $tier"
  "tier_$tier"
  [ "$(grep -c $'\t'"$tier"$'\t' "$logs/outcome")" -gt 0 ] || record skipped "$tier" "it has no tests yet"
  echo "   $(count passed) passed, $(count failed) failed, $(count skipped) skipped ($((SECONDS - started)) s)"
}

finish() {
  local outcome passed failed skipped
  for outcome in skipped failed; do
    grep "^$outcome"$'\t' "$logs/outcome" | awk -F'\t' -v word="${outcome^^}" '{ printf "%s %s: %s%s\n", word, $2, $3, $4 == "" ? "" : ": " $4 }'
  done
  passed=$(grep -c ^passed "$logs/outcome") failed=$(grep -c ^failed "$logs/outcome") skipped=$(grep -c ^skipped "$logs/outcome")
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
  exit
}

tiers=("$@")
lint_all=
[ "${tiers[*]:-}" != lint ] || lint_all=1 # asked for alone: all files
[ ${#tiers[@]} -gt 0 ] || tiers=("${default_tiers[@]}")
for tier in "${tiers[@]}"; do
  [[ " ${all_tiers[*]} " = *" $tier "* ]] || { echo "run.sh: unknown tier $tier (of ${all_tiers[*]})" >&2; exit 2; }
done
mkdir -p "$logs" && : >"$logs/outcome"
tier=setup
set_up || { record failed install-deps "manifests/install-deps.sh --build --test failed"; finish; }
tier=build
compile "$preset" "$build" || { record failed "$preset" "see build/test-logs/build-$preset.log"; finish; }
for name in "${tiers[@]}"; do run_tier "$name"; done
finish
