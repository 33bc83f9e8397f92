#include "imageservice/unpacker_confine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/functional/function_ref.h"

namespace gantry::images {
namespace {

// The exit status of a child that does this.
int InAChild(absl::FunctionRef<int()> work) {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool MakesAThread() {
  pthread_t thread;
  if (pthread_create(
          &thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr) != 0)
    return false;
  return pthread_join(thread, nullptr) == 0;
}

bool MakesAProcess() {
  // What fork would ask for, by the old call and by the new one.
  const long cloned = syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0);
  if (cloned == 0) _exit(0);
  const bool refused = cloned < 0 && errno == EPERM;
  const bool new_one_too =
      syscall(SYS_clone3, nullptr, 0) < 0 && (errno == ENOSYS || errno == EPERM);
  return !refused || !new_one_too;
}

TEST(UnpackerConfine, OnlyWhoWritesAFileBesideItsWorkMakesThreadsAndNobodyMakesProcesses) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  for (const bool threads : {true, false}) {
    const int status = InAChild([threads] {
      if (!ConfineToFiles(threads).ok()) return 2;
      return (MakesAThread() == threads ? 0 : 4) + (MakesAProcess() ? 8 : 0);
    });
    EXPECT_EQ(status, 0) << "threads " << threads;
  }
}

TEST(UnpackerConfine, WhoReadsATreeChangesNothingInIt) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  char folder[] = "/tmp/gantry-confine-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string file = std::string(folder) + "/file";
  const int made = open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(write(made, "content", 7), 7);
  close(made);
  const int status = InAChild([&] {
    const int tree = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tree < 0 || !ConfineToReading(tree).ok()) return 2;
    const auto opens = [tree](uint64_t flags) {
      const open_how how = {flags | O_CLOEXEC, 0, 0};
      return syscall(SYS_openat2, tree, "file", &how, sizeof(how)) >= 0;
    };
    if (!opens(O_RDONLY)) return 3;
    return opens(O_WRONLY) || opens(O_RDONLY | O_TRUNC) || MakesAThread() || MakesAProcess() ? 4
                                                                                             : 0;
  });
  EXPECT_EQ(status, 0);
  struct stat st;
  EXPECT_EQ(stat(file.c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 7);
  unlink(file.c_str());
  rmdir(folder);
}

}  // namespace
}  // namespace gantry::images
