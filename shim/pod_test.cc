// Namespaces that the containers of a pod share, and their PID 1.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"
#include "shim/test_pod.h"

namespace gantry::shim {
namespace {

using ::testing::HasSubstr;

class ShimPod : public ::testing::Test {
 protected:
  void SetUp() override {
    if (runtime::MustSkip()) GTEST_SKIP();
    daemon_ = std::make_unique<TestDaemon>();
    pod_ = std::make_unique<TestPod>(daemon_.get());
    proto::Request request;
    for (const char* type : {"network", "ipc", "uts", "pid"}) {
      request.mutable_create_pod()->add_new_namespaces(type);
    }
    request.mutable_create_pod()->set_hostname("pod-host");
    auto reply = pod_->Call(request);
    ASSERT_TRUE(reply.ok()) << reply.status();
    ASSERT_TRUE(reply->reply.create_pod().has_network_namespace());
    ASSERT_EQ(reply->fds.size(), 1U);
    network_ = std::move(reply->fds[0]);
    init_ = reply->reply.create_pod().init_pid();
    EXPECT_EQ(pod_->Call(request).status().code(), absl::StatusCode::kAlreadyExists);
  }
  Status RunInPod(const std::string& id, const std::string& script) {
    proto::CreateContainer request = pod_->NewContainer(id, script);
    for (const char* type : {"network", "ipc", "uts", "pid"}) request.add_pod_namespaces(type);
    RETURN_IF_ERROR(pod_->Create(request));
    return pod_->Start(id);
  }
  std::string InitFile(const char* name) {
    return ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", init_, "/", name)).value_or("");
  }
  std::unique_ptr<TestDaemon> daemon_;
  std::unique_ptr<TestPod> pod_;
  UniqueFd network_;
  pid_t init_ = -1;
};

TEST_F(ShimPod, ContainersShareWhatThePodOwns) {
  ASSERT_EQ(RunInPod("a", "hostname; sleep 1000"), absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return pod_->LogLines("a").size() == 1; }));
  EXPECT_EQ(pod_->LogLines("a")[0], "stdout F pod-host");
  ASSERT_EQ(RunInPod("b", "ps | grep -c 'sleep 1000'; readlink /proc/self/ns/net"),
            absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("b").exit_code(), 0);
  ASSERT_EQ(pod_->LogLines("b").size(), 2U);
  EXPECT_NE(pod_->LogLines("b")[0], "stdout F 0");
  struct stat info {};
  ASSERT_EQ(fstat(network_.get(), &info), 0);
  EXPECT_EQ(pod_->LogLines("b")[1], absl::StrCat("stdout F net:[", info.st_ino, "]"));
}

TEST_F(ShimPod, ItsInitCanDoNothingButReap) {
  ASSERT_TRUE(Eventually([&] { return InitFile("cmdline").substr(0, 11) == "gantry-init"; }));
  ASSERT_TRUE(
      Eventually([&] { return InitFile("status").find("Seccomp:\t2") != std::string::npos; }));
  const std::string status = InitFile("status");
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(status, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_EQ(DescriptorCount(init_), 2U) << "nothing but . and ..";
  printf("gantry-init: %ld kB PSS, %ld kB RSS\n", static_cast<long>(MemoryOf(init_).pss),
         static_cast<long>(MemoryOf(init_).rss));
}

TEST_F(ShimPod, ItsInitReapsOrphans) {
  ASSERT_EQ(RunInPod("a", "for i in 1 2 3 4 5; do (sleep 0.01 &); done; sleep 1000"),
            absl::OkStatus());
  EXPECT_TRUE(Eventually(
      [&] { return InitFile(absl::StrCat("task/", init_, "/children").c_str()).empty(); }));
}

TEST_F(ShimPod, TheDeathOfItsInitIsTold) {
  ASSERT_EQ(RunInPod("a", "sleep 1000"), absl::OkStatus());
  ASSERT_EQ(kill(init_, SIGTERM), 0);
  EXPECT_TRUE(pod_->AwaitEvent([](const proto::Event& event) { return event.init_exited(); }));
  EXPECT_EQ(pod_->AwaitExit("a").exit_code(), 137) << "all of its namespace dies";
}

TEST_F(ShimPod, AContainerMayJoinThePidNamespaceOfAnother) {
  ASSERT_EQ(pod_->Run("target", "exec sleep 1234"), absl::OkStatus());
  proto::CreateContainer request = pod_->NewContainer("debug", "ps");
  request.set_pid_target_container("target");
  ASSERT_EQ(pod_->Create(request), absl::OkStatus());
  ASSERT_EQ(pod_->Start("debug"), absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("debug").exit_code(), 0);
  std::string text;
  for (const std::string& line : pod_->LogLines("debug")) text += line + "\n";
  EXPECT_THAT(text, HasSubstr("sleep 1234"));
  request = pod_->NewContainer("late", "ps");
  request.set_pid_target_container("debug");
  EXPECT_TRUE(absl::IsFailedPrecondition(pod_->Clone(request)));
}

}  // namespace
}  // namespace gantry::shim
