#include "imageservice/blob_ring.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

// How many bytes may pass before the peer is told: small enough to overlap the two processes and to
// stay in the L2 cache, large enough that a ring's worth of messages always fits into the socket's
// buffer.
constexpr uint64_t kAnnounceStep = 128 << 10;
constexpr size_t kMaxSpan = 256 << 10;

enum class Kind : uint32_t { kPosition = 1, kEnd = 2, kFailed = 3 };

struct Message {
  Kind kind;
  uint32_t reserved;
  uint64_t position;
};
static_assert(sizeof(Message) == 16);

Status SendMessage(int socket, Kind kind, uint64_t position) {
  const Message message = {kind, 0, position};
  ssize_t sent;
  do {
    sent = send(socket, &message, sizeof(message), MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent == sizeof(message)) return absl::OkStatus();
  if (errno == EPIPE || errno == ECONNRESET)
    return absl::AbortedError("blob ring: the peer has gone");
  return SyscallError("send", "blob ring");
}

enum class Received { kMessage, kNothing, kClosed };

StatusOr<Received> ReceiveMessage(int socket, bool wait, Message* message) {
  ssize_t size;
  // A peer that closes with unread messages leaves one ECONNRESET, which comes before what it has
  // sent us.
  do {
    size = recv(socket, message, sizeof(*message), wait ? 0 : MSG_DONTWAIT);
  } while (size < 0 && (errno == EINTR || errno == ECONNRESET));
  if (size == sizeof(*message)) return Received::kMessage;
  if (size == 0) return Received::kClosed;
  if (size < 0 && errno == EAGAIN && !wait) return Received::kNothing;
  if (size < 0) return SyscallError("recv", "blob ring");
  return absl::AbortedError("blob ring: the peer sent a short message");
}

// The reader's own open file description: one that was opened for reading cannot be mapped for
// writing (mmap(2) EACCES).
StatusOr<UniqueFd> ReopenReadOnly(const UniqueFd& memory) {
  const std::string path = absl::StrCat("/proc/self/fd/", memory.get());
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return SyscallError("open", path);
  return fd;
}

}  // namespace

StatusOr<BlobRing> MakeBlobRing() {
  BlobRing ring;
  ring.writer_memory.Reset(memfd_create("gantry-blob-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!ring.writer_memory.valid()) return SyscallError("memfd_create", "blob ring");
  const int memory = ring.writer_memory.get();
  if (ftruncate(memory, kBlobRingSize) != 0) return SyscallError("ftruncate", "blob ring");
  // A peer that could shrink the memory could kill the other with SIGBUS.
  if (fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return SyscallError("fcntl F_ADD_SEALS", "blob ring");
  }
  // Without write permission on the inode a reader that is not its owner cannot open it again for
  // writing.
  if (fchmod(memory, 0600) != 0) return SyscallError("fchmod", "blob ring");
  ASSIGN_OR_RETURN(ring.reader_memory, ReopenReadOnly(ring.writer_memory));
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return SyscallError("socketpair", "blob ring");
  }
  ring.writer_socket.Reset(ends[0]);
  ring.reader_socket.Reset(ends[1]);
  return ring;
}

Status LimitRingWait(const UniqueFd& socket, std::chrono::milliseconds limit) {
  struct timeval wait;
  wait.tv_sec = limit.count() / 1000;
  wait.tv_usec = limit.count() % 1000 * 1000;
  if (setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) != 0)
    return SyscallError("setsockopt SO_RCVTIMEO", "blob ring");
  return absl::OkStatus();
}

StatusOr<BlobRingMemory> BlobRingMemory::Map(const UniqueFd& memory, bool writable) {
  struct stat info;
  if (fstat(memory.get(), &info) != 0) return SyscallError("fstat", "blob ring");
  const int seals = fcntl(memory.get(), F_GET_SEALS);
  if (info.st_size != static_cast<off_t>(kBlobRingSize) || seals < 0 ||
      (seals & F_SEAL_SHRINK) == 0) {
    return absl::InvalidArgumentError("blob ring: the memory has another size or is not sealed");
  }
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* data = mmap(nullptr, kBlobRingSize, protection, MAP_SHARED, memory.get(), 0);
  if (data == MAP_FAILED) return SyscallError("mmap", "blob ring");
  return BlobRingMemory(static_cast<char*>(data));
}

BlobRingMemory::BlobRingMemory(BlobRingMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)) {}

BlobRingMemory& BlobRingMemory::operator=(BlobRingMemory&& other) noexcept {
  std::swap(data_, other.data_);
  return *this;
}

BlobRingMemory::~BlobRingMemory() {
  if (data_ != nullptr) munmap(data_, kBlobRingSize);
}

