#!/usr/bin/env bash
# Power cuts: an image store on a disk of a user-mode Linux node pulls, removes and collects, until the
# node is killed at a random moment; then every file of every layer on that disk is compared with what
# the layer's digest names, and the images with those that were acknowledged. The next boot goes on
# with the same disk.
#
#   tests/node/powercut.sh [--cuts N] [--seed S] [--form erofs|directory|both] [--longest MS] [--keep DIR]
#
# Default: 200 cuts, a seed that is printed, the forms in turn, each cut 300 to 4000 ms after the worker began (on
# a busy machine it gets further with a larger --longest). --keep leaves what the first bad cut left
# on the disk, with the journals, in DIR. GANTRY_BIN names the programs.
# Ends with what was counted and "N passed, N failed, N skipped", one for each cut; exit status 1 when a
# cut left anything wrong, 77 when it cannot run here.
set -u

# In a mount namespace of its own: one that somebody makes meanwhile would keep a mount of ours alive, and the next mount
# of the same file would show what that one has in memory.
[ "$(id -u)" != 0 ] || [ -n "${POWERCUT_NAMESPACE:-}" ] ||
  POWERCUT_NAMESPACE=own exec unshare --mount --propagation private "$0" "$@"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${GANTRY_BIN:-$here/../../build/dev/bin}
cuts=200 seed=$(date +%N | sed 's/^0*//') form=both longest=4000 keep=
while [ $# -gt 0 ]; do
  case $1 in
    --cuts) cuts=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --form) form=$2; shift 2 ;;
    --longest) longest=$2; shift 2 ;;
    --keep) keep=$2; shift 2 ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 2 ;;
  esac
done
cannot() { echo "powercut: $*"; exit 77; }
[ "$(id -u)" = 0 ] || cannot "not root"
command -v linux.uml >/dev/null || command -v linux >/dev/null || cannot "no user-mode Linux kernel (package user-mode-linux)"
[ -x "$bin/testing_store_churn" ] && [ -x "$bin/testing_store_check" ] || cannot "no testing_store_churn in $bin"
bin=$(cd "$bin" && pwd)

work=$(mktemp -d /var/tmp/gantry-powercut.XXXXXX) || exit 1
boot=
cleanup() {
  [ -n "$boot" ] && kill -TERM "$boot" 2>/dev/null && wait "$boot"
  mountpoint -q "$work/mnt" && umount "$work/mnt"
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
mkdir "$work/mnt"

# A new disk, as mkfs makes it: with a journal, mounted with the default options.
fresh() {
  rm -rf "$work/store.img" "$work/journals" && mkdir "$work/journals" &&
    truncate -s 256M "$work/store.img" && mkfs.ext4 -q -F "$work/store.img"
}

# In one line, as a command of the node is to be. The journals are on a hostfs mount.
# shellcheck disable=SC2016
on_the_node='mkdir /run/journals /run/store && mount -t hostfs -o "$1" none /run/journals && mount -t ext4 /dev/ubdb /run/store &&'
on_the_node+=' exec "$2" /run/store/images "$3" "$4" "$5"'

# Boots, waits for the worker, cuts the power after so many milliseconds.
cut() { # cut NUMBER MILLISECONDS FORM
  local journal
  journal=$work/journals/$(printf %04d "$1")
  "$here/run.sh" --bare --mem 512M --disk 64M --timeout 600 --drive "$work/store.img" sh -c "$on_the_node" powercut \
    "$work/journals" "$bin/testing_store_churn" "$3" "$((seed + $1))" "/run/journals/${journal##*/}" >"$work/boot.log" 2>&1 &
  boot=$!
  until grep -q '^started' "$journal" 2>/dev/null || ! kill -0 "$boot" 2>/dev/null; do sleep 0.05; done
  sleep "$(printf '%d.%03d' $(($2 / 1000)) $(($2 % 1000)))"
  if ! kill -TERM "$boot" 2>/dev/null; then
    echo "the worker did not run:" && tail -n 20 "$work/boot.log"
    wait "$boot"
    boot=
    return 1
  fi
  wait "$boot"
  boot=
}

# Of a copy: opening the store repairs it, and the next boot is to meet the disk as the cut left it.
check() {
  local status
  rm -f "$work/check.img" # a new inode: a loop device is of an inode
  cp --sparse=always "$work/store.img" "$work/check.img" && mount -o loop "$work/check.img" "$work/mnt" ||
    { echo "the file system cannot be mounted"; return 1; }
  mkdir -p "$work/mnt/images"
  "$bin/testing_store_check" "$work/mnt/images" "$work/journals" >"$work/counts" 2>"$work/complaints"
  status=$?
  grep -v '^time=' "$work/complaints"
  umount "$work/mnt" || return 1
  e2fsck -fn "$work/check.img" >"$work/fsck.log" 2>&1 || { echo "e2fsck:" && cat "$work/fsck.log" && return 1; }
  return $status
}

# Adds up what the checker counted. Its pulls and removals are those of all journals of the disk so far.
declare -A total=([pulls]=0 [removals]=0)
pulls_before=0 removals_before=0
add_up() {
  local name number
  while read -r name number; do
    case $name in
      pulls) total[pulls]=$((pulls_before + number)) ;;
      removals) total[removals]=$((removals_before + number)) ;;
      *) total[$name]=$((${total[$name]:-0} + number)) ;;
    esac
  done < <(sed 's/, /\n/g' "$work/counts" | sed 's/^\([a-z]*\) \([a-z]*\) /\1_\2 /')
}

echo "powercut: $cuts cuts, seed $seed, form $form"
RANDOM=$((seed % 32768))
good=0 bad=0
fresh || exit 1
for number in $(seq "$cuts"); do
  ms=$((300 + (RANDOM * 32768 + RANDOM) % (longest - 299)))
  this=$form
  [ "$form" != both ] || this=$([ $((number % 2)) = 0 ] && echo directory || echo erofs)
  : >"$work/counts"
  if cut "$number" "$ms" "$this" && check; then
    good=$((good + 1))
    add_up
    echo "ok cut $number, $this, after $ms ms: $(cat "$work/counts")"
    continue
  fi
  bad=$((bad + 1))
  add_up
  echo "FAILED cut $number, $this, after $ms ms: $(cat "$work/counts")"
  [ -z "$keep" ] || { mkdir -p "$keep" && cp -r --sparse=always "$work/store.img" "$work/journals" "$keep/" && keep=; }
  pulls_before=${total[pulls]} removals_before=${total[removals]}
  fresh || exit 1
done
echo "cuts $cuts, bad layers ${total[bad_layers]:-0}, lost images ${total[lost_images]:-0}, came back ${total[came_back]:-0}," \
  "left over ${total[left_over]:-0}; compared ${total[layers]:-0} layers, ${total[images]:-0} images, after" \
  "${total[pulls]} pulls and ${total[removals]} removals"
echo "$good passed, $bad failed, 0 skipped"
[ "$bad" = 0 ] && [ "$good" -gt 0 ]
