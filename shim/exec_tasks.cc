// The verbs that are about execs and terminals.
#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <span>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "runtime/linux/cgroup.h"
#include "runtime/linux/file.h"
#include "runtime/spec/json.h"
#include "shim/task_service.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxExecs = 512;

// An exec is born with the shim's own, and shall have its container's.
std::optional<int> OomScoreAdj(pid_t pid) {
  const auto text = ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/oom_score_adj"));
  int value = 0;
  if (!text.ok() || !absl::SimpleAtoi(*text, &value)) return std::nullopt;
  return value;
}

}  // namespace

void TaskService::Exec(const proto::Exec& request, Fds fds, const Responder& responder) {
  if (const Status status = StartExec(request, std::move(fds), responder); !status.ok()) {
    responder.Finish(status);
  }
}

Status TaskService::StartExec(const proto::Exec& request, Fds fds, const Responder& responder) {
  ASSIGN_OR_RETURN(const ContainerProcess* container, Find(request.container_id()));
  if (!container->running()) {
    return absl::FailedPreconditionError(
        absl::StrCat("container \"", request.container_id(), "\" is not running"));
  }
  const std::string& id = request.exec_id();
  if (id.empty() || id.size() > 128 || id.find('/') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", id, "\" is not an id"));
  }
  if (execs_.contains(id))
    return absl::AlreadyExistsError(absl::StrCat("exec \"", id, "\" exists"));
  if (execs_.size() >= kMaxExecs) return absl::ResourceExhaustedError("too many execs in this pod");
  ASSIGN_OR_RETURN(spec::Process process, spec::ParseProcess(request.process_json()));
  if (!process.terminal && fds.size() != 3) {
    return absl::InvalidArgumentError("an exec without terminal needs three descriptors");
  }
  if (!process.oom_score_adj) process.oom_score_adj = OomScoreAdj(container->pid());
  const ExecProcess::Options options{.id = id,
                                     .container = container,
                                     .process = &process,
                                     .seccomp_bpf = request.seccomp_bpf(),
                                     .stdio = std::move(fds)};
  ASSIGN_OR_RETURN(
      execs_[id],
      ExecProcess::Start(services_, options, [this, id, responder](const Status& status) {
        if (!status.ok()) {
          responder.Finish(status);
          ForgetExec(id);
          return;
        }
        // Gone from the table when the connection was lost meanwhile; then nobody
        // listens either.
        auto it = execs_.find(id);
        if (it == execs_.end()) return;
        proto::Reply reply;
        reply.mutable_exec()->set_pid(it->second->pid());
        const int terminal = it->second->terminal();
        responder.Ok(reply, std::span(&terminal, terminal >= 0 ? 1 : 0));
      }));
  return absl::OkStatus();
}

void TaskService::ForgetExec(const std::string& exec_id) {
  auto node = execs_.extract(exec_id);
  if (node.empty()) return;
  dying_execs_.push_back(std::move(node.mapped()));
  auto it = std::prev(dying_execs_.end());
  (*it)->WhenGone([this, it] {
    exec_cgroups_.RemoveWhenEmpty((*it)->cgroup());
    Bury(std::move(*it));
    dying_execs_.erase(it);
  });
}

void TaskService::WaitExec(const proto::WaitExec& request, const Responder& responder) {
  auto it = execs_.find(request.exec_id());
  if (it == execs_.end()) {
    responder.Finish(
        absl::NotFoundError(absl::StrCat("exec \"", request.exec_id(), "\" does not exist")));
    return;
  }
  it->second->WhenExited([this, responder, id = request.exec_id()](int exit_code) {
    proto::Reply reply;
    reply.mutable_wait_exec()->set_exit_code(exit_code);
    responder.Ok(reply);
    ForgetExec(id);
  });
}

void TaskService::KillExec(const proto::KillExec& request, const Responder& responder) {
  if (auto it = execs_.find(request.exec_id()); it != execs_.end()) {
    if (request.hang_up())
      it->second->HangUp();
    else
      it->second->Kill();
  }
  responder.Ok();
}

void TaskService::Resize(const proto::Resize& request, const Responder& responder) {
  if (!request.exec_id().empty()) {
    auto it = execs_.find(request.exec_id());
    responder.Finish(it == execs_.end() ? absl::NotFoundError(absl::StrCat(
                                              "exec \"", request.exec_id(), "\" does not exist"))
                                        : it->second->Resize(request.width(), request.height()));
    return;
  }
  const auto container = Find(request.container_id());
  responder.Finish(container.ok() ? (*container)->Resize(request.width(), request.height())
                                  : container.status());
}

}  // namespace gantry::shim
