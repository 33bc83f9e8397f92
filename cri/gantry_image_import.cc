#include <sys/socket.h>

#include <cerrno>
#include <functional>
#include <future>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"

#include "cri/rpc.h"
#include "cri/service.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cri {
namespace {

using ImportedImages = std::vector<std::shared_ptr<const images::Image>>;
using ImportReader = grpc::ServerReader<::gantry::v1::ImportImageRequest>;

constexpr size_t kLargestChunk = 1 << 20;

// The way of the archive to the importer. A socket and not a pipe: who writes after the other end
// has gone gets EPIPE without a signal. What it holds at most is the socket's buffer.
struct ArchiveChannel {
  UniqueFd write_end;
  UniqueFd read_end;
};

StatusOr<ArchiveChannel> MakeArchiveChannel() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    return SyscallError("socketpair");
  return ArchiveChannel{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// False when the importer has stopped reading: it has an error of its own to tell, or has seen the
// archive's end.
StatusOr<bool> SendChunk(int fd, const std::string& chunk) {
  for (size_t sent = 0; sent < chunk.size();) {
    const ssize_t count = send(fd, chunk.data() + sent, chunk.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EPIPE || errno == ECONNRESET)) return false;
    if (count < 0) return SyscallError("send", "image archive");
    sent += static_cast<size_t>(count);
  }
  return true;
}

// Sends what `message` and the messages after it hold.
Status SendArchive(const Rpc& rpc, ImportReader* reader, ::gantry::v1::ImportImageRequest message,
                   int fd) {
  do {
    if (message.chunk().size() > kLargestChunk)
      return absl::InvalidArgumentError(absl::StrCat("import images: a chunk of ",
                                                     message.chunk().size(), " bytes (at most ",
                                                     kLargestChunk, ")"));
    ASSIGN_OR_RETURN(const bool wanted, SendChunk(fd, message.chunk()));
    if (!wanted) return absl::OkStatus();
  } while (reader->Read(&message));
  // The stream ends for a caller that is done and for one that has gone.
  return rpc.cancelled() ? rpc.CancelledStatus("import images") : absl::OkStatus();
}

// Runs the importer on a thread of its own beside the stream. It always comes to an end: the
// archive does, and one that is cut short is an error to it.
StatusOr<ImportedImages> Import(const Rpc& rpc, images::Puller& puller, ImportReader* reader) {
  ::gantry::v1::ImportImageRequest first;
  if (!reader->Read(&first))
    return absl::InvalidArgumentError("import images: no archive was sent");
  const std::string name = first.name();
  ASSIGN_OR_RETURN(ArchiveChannel channel, MakeArchiveChannel());
  std::future<StatusOr<ImportedImages>> imported =
      std::async(std::launch::async, [&puller, &name, fd = std::move(channel.read_end)]() mutable {
        const UniqueFd archive = std::move(fd);  // closed when the importer is done: unblocks us
        return puller.Import(archive.get(), name);
      });
  const Status sent = SendArchive(rpc, reader, std::move(first), channel.write_end.get());
  channel.write_end.Reset();
  StatusOr<ImportedImages> result = imported.get();
  return sent.ok() ? std::move(result) : sent;
}

}  // namespace

grpc::Status GantryService::ImportImage(grpc::ServerContext* context, ImportReader* reader,
                                        ::gantry::v1::ImportImageResponse* response) {
  return Serve(node_.log, context, "ImportImage", "", [&](const Rpc& rpc) -> Status {
    ASSIGN_OR_RETURN(const ImportedImages imported, Import(rpc, *node_.puller, reader));
    for (const auto& image : imported) {
      auto* message = response->add_images();
      message->set_id(image->id);
      for (const std::string& tag : image->repo_tags) message->add_names(tag);
    }
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
