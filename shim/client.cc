#include "shim/client.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <csignal>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

#include "runtime/base/deadline.h"
#include "shim/frame.h"

namespace gantry::shim {
namespace {

// A call that waits; lives on the caller's stack.
struct Waiter {
  bool done = false;
  StatusOr<ReplyWithFds> result = absl::UnknownError("not answered");
};

// Who gets the reply: a waiter, under the client's mutex, or a function, without it.
struct Pending {
  Waiter* waiter = nullptr;
  Client::Done done = {};
};

Status LostConnection() { return absl::UnavailableError("connection to the shim is lost"); }

StatusOr<ReplyWithFds> ReplyOf(Frame frame) {
  ReplyWithFds result;
  if (!result.reply.ParseFromString(frame.body))
    return absl::InternalError("reply of the shim cannot be parsed");
  if (result.reply.status_code() != 0)
    return Status(static_cast<absl::StatusCode>(result.reply.status_code()),
                  result.reply.status_message());
  result.fds = std::move(frame.fds);
  return result;
}

}  // namespace

struct Client::State {
  // Held by the reactor's thread while it reads and calls handlers; Close waits for it.
  absl::Mutex dispatch;
  FrameDecoder decoder ABSL_GUARDED_BY(dispatch);
  Handlers handlers ABSL_GUARDED_BY(dispatch);

  absl::Mutex mutex ABSL_ACQUIRED_AFTER(dispatch);
  bool closed ABSL_GUARDED_BY(mutex) = false;
  FrameSender sender ABSL_GUARDED_BY(mutex);
  uint32_t last_stream ABSL_GUARDED_BY(mutex) = 0;
  std::map<uint32_t, Pending> pending ABSL_GUARDED_BY(mutex);

  UniqueFd socket;  // closed with the last reference; until then its number stays ours
  Reactor::Loop* loop = nullptr;
  uint64_t id = 0;

