// gantry-unpacker: turns one layer's blob into a directory tree, and is trusted with nothing else.
//
//   3  control, SOCK_SEQPACKET: one JSON message at the end
//        {"ok":true,"diff_id":"sha256:…","bytes":N,"entries":N}     bytes on disk and inodes of the
//        tree
//        {"ok":false,"code":"data_loss|resource_exhausted|invalid_argument|internal","error":"…"}
//   4, 5  the reading end of the blob's ring: memory and socket
//   6  the staging directory: the tree goes to fs/; the names of opaque directories, which only a
//   privileged process may
//      mark, to the file `opaque`, each ended by NUL
//
// Exit status 0 after an ok, else 1.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#define JSON_NO_IO
#include <nlohmann/json.hpp>

#include "imageservice/blob_ring.h"
#include "imageservice/layer_unpack.h"
#include "imageservice/tree_walk.h"
#include "imageservice/unpacker_confine.h"
#include "runtime/base/json.h"
#include "runtime/base/log.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr int kControl = 3, kRingMemory = 4, kRingSocket = 5, kStaging = 6;
constexpr size_t kMaxError = 8 << 10;

struct Unpacked {
  std::string diff_id;
  TreeUsage usage;
};

const char* CodeName(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kDataLoss:
      return "data_loss";
    case absl::StatusCode::kResourceExhausted:
      return "resource_exhausted";
    case absl::StatusCode::kInvalidArgument:
      return "invalid_argument";
    default:
      return "internal";
  }
}

Status WriteOpaqueList(const std::vector<std::string>& paths) {
  if (paths.empty()) return absl::OkStatus();
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd file(openat(kStaging, "opaque", kFlags, 0600));
  if (!file.valid()) return WriteError("open", "opaque");
  std::string list;
  for (const std::string& path : paths) list += path + '\0';
  Status written = WriteAll(file.get(), list, "opaque");
  return ErrnoOf(written) == ENOSPC ? absl::ResourceExhaustedError(written.message()) : written;
}

Status FeedAll(BlobRingReader* ring, LayerUnpacker* unpacker) {
  while (true) {
    ASSIGN_OR_RETURN(std::span<const char> bytes, ring->Next());
    if (bytes.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(unpacker->Feed({bytes.data(), bytes.size()}));
  }
}

StatusOr<Unpacked> Unpack() {
  umask(0);
  if (close_range(kStaging + 1, ~0u, 0) != 0) return SyscallError("close_range");
  if (mkdirat(kStaging, "fs", 0755) != 0) return WriteError("mkdir", "fs");
  ASSIGN_OR_RETURN(UniqueFd tree, OpenAt(kStaging, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(BlobRingReader ring,
                   BlobRingReader::Open(UniqueFd(kRingMemory), UniqueFd(kRingSocket)));
  // Before the walls go up: the first use of a digest makes OpenSSL read its configuration.
  ASSIGN_OR_RETURN(std::unique_ptr<LayerUnpacker> unpacker,
                   LayerUnpacker::Create(tree.get(), UnpackLimits()));
  RETURN_IF_ERROR_CONTEXT(ConfineUnpacker(kStaging), "confine the unpacker");
  RETURN_IF_ERROR(FeedAll(&ring, unpacker.get()));
  ASSIGN_OR_RETURN(UnpackResult result, unpacker->Finish());
  RETURN_IF_ERROR(WriteOpaqueList(result.opaque));
  ASSIGN_OR_RETURN(TreeUsage usage, MeasureTree("fs"));
  return Unpacked{std::move(result.diff_id), usage};
}

int Run() {
  prctl(PR_SET_NAME, "gantry-unpacker");
  StatusOr<Unpacked> unpacked = Unpack();
  nlohmann::json reply;
  if (unpacked.ok()) {
    reply = {{"ok", true},
             {"diff_id", unpacked->diff_id},
             {"bytes", unpacked->usage.bytes},
             {"entries", unpacked->usage.inodes}};
  } else {
    const std::string error(unpacked.status().message().substr(0, kMaxError));
    reply = {{"ok", false}, {"code", CodeName(unpacked.status().code())}, {"error", error}};
  }
  const std::string text = DumpJson(reply);
  if (send(kControl, text.data(), text.size(), MSG_NOSIGNAL) < 0) {
    Log(LogLevel::kWarning, "nobody waits for the layer");
    return 1;
  }
  return unpacked.ok() ? 0 : 1;
}

}  // namespace
}  // namespace gantry::images

int main() {
  // Not exit(): nothing is left to be done, and the walls forbid what an atexit handler may want.
  _exit(gantry::images::Run());
}
