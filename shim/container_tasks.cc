// The verbs that are about one container.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/process.h"
#include "runtime/spec/json.h"
#include "shim/task_service.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxContainers = 1024;

// Ids become parts of paths and of journal lines.
Status CheckId(const std::string& id) {
  const bool good = !id.empty() && id.size() <= 128 && id[0] != '.' &&
                    std::all_of(id.begin(), id.end(), [](char c) {
                      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' ||
                             c == '_' || c == '.';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", id, "\" is not an id"));
}

std::string Quoted(const std::string& id) { return absl::StrCat("container \"", id, "\""); }

}  // namespace

StatusOr<ContainerProcess*> TaskService::Find(const std::string& container_id) {
  auto it = containers_.find(container_id);
  if (it != containers_.end()) return it->second.get();
  return absl::NotFoundError(absl::StrCat(Quoted(container_id), " does not exist"));
}

void TaskService::CreateContainer(const proto::CreateContainer& request, Fds fds,
                                  const Responder& responder) {
  auto container = Create(request, std::move(fds));
  if (container.ok()) {
    proto::Reply reply;
    reply.mutable_create_container()->set_pid((*container)->pid());
    reply.mutable_create_container()->set_pid_start_time((*container)->start_time());
    const int pidfd = (*container)->pidfd();
    containers_[request.container_id()] = *std::move(container);
    responder.Ok(reply, std::span(&pidfd, 1));
  } else {
    responder.Finish(container.status());
  }
}

StatusOr<std::unique_ptr<ContainerProcess>> TaskService::Create(
    const proto::CreateContainer& request, Fds fds) {
  RETURN_IF_ERROR(CheckId(request.container_id()));
  if (containers_.contains(request.container_id())) {
    return absl::AlreadyExistsError(absl::StrCat(Quoted(request.container_id()), " exists"));
  }
  if (containers_.size() + abandoned_.size() >= kMaxContainers || !shutting_down_.empty()) {
    return absl::ResourceExhaustedError("the pod takes no more containers");
  }
  if (!request.log_path().empty() && !absl::StartsWith(request.log_path(), "/")) {
    return absl::InvalidArgumentError("log_path is not absolute");
  }
  ContainerOptions options;
  options.id = request.container_id();
  ASSIGN_OR_RETURN(options.spec, spec::ParseSpec(request.spec_json()));
  if (!options.spec.process) return absl::InvalidArgumentError("config.json: process is missing");
  // The shim's own must not be inherited.
  if (!options.spec.process->oom_score_adj) options.spec.process->oom_score_adj = 0;
  options.seccomp_bpf = request.seccomp_bpf();
  if (!fds.empty()) options.rootfs = std::move(fds[0]);
  const auto mounts = static_cast<size_t>(request.mounts_size());
  if (mounts > 0 && fds.size() != mounts + 1)
    return absl::InvalidArgumentError("not one descriptor for each mount");
  for (size_t i = 0; i < mounts; ++i)
    options.mounts[request.mounts(static_cast<int>(i))] = std::move(fds[i + 1]);
  options.rootfs_mount_point = request.rootfs_mount_point();
  options.cgroup = request.cgroup();
  options.log_path = request.log_path();
  options.keep_stdin = request.stdin();
  UniqueFd pid_namespace;
  RETURN_IF_ERROR(JoinNamespaces(request, &options, &pid_namespace));
  return ContainerProcess::Create(services_, std::move(options));
}

Status TaskService::JoinNamespaces(const proto::CreateContainer& request, ContainerOptions* options,
                                   UniqueFd* pid_namespace) {
  for (const std::string& type : request.pod_namespaces()) {
    auto it = pod_.fds.find(type);
    if (it == pod_.fds.end()) {
      return absl::FailedPreconditionError(absl::StrCat("the pod has no ", type, " namespace"));
    }
    options->join_namespaces[type] = it->second.get();
  }
  if (request.pid_target_container().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ContainerProcess* target, Find(request.pid_target_container()));
  // Not yet reaped while init_alive, so the number is its own.
  if (!target->init_alive()) {
    return absl::FailedPreconditionError(absl::StrCat(Quoted(target->id()), " has ended"));
  }
  ASSIGN_OR_RETURN(*pid_namespace,
                   OpenAt(AT_FDCWD, absl::StrCat("/proc/", target->pid(), "/ns/pid"), O_RDONLY));
  options->join_namespaces["pid"] = pid_namespace->get();
  return absl::OkStatus();
}

