// One layer on its way into the store: its ring, its gantry-unpacker and its staging directory.
// Destroying it before it is published kills the process and removes the directory; while it is
// being published, it waits for that.
//
// What passes between us and gantry-unpacker stands at the head of unpacker_main.cc.
#pragma once

#include <pthread.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "imageservice/blob_ring.h"
#include "imageservice/child_process.h"
#include "imageservice/image_store.h"
#include "imageservice/puller_protocol.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

// For one that has said its last word, to end.
inline constexpr auto kUnpackerPatience = std::chrono::seconds(5);

struct UnpackerSetup {
  std::string binary;
  LayerForm form = LayerForm::kErofs;
  const PullCgroup* cgroup = nullptr;           // may be null
  std::chrono::milliseconds patience{120'000};  // with one that does nothing
};

// kDataLoss: the layer unpacks to something else than its image says. Artifacts may say nothing.
Status CheckDiffId(const FoundLayer& layer, const std::string& computed);

class LayerTransfer {
 public:
  // kResourceExhausted: no space for the staging directory.
  static StatusOr<std::unique_ptr<LayerTransfer>> Start(ImageStore* store,
                                                        const UnpackerSetup& setup);
  ~LayerTransfer();

  // The puller's ends of the ring; once.
  UniqueFd TakeRingMemory() { return std::move(ring_.writer_memory); }
  UniqueFd TakeRingSocket() { return std::move(ring_.writer_socket); }

  // Readable when the unpacker has said how it ended, or has died: then call ReadReply. -1 after
  // that.
  int reply_fd() const { return control_.get(); }
  void ReadReply();

  // Where the unpacker writes.
  const std::string& staging() const { return staging_; }

  // After its reply: when this returns it changes nothing any more.
  void EndUnpacker() { unpacker_->End(kUnpackerPatience); }

  // What the puller says of the blob.
  void SetDownloaded(const Status& status);
  // Of its unpacker.
  void SetBackground(bool background) { unpacker_->SetBackground(background); }
  bool downloading() const { return !downloaded_.has_value(); }

  // Nothing while both halves are not known. OK: unpacked from a verified blob. An error is the one
  // that came first in cause: the loser of a broken ring is not blamed while the other may still
  // speak (`now` bounds the wait). kInternal: the unpacker died, or does nothing.
  std::optional<Status> Verdict(std::chrono::steady_clock::time_point now) const;

  // After an OK verdict, once: compares the diffID and hands the layer to the store, in a thread of
  // its own, as a disk takes its time to make something durable. `done` is an eventfd(2) that is
  // written to at the end; it outlives this. Until then only reply_fd, downloading,
  // SetDownloaded and Published are called. Without a thread it is done before this returns.
  void StartPublishing(const FoundLayer& layer, int done);
  bool publishing() const { return done_ >= 0; }
  // How that ended; nothing while it has not.
  std::optional<Status> Published();

 private:
  explicit LayerTransfer(ImageStore* store) : store_(store) {}
  Status StartUnpacker(const UnpackerSetup& setup);
  Status Publish(const FoundLayer& layer);

  ImageStore* const store_;
  std::string staging_;
  BlobRing ring_;
  UniqueFd control_;
  std::optional<ChildProcess> unpacker_;
  std::optional<Status> downloaded_, unpacked_;
  bool died_ = false;  // the unpacker, without a reply
  std::string diff_id_;
  uint64_t tar_bytes_ = 0;
  std::chrono::steady_clock::time_point failed_at_{}, downloaded_at_{};
  std::chrono::milliseconds patience_{};

  int done_ = -1;  // StartPublishing's
  FoundLayer layer_;
  std::optional<pthread_t> publisher_;
  std::mutex published_mutex_;
  std::optional<Status> published_;
};

}  // namespace gantry::images
