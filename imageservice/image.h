// Values of the image service: what an image is, once it is on this node.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace gantry::images {

// The run-time part of an image's configuration (OCI image-spec config.md).
struct ImageConfig {
  std::string user;  // as written: name, uid, name:group, uid:gid
  std::vector<std::string> entrypoint, cmd;
  std::vector<std::string> env;  // KEY=value
  std::string working_dir;
  std::vector<std::string> volumes;  // absolute paths in the container
  std::vector<std::string> exposed_ports;
  std::string stop_signal;
  std::map<std::string, std::string> labels;
  std::string healthcheck_json;  // kept, never run
  std::string architecture, os;

  bool operator==(const ImageConfig&) const = default;
};

// What an image's digests are of, byte for byte: kept on disk for export.
struct ImageDocuments {
  std::string config;    // sha256 is the image's id; empty for an artifact
  std::string manifest;  // as pulled; empty when the image came from an archive of docker's
};

// An image on this node. Immutable; the store swaps whole values.
struct Image {
  std::string id;                         // "sha256:<hex>" of the configuration blob
  std::vector<std::string> repo_tags;     // sorted, full names: docker.io/library/busybox:1.36
  std::vector<std::string> repo_digests;  // sorted, name@sha256:…, as pulled
  uint64_t size = 0;                      // bytes: layers as stored on disk, and configuration; > 0
  ImageConfig config;
  std::vector<std::string> layers;    // blob digests, bottom first: keys of the layer store
  std::vector<std::string> diff_ids;  // same order
  int64_t pulled_at_ns = 0;
};

}  // namespace gantry::images
