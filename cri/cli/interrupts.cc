#include "cri/cli/interrupts.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>

namespace gantry::cli {
namespace {

void Notify(int event) {
  const uint64_t one = 1;
  (void)!write(event, &one, sizeof one);
}

}  // namespace

Interrupts::Interrupts()
    : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), stop_(eventfd(0, EFD_CLOEXEC)) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signals_.Reset(signalfd(-1, &set, SFD_CLOEXEC));
  thread_ = std::thread([this] { Watch(); });
}

Interrupts::~Interrupts() {
  Notify(stop_.get());
  thread_.join();
}

void Interrupts::Watch() {
  while (true) {
    pollfd fds[] = {{signals_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) return;
    signalfd_siginfo info = {};
    if (read(signals_.get(), &info, sizeof info) != sizeof info) continue;
    Raise();
  }
}

void Interrupts::Raise() {
  absl::MutexLock lock(&mutex_);
  ++count_;
  if (context_ != nullptr) context_->TryCancel();
  Notify(event_.get());
}

int Interrupts::count() const {
  absl::MutexLock lock(&mutex_);
  return count_;
}

void Interrupts::Clear() const {
  uint64_t events = 0;
  (void)!read(event_.get(), &events, sizeof events);
}

void Interrupts::CancelOnSignal(grpc::ClientContext* context) {
  absl::MutexLock lock(&mutex_);
  context_ = context;
  if (context != nullptr && count_ > 0) context->TryCancel();
}

}  // namespace gantry::cli
