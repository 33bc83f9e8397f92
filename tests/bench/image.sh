# shellcheck shell=bash
# The image that the part `pull` pulls. For run.sh, which has sourced pins.sh and runtimes.sh.

# It is its own image for each scale, made once and again when what makes it has changed.
image_stamp() { cat "$here"/mlimage/*.go | sha256sum | cut -d' ' -f1; }

# usage: need_space FOLDER GIGABYTES
need_space() {
  local have
  have=$(df --output=avail -k "$1" | tail -1)
  awk -v have="$have" -v need="$2" 'BEGIN { exit have * 1024 < need * 1e9 }' || skip "$1 has less than $2 GB free"
}

# usage: times SCALE GIGABYTES   (prints their product, and half a gigabyte more)
times() { awk -v scale="$1" -v each="$2" 'BEGIN { printf "%.1f", scale * each + 0.5 }'; }

# usage: mount_disk FOLDER SCALE   A file system of our own for both servers: ext4 with its defaults, in a file, by a loop
# device without a cache of its own. What else the machine writes is not in its syncfs then; and a file system without a
# journal, or one that discards as it deletes, would give other figures than a node's. Sets disk. Without loop devices
# FOLDER stays what it is, and the output says so.
mount_disk() {
  local size device
  size=$(times "$2" 9)
  need_space "${1%/*}" "$size"
  disk=$1.disk
  fallocate -l "$(awk -v size="$size" 'BEGIN { printf "%d", size * 954 }')MiB" "$disk"
  mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$disk"
  if ! device=$(losetup --find --show --direct-io=on "$disk") || ! mount "$device" "$1"; then
    [ -z "${device:-}" ] || losetup -d "$device"
    rm "$disk"
    disk=""
    echo "no loop device: both servers write to ${1%/*}, $(stat -f -c %T "$1")"
    return
  fi
  losetup -d "$device" # it goes when nothing has it mounted
  chmod 755 "$1"
}

# usage: serve_image FOLDER SCALE   Serves the image, making it when the cache has none or another. Sets pull_options.
serve_image() {
  local folder=$1 data=$cache/pull-image-$2 stamp
  local address=127.0.0.1:5001
  stamp=$(image_stamp)
  [ "$(cat "$data/stamp" 2>/dev/null)" = "$stamp" ] || rm -rf "$data"
  mkdir -p "$data/store" "$folder"
  [ -f "$data/stamp" ] || need_space "$data" "$(times "$2" 4)"
  serve_registry "$folder/pull-registry" "$address" "$data/store"
  if [ ! -f "$data/stamp" ]; then
    echo "making the image at scale $2 ..." >&2
    nice "$cache/bin/mlimage" -scale "$2" "$address/ml" > "$data/image.json" || die "no image"
    sync -f "$data"
    echo "$stamp" > "$data/stamp"
  fi
  pull_options=(-pull-image "$data/image.json" -pull-repository ml.example/ml -pull-registry "$served_pid"
    -pull-store "$data/store")
}

# usage: mirror_image CERTS_D   Both servers find ml.example at the registry of serve_image.
mirror_image() {
  mkdir -p "$1/ml.example"
  cat > "$1/ml.example/hosts.toml" <<T
server = "http://127.0.0.1:5001"
[host."http://127.0.0.1:5001"]
  capabilities = ["pull", "resolve"]
T
}
