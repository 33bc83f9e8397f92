#!/bin/sh
# PID 1 of the user-mode Linux node: mounts, modules, the command, power off. Started by run.sh.
# The root is hostfs, read-only; everything written goes to file systems made here.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
shared=$NODE_SHARED
repository=$NODE_HERE

give_up() {
  echo "node: $*" >/dev/console
  busybox poweroff -f
}

# /tmp, /run and /var/lib are covered, so what lies there of the repository must be seen elsewhere
# first: /mnt holds it meanwhile.
cover() { # cover FOLDER mount-arguments…
  folder=$1
  shift
  case $repository/ in "$folder"/*) inside=1 ;; *) inside= ;; esac
  [ -z "$inside" ] || mount --bind "$repository" /mnt || give_up "cannot keep $repository"
  mount "$@" "$folder" || give_up "cannot mount $folder"
  [ -z "$inside" ] || { mkdir -p "$repository" && mount --move /mnt "$repository"; }
}

load() { # load MODULE: insert it after what it depends on (modules.dep lists the nearest first)
  [ -z "${NODE_BARE:-}" ] || return 0
  folder=/usr/lib/uml/modules/$(uname -r)
  line=$(grep "/$1\.ko:" "$folder/modules.dep") || return 0 # built in, or not in this kernel
  order=
  for file in ${line%%:*} ${line#*:}; do order="$folder/$file $order"; done
  for file in $order; do busybox insmod "$file" 2>/dev/null; done
}

mount -t proc proc /proc || give_up "cannot mount /proc"
mount -t sysfs sysfs /sys
mount -t securityfs securityfs /sys/kernel/security
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
ln -sf /proc/self/fd /dev/fd
ln -sf /dev/pts/ptmx /dev/ptmx
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr

cover /run -t tmpfs -o mode=0755 tmpfs
cover /var/lib -t ext4 /dev/ubda
# Of the disk too: a tmpfs of this kernel has no user xattrs.
mkdir -m 1777 /var/lib/tmp /var/lib/var-tmp
cover /tmp --bind /var/lib/tmp
cover /var/tmp --bind /var/lib/var-tmp
# Where apparmor_parser keeps what it has compiled.
[ ! -d /var/cache/apparmor ] || mount -t tmpfs tmpfs /var/cache/apparmor
# What both sides see, writable through a hostfs mount of its own.
mkdir /run/exchange
mount -t hostfs -o "$shared" none /run/exchange || give_up "cannot mount $shared"
shared=/run/exchange

for module in overlay veth bridge br_netfilter loop erofs fuse nf_tables nft_chain_nat nft_compat nft_masq \
  nf_nat ip_tables iptable_filter iptable_nat ip6_tables ip6table_filter ip6table_nat xt_comment xt_mark xt_addrtype \
  xt_MASQUERADE xt_nat xt_tcpudp xt_conntrack dummy macvlan tun; do
  load "$module"
done

# This kernel's nf_tables knows no IPv4 (NF_TABLES_IPV4 is not set): iptables is the old one here.
[ ! -x /usr/sbin/xtables-nft-multi ] || mount --bind /usr/sbin/xtables-legacy-multi /usr/sbin/xtables-nft-multi

mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup || give_up "cannot mount cgroup v2"
for controller in cpu memory io pids cpuset; do
  echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
done
# As on a booted system: the command runs in a leaf, for a cgroup with controllers for its children
# may hold no processes itself (the root may, but a path "/" is what no node's process has).
mkdir /sys/fs/cgroup/init.scope && echo 1 >/sys/fs/cgroup/init.scope/cgroup.procs

hostname node
ip link set lo up
mount --make-rshared /
export HOME=/root TERM=dumb PATH="$NODE_CALLER_PATH" NODE_EXCHANGE="$shared" GANTRY_NODE=1
export TMPDIR=/tmp
unset NODE_SHARED NODE_CALLER_PATH NODE_HERE
(
  . "$shared/folder"
  eval "exec bash -c 'exec \"\$@\"' node $(cat "$shared/command")"
) </dev/null >"$shared/output" 2>&1
echo $? >"$shared/status.part"
mv "$shared/status.part" "$shared/status"
sync
busybox poweroff -f
