#include "imageservice/endpoint_race.h"

namespace gantry::images {

bool EndpointRace::Lane::Claim() {
  const std::lock_guard lock(race_->mutex_);
  if (!race_->result_.has_value() && !race_->winner_.has_value()) race_->winner_ = index_;
  return !Lost();
}

bool EndpointRace::Lane::lost() const {
  const std::lock_guard lock(race_->mutex_);
  return Lost();
}

bool EndpointRace::Lane::Lost() const {
  const bool lost =
      race_->result_.has_value() || (race_->winner_.has_value() && race_->winner_ != index_);
  told_lost_ = told_lost_ || lost;
  return lost;
}

void EndpointRace::Lane::EndRace() {
  const std::lock_guard lock(race_->mutex_);
  race_->waiting_.clear();
  race_->ender_ = race_->winner_ = index_;
}

Status EndpointRace::Run() {
  for (size_t i = 0; i < count_; ++i) waiting_.push_back(i);
  std::unique_lock lock(mutex_);
  Status last = absl::UnavailableError("no server is configured that may be asked for this");
  while (!result_.has_value()) {
    if (running_ == 0 && waiting_.empty()) break;
    const bool open = !winner_.has_value() && !waiting_.empty();
    if (open) {
      const size_t next = waiting_.front();
      waiting_.pop_front();
      ++running_;
      threads_.emplace_back([this, next] { RunLane(next); });
    }
    const auto done = [&, before = running_] {
      return result_.has_value() || running_ < before || (open && winner_.has_value());
    };
    if (open && !waiting_.empty()) {
      changed_.wait_for(lock, kHedgeAfter, done);
    } else {
      changed_.wait(lock, done);
    }
  }
  if (!result_.has_value()) {
    for (const auto& failure : failures_) last = failure.value_or(last);
    result_ = last;
  }
  lock.unlock();
  for (std::thread& thread : threads_) thread.join();
  return *result_;
}

void EndpointRace::RunLane(size_t index) {
  Lane lane(this, index);
  const Status status = runner_(index, lane);
  const std::lock_guard lock(mutex_);
  const bool lost = lane.Lost() || lane.told_lost_;
  --running_;
  if (status.ok()) {
    if (!result_.has_value()) result_ = status;
  } else if (lost) {
    // It may have its turn yet, when the winner fails.
    if (!result_.has_value()) waiting_.push_back(index);
  } else {
    failures_[index] = status;
    if (winner_ == index) winner_.reset();
    if (ender_ == index) result_ = status;
  }
  changed_.notify_all();
}

}  // namespace gantry::images
