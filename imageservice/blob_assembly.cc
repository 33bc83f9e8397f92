#include "imageservice/blob_assembly.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

constexpr auto kPeriod = std::chrono::milliseconds(500);
// A blob that the network brings again in so many seconds is not worth a copy on disk.
constexpr double kWorthSpooling = 5;
constexpr uint64_t kFirstJudgement = 8 << 20;

double Seconds(BlobAssembly::Clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

StatusOr<std::unique_ptr<BlobAssembly>> BlobAssembly::Make(const Descriptor& blob,
                                                           const BlobSink& sink, BlobSpool* spool) {
  const bool half_way = spool != nullptr && spool->midstate().has_value();
  ASSIGN_OR_RETURN(Digester digester, half_way ? Digester::Resume(blob.digest, *spool->midstate())
                                               : Digester::Make(blob.digest));
  return std::unique_ptr<BlobAssembly>(new BlobAssembly(blob, sink, spool, std::move(digester)));
}

Status BlobAssembly::Replay() {
  if (spool_ == nullptr || spool_->length() == 0) return absl::OkStatus();
  const uint64_t hashed = spool_->midstate().has_value() ? spool_->midstate()->bytes : 0;
  const Status status = spool_->Replay([&](std::span<const char> bytes) {
    if (done() >= hashed) digester_.Update(bytes);
    return Pass(bytes);
  });
  spoiled_ = !status.ok();
  start_ = last_.time = Clock::now();
  last_.reader_time = reader_time_;
  last_.bytes = start_bytes_ = done();
  return status;
}

Status BlobAssembly::Pass(std::span<const char> bytes) {
  done_.fetch_add(bytes.size(), std::memory_order_relaxed);
  const Status status = sink_(bytes);
  if (!status.ok()) spoiled_ = true;
  return status;
}

Status BlobAssembly::Take(std::span<const char> bytes) {
  if (bytes.size() > left()) {
    spoiled_ = true;
    return absl::DataLossError(
        absl::StrCat("the blob is longer than the ", blob_.size, " bytes of its descriptor"));
  }
  const Clock::time_point before = Clock::now();
  Status status;
  while (!bytes.empty() && status.ok()) {
    const bool spool = spool_ != nullptr && !spool_->dropped();
    const auto piece =
        bytes.first(spool ? static_cast<size_t>(std::min<uint64_t>(bytes.size(), spool_->Room()))
                          : bytes.size());
    digester_.Update(piece);
    if (spool) spool_->Append(piece, digester_);
    status = Pass(piece);
    bytes = bytes.subspan(piece.size());
  }
  reader_time_ += Clock::now() - before;
  if (!judged_ && done() - start_bytes_ >= kFirstJudgement) JudgeSpool();
  return status;
}

// By the network's rate alone: a slow unpacker is not a reason to keep a copy.
void BlobAssembly::JudgeSpool() {
  judged_ = true;
  if (spool_ == nullptr || spool_->dropped()) return;
  const double waited = std::max(Seconds(Clock::now() - start_ - reader_time_), 1e-6);
  const double rate = static_cast<double>(done() - start_bytes_) / waited;
  if (static_cast<double>(blob_.size) / rate < kWorthSpooling) spool_->Drop();
}

std::optional<ConnectionPlan::Period> BlobAssembly::Measure(uint64_t ahead) {
  const Clock::time_point now = Clock::now();
  if (now - last_.time < kPeriod) return std::nullopt;
  if (done() - start_bytes_ >= kFirstJudgement) JudgeSpool();
  const double seconds = Seconds(now - last_.time);
  const uint64_t bytes = done() + ahead;
  ConnectionPlan::Period period;
  period.rate = static_cast<double>(bytes - std::min(bytes, last_.bytes)) / seconds;
  period.reader_share = Seconds(reader_time_ - last_.reader_time) / seconds;
  last_.time = now;
  last_.bytes = bytes;
  last_.reader_time = reader_time_;
  return period;
}

Status BlobAssembly::CheckDigest() {
  const std::string digest = digester_.Finish();
  if (digest == blob_.digest) return absl::OkStatus();
  spoiled_ = true;
  return absl::DataLossError(absl::StrCat("the blob has digest ", digest, ", not ", blob_.digest));
}

}  // namespace gantry::images
