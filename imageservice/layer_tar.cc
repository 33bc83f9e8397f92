#include "imageservice/layer_tar.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "imageservice/blob_ring.h"
#include "imageservice/child_process.h"
#include "imageservice/digester.h"
#include "imageservice/layer_publish.h"
#include "imageservice/layer_transfer.h"
#include "imageservice/tree_compare.h"
#include "imageservice/unpacker_reply.h"
#include "runtime/linux/file.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::images {
namespace {

constexpr auto kSilence = std::chrono::seconds(300);  // of the disk
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

bool Cancelled(const LayerTarOptions& options) { return options.cancelled && options.cancelled(); }

struct KeptLayer {
  LayerInfo info;
  std::string folder;
};

StatusOr<KeptLayer> Find(const ImageStore& store, const std::string& digest) {
  ASSIGN_OR_RETURN(const LayerInfo info, store.Layer(digest));
  RETURN_IF_ERROR(CheckHasArchive(info));
  return KeptLayer{info, std::filesystem::path(store.LayerPath(digest)).parent_path()};
}

// A gantry-unpacker that packs, and the end of the ring that its archive comes out of.
struct Packer {
  ChildProcess process;
  UniqueFd control;
  BlobRingReader ring;
};

StatusOr<Packer> StartPacker(const KeptLayer& layer, const std::string& binary) {
  const bool erofs = layer.info.form == LayerForm::kErofs;
  ASSIGN_OR_RETURN(const UniqueFd folder, OpenAt(AT_FDCWD, layer.folder, kDirectory));
  ASSIGN_OR_RETURN(const UniqueFd contents,
                   erofs ? OpenAt(folder.get(), kLayerData, O_RDONLY | O_NOFOLLOW)
                         : OpenAt(folder.get(), kLayerTree, kDirectory));
  ASSIGN_OR_RETURN(const UniqueFd recipe,
                   OpenAt(folder.get(), kLayerRecipe, O_RDONLY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(BlobRing ends, MakeBlobRing());
  ASSIGN_OR_RETURN(auto control, SocketPair(SOCK_SEQPACKET));
  // A packer that waits for a dead disk must not be waited for.
  RETURN_IF_ERROR(LimitRingWait(ends.reader_socket, kSilence));
  ASSIGN_OR_RETURN(ChildProcess process, ChildProcess::Start(binary, {erofs ? "tar" : "tree-tar"},
                                                             {{control.second.get(), 3},
                                                              {ends.writer_memory.get(), 4},
                                                              {ends.writer_socket.get(), 5},
                                                              {contents.get(), 6},
                                                              {recipe.get(), 7}}));
  ASSIGN_OR_RETURN(BlobRingReader ring, BlobRingReader::Open(std::move(ends.reader_memory),
                                                             std::move(ends.reader_socket)));
  return Packer{std::move(process), std::move(control.first), std::move(ring)};
}

// Why the ring broke, in the packer's words when it has any.
Status PackerFailed(Packer* packer, const Status& broken) {
  if (ErrnoOf(broken) == EAGAIN)
    return absl::UnavailableError("the disk has not answered for minutes");
  const std::string end = packer->process.End(kUnpackerPatience);
  const auto reply = ReceiveUnpackerReply(packer->control.get());
  if (reply.ok() && reply->has_value() && !(*reply)->failure.ok()) return (*reply)->failure;
  return absl::InternalError(absl::StrCat("gantry-unpacker died: ", end));
}

Status CompareFiles(const std::string& kept, const std::string& made, const char* name,
                    const LayerTarOptions& options) {
  ASSIGN_OR_RETURN(const UniqueFd a, OpenAt(AT_FDCWD, absl::StrCat(kept, "/", name), O_RDONLY));
  ASSIGN_OR_RETURN(const UniqueFd b, OpenAt(AT_FDCWD, absl::StrCat(made, "/", name), O_RDONLY));
  ASSIGN_OR_RETURN(const std::optional<uint64_t> difference,
                   ContentComparison(options.cancelled).FirstDifference(a.get(), b.get()));
  if (!difference.has_value()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("its file ", name, " is not what its archive gives: byte ", *difference));
}

Status CompareUnpackedTree(const std::string& kept, const std::string& made,
                           const LayerTarOptions& options) {
  ASSIGN_OR_RETURN(const UniqueFd folder, OpenAt(AT_FDCWD, made, kDirectory));
  RETURN_IF_ERROR(MarkListed(folder.get()));
  ASSIGN_OR_RETURN(const UniqueFd tree, OpenAt(folder.get(), kLayerTree, kDirectory));
  ASSIGN_OR_RETURN(const UniqueFd kept_tree,
                   OpenAt(AT_FDCWD, absl::StrCat(kept, "/", kLayerTree), kDirectory));
  return CompareTrees(kept_tree.get(), tree.get(), options.cancelled);
}

// The end of an unpacker that was fed to the end.
Status AwaitUnpacked(LayerTransfer* transfer, const LayerTarOptions& options) {
  transfer->SetDownloaded(absl::OkStatus());
  while (true) {
    const std::optional<Status> verdict = transfer->Verdict(std::chrono::steady_clock::now());
    if (verdict.has_value()) return *verdict;
    if (Cancelled(options)) return absl::CancelledError("cancelled");
    pollfd waiting = {transfer->reply_fd(), POLLIN, 0};
    if (poll(&waiting, 1, 200) > 0) transfer->ReadReply();
  }
}

}  // namespace

Status CheckHasArchive(const LayerInfo& info) {
  if (info.recipe_bytes > 0 || info.form == LayerForm::kErofs) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "layer ", info.digest, " lies here as a directory from which its archive cannot be made ",
      "again, as the archive has a file twice or an older version unpacked it: remove its images ",
      "and pull them again, with image.layer_form \"erofs\" if that does not help"));
}

