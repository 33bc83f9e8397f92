#include "cri/exec_process.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

#include "cri/container_lookup.h"
#include "cri/container_seccomp.h"
#include "cri/object_id.h"
#include "cri/spec/container_spec.h"
#include "runtime/spec/json.h"

namespace gantry::cri {

Status MayExec(const Container& container) {
  RETURN_IF_ERROR(NeedRunning(container));
  if (!container.killing) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("container \"", container.id(), "\" is being killed"));
}

shim::proto::Request ExecPlan::Message() const {
  shim::proto::Request message;
  auto* exec = message.mutable_exec();
  exec->set_container_id(container_id);
  exec->set_exec_id(exec_id);
  exec->set_process_json(spec::ToJson(process));
  if (seccomp != nullptr) exec->set_seccomp_bpf(*seccomp);
  return message;
}

StatusOr<ExecPlan> PlanExec(Node* node, const Container& container,
                            const std::vector<std::string>& command, bool terminal) {
  ASSIGN_OR_RETURN(const spec::Process process, spec::ParseProcess(container.record.process()));
  ASSIGN_OR_RETURN(auto filter, SeccompFilter(node, container.config->linux().security_context(),
                                              process.capabilities.value_or(spec::Capabilities())));
  return ExecPlan{container.id(), NewObjectId(), ExecProcess(process, command, terminal),
                  std::move(filter)};
}

void AwaitExec(const PodShim& shim, const std::string& exec_id,
               std::function<void(const StatusOr<int>&)> done) {
  shim::proto::Request request;
  request.mutable_wait_exec()->set_exec_id(exec_id);
  shim.client->Send(request, {},
                    [done = std::move(done)](const StatusOr<shim::ReplyWithFds>& reply) {
                      if (reply.ok())
                        done(reply->reply.wait_exec().exit_code());
                      else
                        done(reply.status());
                    });
}

StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return SyscallError("pipe2");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace gantry::cri
