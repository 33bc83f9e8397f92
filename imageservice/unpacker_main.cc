// gantry-unpacker: turns one layer's blob into what is mounted, or that into the layer's archive
// again, and is trusted with nothing else.
//
//   gantry-unpacker erofs       descriptors 6 to 8: the files `data`, `meta` (ErofsWriter) and
//                               `recipe` (TarRecipeWriter), empty and open for writing. It cannot
//                               open anything.
//   gantry-unpacker directory   descriptor 6: the staging directory. The tree goes to fs/; the
//                               names of opaque directories, which only a privileged process may
//                               mark, to the file `opaque`, each ended by NUL; how to make the
//                               archive again to `recipe`, which stays empty when that cannot be.
//
//   gantry-unpacker tar         the way back: descriptors 6 and 7 are the files `data` and `recipe`
//                               of a layer, open for reading; its archive goes to the ring.
//   gantry-unpacker tree-tar    the same with fs/ of a layer as descriptor 6.
//
// In all:
//   3  control, SOCK_SEQPACKET: one JSON message at the end
//        {"ok":true,"diff_id":"sha256:…","tar_bytes":N}    of the archive; not after `tar`
//        {"ok":false,"code":"data_loss|resource_exhausted|invalid_argument|internal","error":"…"}
//   4, 5  the reading end of the blob's ring (`tar`: the writing end): memory and socket
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

#include "absl/strings/str_cat.h"
#define JSON_NO_IO
#include <nlohmann/json.hpp>

#include "imageservice/blob_ring.h"
#include "imageservice/erofs_writer.h"
#include "imageservice/layer_record.h"
#include "imageservice/layer_rules.h"
#include "imageservice/layer_unpack.h"
#include "imageservice/layer_writer.h"
#include "imageservice/pull_cgroup.h"
#include "imageservice/tar_recipe.h"
#include "imageservice/unpacker_confine.h"
#include "runtime/base/json.h"
#include "runtime/base/log.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr int kControl = 3, kRingMemory = 4, kRingSocket = 5;
constexpr int kStaging = 6, kData = 6, kMeta = 7, kRecipe = 8, kKept = 6, kKeptRecipe = 7;
constexpr size_t kMaxError = 8 << 10;

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

StatusOr<UniqueFd> NewFile(const char* name) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd file(openat(kStaging, name, kFlags, 0600));
  if (!file.valid()) return WriteError("open", name);
  return file;
}

Status WriteOpaqueList(const std::vector<std::string>& paths) {
  if (paths.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const UniqueFd file, NewFile("opaque"));
  std::string list;
  for (const std::string& path : paths) list += path + '\0';
  Status written = WriteAll(file.get(), list, "opaque");
  return ErrnoOf(written) == ENOSPC ? absl::ResourceExhaustedError(written.message()) : written;
}

struct Unpacked {
  std::string diff_id;
  uint64_t tar_bytes = 0;
};

// From the ring to the consumer. `confine` is called between what needs the file system (the first
// use of a digest makes OpenSSL read its configuration) and the first byte that somebody else made.
StatusOr<Unpacked> UnpackTo(TarConsumer* consumer, absl::FunctionRef<Status()> confine) {
  ASSIGN_OR_RETURN(BlobRingReader ring,
                   BlobRingReader::Open(UniqueFd(kRingMemory), UniqueFd(kRingSocket)));
  ASSIGN_OR_RETURN(std::unique_ptr<LayerUnpacker> unpacker,
                   LayerUnpacker::Create(consumer, UnpackLimits()));
  RETURN_IF_ERROR_CONTEXT(confine(), "confine the unpacker");
  while (true) {
    ASSIGN_OR_RETURN(std::span<const char> bytes, ring.Next());
    if (bytes.empty()) break;
    RETURN_IF_ERROR(unpacker->Feed({bytes.data(), bytes.size()}));
  }
  Unpacked unpacked;
  ASSIGN_OR_RETURN(unpacked.diff_id, unpacker->Finish());
  unpacked.tar_bytes = unpacker->tar_bytes();
  return unpacked;
}