Status ReadLayerTar(const ImageStore& store, const std::string& digest,
                    const LayerTarOptions& options,
                    absl::FunctionRef<Status(absl::string_view)> sink) {
  ASSIGN_OR_RETURN(const KeptLayer layer, Find(store, digest));
  ASSIGN_OR_RETURN(Packer packer, StartPacker(layer, options.unpacker_binary));
  while (true) {
    if (Cancelled(options)) return absl::CancelledError("cancelled");
    const StatusOr<std::span<const char>> bytes = packer.ring.Next();
    if (!bytes.ok()) return PackerFailed(&packer, bytes.status());
    if (bytes->empty()) return absl::OkStatus();
    RETURN_IF_ERROR(sink({bytes->data(), bytes->size()}));
  }
}

Status VerifyLayer(ImageStore* store, const std::string& digest, const LayerTarOptions& options) {
  ASSIGN_OR_RETURN(const KeptLayer layer, Find(*store, digest));
  const LayerInfo& info = layer.info;
  const std::string& diff_id = options.diff_id.empty() ? info.diff_id : options.diff_id;
  ASSIGN_OR_RETURN(
      std::unique_ptr<LayerTransfer> again,
      LayerTransfer::Start(store, {.binary = options.unpacker_binary, .form = info.form}));
  ASSIGN_OR_RETURN(BlobRingWriter ring,
                   BlobRingWriter::Open(again->TakeRingMemory(), again->TakeRingSocket()));
  ASSIGN_OR_RETURN(Digester digester, Digester::Make(diff_id));
  Status unpacking;
  RETURN_IF_ERROR(ReadLayerTar(*store, digest, options, [&](absl::string_view bytes) {
    digester.Update({bytes.data(), bytes.size()});
    // An unpacker that refuses says why at the end; the digest has the first word.
    if (unpacking.ok()) unpacking = ring.Write({bytes.data(), bytes.size()});
    return absl::OkStatus();
  }));
  if (const std::string found = digester.Finish(); found != diff_id) {
    return absl::DataLossError(
        absl::StrCat("its archive has the digest ", found, ", not ", diff_id));
  }
  if (unpacking.ok()) unpacking = ring.Finish();
  RETURN_IF_ERROR(AwaitUnpacked(again.get(), options));
  again->EndUnpacker();
  // Not the recipe: what it is good for is proved by the digest, and another zstd writes another.
  if (info.form == LayerForm::kDirectory)
    return CompareUnpackedTree(layer.folder, again->staging(), options);
  for (const char* name : {kLayerMeta, kLayerData})
    RETURN_IF_ERROR(CompareFiles(layer.folder, again->staging(), name, options));
  return absl::OkStatus();
}

}  // namespace gantry::images
