#include "cri/server.h"

#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include <systemd/sd-daemon.h>

#include "cri/persist.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

constexpr int kMessageLimit = 16 << 20;
constexpr int kThreadLimit = 1000;
constexpr auto kShutdownPatience = std::chrono::seconds(5);
constexpr int kSweepSeconds = 15;

Status SetOwner(const std::string& path, const std::string& group_name) {
  gid_t gid = 0;
  // A number need not be of a group that this machine knows.
  if (!group_name.empty() && !absl::SimpleAtoi(group_name, &gid)) {
    const group* entry = getgrnam(group_name.c_str());
    if (entry == nullptr)
      return absl::InvalidArgumentError(
          absl::StrCat("socket_group: group \"", group_name, "\" does not exist"));
    gid = entry->gr_gid;
  }
  if (chown(path.c_str(), 0, gid) != 0) return SyscallError("chown", path);
  if (chmod(path.c_str(), 0660) != 0) return SyscallError("chmod", path);
  return absl::OkStatus();
}

std::unique_ptr<grpc::Server> Start(const std::string& address,
                                    std::initializer_list<grpc::Service*> services) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(kMessageLimit);
  grpc::ResourceQuota quota("rpc");
  quota.SetMaxThreads(kThreadLimit);
  builder.SetResourceQuota(quota);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 4);
  for (grpc::Service* service : services) builder.RegisterService(service);
  return builder.BuildAndStart();
}

// Sleeps in the signal wait; results that nobody has claimed are undone in between.
int AwaitSignal(Node* node) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  while (true) {
    const timespec period = {kSweepSeconds, 0};
    const int signal = sigtimedwait(&ends, nullptr, &period);
    if (signal > 0) return signal;
    node->creations->Sweep();
    PersistUnrecorded(node);
  }
}

}  // namespace

Status ServeUntilSignal(Node* node) {
  ASSIGN_OR_RETURN(const std::string path, SocketPath(node->config.listen));
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  // The locks on root and state are ours: a socket that is there is a leftover.
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return SyscallError("unlink", path);
  RuntimeService runtime(node);
  ImageService image(node);
  GantryService gantry(node);
  const mode_t old_mask = umask(0177);  // gRPC would make it 0755
  const auto server = Start(node->config.listen, {&runtime, &image, &gantry});
  umask(old_mask);
  if (server == nullptr)
    return absl::InternalError(absl::StrCat("cannot listen on \"", node->config.listen, "\""));
  RETURN_IF_ERROR(SetOwner(path, node->config.socket_group));
  sd_notify(0, "READY=1");
  node->log.Info("serving", {{"listen", node->config.listen}});
  const int signal = AwaitSignal(node);
  sd_notify(0, "STOPPING=1");
  node->log.Info("ending: pods run on", {{"signal", sigabbrev_np(signal)}});
  node->feed.Close();
  // Shutdown waits for every call, one whose CNI DEL hangs too: that is cut off, and stays owed.
  absl::Notification ended;
  std::thread late([node, &ended] {
    if (!ended.WaitForNotificationWithTimeout(absl::FromChrono(kShutdownPatience)))
      node->network->Cancel();
  });
  server->Shutdown(std::chrono::system_clock::now() + kShutdownPatience);
  ended.Notify();
  late.join();
  server->Wait();
  unlink(path.c_str());
  return absl::OkStatus();
}

}  // namespace gantry::cri
