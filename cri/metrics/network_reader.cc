#include "cri/metrics/network_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/network_thread.h"

namespace gantry::cri {
namespace {

constexpr size_t kMaxText = 1 << 20;  // 8,000 interfaces

StatusOr<UniqueFd> OpenCounters() {
  return OpenAt(AT_FDCWD, "/proc/thread-self/net/dev", O_RDONLY);
}

}  // namespace

StatusOr<std::unique_ptr<NetworkReader>> NetworkReader::Open(const std::string& netns_path) {
  ASSIGN_OR_RETURN(UniqueFd counters, OpenInNetwork(netns_path, OpenCounters));
  return std::make_unique<NetworkReader>(std::move(counters));
}

std::vector<InterfaceCounters> NetworkReader::Read() const {
  std::string text;
  char part[8192];
  while (text.size() < kMaxText) {
    const ssize_t got = pread(counters_.get(), part, sizeof part, static_cast<off_t>(text.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(part, static_cast<size_t>(got));
  }
  return ParseNetDev(text);
}

}  // namespace gantry::cri
