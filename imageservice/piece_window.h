// The bounded window in which the ranges of one blob are put into order: connections fill pieces
// of it, one reader takes the bytes from its front.
//
//   consumed            next           end
//   ──┬──────┬──────┬────┬───────────────┐
//     │▓▓▓▓  │▓▓    │▓▓▓▓│ nobody's yet  │     a piece belongs to one connection at a time; the
//   ──┴──────┴──────┴────┴───────────────┘     rest of one that failed, or is slow, to the next
//
// A connection is slow when it has had its time and its rate is below a third of the median of all
// (one starved front end once held a layer for minutes). Who has nothing else to do takes the
// rest of its piece; its next bytes are refused.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <span>

#include "imageservice/fetch_budget.h"
#include "runtime/base/status.h"

namespace gantry::images {

class PieceWindow {
 public:
  using Clock = std::chrono::steady_clock;
  // The blob's bytes from `first` up to `end` will come through here. `budget` outlives it.
  PieceWindow(FetchBudget* budget, uint64_t first, uint64_t end);
  ~PieceWindow();

  // Some bytes to fetch: [first, end). `ticket` names who has them.
  struct Claim {
    uint64_t ticket = 0;
    uint64_t first = 0, end = 0;
  };
  // Connections. The next bytes to fetch; waits for room, and while all have come for what may be
  // put in front. Nothing: the reader has all, or it was stopped.
  std::optional<Claim> Next();
  // False: somebody else has the piece now, or nobody wants it; end the request.
  bool Add(const Claim& claim, std::span<const char> bytes);
  bool Wanted(const Claim& claim);
  // The request is over: what did not come is anybody's. Bytes that came stay.
  void GiveUp(const Claim& claim);
  // For who fetches bytes before the window's first one and cannot go on: they are put in front.
  // Only before the reader has begun.
  void PutInFront(uint64_t first);

  // True when a connection that brought `bytes` in `time` is slow, beside those of this window.
  bool TooSlow(uint64_t bytes, Clock::duration time) const;

  // The reader. The next bytes in order, valid until the next call; waits for them. Empty: that was
  // all. The status that Stop got.
  StatusOr<std::span<const char>> Read();

  // Everybody is to stop; the first status counts.
  void Stop(const Status& status);

  // How many bytes have come that the reader does not have yet.
  uint64_t ahead() const;
  // How many times the rest of a slow request was taken over.
  int takeovers() const;

 private:
  struct Piece {
    uint64_t end = 0;
    uint64_t have = 0;
    uint64_t ticket = 0;  // 0: nobody's
    uint64_t from = 0;    // what the present owner began with
    Clock::time_point since{};
    char* buffer = nullptr;
    int takeovers = 0;
  };
  std::optional<Claim> Orphan();
  std::optional<Claim> Fresh();
  std::optional<Claim> Straggler(Clock::time_point now);
  Claim Own(uint64_t first, Piece& piece);
  Piece* Find(const Claim& claim);
  double MedianRate(Clock::time_point now) const;

  FetchBudget* const budget_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, Piece> pieces_;  // by first byte
  size_t buffers_ = 0;
  uint64_t consumed_ = 0, next_ = 0;
  const uint64_t end_;
  uint64_t handed_out_ = 0;  // of the front piece, to the reader
  uint64_t tickets_ = 0, ahead_ = 0;
  int takeovers_ = 0;
  std::deque<double> finished_rates_;  // of the last requests that ended well
  std::optional<Status> stopped_;
};

}  // namespace gantry::images
