#include "imageservice/range_fetch.h"

#include "absl/strings/str_cat.h"

#include "imageservice/connection_plan.h"
#include "imageservice/content_range.h"

namespace gantry::images {

RangeFetch::RangeFetch(const RegistryClient& registry, const RegistryEndpoint& endpoint,
                       const Descriptor& blob, FetchBudget* budget, uint64_t first)
    : registry_(registry),
      endpoint_(endpoint),
      blob_(blob),
      path_(absl::StrCat("blobs/", blob.digest)),
      budget_(budget),
      window_(budget, first, blob.size) {}

RangeFetch::~RangeFetch() {
  window_.Stop(absl::CancelledError("not wanted any more"));
  for (std::thread& thread : threads_) {
    thread.join();
    budget_->GiveConnection(endpoint_.base.Origin());
  }
}

void RangeFetch::Grow(int count) {
  while (static_cast<int>(threads_.size()) < count &&
         budget_->TakeConnection(endpoint_.base.Origin())) {
    threads_.emplace_back([this] { Work(); });
  }
  // Nobody will ever find out.
  if (threads_.empty()) Learn(Support::kNo);
}

RangeFetch::Support RangeFetch::support() const {
  const std::lock_guard lock(mutex_);
  return support_;
}

RangeFetch::Support RangeFetch::AwaitSupport() const {
  std::unique_lock lock(mutex_);
  learnt_.wait(lock, [this] { return support_ != Support::kUnknown; });
  return support_;
}

void RangeFetch::Learn(Support support) {
  const std::lock_guard lock(mutex_);
  if (support_ == Support::kUnknown) support_ = support;
  learnt_.notify_all();
}

void RangeFetch::Work() {
  HttpClient client;
  while (const auto claim = window_.Next()) {
    const Status status = Fetch(client, *claim);
    if (status.ok()) continue;
    // Before the first range came, a failure says that ranges are not for this server.
    Learn(Support::kNo);
    window_.Stop(status);
  }
}

Status RangeFetch::Fetch(HttpClient& client, const PieceWindow::Claim& claim) {
  const auto unwanted = [&] { return !window_.Wanted(claim); };
  registry_.health().AwaitTurn(endpoint_.base.Origin(), unwanted);
  const HostHealth::Clock::time_point sent = HostHealth::Clock::now();
  std::string retry_after;
  const Status status = Attempt(client, claim, retry_after);
  // Complete, taken over, or at the end of everything: no failure of the server.
  if (unwanted()) return absl::OkStatus();
  // What came stays; the rest is the next claim of whoever is free.
  window_.GiveUp(claim);
  if (status.ok()) return status;
  // Those that were refused together are one failure of the host, and so are several here.
  if (++failures_ > kMaxTries * kMaxConnectionsPerBlob) return status;
  return registry_.WorthRetry(endpoint_, sent, status, retry_after) ? absl::OkStatus() : status;
}

Status RangeFetch::Attempt(HttpClient& client, const PieceWindow::Claim& claim,
                           std::string& retry_after) {
  uint64_t have = claim.first;
  RegistryClient::Request request;
  request.path = path_;
  request.headers.emplace_back("Range", absl::StrCat("bytes=", have, "-", claim.end - 1));
  request.on_head = [&](const HttpResponse& response) { return OnHead(response, claim); };
  request.on_body = [&](std::span<const char> bytes) -> Status {
    if (!window_.Add(claim, bytes)) return absl::CancelledError("another connection has it");
    have += bytes.size();
    return absl::OkStatus();
  };
  request.cancelled = [&] { return have < claim.end && !window_.Wanted(claim); };
  const StatusOr<HttpResponse> response = registry_.Ask(client, endpoint_, request);
  if (have - claim.first >= kWorthNewTries || have == claim.end) {
    failures_ = 0;
    registry_.health().Progressed(endpoint_.base.Origin());
  }
  if (!response.ok()) return response.status();
  retry_after = std::string(response->Header("retry-after"));
  if (response->status != 206) return AnswerError(*response);
  return absl::OkStatus();
}

Status RangeFetch::OnHead(const HttpResponse& response, const PieceWindow::Claim& claim) {
  if (response.status != 206) {
    return absl::UnavailableError("the server does not honour ranges any more");
  }
  const auto range = ReadContentRange(response.Header("content-range"));
  if (!range.has_value() || range->first != claim.first || range->last >= claim.end ||
      range->total.value_or(blob_.size) != blob_.size) {
    return absl::DataLossError("the server answers with another range than was asked for");
  }
  Learn(Support::kYes);
  return absl::OkStatus();
}

}  // namespace gantry::images
