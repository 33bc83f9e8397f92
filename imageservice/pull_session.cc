#include "imageservice/pull_session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

#include "imageservice/reference.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::images {
namespace {

constexpr int kPollMs = 1000;  // bounds the wait for a verdict
constexpr int kPullerPatienceFactor = 8;
constexpr int kPublishedAtOnce = 16;  // beside those that are being fetched

std::string NextHold() {
  static std::atomic<uint64_t> counter{0};
  return absl::StrCat("pull-", counter.fetch_add(1));
}

int64_t NowNs() {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

PullSession::PullSession(Services services)
    : services_(std::move(services)),
      hold_(NextHold()),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

PullSession::~PullSession() {
  services_.claims->Forget(wake_.get());
  puller_.reset();  // it may write to resume files
  for (auto& [digest, layer] : layers_) {
    layer.transfer.reset();
    GiveResumeFile(layer, /*keep=*/true);
    if (layer.claimed) services_.claims->Release(digest);
  }
  services_.store->ReleaseLayers(hold_);
}

StatusOr<std::vector<std::shared_ptr<const Image>>> PullSession::Run(const PullerOrder& task,
                                                                     std::span<const int> fds) {
  if (!wake_.valid()) return SyscallError("eventfd");
  task_ = &task;
  if (const auto* pull = std::get_if<PullTask>(&task)) {
    ASSIGN_OR_RETURN(const Reference reference, ParseReference(pull->reference));
    registry_ = reference.registry;
  }
  SetStage("resolving");
  RETURN_IF_ERROR(StartPuller(task, fds));
  RETURN_IF_ERROR(AwaitImages());
  SetStage("pulling");
  RETURN_IF_ERROR(FetchLayers());
  static_cast<void>(Order(EndOfLayers{}, {}));
  SetStage("publishing");
  ASSIGN_OR_RETURN(auto images, Record());
  puller_->End(kPullerPatience);
  SetStage("done");
  return images;
}

Status PullSession::StartPuller(const PullerOrder& task, std::span<const int> fds) {
  ASSIGN_OR_RETURN(auto ends, SocketPair(SOCK_STREAM));
  const bool import = std::holds_alternative<ImportTask>(task);
  ASSIGN_OR_RETURN(ChildProcess puller,
                   ChildProcess::Start(
                       services_.options->puller_binary,
                       import ? std::vector<std::string>{"--import"} : std::vector<std::string>{},
                       {{ends.second.get(), kPullerSocket}}, services_.cgroup));
  puller_.emplace(std::move(puller));
  channel_.emplace(std::move(ends.first));
  return Order(task, fds);
}

Status PullSession::Order(const PullerOrder& order, std::span<const int> fds) {
  heard_at_ = std::chrono::steady_clock::now();
  const Status status = channel_->Send(EncodeOrder(order), fds, /*wait=*/false);
  return absl::IsUnavailable(status) ? PullerDied() : status;
}

Status PullSession::PullerDied() {
  return absl::InternalError(absl::StrCat("gantry-puller died: ", puller_->End(kPullerPatience)));
}

Status PullSession::AwaitImages() {
  while (!images_.has_value()) RETURN_IF_ERROR(Wait());
  for (const FoundImage& image : *images_) {
    for (const FoundLayer& found : image.layers) {
      const auto [entry, added] = layers_.try_emplace(found.digest);
      if (!added && entry->second.found.diff_id != found.diff_id) {
        return absl::InvalidArgumentError(
            absl::StrCat("layer ", found.digest, " is listed with two diffIDs"));
      }
      if (!added) continue;
      entry->second.found = found;
      entry->second.progress = progress_.layers.size();
      progress_.layers.push_back({.digest = found.digest, .total = found.size});
      order_.push_back(found.digest);
    }
  }
  services_.store->HoldLayers(hold_, order_);
  std::stable_sort(order_.begin(), order_.end(),
                   [this](const std::string& a, const std::string& b) {
                     return layers_.at(a).found.size > layers_.at(b).found.size;
                   });
  return absl::OkStatus();
}

// Better before the first byte than after the last but one.
Status PullSession::CheckRoom() const {
  uint64_t bytes = 0;
  for (const auto& [digest, layer] : layers_) {
    if (!services_.store->HasLayer(digest)) bytes += layer.found.size;
  }
  return bytes == 0 ? absl::OkStatus() : services_.store->CheckRoom(bytes);
}

Status PullSession::FetchLayers() {
  RETURN_IF_ERROR(CheckRoom());
  for (;;) {
    RETURN_IF_ERROR(StartLayers());
    if (AllDone()) return absl::OkStatus();
    RETURN_IF_ERROR(Wait());
    RETURN_IF_ERROR(FinishLayers());
  }
}

bool PullSession::AllDone() const {
  return std::all_of(layers_.begin(), layers_.end(),
                     [](const auto& entry) { return entry.second.done; });
}

Status PullSession::StartLayers() {
  int running = 0, publishing = 0;
  for (const auto& [digest, layer] : layers_) {
    if (layer.transfer != nullptr) ++(layer.transfer->publishing() ? publishing : running);
  }
  for (const std::string& digest : order_) {
    Layer& layer = layers_.at(digest);
    if (layer.done || layer.transfer != nullptr) continue;
    ASSIGN_OR_RETURN(bool here, UseExisting(layer));
    if (here || running >= services_.options->layers_at_once || publishing >= kPublishedAtOnce)
      continue;
    if (!Claim(layer)) continue;
    // It may have been published between the look and the claim.
    ASSIGN_OR_RETURN(here, UseExisting(layer));
    if (here) continue;
    RETURN_IF_ERROR_CONTEXT(StartTransfer(layer), absl::StrCat("layer ", digest));
    ++running;
  }
  SetPriorities();
  return absl::OkStatus();
}

// Another registry may be slow for as long as it likes, and whoever pulls from there has made us
// wait: then the layer is fetched twice, and the first to publish it ends the matter.
bool PullSession::Claim(Layer& layer) {
  if (services_.claims->Claim(layer.found.digest, registry_, wake_.get()))
    return layer.claimed = true;
  const auto now = std::chrono::steady_clock::now();
  if (!layer.waits_since.has_value()) layer.waits_since = now;
  return now - *layer.waits_since >= services_.options->child_timeout &&
         services_.claims->IsElsewhere(layer.found.digest, registry_);
}

StatusOr<bool> PullSession::UseExisting(Layer& layer) {
  if (!services_.store->HasLayer(layer.found.digest)) return false;
  ASSIGN_OR_RETURN(const LayerInfo info, services_.store->Layer(layer.found.digest));
  RETURN_IF_ERROR_CONTEXT(CheckDiffId(layer.found, info.diff_id),
                          absl::StrCat("layer ", layer.found.digest));
  Complete(layer, /*already_here=*/true);
  return true;
}

// The biggest layer goes first, the others have what it leaves: one that is left over at the end
// would have one processor only.
void PullSession::SetPriorities() {
  bool background = false;
  for (const std::string& digest : order_) {
    Layer& layer = layers_.at(digest);
    if (layer.transfer == nullptr || layer.transfer->publishing()) continue;
    layer.transfer->SetBackground(background);
    background = true;
  }
}

Status PullSession::StartTransfer(Layer& layer) {
  ASSIGN_OR_RETURN(
      layer.transfer,
      LayerTransfer::Start(services_.store, {.binary = services_.options->unpacker_binary,
                                             .form = services_.options->layer_form,
                                             .cgroup = services_.cgroup,
                                             .patience = services_.options->child_timeout}));
  const UniqueFd memory = layer.transfer->TakeRingMemory();
  const UniqueFd socket = layer.transfer->TakeRingSocket();
  TakeResumeFile(layer);
  std::vector<int> fds = {memory.get(), socket.get()};
  if (layer.resume.valid()) fds.push_back(layer.resume.get());
  return Order(FetchLayer{layer.found.digest, layer.resume.valid()}, fds);
}

Status PullSession::FinishLayers() {
  const auto now = std::chrono::steady_clock::now();
  for (auto& [digest, layer] : layers_) {
    if (layer.transfer == nullptr) continue;
    const bool publishing = layer.transfer->publishing();
    const std::optional<Status> end =
        publishing ? layer.transfer->Published() : layer.transfer->Verdict(now);
    if (!end.has_value()) continue;
    RETURN_IF_ERROR_CONTEXT(publishing ? LayerPublished(layer, *end) : LayerFetched(layer, *end),
                            absl::StrCat("layer ", digest));
  }
  return absl::OkStatus();
}

Status PullSession::LayerFetched(Layer& layer, const Status& verdict) {
  // Bytes that are wrong, or no layer, are no beginning of a better try.
  GiveResumeFile(layer,
                 !verdict.ok() && !absl::IsDataLoss(verdict) && !absl::IsInvalidArgument(verdict));
  if (absl::IsDataLoss(verdict) && layer.again && !std::exchange(layer.tried_again, true)) {
    layer.transfer.reset();
    return StartTransfer(layer);
  }
  RETURN_IF_ERROR(verdict);
  layer.transfer->StartPublishing(layer.found, wake_.get());
  return absl::OkStatus();
}

Status PullSession::LayerPublished(Layer& layer, const Status& status) {
  layer.transfer.reset();
  RETURN_IF_ERROR(status);
  Complete(layer, /*already_here=*/false);
  return absl::OkStatus();
}

void PullSession::TakeResumeFile(Layer& layer) {
  if (layer.found.size < kMinResumedBlob || !std::holds_alternative<PullTask>(*task_)) return;
  // Without one the pull works as well; only an interruption costs more.
  StatusOr<UniqueFd> file =
      services_.store->resume_files().Take(layer.found.digest, layer.found.size);
  if (file.ok()) layer.resume = *std::move(file);
}

void PullSession::GiveResumeFile(Layer& layer, bool keep) {
  if (!layer.resume.valid()) return;
  layer.resume.Reset();
  ResumeFiles& files = services_.store->resume_files();
  keep ? files.Settle(layer.found.digest) : files.Remove(layer.found.digest);
}

void PullSession::Complete(Layer& layer, bool already_here) {
  layer.done = true;
  if (std::exchange(layer.claimed, false)) services_.claims->Release(layer.found.digest);
  LayerProgress& progress = progress_.layers[layer.progress];
  progress.done = progress.total;
  progress.complete = true;
  progress.already_here = already_here;
  services_.on_progress(progress_);
}

void PullSession::SetStage(const char* stage) {
  progress_.stage = stage;
  services_.on_progress(progress_);
}

// Waits for the next thing to happen and takes it in.
Status PullSession::Wait() {
  std::vector<struct pollfd> polls = {
      {services_.cancel, POLLIN, 0}, {wake_.get(), POLLIN, 0}, {channel_->fd(), POLLIN, 0}};
  std::vector<LayerTransfer*> transfers;
  for (auto& [digest, layer] : layers_) {
    if (layer.transfer == nullptr || layer.transfer->reply_fd() < 0) continue;
    polls.push_back({layer.transfer->reply_fd(), POLLIN, 0});
    transfers.push_back(layer.transfer.get());
  }
  if (poll(polls.data(), polls.size(), kPollMs) < 0 && errno != EINTR) return SyscallError("poll");
  if (polls[0].revents != 0) return absl::CancelledError("nobody waits for it any more");
  eventfd_t wakes;
  if (polls[1].revents != 0) eventfd_read(wake_.get(), &wakes);
  for (size_t i = 0; i < transfers.size(); ++i) {
    if (polls[3 + i].revents != 0) transfers[i]->ReadReply();
  }
  return polls[2].revents != 0 ? OnPuller() : CheckPuller();
}

// An import's archive may come from a program that takes its time, and layers may be in somebody
// else's hands: neither is the puller's fault.
Status PullSession::CheckPuller() const {
  const bool owes =
      !images_.has_value() || std::any_of(layers_.begin(), layers_.end(), [](const auto& entry) {
        const LayerTransfer* transfer = entry.second.transfer.get();
        return transfer != nullptr && transfer->downloading();
      });
  if (!owes || std::holds_alternative<ImportTask>(*task_)) return absl::OkStatus();
  const auto silence = std::chrono::steady_clock::now() - heard_at_;
  if (silence < services_.options->child_timeout * kPullerPatienceFactor) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("gantry-puller has said nothing for ",
                   std::chrono::duration_cast<std::chrono::seconds>(silence).count(), " s"));
}

Status PullSession::OnPuller() {
  for (;;) {
    StatusOr<std::optional<std::string>> text = channel_->Receive(/*wait=*/false);
    if (!text.ok()) return PullerDied();
    if (!text->has_value()) return absl::OkStatus();
    heard_at_ = std::chrono::steady_clock::now();
    const StatusOr<PullerReport> report = DecodeReport(**text);
    if (!report.ok()) {
      return absl::InternalError(
          absl::StrCat("gantry-puller's report: ", report.status().message()));
    }
    RETURN_IF_ERROR(Take(*report));
  }
}

Status PullSession::Take(const PullerReport& report) {
  if (const auto* found = std::get_if<ImagesFound>(&report)) {
    if (images_.has_value() || found->images.empty())
      return absl::InternalError("gantry-puller's report: images");
    images_ = found->images;
    return absl::OkStatus();
  }
  if (const auto* ended = std::get_if<TaskEnded>(&report)) {
    if (!ended->status.ok()) return ended->status;
    return absl::InternalError("gantry-puller ended before its work was done");
  }
  if (const auto* seen = std::get_if<HostsSeen>(&report)) {
    services_.hosts->Merge(seen->hosts);
    return absl::OkStatus();
  }
  const auto* progress = std::get_if<LayerProgressed>(&report);
  const auto* ended = std::get_if<LayerEnded>(&report);
  const auto layer = layers_.find(progress != nullptr ? progress->digest : ended->digest);
  if (layer == layers_.end() || layer->second.transfer == nullptr) return absl::OkStatus();
  if (ended != nullptr) {
    layer->second.again = ended->again;
    layer->second.transfer->SetDownloaded(ended->status);
    return absl::OkStatus();
  }
  services_.store->resume_files().Measure(progress->digest, layer->second.resume);
  progress_.layers[layer->second.progress].done = progress->done;
  services_.on_progress(progress_);
  return absl::OkStatus();
}

StatusOr<std::vector<std::shared_ptr<const Image>>> PullSession::Record() {
  std::vector<std::shared_ptr<const Image>> images;
  for (FoundImage& found : *images_) {
    Image image;
    image.id = found.id;
    image.repo_tags = std::move(found.repo_tags);
    image.repo_digests = std::move(found.repo_digests);
    image.config = std::move(found.config);
    image.size = found.config_size;  // Put adds what the layers take
    image.pulled_at_ns = NowNs();
    for (const FoundLayer& layer : found.layers) {
      ASSIGN_OR_RETURN(const LayerInfo info, services_.store->Layer(layer.digest));
      image.layers.push_back(layer.digest);
      image.diff_ids.push_back(info.diff_id);
    }
    ASSIGN_OR_RETURN(std::shared_ptr<const Image> recorded,
                     services_.store->Put(std::move(image), found.documents));
    images.push_back(std::move(recorded));
  }
  return images;
}

}  // namespace gantry::images
