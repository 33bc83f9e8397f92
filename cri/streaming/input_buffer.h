// What a client has sent and its process, or pod, has not taken yet: 1 MiB, then the client waits.
// No I/O.
#pragma once

#include <cerrno>
#include <string>

#include "absl/strings/string_view.h"

namespace gantry::cri::streaming {

class InputBuffer {
 public:
  void Append(absl::string_view data) {
    bytes_.append(data.data(), data.size());
    was_full_ = was_full_ || !Accepts();
  }
  // False: there is no room for more. What comes all the same is kept.
  [[nodiscard]] bool Accepts() const { return left().size() < kMost; }
  [[nodiscard]] bool empty() const { return left().empty(); }
  [[nodiscard]] absl::string_view left() const {
    return absl::string_view(bytes_).substr(written_);
  }
  // So many bytes of left() have been taken.
  void Written(size_t size) { written_ += size; }
  // After a row of writes: gives back what they have freed.
  void Trim() {
    if (empty()) return Drop();
    if (written_ <= kMost / 2) return;
    bytes_.erase(0, written_);
    written_ = 0;
  }
  // Nobody takes it any more.
  void Drop() {
    bytes_.clear();
    bytes_.shrink_to_fit();
    written_ = 0;
  }
  // True once after it was full: the client may go on.
  bool HasRoomAgain() {
    if (!was_full_ || !Accepts()) return false;
    was_full_ = false;
    return true;
  }

 private:
  static constexpr size_t kMost = 1 << 20;

  std::string bytes_;
  size_t written_ = 0;
  bool was_full_ = false;
};

// Whether a call on a non-blocking descriptor is worth another try later.
inline bool IsTemporary(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace gantry::cri::streaming
