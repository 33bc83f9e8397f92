#include "imageservice/blob_download.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "imageservice/blob_assembly.h"
#include "imageservice/connection_plan.h"
#include "imageservice/content_range.h"
#include "imageservice/range_fetch.h"

namespace gantry::images {
namespace {

using Clock = BlobAssembly::Clock;

struct BlobJob {
  const Descriptor* blob;
  BlobAssembly* assembly;
  FetchBudget* budget;
};

// More connections must have something to do: bytes, and seconds at the rate of those there are.
constexpr uint64_t kMinLeft = 16 << 20;
constexpr double kMinSecondsLeft = 2;
// How far ahead of the first connection the others begin: about a second's worth.
constexpr double kMinAhead = 2 << 20, kMaxAhead = 16 << 20;

// One endpoint's attempt, from where the blob is to its end.
class Stream {
 public:
  Stream(const RegistryClient& registry, const RegistryEndpoint& endpoint, const Descriptor& blob,
         BlobAssembly& assembly, EndpointRace::Lane& lane)
      : registry_(registry),
        endpoint_(endpoint),
        blob_(blob),
        assembly_(assembly),
        lane_(lane),
        cut_(blob.size) {}

  // `budget` may be null. OK: all bytes are with the assembly.
  Status Run(HttpClient& client, FetchBudget* budget, RegistryClient::Outcome& outcome) {
    budget_ = budget;
    const uint64_t had = assembly_.done();
    Status status;
    do {
      const StatusOr<HttpResponse> response = Ask(client);
      if (response.ok()) outcome.retry_after = std::string(response->Header("retry-after"));
      // Cut off by us, or broken with others at work: they fetch the rest.
      const bool others = !assembly_.spoiled() && HasRanges();
      status = others ? Drain() : Ended(response);
    } while (status.ok() && assembly_.left() > 0);  // one connection again
    outcome.progressed = assembly_.done() - had >= kWorthNewTries;
    return status;
  }

 private:
  StatusOr<HttpResponse> Ask(HttpClient& client) {
    RegistryClient::Request request;
    request.path = absl::StrCat("blobs/", blob_.digest);
    asked_from_ = assembly_.done();
    // A range from the first byte breaks some small registries, and says nothing.
    if (asked_from_ > 0)
      request.headers.emplace_back("Range", absl::StrCat("bytes=", asked_from_, "-"));
    request.on_head = [this](const HttpResponse& response) { return OnHead(response); };
    request.on_body = [this](std::span<const char> bytes) { return OnBody(bytes); };
    request.cancelled = [this] { return lane_.lost() || FallsBehind(); };
    return registry_.Ask(client, endpoint_, request);
  }

  Status Ended(const StatusOr<HttpResponse>& response) const {
    if (!response.ok()) return response.status();
    if (response->status == 416)
      return absl::DataLossError("the server has fewer bytes than its descriptor says");
    if (response->status != 200 && response->status != 206) return AnswerError(*response);
    if (assembly_.left() == 0) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("the blob ends after ", assembly_.done(),
                                            " bytes, its descriptor says ", blob_.size));
  }

  Status OnHead(const HttpResponse& response) {
    if (!lane_.Claim()) return absl::CancelledError("another server was faster");
    registry_.health().Answered(endpoint_.base.Origin());
    uint64_t first = 0;
    if (response.status == 200) {
      uint64_t length = 0;
      if (absl::SimpleAtoi(response.Header("content-length"), &length) && length != blob_.size)
        return WrongSize(length);
    } else {
      const auto range = ReadContentRange(response.Header("content-range"));
      if (!range.has_value() || range->first != asked_from_)
        return absl::DataLossError("the server answers with another range than was asked for");
      if (range->total.value_or(blob_.size) != blob_.size) return WrongSize(*range->total);
      first = asked_from_;
    }
    // Another server may have brought some of it meanwhile.
    skip_ = assembly_.done() - first;
    if (absl::EqualsIgnoreCase(response.Header("accept-ranges"), "none")) budget_ = nullptr;
    return absl::OkStatus();
  }

  Status WrongSize(uint64_t size) const {
    return absl::DataLossError(
        absl::StrCat("the blob has ", size, " bytes, its descriptor says ", blob_.size));
  }

  Status OnBody(std::span<const char> bytes) {
    const size_t known = static_cast<size_t>(std::min<uint64_t>(skip_, bytes.size()));
    skip_ -= known;
    bytes = bytes.subspan(known);
    while (!bytes.empty()) {
      if (assembly_.done() == cut_ && ReachCut())
        return absl::CancelledError("the rest comes by ranges");
      const bool whole = cut_ == blob_.size;  // then one byte too many is the assembly's to see
      const size_t size =
          whole ? bytes.size()
                : static_cast<size_t>(std::min<uint64_t>(bytes.size(), cut_ - assembly_.done()));
      RETURN_IF_ERROR(assembly_.Take(bytes.first(size)));
      bytes = bytes.subspan(size);
      Plan();
    }
    return absl::OkStatus();
  }

  // True when others have what follows. A server without ranges: this connection goes on.
  bool ReachCut() {
    if (ranges_ == nullptr) return false;
    if (ranges_->AwaitSupport() == RangeFetch::Support::kYes) return true;
    GoOnAlone();
    budget_ = nullptr;
    return false;
  }

  void GoOnAlone() {
    ranges_.reset();
    draining_ = false;
    cut_ = blob_.size;
  }

