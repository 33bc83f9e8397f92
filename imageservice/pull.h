// Pulling an image: gantryd's side. The network is handled by a gantry-puller process per pull,
// hostile bytes by a confined gantry-unpacker per layer; this file orchestrates them and alone
// publishes what they made.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "imageservice/credentials.h"
#include "imageservice/image_store.h"
#include "imageservice/pull_explanation.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct LayerProgress {
  std::string digest;
  uint64_t total = 0;  // compressed bytes
  uint64_t done = 0;
  bool already_here = false;
  bool complete = false;
};
struct PullProgress {
  std::string stage;  // resolving, pulling, publishing, done
  std::vector<LayerProgress> layers;
};

struct PullRequest {
  std::string reference;
  Credentials credentials;
  // Called from the thread that called Pull, at most 10 times a second; may be empty.
  std::function<void(const PullProgress&)> progress;
  // Polled at least 10 times a second; true ends the wait with kCancelled. May be empty.
  std::function<bool()> cancelled;
};

struct PullerOptions {
  std::string puller_binary;
  std::string unpacker_binary;
  std::string cgroup;  // "/gantry-shims-pulls": the group in which all of them run, made here with
                       // low weights; empty, or where it cannot be made: the caller's own
  std::string registry_config_path;  // containerd's certs.d layout (hosts.toml), several separated
                                     // by ':'; empty: none
  LayerForm layer_form = LayerForm::kDirectory;  // of new layers
  int layers_at_once = 4;                        // of one pull; each has an unpacker
  std::string auth_files;  // docker config.json or containers auth.json, several separated
                           // by ':': for requests without credentials; empty: none
  std::chrono::milliseconds stall_timeout{
      60'000};  // a server that sends nothing for so long is given up
  std::chrono::milliseconds child_timeout{
      120'000};  // an unpacker that does nothing for so long is ended; a puller that says nothing,
                 // after eight times as much: it may wait for servers, one after the other; and a
                 // layer that another registry's pull has had for so long is fetched beside it
};

// Any thread.
class Puller {
 public:
  // `store` must outlive the puller.
  Puller(ImageStore* store, PullerOptions options);
  ~Puller();  // ends running pulls and waits for their processes

  // Returns the image once it is durable and in the store. Callers that ask for the same reference
  // with the same credentials join one pull; it goes on while one of them waits, and ends when the
  // last has gone. kNotFound: no such image; kUnavailable ("RegistryUnavailable: …"): nobody
  // answers; kUnauthenticated or kPermissionDenied; kInvalidArgument: no reference, or a manifest
  // that is none; kDataLoss: a digest or size is wrong; kResourceExhausted: disk full, or a layer
  // over a limit; kFailedPrecondition: hosts.toml, a certificate, or a file of
  // credentials is wrong, or a credential helper fails; kUnimplemented: an artifact that cannot be
  // mounted.
  StatusOr<std::shared_ptr<const Image>> Pull(const PullRequest& request);

  // What Pull would do and why; layers are not fetched. OK also when Pull would fail
  // (PullExplanation::outcome). kInvalidArgument: no reference; kCancelled; kDeadlineExceeded;
  // kInternal.
  StatusOr<PullExplanation> Explain(const PullRequest& request);

  // Reads a `docker save` or OCI layout archive (file descriptor, sequential); all images in it, in
  // archive order. `name`: the reference to give when the archive has one image without a name; may
  // be empty. kInvalidArgument: no image archive, or `name` is no reference; the rest as Pull.
  StatusOr<std::vector<std::shared_ptr<const Image>>> Import(int archive_fd,
                                                             const std::string& name);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace gantry::images