  // Whether this call is the one that ended the connection.
  bool Fail() ABSL_LOCKS_EXCLUDED(mutex);
  uint32_t NextStream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Sends the request and notes who waits for its reply; the stream's number.
  StatusOr<uint32_t> Submit(const proto::Request& request, std::span<const int> fds,
                            Pending* waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Flush() ABSL_LOCKS_EXCLUDED(mutex);
  // False: the connection has ended.
  bool Read() ABSL_EXCLUSIVE_LOCKS_REQUIRED(dispatch);
  void Deliver(Frame frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(dispatch);
};

struct Reactor::Loop {
  UniqueFd epoll;
  UniqueFd stop;  // eventfd
  std::thread thread;
  absl::Mutex mutex;
  uint64_t last_id ABSL_GUARDED_BY(mutex) = 0;
  std::map<uint64_t, std::shared_ptr<Client::State>> clients ABSL_GUARDED_BY(mutex);

  void Run();
  void Serve(uint64_t id, uint32_t events);
  void Forget(const Client::State& state) ABSL_LOCKS_EXCLUDED(mutex);
  void SetEvents(int operation, const Client::State& state, uint32_t events) const;
};

bool Client::State::Fail() {
  std::vector<Done> callbacks;
  {
    absl::MutexLock lock(&mutex);
    if (closed) return false;
    closed = true;
    shutdown(socket.get(), SHUT_RDWR);
    for (auto& [stream, call] : pending) {
      if (call.waiter == nullptr) {
        callbacks.push_back(std::move(call.done));
        continue;
      }
      call.waiter->done = true;
      call.waiter->result = LostConnection();
    }
    pending.clear();
  }
  for (const Done& done : callbacks) done(LostConnection());
  return true;
}

uint32_t Client::State::NextStream() {
  do {
    ++last_stream;
  } while (last_stream == 0 || pending.contains(last_stream));
  return last_stream;
}

StatusOr<uint32_t> Client::State::Submit(const proto::Request& request, std::span<const int> fds,
                                         Pending* waiting) {
  Frame frame{.type = FrameType::kRequest, .stream = 0, .body = {}, .fds = {}};
  if (!request.SerializeToString(&frame.body))
    return absl::InvalidArgumentError("request to the shim cannot be serialized");
  if (closed) return LostConnection();
  frame.stream = NextStream();
  if (Status sent = sender.Send(socket.get(), frame, fds); !sent.ok()) {
    if (absl::IsInvalidArgument(sent)) return sent;
    shutdown(socket.get(), SHUT_RDWR);
    return LostConnection();
  }
  if (sender.pending()) loop->SetEvents(EPOLL_CTL_MOD, *this, EPOLLIN | EPOLLOUT);
  pending[frame.stream] = std::move(*waiting);
  return frame.stream;
}

void Client::State::Flush() {
  absl::MutexLock lock(&mutex);
  if (closed) return;
  // A broken socket is found by the reader, too, which then ends the connection.
  if (!sender.Flush(socket.get()).ok()) shutdown(socket.get(), SHUT_RDWR);
  if (!sender.pending()) loop->SetEvents(EPOLL_CTL_MOD, *this, EPOLLIN);
}

void Client::State::Deliver(Frame frame) {
  if (frame.type == FrameType::kEvent) {
    proto::Event event;
    if (event.ParseFromString(frame.body) && handlers.on_event) handlers.on_event(event);
    return;
  }
  Done done;
  {
    absl::MutexLock lock(&mutex);
    auto it = pending.find(frame.stream);
    if (frame.type != FrameType::kReply || it == pending.end()) return;  // late: fds close here
    if (Waiter* waiter = it->second.waiter; waiter != nullptr) {
      waiter->result = ReplyOf(std::move(frame));
      waiter->done = true;
    }
    done = std::move(it->second.done);
    pending.erase(it);
  }
  if (done) done(ReplyOf(std::move(frame)));
}

bool Client::State::Read() {
  std::vector<Frame> frames;
  const auto outcome = ReceiveFrames(socket.get(), &decoder, &frames);
  for (Frame& frame : frames) {
    {
      absl::MutexLock lock(&mutex);
      if (closed) return false;
    }
    Deliver(std::move(frame));
  }
  return outcome.ok() && *outcome != ReceiveOutcome::kClosed;
}

Client::Client(std::shared_ptr<State> state) : state_(std::move(state)) {}

Client::~Client() { Close(); }

void Client::Close() {
  state_->Fail();
  state_->loop->Forget(*state_);
  if (std::this_thread::get_id() == state_->loop->thread.get_id()) return;
  absl::MutexLock wait_for_handlers(&state_->dispatch);
}

StatusOr<ReplyWithFds> Client::Call(const proto::Request& request, std::span<const int> fds,
                                    absl::Duration timeout) {
  Waiter waiter;
  Pending pending{.waiter = &waiter};
  absl::MutexLock lock(&state_->mutex);
  ASSIGN_OR_RETURN(const uint32_t stream, state_->Submit(request, fds, &pending));
  // absl waits by the wall clock, which may be set.
  const Deadline deadline = Deadline::After(timeout);
  while (!waiter.done && !deadline.Passed())
    state_->mutex.AwaitWithTimeout(absl::Condition(&waiter.done), deadline.Left());
  if (!waiter.done) {
    state_->pending.erase(stream);
    return absl::DeadlineExceededError(
        absl::StrCat("the shim did not answer within ", absl::FormatDuration(timeout)));
  }
  return std::move(waiter.result);
}

void Client::Send(const proto::Request& request, std::span<const int> fds, Done done) {
  Pending pending{.done = std::move(done)};
  StatusOr<uint32_t> stream = absl::UnknownError("");
  {
    absl::MutexLock lock(&state_->mutex);
    stream = state_->Submit(request, fds, &pending);
  }
  if (!stream.ok()) pending.done(stream.status());
}

Reactor::Reactor(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}

StatusOr<std::unique_ptr<Reactor>> Reactor::Create() {
  auto loop = std::make_unique<Loop>();
  loop->epoll.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll.valid()) return SyscallError("epoll_create1");
  loop->stop.Reset(eventfd(0, EFD_CLOEXEC));
  if (!loop->stop.valid()) return SyscallError("eventfd");
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
  if (epoll_ctl(loop->epoll.get(), EPOLL_CTL_ADD, loop->stop.get(), &event) != 0) {
    return SyscallError("epoll_ctl");
  }
  // Signals belong to the threads of the daemon.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  loop->thread = std::thread([raw = loop.get()] { raw->Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return std::make_unique<Reactor>(std::move(loop));
}

Reactor::~Reactor() {
  const uint64_t one = 1;
  GANTRY_CHECK(write(loop_->stop.get(), &one, sizeof(one)) == sizeof(one));
  loop_->thread.join();
}

std::unique_ptr<Client> Reactor::Add(UniqueFd connection, Handlers handlers) {
  auto state = std::make_shared<Client::State>();
  state->socket = std::move(connection);
  state->loop = loop_.get();
  {
    absl::MutexLock lock(&state->dispatch);
    state->handlers = std::move(handlers);
  }
  absl::MutexLock lock(&loop_->mutex);
  state->id = ++loop_->last_id;
  loop_->clients[state->id] = state;
  loop_->SetEvents(EPOLL_CTL_ADD, *state, EPOLLIN);
  return std::make_unique<Client>(std::move(state));
}

void Reactor::Loop::Run() {
  epoll_event events[32];
  while (true) {
    const int count = epoll_wait(epoll.get(), events, 32, -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == 0) return;
      Serve(events[i].data.u64, events[i].events);
    }
  }
}

void Reactor::Loop::Serve(uint64_t id, uint32_t events) {
  std::shared_ptr<Client::State> state;
  {
    absl::MutexLock lock(&mutex);
    auto it = clients.find(id);
    if (it == clients.end()) return;
    state = it->second;
  }
  if ((events & EPOLLOUT) != 0) state->Flush();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  absl::MutexLock lock(&state->dispatch);
  if (state->Read()) return;
  Forget(*state);
  if (state->Fail() && state->handlers.on_disconnect) state->handlers.on_disconnect();
}

void Reactor::Loop::Forget(const Client::State& state) {
  absl::MutexLock lock(&mutex);
  if (clients.erase(state.id) != 0) SetEvents(EPOLL_CTL_DEL, state, 0);
}

void Reactor::Loop::SetEvents(int operation, const Client::State& state, uint32_t events) const {
  epoll_event event{.events = events, .data = {.u64 = state.id}};
  epoll_ctl(epoll.get(), operation, state.socket.get(), &event);
}

}  // namespace gantry::shim
