// A cgroup of a test's own, in every hierarchy of this machine, and workers in it.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "runtime/linux/cgroup.h"
#include "runtime/linux/file.h"

namespace gantry::cri {

class GroupTest : public ::testing::Test {
 protected:
  static constexpr size_t kWorkerMemory = 16 << 20;
  static constexpr int kWorkerSockets = 3;

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    const auto host = DetectCgroupHost();
    ASSERT_TRUE(host.ok()) << host.status();
    path_ = absl::StrCat("/gantry-metrics-test-", getpid());
    const Status made = CreateCgroup(*host, path_);
    ASSERT_TRUE(made.ok()) << made;
    paths_ = *CgroupPathsFor(*host, path_);
  }
  void TearDown() override {
    if (paths_.V1Hierarchies().empty() && paths_.unified_dir.empty()) return;
    EndWorkers();
    const Status removed = RemoveCgroup(paths_, std::chrono::seconds(5));
    EXPECT_TRUE(removed.ok()) << removed;
  }

  // A process in the group that has used 100 ms of CPU, has 16 MB in memory and three sockets open
  // when this returns, and then waits to be killed.
  pid_t Worker() {
    int ready[2];
    EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
    const pid_t pid = fork();
    if (pid == 0) Work(ready[1]);
    workers_.push_back(pid);
    close(ready[1]);
    char done = 0;
    EXPECT_EQ(read(ready[0], &done, 1), 1) << "the worker could not enter the group";
    close(ready[0]);
    return pid;
  }

  void EndWorkers() {
    EXPECT_TRUE(KillCgroup(paths_).ok());
    for (const pid_t pid : workers_) waitpid(pid, nullptr, 0);
    workers_.clear();
  }

  std::string path_;
  CgroupPaths paths_;

 private:
  [[noreturn]] void Work(int ready) const {
    if (!JoinCgroup(paths_, getpid()).ok()) _exit(1);
    auto* memory = static_cast<volatile char*>(malloc(kWorkerMemory));
    for (size_t i = 0; i < kWorkerMemory; i += 4096) memory[i] = 1;
    for (int i = 0; i < kWorkerSockets; ++i)
      if (socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0) _exit(1);
    while (clock() < CLOCKS_PER_SEC / 10) continue;
    if (write(ready, "", 1) != 1) _exit(1);
    while (true) pause();
  }

  std::vector<pid_t> workers_;
};

}  // namespace gantry::cri
