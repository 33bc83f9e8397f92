// Where the bytes of one blob meet, whichever way they came: hashed, spooled and handed to the sink
// in order; and the clock that says who holds them up.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "imageservice/blob_download.h"
#include "imageservice/connection_plan.h"
#include "imageservice/digester.h"

namespace gantry::images {

// One thread at a time; done() and spoiled() from any.
class BlobAssembly {
 public:
  using Clock = std::chrono::steady_clock;
  // What the arguments point to outlives it.
  static StatusOr<std::unique_ptr<BlobAssembly>> Make(const Descriptor& blob, const BlobSink& sink,
                                                      BlobSpool* spool);

  // Feeds what an earlier pull left. Errors of the sink; kDataLoss when the spool cannot be read.
  Status Replay();
  // The next bytes. kDataLoss when the blob is longer than its descriptor says; else the sink's
  // error. Either is final.
  Status Take(std::span<const char> bytes);
  // kDataLoss unless the digest is right. Once, when done() is the size.
  Status CheckDigest();

  uint64_t done() const { return done_.load(std::memory_order_relaxed); }
  uint64_t left() const { return blob_.size - done(); }
  // No other server can help: the sink has bytes that are wrong, or has failed.
  bool spoiled() const { return spoiled_.load(std::memory_order_relaxed); }

  // How things went since the last call that gave something; nothing within half a second of it.
  // `ahead`: bytes that came but are not here yet. Drops a spool that is not worth its disk.
  std::optional<ConnectionPlan::Period> Measure(uint64_t ahead);

 private:
  BlobAssembly(const Descriptor& blob, const BlobSink& sink, BlobSpool* spool, Digester digester)
      : blob_(blob), sink_(sink), spool_(spool), digester_(std::move(digester)) {}
  Status Pass(std::span<const char> bytes);
  void JudgeSpool();

  const Descriptor& blob_;
  const BlobSink& sink_;
  BlobSpool* const spool_;
  Digester digester_;
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> spoiled_{false};
  bool judged_ = false;
  Clock::duration reader_time_{};  // in which we and the sink kept the network waiting
  Clock::time_point start_ = Clock::now();
  uint64_t start_bytes_ = 0;  // that were here before the network was asked
  struct {
    Clock::time_point time = Clock::now();
    uint64_t bytes = 0;
    Clock::duration reader_time{};
  } last_;
};

}  // namespace gantry::images
