// A blob on its way from the puller to a layer's unpacker: a ring of shared memory that one process
// writes and the other only reads, and a socket on which they tell each other how far they are.
//
//   writer (puller)                 memory, sealed against resizing                reader
//   (unpacker) Write: copy behind the    ┌──────────────────────────────────────┐       Next: the
//   bytes up to the written position ───────▶ │....read ▓▓▓▓▓▓ unread ▓▓▓▓▓▓ written.│ ────▶
//   written position
//                             └──────────────────────────────────────┘
//        Position{written} ───────────────▶ socket (SOCK_SEQPACKET) ◀─────────────── Position{read}
//        End{written} or Failed ──────────▶
//
// End is the writer's word that digest and size of the whole blob are right, so a reader that never
// sees it never finishes. Positions only grow and are at most one ring apart; either side takes
// anything else for a broken peer. The reader's descriptor is open for reading only, and a writer's
// death is an end of file without End.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

inline constexpr size_t kBlobRingSize = 4 << 20;  // bytes, a multiple of the page

// The four ends of a new ring; each pair goes to one process.
struct BlobRing {
  UniqueFd writer_memory, writer_socket;
  UniqueFd reader_memory, reader_socket;
};

// Makes a ring. All descriptors are close-on-exec. memfd_create(2), Linux 3.17.
StatusOr<BlobRing> MakeBlobRing();

// Bounds how long the end that has `socket` waits for the other one. By default it waits for ever.
Status LimitRingWait(const UniqueFd& socket, std::chrono::milliseconds limit);

// A mapping of a ring's memory; unmapped when destroyed. Move-only.
class BlobRingMemory {
 public:
  // kInvalidArgument when `memory` has another size or could be cut short under the mapping (no
  // F_SEAL_SHRINK).
  static StatusOr<BlobRingMemory> Map(const UniqueFd& memory, bool writable);
  BlobRingMemory(BlobRingMemory&& other) noexcept;
  BlobRingMemory& operator=(BlobRingMemory&& other) noexcept;
  ~BlobRingMemory();
  char* data() const { return data_; }

 private:
  explicit BlobRingMemory(char* data) : data_(data) {}
  char* data_ = nullptr;
};

// The writing end. One thread at a time.
class BlobRingWriter {
 public:
  static StatusOr<BlobRingWriter> Open(UniqueFd memory, UniqueFd socket);

  // Copies all of `bytes` into the ring and waits for room as often as it takes. kAborted when the
  // reader has gone, or has taken nothing for as long as LimitRingWait says.
  Status Write(std::span<const char> bytes);
  // The blob is complete and right. Nothing may follow.
  Status Finish();
  // The blob failed: the reader's Next returns an error. Errors are ignored: closing says the same.
  void Fail();

  uint64_t written() const { return written_; }

 private:
  BlobRingWriter(BlobRingMemory memory, UniqueFd socket)
      : memory_(std::move(memory)), socket_(std::move(socket)) {}
  Status Announce();
  Status Receive(bool wait);

  BlobRingMemory memory_;
  UniqueFd socket_;
  uint64_t written_ = 0;
  uint64_t announced_ = 0;
  uint64_t read_ = 0;
};

// The reading end. One thread at a time.
class BlobRingReader {
 public:
  static StatusOr<BlobRingReader> Open(UniqueFd memory, UniqueFd socket);

  // The next bytes, at most 256 KiB; they stay valid until the next call. Waits for them. An empty
  // span means that the blob has ended and its digest and size were right. kAborted when the writer
  // failed or went away; errno EAGAIN when it has written nothing for as long as LimitRingWait
  // says.
  StatusOr<std::span<const char>> Next();

 private:
  BlobRingReader(BlobRingMemory memory, UniqueFd socket)
      : memory_(std::move(memory)), socket_(std::move(socket)) {}
  Status Announce();
  Status Receive();

  BlobRingMemory memory_;
  UniqueFd socket_;
  uint64_t handed_out_ = 0;  // end of the span that the caller holds
  uint64_t announced_ = 0;
  uint64_t written_ = 0;
  bool ended_ = false;
};

}  // namespace gantry::images
