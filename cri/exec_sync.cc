// ExecSync: the shim runs the process on pipes of ours; its output is collected here, bounded.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/container_lookup.h"
#include "cri/container_seccomp.h"
#include "cri/object_id.h"
#include "cri/rpc.h"
#include "cri/service.h"
#include "cri/spec/container_spec.h"
#include "runtime/linux/file.h"
#include "runtime/spec/json.h"

namespace gantry::cri {
namespace {

constexpr size_t kOutputLimit = 16 << 20;  // per stream; what is over it is read and dropped
constexpr absl::Duration kDrain =
    absl::Seconds(1);  // for output after the exit: a child may keep the pipe open
constexpr absl::Duration kShimAnswer = absl::Seconds(30);

struct Pipe {
  UniqueFd read, write;
};

StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return SyscallError("pipe2");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// Reads both streams until they end, or until what is awaited has happened and the drain time is
// over.
class OutputReader {
 public:
  OutputReader(UniqueFd out, UniqueFd err, std::string* out_text, std::string* err_text)
      : fds_{std::move(out), std::move(err)}, texts_{out_text, err_text} {}

  enum class End { kExited, kTimedOut, kCancelled };

  // `exited` polls readable once the process has ended.
  End Read(int exited, absl::Time deadline, const Rpc& rpc) {
    absl::Time drain_until = absl::InfiniteFuture();
    while (true) {
      const absl::Time now = absl::Now();
      const bool gone = drain_until != absl::InfiniteFuture();
      if (gone && (now >= drain_until || (!fds_[0].valid() && !fds_[1].valid())))
        return End::kExited;
      if (!gone && now >= deadline) return End::kTimedOut;
      if (!gone && rpc.cancelled()) return End::kCancelled;
      std::array<pollfd, 3> polled = {pollfd{fds_[0].get(), POLLIN, 0},
                                      pollfd{fds_[1].get(), POLLIN, 0},
                                      pollfd{gone ? -1 : exited, POLLIN, 0}};
      const absl::Duration wait =
          std::min({gone ? drain_until - now : deadline - now, absl::Milliseconds(200)});
      poll(polled.data(), polled.size(), static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1);
      for (size_t i = 0; i < fds_.size(); ++i)
        if (polled[i].revents != 0) ReadSome(i);
      if (polled[2].revents != 0) drain_until = now + kDrain;
    }
  }

 private:
  void ReadSome(size_t i) {
    char buffer[65536];
    const ssize_t count = read(fds_[i].get(), buffer, sizeof buffer);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (count <= 0) {
      fds_[i].Reset();
      return;
    }
    const size_t room = kOutputLimit - texts_[i]->size();
    texts_[i]->append(buffer, std::min(room, static_cast<size_t>(count)));
  }

  std::array<UniqueFd, 2> fds_;
  std::array<std::string*, 2> texts_;
};

// The exec's end, awaited by a thread of its own: the shim answers WaitExec when it comes.
class ExitWaiter {
 public:
  ExitWaiter(std::shared_ptr<PodShim> shim, std::string exec_id)
      : shim_(std::move(shim)), exec_id_(std::move(exec_id)), event_(eventfd(0, EFD_CLOEXEC)) {
    thread_ = std::thread([this] {
      shim::proto::Request request;
      request.mutable_wait_exec()->set_exec_id(exec_id_);
      reply_ = shim_->client->Call(request, {}, absl::InfiniteDuration());
      const uint64_t one = 1;
      if (write(event_.get(), &one, sizeof one) < 0) return;  // nobody waits without the event
    });
  }
  ~ExitWaiter() { Join(); }
  ExitWaiter(const ExitWaiter&) = delete;
  ExitWaiter& operator=(const ExitWaiter&) = delete;

