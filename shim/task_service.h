// The verbs of the shim protocol (shim.proto), one handler each: pod and connection in
// task_service.cc, containers in container_tasks.cc, execs in exec_tasks.cc. The client's view of
// each is told in shim.proto.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/pod_namespaces.h"
#include "shim/cgroup_remover.h"
#include "shim/connection.h"
#include "shim/container_process.h"
#include "shim/exec_process.h"
#include "shim/reaper.h"
#include "shim/shim.pb.h"

namespace gantry::shim {

class TaskService {
 public:
  struct Options {
    std::string pod_id;
    UniqueFd init_binary;  // gantry-init, opened; invalid: no pod gets a PID namespace
  };
  TaskService(const ShimServices& services, Options options)
      : services_(services), options_(std::move(options)), exec_cgroups_(services.loop) {}
  TaskService(const TaskService&) = delete;
  TaskService& operator=(const TaskService&) = delete;

  // Answers through `responder`, now or later. `fds` came with the request.
  void Handle(const proto::Request& request, std::vector<UniqueFd> fds, const Responder& responder);
  // gantryd has gone, or another has taken over: its execs are killed. Containers go on.
  void Disconnected();

 private:
  using Fds = std::vector<UniqueFd>;

  void Hello(const proto::Hello& request, const Responder& responder);
  void CreatePod(const proto::CreatePod& request, const Responder& responder);
  void AcknowledgeEvents(const proto::AcknowledgeEvents& request, const Responder& responder);
  void Shutdown(const Responder& responder);

  void CreateContainer(const proto::CreateContainer& request, Fds fds, const Responder& responder);
  void ContinueContainer(const proto::ContinueContainer& request, const Responder& responder);
  void StartContainer(const proto::StartContainer& request, const Responder& responder);
  void SignalContainer(const proto::SignalContainer& request, const Responder& responder);
  void DeleteContainer(const proto::DeleteContainer& request, const Responder& responder);
  void ReopenLog(const proto::ReopenLog& request, const Responder& responder);
  void Attach(const proto::Attach& request, const Responder& responder);
  void CloseStdin(const proto::CloseStdin& request, const Responder& responder);

  void Exec(const proto::Exec& request, Fds fds, const Responder& responder);
  void WaitExec(const proto::WaitExec& request, const Responder& responder);
  void KillExec(const proto::KillExec& request, const Responder& responder);
  void Resize(const proto::Resize& request, const Responder& responder);

  Status MakePod(const proto::CreatePod& request);
  StatusOr<ContainerProcess*> Find(const std::string& container_id);
  StatusOr<std::unique_ptr<ContainerProcess>> Create(const proto::CreateContainer& request,
                                                     Fds fds);
  Status JoinNamespaces(const proto::CreateContainer& request, ContainerOptions* options,
                        UniqueFd* pid_namespace);
  void Forget(const std::string& container_id);
  void Abandon(const std::string& container_id);
  Status StartExec(const proto::Exec& request, Fds fds, const Responder& responder);
  void ForgetExec(const std::string& exec_id);
  void CheckShutDown();
  void EndShutdown();
  // Destroys it once the present callback, which may be its own, is over.
  template <typename T>
  void Bury(std::unique_ptr<T> object);

  ShimServices services_;
  Options options_;
  runtime::PodNamespaces pod_;
  bool pod_made_ = false;
  Reaper::Child pod_init_;
  std::map<std::string, std::unique_ptr<ContainerProcess>> containers_;
  std::list<std::unique_ptr<ContainerProcess>> abandoned_;  // failed or killed, init not yet reaped
  std::map<std::string, std::unique_ptr<ExecProcess>> execs_;
  std::list<std::unique_ptr<ExecProcess>> dying_execs_;
  CgroupRemover exec_cgroups_;  // of execs that are over
  std::vector<std::function<void()>> burials_;
  EventLoop::Timer burial_;
  std::vector<Responder> shutting_down_;
  EventLoop::Timer shutdown_bound_;
};

template <typename T>
void TaskService::Bury(std::unique_ptr<T> object) {
  burials_.push_back([shared = std::shared_ptr<T>(std::move(object))] {});
  burial_ = services_.loop->After(absl::ZeroDuration(), [this] { burials_.clear(); });
}

}  // namespace gantry::shim