StatusOr<Unpacked> UnpackToDirectory() {
  umask(0);
  if (close_range(kStaging + 1, ~0u, 0) != 0) return SyscallError("close_range");
  if (mkdirat(kStaging, "fs", 0755) != 0) return WriteError("mkdir", "fs");
  ASSIGN_OR_RETURN(UniqueFd tree, OpenAt(kStaging, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(const UniqueFd kept, NewFile(kLayerRecipe));
  LayerWriter writer(tree.get(), LayerWriterLimits());
  ASSIGN_OR_RETURN(std::unique_ptr<TarRecipeWriter> recipe,
                   TarRecipeWriter::Create(kept.get(), &writer));
  ASSIGN_OR_RETURN(Unpacked unpacked,
                   UnpackTo(recipe.get(), [] { return ConfineToTree(kStaging); }));
  RETURN_IF_ERROR(recipe->Finish());
  ASSIGN_OR_RETURN(const LayerWriter::Result result, writer.Finish());
  // The recipe names files by their places in the tree.
  if (result.content_replaced && ftruncate(kept.get(), 0) != 0)
    return WriteError("ftruncate", kLayerRecipe);
  RETURN_IF_ERROR(WriteOpaqueList(result.opaque));
  return unpacked;
}

StatusOr<Unpacked> UnpackToErofs() {
  if (close_range(kRecipe + 1, ~0u, 0) != 0) return SyscallError("close_range");
  ErofsWriter writer(kData, kMeta, LayerWriterLimits());
  ASSIGN_OR_RETURN(std::unique_ptr<TarRecipeWriter> recipe,
                   TarRecipeWriter::Create(kRecipe, &writer));
  ASSIGN_OR_RETURN(Unpacked unpacked,
                   UnpackTo(recipe.get(), [] { return ConfineToFiles(/*threads=*/true); }));
  RETURN_IF_ERROR(recipe->Finish());
  RETURN_IF_ERROR(writer.Finish().status());
  return unpacked;
}

StatusOr<Unpacked> PackTar(bool tree) {
  if (close_range(kKeptRecipe + 1, ~0u, 0) != 0) return SyscallError("close_range");
  ASSIGN_OR_RETURN(BlobRingWriter ring,
                   BlobRingWriter::Open(UniqueFd(kRingMemory), UniqueFd(kRingSocket)));
  RETURN_IF_ERROR_CONTEXT(tree ? ConfineToReading(kKept) : ConfineToFiles(/*threads=*/false),
                          "confine the packer");
  const RecipeSource from = tree ? RecipeSource{.tree = kKept} : RecipeSource{.data = kKept};
  RETURN_IF_ERROR(
      RebuildTar(from, kKeptRecipe, TarLimits().max_bytes, [&](absl::string_view bytes) {
        return ring.Write({bytes.data(), bytes.size()});
      }));
  RETURN_IF_ERROR(ring.Finish());
  return Unpacked();
}

StatusOr<Unpacked> Work(absl::string_view what) {
  if (what == "erofs") return UnpackToErofs();
  if (what == "directory") return UnpackToDirectory();
  if (what == "tar") return PackTar(/*tree=*/false);
  if (what == "tree-tar") return PackTar(/*tree=*/true);
  return absl::InternalError("called with none of erofs, directory, tar, tree-tar");
}

int Run(absl::string_view what) {
  prctl(PR_SET_NAME, "gantry-unpacker");
  const StatusOr<Unpacked> done = Work(what);
  nlohmann::json reply;
  if (done.ok()) {
    reply = {{"ok", true}, {"diff_id", done->diff_id}, {"tar_bytes", done->tar_bytes}};
  } else {
    const std::string error(done.status().message().substr(0, kMaxError));
    reply = {{"ok", false}, {"code", CodeName(done.status().code())}, {"error", error}};
  }
  const std::string text = DumpJson(reply);
  if (send(kControl, text.data(), text.size(), MSG_NOSIGNAL) < 0) {
    Log(LogLevel::kWarning, "nobody waits for the layer");
    return 1;
  }
  return done.ok() ? 0 : 1;
}

}  // namespace
}  // namespace gantry::images

int main(int argc, char** argv) {
  gantry::images::EnterHandedCgroups();
  // Not exit(): nothing is left to be done, and the walls forbid what an atexit handler may want.
  _exit(gantry::images::Run(argc == 2 ? argv[1] : ""));
}