  bool HasRanges() const {
    return ranges_ != nullptr && ranges_->AwaitSupport() == RangeFetch::Support::kYes;
  }

  // The first connection has a rate too.
  bool FallsBehind() const {
    return ranges_ != nullptr && ranges_->support() == RangeFetch::Support::kYes &&
           ranges_->window().TooSlow(assembly_.done() - split_at_, Clock::now() - split_time_);
  }

  void Plan() {
    const auto period = assembly_.Measure(ranges_ == nullptr ? 0 : ranges_->window().ahead());
    if (!period.has_value() || budget_ == nullptr) return;
    const double left = static_cast<double>(assembly_.left());
    if (assembly_.left() < kMinLeft || left < period->rate * kMinSecondsLeft) return;
    const int wanted = plan_.Next(*period);
    if (wanted == 1) {
      if (ranges_ != nullptr && !draining_) GoOnAlone();
      return;
    }
    if (ranges_ == nullptr) {
      const double ahead = std::clamp(period->rate, kMinAhead, kMaxAhead);
      split_at_ = assembly_.done();
      split_time_ = Clock::now();
      cut_ = split_at_ + std::min(static_cast<uint64_t>(ahead), assembly_.left() / 2);
      ranges_ = std::make_unique<RangeFetch>(registry_, endpoint_, blob_, budget_, cut_);
    }
    // The first connection is one of them, and another takes its place when it ends.
    ranges_->Grow(draining_ ? wanted : wanted - 1);
  }

  // The first connection is done; the rest comes through the window. OK with bytes left: several
  // connections did not pay, one is to go on.
  Status Drain() {
    if (assembly_.done() < cut_) ranges_->window().PutInFront(assembly_.done());
    draining_ = true;
    ranges_->Grow(plan_.wanted());
    for (;;) {
      ASSIGN_OR_RETURN(const std::span<const char> bytes, ranges_->window().Read());
      if (bytes.empty()) return absl::OkStatus();
      RETURN_IF_ERROR(assembly_.Take(bytes));
      Plan();
      if (plan_.wanted() > 1) continue;
      GoOnAlone();
      return absl::OkStatus();
    }
  }

  const RegistryClient& registry_;
  const RegistryEndpoint& endpoint_;
  const Descriptor& blob_;
  BlobAssembly& assembly_;
  EndpointRace::Lane& lane_;
  FetchBudget* budget_ = nullptr;
  uint64_t asked_from_ = 0;
  uint64_t skip_ = 0;  // of the present answer: those that the assembly has already
  uint64_t cut_;       // where the first connection ends
  uint64_t split_at_ = 0;
  Clock::time_point split_time_{};
  bool draining_ = false;
  ConnectionPlan plan_;
  std::unique_ptr<RangeFetch> ranges_;
};

// All that is asked of one endpoint for a blob.
Status FromEndpoint(const RegistryClient& registry, const RegistryEndpoint& endpoint,
                    HttpClient& client, EndpointRace::Lane& lane, const BlobJob& job) {
  BlobAssembly& assembly = *job.assembly;
  Status status = registry.Persist(
      endpoint,
      [&](RegistryClient::Outcome& outcome) {
        return Stream(registry, endpoint, *job.blob, assembly, lane)
            .Run(client, job.budget, outcome);
      },
      [&] { return lane.lost() || assembly.spoiled(); });
  if (status.ok()) status = assembly.CheckDigest();
  if (assembly.spoiled()) {
    lane.EndRace();
  } else if (!status.ok() && assembly.done() > 0) {
    status =
        Annotate(status, absl::StrCat("after ", assembly.done(), " of ", job.blob->size, " bytes"));
  }
  return status;
}

}  // namespace

Status DownloadBlob(const RegistryClient& registry, HttpClient& client,
                    const Descriptor& descriptor, const BlobSink& sink,
                    const BlobOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobAssembly> assembly,
                   BlobAssembly::Make(descriptor, sink, options.spool));
  RETURN_IF_ERROR(assembly->Replay());
  Status status;
  if (assembly->done() > 0 && assembly->left() == 0) {
    status = assembly->CheckDigest();
  } else {
    const BlobJob job = {&descriptor, assembly.get(), options.budget};
    std::atomic<bool> first{true};
    status = registry.AskAnyone(
        /*by_digest=*/true, absl::StrCat("blobs/", descriptor.digest),
        [&](const RegistryEndpoint& endpoint, EndpointRace::Lane& lane) {
          HttpClient own;  // for whoever comes second: the first has the caller's connections
          return FromEndpoint(registry, endpoint, first.exchange(false) ? client : own, lane, job);
        });
  }
  // Wrong bytes must not be the beginning of the next try.
  if (options.spool != nullptr && absl::IsDataLoss(status)) options.spool->Drop();
  return status;
}

StatusOr<std::string> FetchBlob(const RegistryClient& registry, HttpClient& client,
                                const Descriptor& descriptor, size_t limit) {
  if (descriptor.size > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("blob ", descriptor.digest, " is longer than ", limit, " bytes"));
  }
  std::string bytes;
  RETURN_IF_ERROR(DownloadBlob(registry, client, descriptor, [&](std::span<const char> piece) {
    bytes.append(piece.data(), piece.size());
    return absl::OkStatus();
  }));
  return bytes;
}

}  // namespace gantry::images
