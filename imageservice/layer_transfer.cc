#include "imageservice/layer_transfer.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <utility>

#define JSON_NO_IO
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "imageservice/reference.h"
#include "runtime/base/json.h"
#include "runtime/linux/file.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::images {
namespace {

constexpr auto kPatience = std::chrono::seconds(5);
// For the rest of a blob whose content is no layer: it may be the wrong blob.
constexpr auto kBlobPatience = std::chrono::seconds(60);
constexpr size_t kMaxReply = 16 << 10;

struct Reply {
  bool ok = false;
  std::string diff_id, code, error;
  uint64_t bytes = 0, entries = 0;
};

StatusOr<Reply> ParseReply(absl::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json document,
                   ParseJson(text, {.max_bytes = kMaxReply, .max_depth = 4, .max_values = 100}));
  Status status;
  const JsonReader root(document, status);
  Reply reply;
  root.Read("ok", reply.ok);
  root.Read("diff_id", reply.diff_id);
  root.Read("bytes", reply.bytes);
  root.Read("entries", reply.entries);
  root.Read("code", reply.code);
  root.Read("error", reply.error);
  if (reply.ok && !IsDigest(reply.diff_id)) root.Fail("diff_id", "must be a digest");
  RETURN_IF_ERROR(status);
  return reply;
}

Status ErrorIn(Reply& reply) {
  for (char& c : reply.error) {
    if (c < 0x20 || c == 0x7f) c = ' ';
  }
  if (reply.code == "data_loss") return absl::DataLossError(reply.error);
  if (reply.code == "resource_exhausted") return absl::ResourceExhaustedError(reply.error);
  if (reply.code == "invalid_argument") return absl::InvalidArgumentError(reply.error);
  return absl::InternalError(reply.error);
}

// Failures of our own disk that the caller can act on.
Status Classify(const Status& status) {
  const int error = ErrnoOf(status);
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(status.message());
  return status;
}

}  // namespace

StatusOr<std::unique_ptr<LayerTransfer>> LayerTransfer::Start(ImageStore* store,
                                                              const std::string& unpacker_binary) {
  std::unique_ptr<LayerTransfer> transfer(new LayerTransfer(store));
  StatusOr<std::string> staging = store->MakeStagingDirectory();
  if (!staging.ok()) return Classify(staging.status());
  transfer->staging_ = *std::move(staging);
  ASSIGN_OR_RETURN(transfer->ring_, MakeBlobRing());
  ASSIGN_OR_RETURN(auto control, SocketPair(SOCK_SEQPACKET));
  ASSIGN_OR_RETURN(const UniqueFd directory,
                   OpenAt(AT_FDCWD, transfer->staging_, O_RDONLY | O_DIRECTORY));
  transfer->control_ = std::move(control.first);
  const BlobRing& ring = transfer->ring_;
  ASSIGN_OR_RETURN(ChildProcess unpacker, ChildProcess::Start(unpacker_binary, {},
                                                              {{control.second.get(), 3},
                                                               {ring.reader_memory.get(), 4},
                                                               {ring.reader_socket.get(), 5},
                                                               {directory.get(), 6}}));
  transfer->unpacker_.emplace(std::move(unpacker));
  // Ours must be closed for the writer to see the reader's death.
  transfer->ring_.reader_memory.Reset();
  transfer->ring_.reader_socket.Reset();
  return transfer;
}

LayerTransfer::~LayerTransfer() {
  unpacker_.reset();
  // What cannot be deleted now is deleted when the store opens.
  if (!staging_.empty()) static_cast<void>(store_->DropStagingDirectory(staging_));
}

void LayerTransfer::ReadReply() {
  std::array<char, kMaxReply> buffer;
  const auto message = ReceiveWithFds(control_.get(), buffer, MSG_DONTWAIT);
  if (message.ok() && !message->has_value()) return;
  const size_t size = message.ok() ? (*message)->size : 0;
  control_.Reset();
  if (size == 0) {
    died_ = true;
    unpacked_ =
        absl::InternalError(absl::StrCat("gantry-unpacker died: ", unpacker_->End(kPatience)));
  } else if (StatusOr<Reply> reply = ParseReply(absl::string_view(buffer.data(), size));
             !reply.ok()) {
    unpacked_ = Annotate(absl::InternalError(reply.status().message()), "gantry-unpacker's reply");
  } else if (!reply->ok) {
    unpacked_ = ErrorIn(*reply);
  } else {
    unpacked_ = absl::OkStatus();
    diff_id_ = reply->diff_id;
    bytes_ = reply->bytes;
    entries_ = reply->entries;
  }
  if (!unpacked_->ok()) failed_at_ = std::chrono::steady_clock::now();
}

void LayerTransfer::SetDownloaded(const Status& status) {
  downloaded_ = status;
  if (!status.ok()) failed_at_ = std::chrono::steady_clock::now();
}

std::optional<Status> LayerTransfer::Verdict(std::chrono::steady_clock::time_point now) const {
  const bool download_failed = downloaded_.has_value() && !downloaded_->ok();
  const bool unpack_failed = unpacked_.has_value() && !unpacked_->ok();
  if (!download_failed && !unpack_failed) {
    if (downloaded_.has_value() && unpacked_.has_value()) return absl::OkStatus();
    return std::nullopt;
  }
  // kAborted: the blob was right or is not known, but its reader has gone.
  if (download_failed && !absl::IsAborted(*downloaded_)) return downloaded_;
  if (unpack_failed &&
      (downloaded_.has_value() || died_ || absl::IsResourceExhausted(*unpacked_))) {
    return unpacked_;
  }
  // Bad content is a wrong blob, or a bad layer: the end of the download tells. kInternal is mostly
  // a ring that broke.
  const bool content = unpack_failed && !absl::IsInternal(*unpacked_);
  if (now - failed_at_ < (content ? kBlobPatience : kPatience)) return std::nullopt;
  return unpack_failed ? unpacked_ : absl::InternalError("gantry-unpacker stopped reading");
}

Status LayerTransfer::Publish(const FoundLayer& layer) {
  // It has said all that it had to say; what it may still want to write is not part of the layer.
  unpacker_->End(kPatience);
  if (diff_id_ != layer.diff_id) {
    return absl::DataLossError(absl::StrCat("its content has diffID ", diff_id_,
                                            ", the image's configuration says ", layer.diff_id));
  }
  RETURN_IF_ERROR(
      Classify(store_->PublishLayer(staging_, layer.digest, diff_id_, bytes_, entries_)));
  staging_.clear();
  return absl::OkStatus();
}

}  // namespace gantry::images
