// Attach: a URL now; the copies of a container's streams when a client comes to it.
#include <utility>

#include "absl/strings/str_cat.h"

#include "cri/container_lookup.h"
#include "cri/patience.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

using streaming::StreamSet;

// In the order of the protocol (shim.proto, Attach).
streaming::Command::Stdio StdioOf(shim::ReplyWithFds* reply) {
  streaming::Command::Stdio stdio;
  size_t next = 0;
  const auto take = [&](bool given, UniqueFd* fd) {
    if (given && next < reply->fds.size()) *fd = std::move(reply->fds[next++]);
  };
  const auto& attached = reply->reply.attach();
  take(attached.stdin(), &stdio.in);
  take(attached.stdout(), &stdio.out);
  take(attached.stderr(), &stdio.err);
  return stdio;
}

class AttachCommand final : public streaming::Command {
 public:
  AttachCommand(Node* node, const Container& container, const StreamSet& streams)
      : node_(*node),
        container_id_(container.id()),
        streams_(streams),
        ends_with_input_(container.config->stdin_once() && !streams.tty) {}

  // Attaches before a client comes. For a container that has not started: what it says first is
  // part of the session.
  Status Prepare() {
    RETURN_IF_ERROR(FindShim());
    ASSIGN_OR_RETURN(auto reply, shim_->client->Call(Message(), {}, kShimAnswer));
    prepared_ = StdioOf(&reply);
    return absl::OkStatus();
  }

  void Start(std::optional<streaming::TerminalSize>, Started started, Exited) override {
    if (prepared_) return started(*std::exchange(prepared_, std::nullopt));
    if (const Status found = FindShim(); !found.ok()) return started(found);
    shim_->client->Send(
        Message(), {}, [started, id = container_id_](StatusOr<shim::ReplyWithFds> reply) {
          if (reply.ok()) return started(StdioOf(&*reply));
          started(Annotate(reply.status(), absl::StrCat("attach to container \"", id, "\"")));
        });
  }
  void Resize(streaming::TerminalSize size) override {
    shim::proto::Request request;
    request.mutable_resize()->set_container_id(container_id_);
    request.mutable_resize()->set_width(size.width);
    request.mutable_resize()->set_height(size.height);
    Tell(request);
  }
  [[nodiscard]] bool own() const override { return false; }
  [[nodiscard]] bool ends_with_input() const override { return ends_with_input_; }
  void CloseInput() override {
    shim::proto::Request request;
    request.mutable_close_stdin()->set_container_id(container_id_);
    Tell(request);
  }
  void HangUp() override {}
  void Kill() override {}

 private:
  [[nodiscard]] shim::proto::Request Message() const {
    shim::proto::Request request;
    request.mutable_attach()->set_container_id(container_id_);
    request.mutable_attach()->set_stdin(streams_.stdin);
    request.mutable_attach()->set_stdout(streams_.stdout);
    request.mutable_attach()->set_stderr(streams_.stderr);
    return request;
  }

  Status FindShim() {
    ASSIGN_OR_RETURN(const auto container, FindContainer(node_, container_id_));
    ASSIGN_OR_RETURN(shim_, ShimOf(node_, *container));
    return absl::OkStatus();
  }

  // What fails here concerns a container that has ended.
  void Tell(const shim::proto::Request& request) {
    if (shim_ == nullptr) return;
    shim_->client->Send(request, {}, [](const StatusOr<shim::ReplyWithFds>&) {});
  }

  Node& node_;
  std::shared_ptr<PodShim> shim_;  // from the start on
  const std::string container_id_;
  const StreamSet streams_;
  const bool ends_with_input_;
  std::optional<Stdio> prepared_;
};

Status CheckAttach(const Container& container, const StreamSet& streams) {
  RETURN_IF_ERROR(CheckStreams(streams));
  const bool tty = container.config->tty();
  if (tty != streams.tty)
    return absl::InvalidArgumentError(absl::StrCat("tty: container \"", container.id(), "\" has ",
                                                   tty ? "a" : "no", " terminal"));
  if (container.state() == v1::CONTAINER_CREATED) return absl::OkStatus();
  return NeedRunning(container);
}

Status Prepare(Node* node, const v1::AttachRequest& request, v1::AttachResponse* response) {
  const StreamSet streams = {request.stdin(), request.stdout(), request.stderr(), request.tty()};
  ASSIGN_OR_RETURN(const auto container, FindContainer(*node, request.container_id()));
  RETURN_IF_ERROR(CheckAttach(*container, streams));
  auto command = std::make_shared<AttachCommand>(node, *container, streams);
  if (container->state() == v1::CONTAINER_CREATED) RETURN_IF_ERROR(command->Prepare());
  ASSIGN_OR_RETURN(*response->mutable_url(),
                   node->streaming->AttachUrl(container->id(), streams, std::move(command)));
  return absl::OkStatus();
}

}  // namespace

grpc::Status RuntimeService::Attach(grpc::ServerContext* context, const v1::AttachRequest* request,
                                    v1::AttachResponse* response) {
  return Serve(node_.log, context, "Attach", request->container_id(),
               [&](const Rpc&) -> absl::Status { return Prepare(&node_, *request, response); });
}

}  // namespace gantry::cri
