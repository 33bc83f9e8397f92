#include "cri/cli/progress.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "cri/cli/format.h"

namespace gantry::cli {
namespace {

constexpr absl::Duration kPlainInterval = absl::Seconds(5);
constexpr absl::Duration kRateInterval = absl::Milliseconds(500);
constexpr int kMaxBars = 12;  // more would scroll; those that work come first
constexpr char kClearLine[] = "\x1b[2K";

bool Works(const ::gantry::v1::LayerProgress& layer) {
  return !layer.complete() && !layer.already_here();
}

std::string Cut(std::string line, int width) {
  if (width > 0 && line.size() > static_cast<size_t>(width))
    line.resize(static_cast<size_t>(width));
  return line;
}

}  // namespace

ProgressView::ProgressView(int width, absl::Time start)
    : width_(width), start_(start), rate_time_(start) {}

void ProgressView::Count(const ::gantry::v1::PullImageResponse& progress, absl::Time now) {
  if (progress.layers_size() > 0) {  // the last message of a pull may have none
    total_ = done_ = 0;
    present_ = 0;
    for (const auto& layer : progress.layers()) {
      present_ += layer.already_here() ? 1 : 0;
      if (layer.already_here()) continue;
      total_ += layer.total();
      done_ += layer.complete() ? layer.total() : layer.done();
    }
  }
  const absl::Duration passed = now - rate_time_;
  if (passed < kRateInterval) return;
  const double latest =
      done_ > rate_done_ ? static_cast<double>(done_ - rate_done_) / absl::ToDoubleSeconds(passed)
                         : 0;
  rate_ = rate_ == 0 ? latest : 0.7 * rate_ + 0.3 * latest;
  rate_done_ = done_;
  rate_time_ = now;
}

std::string ProgressView::Update(const ::gantry::v1::PullImageResponse& progress, absl::Time now) {
  Count(progress, now);
  return width_ > 0 ? Redraw(progress, now) : PlainLines(progress, now);
}

std::string ProgressView::Bar(const ::gantry::v1::LayerProgress& layer) const {
  const std::string id = ShortId(layer.digest());
  if (layer.already_here()) return absl::StrCat(id, "  already here");
  if (layer.complete()) return absl::StrCat(id, "  done  ", HumanSize(layer.total()));
  const int room = std::clamp(width_ - 46, 10, 40);
  const double part =
      layer.total() == 0
          ? 0
          : std::min(1.0, static_cast<double>(layer.done()) / static_cast<double>(layer.total()));
  const auto filled = static_cast<size_t>(part * room);
  return absl::StrCat(id, "  [", std::string(filled, '='),
                      std::string(static_cast<size_t>(room) - filled, ' '), "] ",
                      HumanSize(layer.done()), " / ", HumanSize(layer.total()));
}

std::string ProgressView::TotalLine(absl::string_view stage, absl::Time now) const {
  std::string line = std::string(stage);
  if (total_ > 0) {
    absl::StrAppend(&line, "  ", HumanSize(done_), " / ", HumanSize(total_), "  ",
                    HumanSize(static_cast<uint64_t>(rate_)), "/s");
  }
  if (rate_ > 1 && done_ < total_) {
    const double left = static_cast<double>(total_ - done_) / rate_;
    absl::StrAppend(&line, "  ", HumanDuration(absl::Seconds(left)), " left");
  }
  absl::StrAppend(&line, "  (", HumanDuration(now - start_), ")");
  return line;
}

std::string ProgressView::Redraw(const ::gantry::v1::PullImageResponse& progress, absl::Time now) {
  std::vector<const ::gantry::v1::LayerProgress*> layers;
  for (const auto& layer : progress.layers()) layers.push_back(&layer);
  std::stable_sort(layers.begin(), layers.end(),
                   [](const auto* a, const auto* b) { return Works(*a) && !Works(*b); });
  std::string out = drawn_ > 0 ? absl::StrFormat("\r\x1b[%dA", drawn_) : "\r";
  int lines = 0;
  for (const auto* layer : layers) {
    if (lines == kMaxBars) break;
    absl::StrAppend(&out, kClearLine, Cut(Bar(*layer), width_), "\n");
    ++lines;
  }
  absl::StrAppend(&out, kClearLine, Cut(TotalLine(progress.stage(), now), width_), "\n");
  ++lines;
  // Lines of a longer drawing before this one.
  for (; lines < drawn_; ++lines) absl::StrAppend(&out, kClearLine, "\n");
  drawn_ = lines;
  return out;
}

std::string ProgressView::PlainLines(const ::gantry::v1::PullImageResponse& progress,
                                     absl::Time now) {
  std::string out;
  for (const auto& layer : progress.layers()) {
    if (Works(layer) || !told_.insert(layer.digest()).second) continue;
    absl::StrAppend(&out, Bar(layer), "\n");
  }
  const bool new_stage = progress.stage() != stage_;
  if (new_stage || now - last_line_ >= kPlainInterval) {
    absl::StrAppend(&out, TotalLine(progress.stage(), now), "\n");
    stage_ = progress.stage();
    last_line_ = now;
  }
  return out;
}

std::string ProgressView::Summary(absl::Time now) const {
  const double seconds = std::max(0.001, absl::ToDoubleSeconds(now - start_));
  std::string out = absl::StrCat(HumanSize(done_), absl::StrFormat(" in %.1f s", seconds));
  if (done_ > 0) {
    absl::StrAppend(&out, ", ",
                    HumanSize(static_cast<uint64_t>(static_cast<double>(done_) / seconds)), "/s");
  }
  if (present_ > 0) {
    absl::StrAppend(&out, ", ", present_, present_ == 1 ? " layer was" : " layers were",
                    " here already");
  }
  return out;
}

}  // namespace gantry::cli
