#include "imageservice/piece_window.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace gantry::images {
namespace {

constexpr auto kGrace = std::chrono::milliseconds(1500);
constexpr auto kTick = std::chrono::milliseconds(250);
constexpr size_t kRememberedRates = 4;
constexpr int kMaxTakeovers = 3;  // of one piece: when all are slow, nobody is
constexpr double kSlow = 3;       // times slower than the median

double Rate(uint64_t bytes, PieceWindow::Clock::duration time) {
  return static_cast<double>(bytes) / std::max(std::chrono::duration<double>(time).count(), 1e-3);
}

bool IsSlow(uint64_t bytes, PieceWindow::Clock::duration time, double median) {
  return time >= kGrace && Rate(bytes, time) * kSlow < median;
}

}  // namespace

PieceWindow::PieceWindow(FetchBudget* budget, uint64_t first, uint64_t end)
    : budget_(budget), consumed_(first), next_(first), end_(end) {}

PieceWindow::~PieceWindow() {
  for (auto& [first, piece] : pieces_) budget_->GiveBuffer(piece.buffer);
}

PieceWindow::Claim PieceWindow::Own(uint64_t first, Piece& piece) {
  piece.ticket = ++tickets_;
  piece.from = piece.have;
  piece.since = Clock::now();
  return {piece.ticket, first + piece.have, piece.end};
}

std::optional<PieceWindow::Claim> PieceWindow::Orphan() {
  for (auto& [first, piece] : pieces_) {
    if (piece.ticket != 0 || first + piece.have == piece.end) continue;
    if (piece.buffer == nullptr) {
      // The reader waits for the front one: it has its memory in any case.
      piece.buffer = budget_->TakeBuffer(first == consumed_ ? 0 : buffers_);
      if (piece.buffer == nullptr) continue;
      ++buffers_;
    }
    return Own(first, piece);
  }
  return std::nullopt;
}

std::optional<PieceWindow::Claim> PieceWindow::Fresh() {
  if (next_ == end_) return std::nullopt;
  char* buffer = budget_->TakeBuffer(buffers_);
  if (buffer == nullptr) return std::nullopt;
  ++buffers_;
  Piece& piece = pieces_[next_];
  piece.buffer = buffer;
  piece.end = std::min<uint64_t>(next_ + kPieceSize, end_);
  const Claim claim = Own(next_, piece);
  next_ = piece.end;
  return claim;
}

// Of what is under way and what has ended well lately.
double PieceWindow::MedianRate(Clock::time_point now) const {
  std::vector<double> rates(finished_rates_.begin(), finished_rates_.end());
  for (const auto& [first, piece] : pieces_) {
    if (piece.ticket != 0 && now - piece.since >= kGrace)
      rates.push_back(Rate(piece.have - piece.from, now - piece.since));
  }
  if (rates.size() < 2) return 0;
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

std::optional<PieceWindow::Claim> PieceWindow::Straggler(Clock::time_point now) {
  const double median = MedianRate(now);
  for (auto& [first, piece] : pieces_) {
    if (piece.ticket == 0 || piece.takeovers == kMaxTakeovers) continue;
    if (!IsSlow(piece.have - piece.from, now - piece.since, median)) continue;
    ++piece.takeovers;
    ++takeovers_;
    return Own(first, piece);
  }
  return std::nullopt;
}

std::optional<PieceWindow::Claim> PieceWindow::Next() {
  std::unique_lock lock(mutex_);
  for (;;) {
    // Not as soon as all have come: what is put in front then needs somebody.
    if (consumed_ == end_ || stopped_.has_value()) return std::nullopt;
    if (auto claim = Orphan()) return claim;
    if (auto claim = Fresh()) return claim;
    if (auto claim = Straggler(Clock::now())) return claim;
    // The pull's other blobs give memory back without telling us: look again now and then.
    changed_.wait_for(lock, kTick);
  }
}

PieceWindow::Piece* PieceWindow::Find(const Claim& claim) {
  if (stopped_.has_value()) return nullptr;
  auto found = pieces_.upper_bound(claim.first);
  if (found == pieces_.begin()) return nullptr;
  Piece& piece = (--found)->second;
  return piece.ticket == claim.ticket ? &piece : nullptr;
}

bool PieceWindow::Wanted(const Claim& claim) {
  const std::lock_guard lock(mutex_);
  return Find(claim) != nullptr;
}

bool PieceWindow::Add(const Claim& claim, std::span<const char> bytes) {
  const std::lock_guard lock(mutex_);
  Piece* piece = Find(claim);
  if (piece == nullptr) return false;
  const uint64_t first = claim.first - piece->from;
  if (bytes.size() > piece->end - first - piece->have) return false;
  memcpy(piece->buffer + piece->have, bytes.data(), bytes.size());
  piece->have += bytes.size();
  ahead_ += bytes.size();
  if (first + piece->have == piece->end) {
    finished_rates_.push_back(Rate(piece->have - piece->from, Clock::now() - piece->since));
    if (finished_rates_.size() > kRememberedRates) finished_rates_.pop_front();
    piece->ticket = 0;
  }
  changed_.notify_all();
  return true;
}

void PieceWindow::GiveUp(const Claim& claim) {
  const std::lock_guard lock(mutex_);
  if (Piece* piece = Find(claim)) piece->ticket = 0;
  changed_.notify_all();
}

void PieceWindow::PutInFront(uint64_t first) {
  const std::lock_guard lock(mutex_);
  for (uint64_t at = first; at < consumed_;) {
    Piece& piece = pieces_[at];
    piece.end = std::min<uint64_t>(at + kPieceSize, consumed_);
    at = piece.end;
  }
  consumed_ = std::min(consumed_, first);
  changed_.notify_all();
}

StatusOr<std::span<const char>> PieceWindow::Read() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stopped_.has_value()) return *stopped_;
    if (consumed_ == end_) return std::span<const char>();
    const auto front = pieces_.find(consumed_);
    if (front != pieces_.end()) {
      const uint64_t first = front->first;
      Piece& piece = front->second;
      if (first + handed_out_ == piece.end) {  // the caller is done with all of it
        consumed_ = piece.end;
        handed_out_ = 0;
        budget_->GiveBuffer(piece.buffer);
        --buffers_;
        pieces_.erase(front);
        changed_.notify_all();
        continue;
      }
      if (piece.have > handed_out_) {
        const std::span<const char> bytes(piece.buffer + handed_out_, piece.have - handed_out_);
        handed_out_ = piece.have;
        ahead_ -= bytes.size();
        return bytes;
      }
    }
    changed_.wait(lock);
  }
}

void PieceWindow::Stop(const Status& status) {
  const std::lock_guard lock(mutex_);
  if (!stopped_.has_value()) stopped_ = status;
  changed_.notify_all();
}

bool PieceWindow::TooSlow(uint64_t bytes, Clock::duration time) const {
  const std::lock_guard lock(mutex_);
  return IsSlow(bytes, time, MedianRate(Clock::now()));
}

uint64_t PieceWindow::ahead() const {
  const std::lock_guard lock(mutex_);
  return ahead_;
}

int PieceWindow::takeovers() const {
  const std::lock_guard lock(mutex_);
  return takeovers_;
}

}  // namespace gantry::images
