// gantry-puller: one pull or import. Reads its task from descriptor 3, gives up its privileges,
// finds the images, and feeds the layers that gantryd asks for into their rings
// (puller_protocol.h). Its life ends with its socket.
#include <curl/curl.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "imageservice/blob_ring.h"
#include "imageservice/http_client.h"
#include "imageservice/image_source.h"
#include "imageservice/pull_cgroup.h"
#include "imageservice/pull_explain.h"
#include "imageservice/puller_confine.h"
#include "imageservice/puller_protocol.h"
#include "runtime/base/log.h"

namespace gantry::images {
namespace {

constexpr auto kProgressInterval = std::chrono::milliseconds(100);

// News of servers, before the report that may be the last one.
void ReportHosts(const ImageSource& source, PullerChannel& channel) {
  std::vector<HostReport> news = source.HostNews();
  if (news.empty()) return;
  static_cast<void>(channel.Send(EncodeReport(HostsSeen{std::move(news)}), {}, /*wait=*/true));
}

// One layer on its way, in a thread of its own. When the unpacker gives up, the blob is still read
// to its end: whether it was the right one decides who is to blame.
void DeliverLayer(ImageSource& source, PullerChannel& channel, const FoundLayer& layer,
                  BlobRingWriter ring, UniqueFd resume) {
  uint64_t done = 0;
  auto last_report = std::chrono::steady_clock::now();
  Status ring_status;
  const auto sink = [&](std::span<const char> bytes) {
    if (ring_status.ok()) ring_status = ring.Write(bytes);
    done += bytes.size();
    const auto now = std::chrono::steady_clock::now();
    if (now - last_report < kProgressInterval) return absl::OkStatus();
    last_report = now;
    return channel.Send(EncodeReport(LayerProgressed{layer.digest, done}), {}, /*wait=*/true);
  };
  Status status = source.Deliver(layer, std::move(resume), sink);
  const bool again = absl::IsDataLoss(status) && source.HasOtherSource();
  if (status.ok() && ring_status.ok()) ring_status = ring.Finish();
  if (status.ok()) status = ring_status;
  if (!status.ok()) ring.Fail();
  ReportHosts(source, channel);
  // Without gantryd there is nobody to work for: the main thread sees it too.
  static_cast<void>(
      channel.Send(EncodeReport(LayerEnded{layer.digest, status, again}), {}, /*wait=*/true));
}

class PullerProcess {
 public:
  explicit PullerProcess(UniqueFd socket) : channel_(std::move(socket)) {}

  // An error means that gantryd has gone or broken the protocol; failures of the task are reported
  // to it.
  Status Run() {
    ASSIGN_OR_RETURN(const PullerOrder task, ReceiveOrder());
    if (const auto* explain = std::get_if<ExplainTask>(&task)) return Explain(*explain);
    const Status opened = OpenSource(task);
    if (!opened.ok()) return End(opened);
    StatusOr<std::vector<FoundImage>> images = source_->Find();
    if (!images.ok()) {
      ReportHosts(*source_, channel_);
      return End(images.status());
    }
    for (const FoundImage& image : *images) {
      for (const FoundLayer& layer : image.layers) layers_.emplace(layer.digest, layer);
    }
    ReportHosts(*source_, channel_);
    RETURN_IF_ERROR(
        channel_.Send(EncodeReport(ImagesFound{*std::move(images)}), {}, /*wait=*/true));
    for (;;) {
      ASSIGN_OR_RETURN(const PullerOrder order, ReceiveOrder());
      if (std::holds_alternative<EndOfLayers>(order)) break;
      if (!std::holds_alternative<FetchLayer>(order))
        return absl::InvalidArgumentError("unexpected order");
      RETURN_IF_ERROR(StartLayer(std::get<FetchLayer>(order)));
    }
    for (std::thread& thread : threads_) thread.join();
    return End(absl::OkStatus());
  }

 private:
  StatusOr<PullerOrder> ReceiveOrder() {
    ASSIGN_OR_RETURN(const std::optional<std::string> text, channel_.Receive(/*wait=*/true));
    if (!text.has_value()) return absl::UnavailableError("no order");
    return DecodeOrder(*text);
  }

  Status Explain(const ExplainTask& task) {
    LoadSystemCertificates();
    PullExplainer explainer(task.pull);
    RETURN_IF_ERROR(ConfinePuller());
    return channel_.Send(EncodeExplanation(explainer.Run()), {}, /*wait=*/true);
  }

  Status OpenSource(const PullerOrder& order) {
    if (const auto* pull = std::get_if<PullTask>(&order)) {
      LoadSystemCertificates();
      ASSIGN_OR_RETURN(source_, OpenRegistrySource(*pull));
      return ConfinePuller();
    }
    const auto* import = std::get_if<ImportTask>(&order);
    if (import == nullptr) return absl::InvalidArgumentError("the first order must be a task");
    ASSIGN_OR_RETURN(std::vector<UniqueFd> fds, channel_.TakeFds(2));
    RETURN_IF_ERROR(ConfinePuller());
    ASSIGN_OR_RETURN(source_, OpenArchiveSource(*import, std::move(fds[0]), std::move(fds[1])));
    return absl::OkStatus();
  }

  Status StartLayer(const FetchLayer& fetch) {
    ASSIGN_OR_RETURN(std::vector<UniqueFd> fds, channel_.TakeFds(fetch.resume ? 3 : 2));
    const auto layer = layers_.find(fetch.digest);
    if (layer == layers_.end())
      return absl::InvalidArgumentError("a layer that is not part of the images");
    ASSIGN_OR_RETURN(BlobRingWriter ring,
                     BlobRingWriter::Open(std::move(fds[0]), std::move(fds[1])));
    threads_.emplace_back([this, &found = layer->second, end = std::move(ring),
                           resume = fetch.resume ? std::move(fds[2]) : UniqueFd()]() mutable {
      DeliverLayer(*source_, channel_, found, std::move(end), std::move(resume));
    });
    return absl::OkStatus();
  }

  Status End(const Status& status) {
    return channel_.Send(EncodeReport(TaskEnded{status}), {}, /*wait=*/true);
  }

  PullerChannel channel_;
  std::unique_ptr<ImageSource> source_;
  std::map<std::string, FoundLayer> layers_;  // by digest
  std::vector<std::thread> threads_;
};

}  // namespace
}  // namespace gantry::images

int main() {
  gantry::images::EnterHandedCgroups();
  // A heap for each thread would keep what each connection once needed.
  mallopt(M_ARENA_MAX, 2);
  signal(SIGPIPE, SIG_IGN);
  fcntl(gantry::images::kPullerSocket, F_SETFD, FD_CLOEXEC);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  gantry::images::PullerProcess process{gantry::UniqueFd(gantry::images::kPullerSocket)};
  const gantry::Status status = process.Run();
  // Threads may be waiting for a registry: nobody waits for them.
  _exit(status.ok() ? 0 : 1);
}