void TaskService::ContinueContainer(const proto::ContinueContainer& request,
                                    const Responder& responder) {
  const auto container = Find(request.container_id());
  if (!container.ok()) {
    responder.Finish(container.status());
    return;
  }
  const Status begun =
      (*container)->Continue([this, responder, id = request.container_id()](const Status& status) {
        responder.Finish(status);
        if (!status.ok()) Abandon(id);
      });
  if (!begun.ok()) responder.Finish(begun);
}

void TaskService::Abandon(const std::string& container_id) {
  auto node = containers_.extract(container_id);
  if (node.empty()) return;
  abandoned_.push_back(std::move(node.mapped()));
  auto it = std::prev(abandoned_.end());
  (*it)->Abandon([this, it] {
    Bury(std::move(*it));
    abandoned_.erase(it);
    CheckShutDown();
  });
}

void TaskService::StartContainer(const proto::StartContainer& request, const Responder& responder) {
  const auto container = Find(request.container_id());
  if (!container.ok()) {
    responder.Finish(container.status());
    return;
  }
  ContainerProcess* started = *container;
  started->Start([started, responder](const Status& status) {
    if (!status.ok()) {
      responder.Finish(status);
      return;
    }
    proto::Reply reply;
    reply.mutable_start_container()->set_started_at_ns(started->State().started_at_ns());
    responder.Ok(reply);
  });
}

void TaskService::SignalContainer(const proto::SignalContainer& request,
                                  const Responder& responder) {
  const auto container = Find(request.container_id());
  if (!container.ok()) {
    responder.Finish(container.status());
    return;
  }
  if (request.all()) {
    (*container)->Kill();
    responder.Ok();
    return;
  }
  if (request.signal() < 1 || request.signal() > SIGRTMAX) {
    responder.Finish(absl::InvalidArgumentError(absl::StrCat("signal ", request.signal())));
    return;
  }
  responder.Finish((*container)->Signal(request.signal()));
}

void TaskService::DeleteContainer(const proto::DeleteContainer& request,
                                  const Responder& responder) {
  const auto container = Find(request.container_id());
  if (!container.ok()) {
    responder.Ok();
    return;
  }
  (*container)->Kill();
  (*container)->WhenExited([this, responder, id = request.container_id()] {
    Forget(id);
    responder.Ok();
  });
}

void TaskService::Forget(const std::string& container_id) {
  auto node = containers_.extract(container_id);
  if (node.empty()) return;
  services_.journal->Deleted(container_id);
  Bury(std::move(node.mapped()));
  exec_cgroups_.Retry();
}

void TaskService::ReopenLog(const proto::ReopenLog& request, const Responder& responder) {
  const auto container = Find(request.container_id());
  if (!container.ok()) {
    responder.Finish(container.status());
    return;
  }
  (*container)->ReopenLog([responder](const Status& status) { responder.Finish(status); });
}

void TaskService::Attach(const proto::Attach& request, const Responder& responder) {
  const auto container = Find(request.container_id());
  if (!container.ok()) {
    responder.Finish(container.status());
    return;
  }
  const auto attachment = (*container)->Attach(request);
  if (!attachment.ok()) {
    responder.Finish(attachment.status());
    return;
  }
  proto::Reply reply;
  std::vector<int> fds;
  const auto give = [&fds](const UniqueFd& fd) {
    if (fd.valid()) fds.push_back(fd.get());
    return fd.valid();
  };
  reply.mutable_attach()->set_stdin(give(attachment->in));
  reply.mutable_attach()->set_stdout(give(attachment->out));
  reply.mutable_attach()->set_stderr(give(attachment->err));
  responder.Ok(reply, fds);
}

void TaskService::CloseStdin(const proto::CloseStdin& request, const Responder& responder) {
  if (const auto container = Find(request.container_id()); container.ok())
    (*container)->CloseStdin();
  responder.Ok();
}

}  // namespace gantry::shim
