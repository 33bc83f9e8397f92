#include "shim/task_service.h"

#include <sys/types.h>
#include <unistd.h>

#include <csignal>

#include "absl/strings/str_cat.h"

#include "runtime/base/log.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"
#include "shim/client.h"

namespace gantry::shim {
namespace {

constexpr absl::Duration kShutdownBound = absl::Seconds(15);

std::vector<spec::IdMapping> Mappings(
    const google::protobuf::RepeatedPtrField<proto::IdMapping>& from) {
  std::vector<spec::IdMapping> mappings;
  for (const proto::IdMapping& mapping : from) {
    mappings.push_back({mapping.container_id(), mapping.host_id(), mapping.size()});
  }
  return mappings;
}

}  // namespace

void TaskService::Handle(const proto::Request& request, Fds fds, const Responder& responder) {
  switch (request.verb_case()) {
    case proto::Request::kHello:
      return Hello(request.hello(), responder);
    case proto::Request::kCreatePod:
      return CreatePod(request.create_pod(), responder);
    case proto::Request::kCreateContainer:
      return CreateContainer(request.create_container(), std::move(fds), responder);
    case proto::Request::kContinueContainer:
      return ContinueContainer(request.continue_container(), responder);
    case proto::Request::kStartContainer:
      return StartContainer(request.start_container(), responder);
    case proto::Request::kSignalContainer:
      return SignalContainer(request.signal_container(), responder);
    case proto::Request::kDeleteContainer:
      return DeleteContainer(request.delete_container(), responder);
    case proto::Request::kReopenLog:
      return ReopenLog(request.reopen_log(), responder);
    case proto::Request::kAttach:
      return Attach(request.attach(), responder);
    case proto::Request::kCloseStdin:
      return CloseStdin(request.close_stdin(), responder);
    case proto::Request::kExec:
      return Exec(request.exec(), std::move(fds), responder);
    case proto::Request::kWaitExec:
      return WaitExec(request.wait_exec(), responder);
    case proto::Request::kKillExec:
      return KillExec(request.kill_exec(), responder);
    case proto::Request::kResize:
      return Resize(request.resize(), responder);
    case proto::Request::kAcknowledgeEvents:
      return AcknowledgeEvents(request.acknowledge_events(), responder);
    case proto::Request::kShutdown:
      return Shutdown(responder);
    case proto::Request::VERB_NOT_SET:
      return responder.Finish(absl::UnimplementedError("this shim does not know the request"));
  }
}

void TaskService::Hello(const proto::Hello& request, const Responder& responder) {
  if (request.version() != kProtocolVersion) {
    responder.Finish(absl::UnimplementedError(absl::StrCat(
        "protocol version ", request.version(), "; this shim speaks ", kProtocolVersion)));
    return;
  }
  proto::Reply reply;
  proto::HelloReply& hello = *reply.mutable_hello();
  hello.set_version(kProtocolVersion);
  hello.set_pod_id(options_.pod_id);
  hello.set_shim_pid(getpid());
  const StatusOr<uint64_t> start = ProcessStartTime(getpid());
  if (start.ok()) hello.set_shim_start_time(*start);
  hello.set_last_sequence(services_.events->last_sequence());
  for (const auto& [id, container] : containers_) *hello.add_containers() = container->State();
  responder.Ok(reply);
}

void TaskService::CreatePod(const proto::CreatePod& request, const Responder& responder) {
  if (const Status status = MakePod(request); !status.ok()) {
    responder.Finish(status);
    return;
  }
  proto::Reply reply;
  reply.mutable_create_pod()->set_init_pid(pod_.init_pid > 0 ? pod_.init_pid : 0);
  std::vector<int> fds;
  if (auto network = pod_.fds.find("network"); network != pod_.fds.end()) {
    reply.mutable_create_pod()->set_has_network_namespace(true);
    fds.push_back(network->second.get());
  }
  responder.Ok(reply, fds);
}

Status TaskService::MakePod(const proto::CreatePod& request) {
  if (pod_made_) return absl::AlreadyExistsError("the pod's namespaces exist");
  runtime::PodNamespacesRequest wanted;
  wanted.types.assign(request.new_namespaces().begin(), request.new_namespaces().end());
  wanted.hostname = request.hostname();
  wanted.sysctls.insert(request.sysctls().begin(), request.sysctls().end());
  wanted.uid_mappings = Mappings(request.uid_mappings());
  wanted.gid_mappings = Mappings(request.gid_mappings());
  wanted.init_binary_fd = options_.init_binary.get();
  ASSIGN_OR_RETURN(pod_, runtime::MakePodNamespaces(wanted));
  pod_made_ = true;
  services_.pump->Start();
  if (pod_.init_pid <= 0) return absl::OkStatus();
  services_.journal->Process("init", pod_.init_pid);
  pod_init_ = services_.reaper->Watch(pod_.init_pid, [this](ExitStatus) {
    pod_init_.Reset();
    services_.events->AddInitExited();
    CheckShutDown();
  });
  return absl::OkStatus();
}

void TaskService::AcknowledgeEvents(const proto::AcknowledgeEvents& request,
                                    const Responder& responder) {
  services_.events->Acknowledge(request.sequence());
  responder.Ok();
}

void TaskService::Disconnected() {
  while (!execs_.empty()) {
    const std::string id = execs_.begin()->first;
    execs_.begin()->second->Kill();
    ForgetExec(id);
  }
}

void TaskService::Shutdown(const Responder& responder) {
  shutting_down_.push_back(responder);
  if (pod_init_.active()) SignalPidFd(pod_.init_pidfd.get(), SIGKILL).IgnoreError();
  for (const auto& [id, container] : containers_) {
    if (container->exited()) continue;
    container->Kill();
    container->WhenExited([this] { CheckShutDown(); });
  }
  shutdown_bound_ = services_.loop->After(kShutdownBound, [this] {
    Log(LogLevel::kError, "some processes did not end in time; leaving them");
    EndShutdown();
  });
  CheckShutDown();
}

void TaskService::CheckShutDown() {
  if (shutting_down_.empty() || pod_init_.active() || !abandoned_.empty()) return;
  for (const auto& [id, container] : containers_) {
    if (!container->exited()) return;
  }
  shutdown_bound_.Reset();
  EndShutdown();
}

void TaskService::EndShutdown() {
  services_.pump->Stop([this] {
    for (const Responder& waiting : shutting_down_) waiting.Ok();
    services_.loop->Quit();
  });
}

}  // namespace gantry::shim