StatusOr<BlobRingWriter> BlobRingWriter::Open(UniqueFd memory, UniqueFd socket) {
  ASSIGN_OR_RETURN(BlobRingMemory mapping, BlobRingMemory::Map(memory, /*writable=*/true));
  // From here on nobody can make another writable mapping (Linux 5.1; without it the mode and the
  // reader's descriptor have to do).
  static_cast<void>(fcntl(memory.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL));
  return BlobRingWriter(std::move(mapping), std::move(socket));
}

Status BlobRingWriter::Write(std::span<const char> bytes) {
  while (!bytes.empty()) {
    RETURN_IF_ERROR(Receive(/*wait=*/false));
    if (written_ - read_ == kBlobRingSize) {
      RETURN_IF_ERROR(Announce());
      RETURN_IF_ERROR(Receive(/*wait=*/true));
      continue;
    }
    const size_t offset = written_ % kBlobRingSize;
    const size_t room =
        std::min<size_t>(kBlobRingSize - (written_ - read_), kBlobRingSize - offset);
    const size_t size = std::min({bytes.size(), room, kMaxSpan});
    memcpy(memory_.data() + offset, bytes.data(), size);
    written_ += size;
    bytes = bytes.subspan(size);
    if (written_ - announced_ >= kAnnounceStep) RETURN_IF_ERROR(Announce());
  }
  return absl::OkStatus();
}

Status BlobRingWriter::Announce() {
  if (announced_ == written_) return absl::OkStatus();
  announced_ = written_;
  return SendMessage(socket_.get(), Kind::kPosition, written_);
}

// Takes the reader's positions; with `wait` at least one of them.
Status BlobRingWriter::Receive(bool wait) {
  for (;;) {
    Message message;
    const StatusOr<Received> received = ReceiveMessage(socket_.get(), wait, &message);
    if (ErrnoOf(received.status()) == EAGAIN)
      return absl::AbortedError("blob ring: the reader has taken nothing for too long");
    RETURN_IF_ERROR(received.status());
    if (*received == Received::kNothing) return absl::OkStatus();
    if (*received == Received::kClosed) return absl::AbortedError("blob ring: the reader has gone");
    if (message.kind != Kind::kPosition || message.position < read_ ||
        message.position > announced_) {
      return absl::AbortedError("blob ring: the reader sent a wrong position");
    }
    read_ = message.position;
    wait = false;
  }
}

Status BlobRingWriter::Finish() {
  announced_ = written_;
  return SendMessage(socket_.get(), Kind::kEnd, written_);
}

void BlobRingWriter::Fail() {
  static_cast<void>(SendMessage(socket_.get(), Kind::kFailed, written_));
}

StatusOr<BlobRingReader> BlobRingReader::Open(UniqueFd memory, UniqueFd socket) {
  ASSIGN_OR_RETURN(BlobRingMemory mapping, BlobRingMemory::Map(memory, /*writable=*/false));
  return BlobRingReader(std::move(mapping), std::move(socket));
}

StatusOr<std::span<const char>> BlobRingReader::Next() {
  // The caller is done with the last span: its room may be used again.
  if (handed_out_ - announced_ >= kAnnounceStep) RETURN_IF_ERROR(Announce());
  while (handed_out_ == written_ && !ended_) {
    RETURN_IF_ERROR(Announce());
    RETURN_IF_ERROR(Receive());
  }
  const size_t offset = handed_out_ % kBlobRingSize;
  const size_t size = std::min({written_ - handed_out_, kBlobRingSize - offset, kMaxSpan});
  handed_out_ += size;
  return std::span<const char>(memory_.data() + offset, size);
}

Status BlobRingReader::Announce() {
  if (announced_ == handed_out_ || ended_) return absl::OkStatus();
  announced_ = handed_out_;
  // A writer that has sent End may have closed its end: what it sent is still to be read.
  const Status status = SendMessage(socket_.get(), Kind::kPosition, handed_out_);
  return absl::IsAborted(status) ? absl::OkStatus() : status;
}

Status BlobRingReader::Receive() {
  Message message;
  ASSIGN_OR_RETURN(const Received received, ReceiveMessage(socket_.get(), /*wait=*/true, &message));
  if (received == Received::kClosed)
    return absl::AbortedError("blob ring: the writer has gone before the end");
  if (message.kind == Kind::kFailed) return absl::AbortedError("blob ring: the download failed");
  const bool known = message.kind == Kind::kPosition || message.kind == Kind::kEnd;
  if (!known || message.position < written_ || message.position - handed_out_ > kBlobRingSize) {
    return absl::AbortedError("blob ring: the writer sent a wrong message");
  }
  written_ = message.position;
  ended_ = message.kind == Kind::kEnd;
  return absl::OkStatus();
}

}  // namespace gantry::images