  int fd() const { return event_.get(); }
  // SIGKILL to the whole tree; the wait then ends.
  void Kill() {
    shim::proto::Request request;
    request.mutable_kill_exec()->set_exec_id(exec_id_);
    (void)shim_->client->Call(request, {}, kShimAnswer);
    Join();
  }
  StatusOr<int> ExitCode() {
    Join();
    RETURN_IF_ERROR(reply_.status());
    return reply_->reply.wait_exec().exit_code();
  }

 private:
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  std::shared_ptr<PodShim> shim_;
  std::string exec_id_;
  UniqueFd event_;
  StatusOr<shim::ReplyWithFds> reply_ = absl::UnknownError("not answered");
  std::thread thread_;
};

StatusOr<shim::proto::Request> ExecMessage(Node* node, const Container& container,
                                           const v1::ExecSyncRequest& request,
                                           const std::string& exec_id) {
  ASSIGN_OR_RETURN(const spec::Process process, spec::ParseProcess(container.record.process()));
  const auto& security = container.config->linux().security_context();
  ASSIGN_OR_RETURN(
      const auto filter,
      SeccompFilter(node, security, process.capabilities.value_or(spec::Capabilities())));
  shim::proto::Request message;
  auto* exec = message.mutable_exec();
  exec->set_container_id(container.id());
  exec->set_exec_id(exec_id);
  exec->set_process_json(spec::ToJson(ExecProcess(
      process, std::vector<std::string>(request.cmd().begin(), request.cmd().end()), false)));
  if (filter != nullptr) exec->set_seccomp_bpf(*filter);
  return message;
}

Status Run(Node* node, const Rpc& rpc, const v1::ExecSyncRequest& request,
           v1::ExecSyncResponse* response) {
  ASSIGN_OR_RETURN(const auto container, FindContainer(*node, request.container_id()));
  RETURN_IF_ERROR(NeedRunning(*container));
  if (request.cmd().empty()) return absl::InvalidArgumentError("cmd is empty");
  if (request.timeout() < 0) return absl::InvalidArgumentError("timeout is negative");
  ASSIGN_OR_RETURN(const auto shim, ShimOf(*node, *container));
  const std::string exec_id = NewObjectId();
  ASSIGN_OR_RETURN(const auto message, ExecMessage(node, *container, request, exec_id));
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(Pipe err, MakePipe());
  ASSIGN_OR_RETURN(UniqueFd null, OpenAt(AT_FDCWD, "/dev/null", O_RDONLY));
  const int fds[] = {null.get(), out.write.get(), err.write.get()};
  const absl::Time deadline = request.timeout() == 0
                                  ? absl::InfiniteFuture()
                                  : absl::Now() + absl::Seconds(request.timeout());
  RETURN_IF_ERROR_CONTEXT(shim->client->Call(message, fds, kShimAnswer).status(),
                          absl::StrCat("exec in container \"", container->id(), "\""));
  out.write.Reset();
  err.write.Reset();
  ExitWaiter waiter(shim, exec_id);
  OutputReader reader(std::move(out.read), std::move(err.read), response->mutable_stdout(),
                      response->mutable_stderr());
  switch (reader.Read(waiter.fd(), deadline, rpc)) {
    case OutputReader::End::kExited:
      break;
    case OutputReader::End::kTimedOut:
      waiter.Kill();
      return absl::DeadlineExceededError(absl::StrCat("exec in container \"", container->id(),
                                                      "\": command timed out after ",
                                                      request.timeout(), " s"));
    case OutputReader::End::kCancelled:
      waiter.Kill();
      return rpc.CancelledStatus("exec");
  }
  ASSIGN_OR_RETURN(const int code, waiter.ExitCode());
  response->set_exit_code(code);
  return absl::OkStatus();
}

}  // namespace

grpc::Status RuntimeService::ExecSync(grpc::ServerContext* context,
                                      const v1::ExecSyncRequest* request,
                                      v1::ExecSyncResponse* response) {
  return Serve(
      node_.log, context, "ExecSync", request->container_id(),
      [&](const Rpc& rpc) -> absl::Status { return Run(&node_, rpc, *request, response); });
}

}  // namespace gantry::cri
