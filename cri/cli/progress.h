// The progress of a pull as text: bars that are redrawn on a terminal, plain lines elsewhere.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "absl/time/time.h"

#include "cri/proto/gantry.pb.h"

namespace gantry::cli {

class ProgressView {
 public:
  // `width`: columns of the terminal; 0: not a terminal.
  ProgressView(int width, absl::Time start);

  // What to write now. On a terminal: moves up over the last drawing and draws anew. Else: a line
  // for each layer that is complete, and one for the whole at most every 5 seconds; often empty.
  std::string Update(const ::gantry::v1::PullImageResponse& progress, absl::Time now);

  // "1.2 GB in 8 s, 150.0 MB/s, 3 layers were here already"; without a newline.
  [[nodiscard]] std::string Summary(absl::Time now) const;

 private:
  [[nodiscard]] std::string Bar(const ::gantry::v1::LayerProgress& layer) const;
  [[nodiscard]] std::string TotalLine(absl::string_view stage, absl::Time now) const;
  std::string Redraw(const ::gantry::v1::PullImageResponse& progress, absl::Time now);
  std::string PlainLines(const ::gantry::v1::PullImageResponse& progress, absl::Time now);
  void Count(const ::gantry::v1::PullImageResponse& progress, absl::Time now);

  int width_;
  absl::Time start_;
  int drawn_ = 0;  // lines of the last drawing
  std::string stage_;
  std::set<std::string> told_;  // layers that have had their plain line
  absl::Time last_line_ = absl::InfinitePast();

  uint64_t total_ = 0;  // of the layers that are fetched
  uint64_t done_ = 0;
  int present_ = 0;
  double rate_ = 0;  // bytes per second, smoothed
  uint64_t rate_done_ = 0;
  absl::Time rate_time_;
};

}  // namespace gantry::cli
