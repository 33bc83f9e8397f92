#include "runtime/linux/network_thread.h"

#include <fcntl.h>
#include <sched.h>

#include <thread>

#include "runtime/linux/file.h"
#include "runtime/linux/namespace.h"

namespace gantry {
namespace {

StatusOr<UniqueFd> JoinAndOpen(int netns, const std::string& netns_path,
                               const std::function<StatusOr<UniqueFd>()>& make) {
  RETURN_IF_ERROR(JoinNamespace(netns, CLONE_NEWNET, netns_path));
  return make();
}

}  // namespace

StatusOr<UniqueFd> OpenInNetwork(const std::string& netns_path,
                                 const std::function<StatusOr<UniqueFd>()>& make) {
  ASSIGN_OR_RETURN(const UniqueFd netns, OpenAt(AT_FDCWD, netns_path, O_RDONLY));
  StatusOr<UniqueFd> opened = absl::UnknownError("");
  std::thread([&] { opened = JoinAndOpen(netns.get(), netns_path, make); }).join();
  return opened;
}

}  // namespace gantry
