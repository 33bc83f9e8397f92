// ExecSync: the shim runs the process on pipes of ours; its output is collected here, bounded.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

#include "cri/container_lookup.h"
#include "cri/exec_process.h"
#include "cri/rpc.h"
#include "cri/service.h"
#include "runtime/base/deadline.h"
#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

// Of both streams together, so that the answer fits into the 16 MiB that clients take of a message;
// what is over it is read and dropped.
constexpr size_t kOutputLimit = (16 << 20) - (64 << 10);
// Of one stream: a flood on one leaves the other a word.
constexpr size_t kStreamLimit = kOutputLimit - (1 << 20);
constexpr absl::Duration kDrain =
    absl::Seconds(1);  // for output after the exit: a child may keep the pipe open
constexpr absl::Duration kKillPatience = absl::Seconds(5);

// A pipe whose reading end never blocks: a process can open it too, by its own /proc/self/fd, and
// take what poll(2) has announced to us.
StatusOr<Pipe> MakeOutputPipe() {
  ASSIGN_OR_RETURN(Pipe pipe, MakePipe());
  if (fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK) != 0) return SyscallError("fcntl", "pipe");
  return pipe;
}

// Reads both streams until they end, or until what is awaited has happened and the drain time is
// over.
class OutputReader {
 public:
  OutputReader(UniqueFd out, UniqueFd err, std::string* out_text, std::string* err_text)
      : fds_{std::move(out), std::move(err)}, texts_{out_text, err_text} {}

  enum class End { kExited, kTimedOut, kCancelled };

  // `exited` polls readable once the process has ended.
  End Read(int exited, Deadline deadline, const Rpc& rpc) {
    bool gone = false;
    while (true) {
      if (gone && (deadline.Passed() || (!fds_[0].valid() && !fds_[1].valid())))
        return End::kExited;
      if (!gone && deadline.Passed()) return End::kTimedOut;
      if (!gone && rpc.cancelled()) return End::kCancelled;
      std::array<pollfd, 3> polled = {pollfd{fds_[0].get(), POLLIN, 0},
                                      pollfd{fds_[1].get(), POLLIN, 0},
                                      pollfd{gone ? -1 : exited, POLLIN, 0}};
      const absl::Duration wait = std::min(deadline.Left(), absl::Milliseconds(200));
      poll(polled.data(), polled.size(), static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1);
      for (size_t i = 0; i < fds_.size(); ++i)
        if (polled[i].revents != 0) ReadSome(i);
      if (polled[2].revents == 0) continue;
      gone = true;
      deadline = Deadline::After(kDrain);
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
    const size_t room = std::min(kStreamLimit - texts_[i]->size(),
                                 kOutputLimit - texts_[0]->size() - texts_[1]->size());
    texts_[i]->append(buffer, std::min(room, static_cast<size_t>(count)));
  }

  std::array<UniqueFd, 2> fds_;
  std::array<std::string*, 2> texts_;
};

// The exec's end: the shim answers WaitExec when it comes.
class ExitWaiter {
 public:
  ExitWaiter(std::shared_ptr<PodShim> shim, std::string exec_id)
      : shim_(std::move(shim)), exec_id_(std::move(exec_id)) {
    AwaitExec(*shim_, exec_id_, [end = end_](const StatusOr<int>& code) {
      end->code = code;
      const uint64_t one = 1;
      GANTRY_CHECK(write(end->event.get(), &one, sizeof one) == sizeof one);
    });
  }

  // Readable once the process has ended.
  [[nodiscard]] int fd() const { return end_->event.get(); }
  // SIGKILL to the whole tree; returns when that has ended, or after kKillPatience: a process that
  // waits for a file system ends when that answers, and nobody here waits for it.
  void Kill() {
    shim::proto::Request request;
    request.mutable_kill_exec()->set_exec_id(exec_id_);
    (void)shim_->client->Call(request, {}, kExecStart);
    pollfd ended = {fd(), POLLIN, 0};
    const Deadline deadline = Deadline::After(kKillPatience);
    while (poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(deadline.Left()))) < 0 &&
           errno == EINTR) {
    }
  }
  // Once fd() is readable.
  StatusOr<int> ExitCode() { return end_->code; }

 private:
  // Shared with the shim's answer, which may come when nobody waits any more.
  struct End {
    UniqueFd event = UniqueFd(eventfd(0, EFD_CLOEXEC));
    StatusOr<int> code = absl::UnknownError("not answered");
  };
  std::shared_ptr<PodShim> shim_;
  std::string exec_id_;
  std::shared_ptr<End> end_ = std::make_shared<End>();
};

// One that was not started in time may start yet: it is killed then, and forgotten.
void AbandonExec(const PodShim& shim, const std::string& exec_id) {
  shim::proto::Request request;
  request.mutable_kill_exec()->set_exec_id(exec_id);
  shim.client->Send(request, {}, [](const StatusOr<shim::ReplyWithFds>&) {});
  AwaitExec(shim, exec_id, [](const StatusOr<int>&) {});
}

Status Run(Node* node, const Rpc& rpc, const v1::ExecSyncRequest& request,
           v1::ExecSyncResponse* response) {
  ASSIGN_OR_RETURN(const auto container, FindContainer(*node, request.container_id()));
  RETURN_IF_ERROR(MayExec(*container));
  if (request.cmd().empty()) return absl::InvalidArgumentError("cmd is empty");
  if (request.timeout() < 0) return absl::InvalidArgumentError("timeout is negative");
  ASSIGN_OR_RETURN(const auto shim, ShimOf(*node, *container));
  ASSIGN_OR_RETURN(const ExecPlan plan,
                   PlanExec(node, *container, {request.cmd().begin(), request.cmd().end()},
                            /*terminal=*/false));
  ASSIGN_OR_RETURN(Pipe out, MakeOutputPipe());
  ASSIGN_OR_RETURN(Pipe err, MakeOutputPipe());
  ASSIGN_OR_RETURN(UniqueFd null, OpenAt(AT_FDCWD, "/dev/null", O_RDONLY));
  const int fds[] = {null.get(), out.write.get(), err.write.get()};
  const Deadline deadline = request.timeout() == 0
                                ? Deadline::Never()
                                : Deadline::After(absl::Seconds(request.timeout()));
  const Status started =
      shim->client->Call(plan.Message(), fds, std::min(kExecStart, deadline.Left())).status();
  if (absl::IsDeadlineExceeded(started)) AbandonExec(*shim, plan.exec_id);
  if (!started.ok())
    return Annotate(started, absl::StrCat("exec in container \"", container->id(), "\""));
  out.write.Reset();
  err.write.Reset();
  ExitWaiter waiter(shim, plan.exec_id);
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
