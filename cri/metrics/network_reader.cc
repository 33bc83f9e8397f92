#include "cri/metrics/network_reader.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/namespace.h"

namespace gantry::cri {
namespace {

constexpr size_t kMaxText = 1 << 20;  // 8,000 interfaces

StatusOr<UniqueFd> OpenCounters(const std::string& netns_path) {
  ASSIGN_OR_RETURN(const UniqueFd netns, OpenAt(AT_FDCWD, netns_path, O_RDONLY));
  RETURN_IF_ERROR(JoinNamespace(netns.get(), CLONE_NEWNET, netns_path));
  return OpenAt(AT_FDCWD, "/proc/thread-self/net/dev", O_RDONLY);
}

}  // namespace

StatusOr<std::unique_ptr<NetworkReader>> NetworkReader::Open(const std::string& netns_path) {
  StatusOr<UniqueFd> counters = absl::UnknownError("");
  std::thread([&] { counters = OpenCounters(netns_path); }).join();
  RETURN_IF_ERROR(counters.status());
  return std::make_unique<NetworkReader>(*std::move(counters));
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
