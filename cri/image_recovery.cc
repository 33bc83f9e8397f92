#include "cri/image_recovery.h"

#include <fcntl.h>
#include <sys/prctl.h>

#include "imageservice/image_repair.h"
#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

std::string MarkOf(const Node& node) { return node.config.root + "/checked-boot"; }

}  // namespace

ImageRecovery::ImageRecovery(Node* node) : node_(node) {
  const StatusOr<std::string> checked = ReadFileAt(AT_FDCWD, MarkOf(*node), 100);
  if (checked.ok() && *checked == node->features.boot_id) return;
  thread_ = std::thread([this] { Run(); });
}

ImageRecovery::~ImageRecovery() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void ImageRecovery::Run() {
  prctl(PR_SET_NAME, "gantry:recovery");
  const auto stopped = [this] { return stop_.load(); };
  for (const auto& damage : node_->images->Check(/*contents=*/false, stopped)) {
    const std::string reason(damage.what.message());
    if (!damage.certain()) {
      node_->log.Error("a layer cannot be read, and is left as it is",
                       {{"layer", damage.layer}, {"reason", reason}});
      continue;
    }
    node_->log.Error("a layer is damaged: it is set aside, and its images are pulled again",
                     {{"layer", damage.layer}, {"reason", reason}});
    if (const Status gone = node_->images->SetAside(damage); !gone.ok())
      node_->log.Error("cannot set a layer aside",
                       {{"layer", damage.layer}, {"reason", std::string(gone.message())}});
  }
  for (const auto& image :
       images::RepairImages(node_->images.get(), node_->puller.get(), stopped)) {
    if (image.outcome.ok()) {
      node_->log.Info("image is complete again", {{"image", image.id}});
    } else if (!stop_) {
      node_->log.Warning("image stays incomplete: the next pull of it tries again",
                         {{"image", image.id}, {"reason", std::string(image.outcome.message())}});
    }
  }
  if (stop_) return;
  const Status marked = CreateFileAt(AT_FDCWD, MarkOf(*node_), node_->features.boot_id, 0600);
  if (!marked.ok())
    node_->log.Warning("cannot note the boot", {{"reason", std::string(marked.message())}});
}

}  // namespace gantry::cri
