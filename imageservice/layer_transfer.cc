#include "imageservice/layer_transfer.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <utility>

#include "absl/strings/str_cat.h"

#include "imageservice/block_writer.h"
#include "imageservice/unpacker_reply.h"
#include "runtime/linux/file.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::images {
namespace {

// For the rest of a blob whose content is no layer: it may be the wrong blob.
constexpr auto kBlobPatience = std::chrono::seconds(60);

// Failures of our own disk that the caller can act on.
Status Classify(const Status& status) {
  const int error = ErrnoOf(status);
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(status.message());
  return status;
}

}  // namespace

Status CheckDiffId(const FoundLayer& layer, const std::string& computed) {
  if (layer.diff_id.empty() || layer.diff_id == computed) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("its content has diffID ", computed,
                                          ", the image's configuration says ", layer.diff_id));
}

StatusOr<std::unique_ptr<LayerTransfer>> LayerTransfer::Start(ImageStore* store,
                                                              const UnpackerSetup& setup) {
  std::unique_ptr<LayerTransfer> transfer(new LayerTransfer(store));
  StatusOr<std::string> staging = store->MakeStagingDirectory();
  if (!staging.ok()) return Classify(staging.status());
  transfer->staging_ = *std::move(staging);
  transfer->patience_ = setup.patience;
  ASSIGN_OR_RETURN(transfer->ring_, MakeBlobRing());
  // The puller must not wait for ever for an unpacker that reads nothing.
  RETURN_IF_ERROR(LimitRingWait(transfer->ring_.writer_socket, setup.patience));
  if (const Status started = transfer->StartUnpacker(setup); !started.ok())
    return Classify(started);
  // Ours must be closed for the writer to see the reader's death.
  transfer->ring_.reader_memory.Reset();
  transfer->ring_.reader_socket.Reset();
  return transfer;
}

Status LayerTransfer::StartUnpacker(const UnpackerSetup& setup) {
  ASSIGN_OR_RETURN(auto control, SocketPair(SOCK_SEQPACKET));
  control_ = std::move(control.first);
  std::vector<InheritedFd> fds = {
      {control.second.get(), 3}, {ring_.reader_memory.get(), 4}, {ring_.reader_socket.get(), 5}};
  ASSIGN_OR_RETURN(const UniqueFd staging, OpenAt(AT_FDCWD, staging_, O_RDONLY | O_DIRECTORY));
  UniqueFd data, meta, recipe;
  if (setup.form == LayerForm::kErofs) {
    constexpr int kNew = O_WRONLY | O_CREAT | O_EXCL;
    ASSIGN_OR_RETURN(data, OpenAt(staging.get(), kLayerData, kNew, 0600));
    PassPageCache(data.get());
    ASSIGN_OR_RETURN(meta, OpenAt(staging.get(), kLayerMeta, kNew, 0600));
    ASSIGN_OR_RETURN(recipe, OpenAt(staging.get(), kLayerRecipe, kNew, 0600));
    fds.push_back({data.get(), 6});
    fds.push_back({meta.get(), 7});
    fds.push_back({recipe.get(), 8});
  } else {
    fds.push_back({staging.get(), 6});
  }
  ASSIGN_OR_RETURN(ChildProcess unpacker,
                   ChildProcess::Start(setup.binary, {std::string(LayerFormName(setup.form))},
                                       std::move(fds), setup.cgroup));
  unpacker_.emplace(std::move(unpacker));
  return absl::OkStatus();
}

LayerTransfer::~LayerTransfer() {
  if (publisher_.has_value()) pthread_join(*publisher_, nullptr);
  unpacker_.reset();
  // What cannot be deleted now is deleted when the store opens.
  if (!staging_.empty()) static_cast<void>(store_->DropStagingDirectory(staging_));
}

void LayerTransfer::ReadReply() {
  StatusOr<std::optional<UnpackerReply>> reply = ReceiveUnpackerReply(control_.get());
  if (reply.ok() && !reply->has_value()) return;
  control_.Reset();
  if (absl::IsAborted(reply.status())) {
    died_ = true;
    unpacked_ = absl::InternalError(
        absl::StrCat("gantry-unpacker died: ", unpacker_->End(kUnpackerPatience)));
  } else if (!reply.ok()) {
    unpacked_ = reply.status();
  } else {
    unpacked_ = (*reply)->failure;
    diff_id_ = (*reply)->diff_id;
    tar_bytes_ = (*reply)->tar_bytes;
  }
  if (!unpacked_->ok()) failed_at_ = std::chrono::steady_clock::now();
}

void LayerTransfer::SetDownloaded(const Status& status) {
  downloaded_ = status;
  downloaded_at_ = std::chrono::steady_clock::now();
  if (!status.ok()) failed_at_ = downloaded_at_;
}

std::optional<Status> LayerTransfer::Verdict(std::chrono::steady_clock::time_point now) const {
  const bool download_failed = downloaded_.has_value() && !downloaded_->ok();
  const bool unpack_failed = unpacked_.has_value() && !unpacked_->ok();
  if (!download_failed && !unpack_failed) {
    if (!downloaded_.has_value()) return std::nullopt;
    if (unpacked_.has_value()) return absl::OkStatus();
    if (now - downloaded_at_ < patience_) return std::nullopt;
    return absl::InternalError("gantry-unpacker does not say how it ended");
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
  if (now - failed_at_ < (content ? kBlobPatience : kUnpackerPatience)) return std::nullopt;
  return unpack_failed ? unpacked_ : absl::InternalError("gantry-unpacker stopped reading");
}

void LayerTransfer::StartPublishing(const FoundLayer& layer, int done) {
  layer_ = layer;
  done_ = done;
  const auto publish = [](void* self) -> void* {
    auto* transfer = static_cast<LayerTransfer*>(self);
    Status status = transfer->Publish(transfer->layer_);
    const std::lock_guard lock(transfer->published_mutex_);
    transfer->published_ = std::move(status);
    eventfd_write(transfer->done_, 1);
    return nullptr;
  };
  // Not std::thread, which ends the daemon when the node has no room for one more.
  pthread_t thread;
  if (pthread_create(&thread, nullptr, publish, this) == 0)
    publisher_ = thread;
  else
    publish(this);
}

std::optional<Status> LayerTransfer::Published() {
  const std::lock_guard lock(published_mutex_);
  return published_;
}

Status LayerTransfer::Publish(const FoundLayer& layer) {
  // It has said all that it had to say; what it may still want to write is not part of the layer.
  EndUnpacker();
  RETURN_IF_ERROR(CheckDiffId(layer, diff_id_));
  LayerInfo info;
  info.digest = layer.digest;
  info.diff_id = diff_id_;
  info.tar_bytes = tar_bytes_;
  RETURN_IF_ERROR(Classify(store_->PublishLayer(staging_, std::move(info))));
  staging_.clear();
  return absl::OkStatus();
}

}  // namespace gantry::images
