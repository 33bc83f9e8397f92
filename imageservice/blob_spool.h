// The compressed bytes of a blob that is on its way, in a file, so that the next pull of the same
// digest goes on where this one ended, in whatever way: without asking for what came, and without
// hashing it again.
//
//   0      record A ┐ taken in turns: a torn one never matches its checksum, and the other one is
//   4096   record B ┘ the one before
//   8192   the bytes, from the blob's first one on
//
// A record holds the blob's digest and size, the registry that it came from (what another one gave
// may be wrong, and only the end would tell), this boot's id, and a length with the state that the
// hash had there. One is written at the start and every 64 MiB, after its bytes are durable
// (fdatasync), so it tells the truth whenever the machine stops. Within one boot the bytes behind
// the last record count too: only processes died, and what they wrote is in the page cache.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/strings/string_view.h"

#include "imageservice/digester.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

inline constexpr uint64_t kSpoolMark = 64 << 20;  // bytes between two records

inline constexpr uint64_t kSpoolData = 8192;  // where the bytes begin

struct SpooledBlob {
  std::string digest;
  uint64_t size = 0;
  std::string registry;
};

// One thread at a time. No failure of the disk is a failure of the pull: the spool is dropped.
class BlobSpool {
 public:
  // `file`: open for reading and writing, empty or an earlier spool; what is not of this blob is
  // thrown away. `boot`: at most 36 bytes. The file's pages do not stay in the page cache.
  static std::unique_ptr<BlobSpool> Open(UniqueFd file, const SpooledBlob& blob,
                                         const std::string& boot);

  // How many bytes are here, and the hash after some of them, if any is known.
  uint64_t length() const { return length_; }
  const std::optional<DigestMidstate>& midstate() const { return midstate_; }
  // Calls `take` with the bytes in order, at most 256 KiB at a time, none across midstate().bytes.
  // `take`'s error is returned. kDataLoss: the file cannot be read; it is dropped.
  Status Replay(const std::function<Status(std::span<const char>)>& take);

  // The most that Append takes at once: up to the next record.
  uint64_t Room() const { return kSpoolMark - length_ % kSpoolMark; }
  // The blob's next bytes, which `digester` has just had.
  void Append(std::span<const char> bytes, const Digester& digester);
  // It is not worth its disk, or not right: the file is emptied.
  void Drop();
  bool dropped() const { return !file_.valid(); }

 private:
  BlobSpool(UniqueFd file, const SpooledBlob& blob, const std::string& boot)
      : file_(std::move(file)), blob_(blob), boot_(boot) {}
  bool ReadBack();
  bool WriteRecord(const std::optional<DigestMidstate>& midstate);
  void WriteBehind();

  UniqueFd file_;
  const SpooledBlob blob_;
  const std::string boot_;
  uint64_t sequence_ = 0;
  uint64_t length_ = 0;
  uint64_t behind_ = 0;  // up to here writing has begun; before the last step it has ended
  std::optional<DigestMidstate> midstate_;
};

}  // namespace gantry::images
