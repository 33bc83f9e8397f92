// Exec: a URL now, the process when a client comes to it.
#include <fcntl.h>

#include <utility>

#include "absl/strings/str_cat.h"

#include "cri/container_lookup.h"
#include "cri/exec_process.h"
#include "cri/rpc.h"
#include "cri/service.h"
#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

using streaming::StreamSet;

// The ends of a process's pipes: ours, and those that the shim is given.
struct Ends {
  streaming::Command::Stdio ours;
  UniqueFd in, out, err;
};

Status Connect(UniqueFd* reader, UniqueFd* writer) {
  ASSIGN_OR_RETURN(Pipe pipe, MakePipe());
  *reader = std::move(pipe.read);
  *writer = std::move(pipe.write);
  return absl::OkStatus();
}

StatusOr<Ends> MakeEnds(const StreamSet& streams) {
  Ends ends;
  if (streams.tty) return ends;
  ASSIGN_OR_RETURN(ends.in, OpenAt(AT_FDCWD, "/dev/null", O_RDWR));
  ends.out.Reset(fcntl(ends.in.get(), F_DUPFD_CLOEXEC, 3));
  ends.err.Reset(fcntl(ends.in.get(), F_DUPFD_CLOEXEC, 3));
  if (streams.stdin) RETURN_IF_ERROR(Connect(&ends.in, &ends.ours.in));
  if (streams.stdout) RETURN_IF_ERROR(Connect(&ends.ours.out, &ends.out));
  if (streams.stderr) RETURN_IF_ERROR(Connect(&ends.ours.err, &ends.err));
  return ends;
}

// What is there of a terminal: its master, once for each direction that was asked for.
Status TakeTerminal(const StreamSet& streams, std::vector<UniqueFd>* fds,
                    streaming::Command::Stdio* ours) {
  if (fds->empty()) return absl::InternalError("the shim has sent no terminal");
  if (streams.stdin) ours->in.Reset(fcntl((*fds)[0].get(), F_DUPFD_CLOEXEC, 3));
  // Also where nobody wants it: a terminal that is not read stops its process.
  ours->out = std::move((*fds)[0]);
  if (streams.stdin && !ours->in.valid()) return SyscallError("dup", "terminal");
  return absl::OkStatus();
}

class ExecCommand final : public streaming::Command {
 public:
  ExecCommand(Node* node, ExecPlan plan, const StreamSet& streams)
      : node_(*node), plan_(std::move(plan)), streams_(streams) {}

  void Start(std::optional<streaming::TerminalSize> size, Started started, Exited exited) override {
    if (size) plan_.process.console_size = {.height = size->height, .width = size->width};
    if (const Status status = Begin(started, std::move(exited)); !status.ok()) started(status);
  }
  void Resize(streaming::TerminalSize size) override {
    shim::proto::Request request;
    request.mutable_resize()->set_exec_id(plan_.exec_id);
    request.mutable_resize()->set_width(size.width);
    request.mutable_resize()->set_height(size.height);
    Tell(request);
  }
  [[nodiscard]] bool own() const override { return true; }
  [[nodiscard]] bool ends_with_input() const override { return true; }
  void CloseInput() override {}  // nobody else holds it
  void HangUp() override {
    shim::proto::Request request;
    request.mutable_kill_exec()->set_exec_id(plan_.exec_id);
    request.mutable_kill_exec()->set_hang_up(true);
    Tell(request);
  }
  void Kill() override {
    shim::proto::Request request;
    request.mutable_kill_exec()->set_exec_id(plan_.exec_id);
    Tell(request);
  }

 private:
  Status Begin(const Started& started, Exited exited) {
    ASSIGN_OR_RETURN(const auto container, FindContainer(node_, plan_.container_id));
    RETURN_IF_ERROR(MayExec(*container));
    ASSIGN_OR_RETURN(shim_, ShimOf(node_, *container));
    ASSIGN_OR_RETURN(Ends ends, MakeEnds(streams_));
    const int given[] = {ends.in.get(), ends.out.get(), ends.err.get()};
    auto ours = std::make_shared<Stdio>(std::move(ends.ours));
    shim_->client->Send(
        plan_.Message(), std::span(given, streams_.tty ? 0 : 3),
        [shim = shim_, exec_id = plan_.exec_id, id = plan_.container_id, streams = streams_, ours,
         started, exited = std::move(exited)](StatusOr<shim::ReplyWithFds> reply) {
          Status status = reply.status();
          if (status.ok() && streams.tty) status = TakeTerminal(streams, &reply->fds, ours.get());
          if (!status.ok())
            return started(Annotate(status, absl::StrCat("exec in container \"", id, "\"")));
          started(std::move(*ours));
          AwaitExec(*shim, exec_id, exited);
        });
    return absl::OkStatus();
  }

  // What fails here concerns an exec that has ended.
  void Tell(const shim::proto::Request& request) {
    if (shim_ == nullptr) return;
    shim_->client->Send(request, {}, [](const StatusOr<shim::ReplyWithFds>&) {});
  }

  Node& node_;
  std::shared_ptr<PodShim> shim_;  // from the start on
  ExecPlan plan_;
  const StreamSet streams_;
};

Status Prepare(Node* node, const v1::ExecRequest& request, v1::ExecResponse* response) {
  const StreamSet streams = {request.stdin(), request.stdout(), request.stderr(), request.tty()};
  ASSIGN_OR_RETURN(const auto container, FindContainer(*node, request.container_id()));
  if (request.cmd().empty()) return absl::InvalidArgumentError("cmd is empty");
  RETURN_IF_ERROR(CheckStreams(streams));
  RETURN_IF_ERROR(MayExec(*container));
  ASSIGN_OR_RETURN(
      ExecPlan plan,
      PlanExec(node, *container, {request.cmd().begin(), request.cmd().end()}, request.tty()));
  auto command = std::make_shared<ExecCommand>(node, std::move(plan), streams);
  ASSIGN_OR_RETURN(*response->mutable_url(),
                   node->streaming->ExecUrl(container->id(), streams, std::move(command)));
  return absl::OkStatus();
}

}  // namespace

grpc::Status RuntimeService::Exec(grpc::ServerContext* context, const v1::ExecRequest* request,
                                  v1::ExecResponse* response) {
  return Serve(node_.log, context, "Exec", request->container_id(),
               [&](const Rpc&) -> absl::Status { return Prepare(&node_, *request, response); });
}

}  // namespace gantry::cri
