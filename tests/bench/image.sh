# shellcheck shell=bash
# The image that the part `pull` pulls. For run.sh, which has sourced pins.sh and runtimes.sh.

# It is its own image for each scale, made once and again when what makes it has changed.
image_stamp() { cat "$here"/mlimage/*.go | sha256sum | cut -d' ' -f1; }

# At scale 1 the image is 4 GB, and what a server makes of it less than 6. usage: need_space FOLDER SCALE GIGABYTES
need_space() {
  local have
  have=$(df --output=avail -k "$1" | tail -1)
  awk -v have="$have" -v scale="$2" -v need="$3" 'BEGIN { exit have * 1024 < scale * need * 1e9 }' ||
    skip "$1 has less than $3 GB free for an image of scale $2"
}

# usage: serve_image FOLDER SCALE   Serves the image, making it when the cache has none or another. Sets pull_options.
serve_image() {
  local folder=$1 data=$cache/pull-image-$2 stamp
  local address=127.0.0.1:5001
  stamp=$(image_stamp)
  [ "$(cat "$data/stamp" 2>/dev/null)" = "$stamp" ] || rm -rf "$data"
  mkdir -p "$data/store" "$folder"
  need_space "$folder" "$2" 7
  [ -f "$data/stamp" ] || need_space "$data" "$2" 5
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
