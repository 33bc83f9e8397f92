#include "tests/incontainer/probe_acts.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>

namespace gantry::probe {
namespace {

constexpr int kFailed = 1;

void Say(const char* line) {
  std::printf("%s\n", line);
  std::fflush(stdout);
}

// Never returns, in this process and in its child: both sleep until something kills them.
[[noreturn]] void SleepWithAChild() {
  if (fork() < 0) _exit(kFailed);
  for (;;) pause();
}

}  // namespace

int ReportSignals(long count) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, nullptr);
  Say("ready");
  for (long seen = 0; seen < count; ++seen) {
    int number = 0;
    if (sigwait(&all, &number) != 0) return kFailed;
    std::printf("signal %d\n", number);
    std::fflush(stdout);
  }
  return 0;
}

int IgnoreTerm() {
  signal(SIGTERM, SIG_IGN);
  return WaitForever();
}

int SpawnSleepers(long count) {
  for (long i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child < 0) {
      std::perror("fork");
      return kFailed;
    }
    if (child == 0) SleepWithAChild();
  }
  Say("ready");
  while (wait(nullptr) > 0 || errno == EINTR) {
  }
  return 0;
}

int LeaveOrphan() {
  const pid_t child = fork();
  if (child < 0) return kFailed;
  if (child == 0) {
    const pid_t parent = getppid();
    while (getppid() == parent) usleep(1000);
    _exit(0);
  }
  std::printf("%d\n", child);
  std::fflush(stdout);
  return 0;
}

int EatMemory(long mebibytes) {
  const size_t size = static_cast<size_t>(mebibytes) << 20;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    return kFailed;
  }
  memset(memory, 1, size);
  return WaitForever();
}

int WriteManyLines(long count) {
  for (long i = 0; i < count; ++i) {
    std::fprintf(i % 2 == 0 ? stdout : stderr, "%079ld\n", i);
  }
  return 0;
}

int Echo() {
  char buffer[4096];
  for (;;) {
    const ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (n == 0) return 0;
    if (n < 0 || write(STDOUT_FILENO, buffer, static_cast<size_t>(n)) != n) return kFailed;
  }
}

int WaitForever() {
  Say("ready");
  for (;;) pause();
}

}  // namespace gantry::probe
