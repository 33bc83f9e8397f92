// The binary `gantry` against a daemon of this file: what is asked for by CRI, which stream and
// exit code come out, what errors say.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cri/proto/gantry.grpc.pb.h"
#include "cri/proto/runtime.grpc.pb.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/spawn.h"

namespace gantry::cli {
namespace {

namespace api = ::runtime::v1;
namespace own = ::gantry::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One pod with one container, which "runs" until it is stopped, or has written its log and exited.
struct Script {
  std::string log;  // written at start
  int exit_code = 0;
  bool runs_on = false;  // until StopContainer
  std::string start_error;
  std::string sandbox_error;
  bool image_here = true;
  bool network_ready = true;
  std::string reason = "Completed";
};

class Daemon : public api::RuntimeService::Service {
 public:
  grpc::Status Version(grpc::ServerContext*, const api::VersionRequest*,
                       api::VersionResponse* response) override {
    response->set_runtime_api_version("v1");
    return grpc::Status::OK;
  }
  grpc::Status Status(grpc::ServerContext*, const api::StatusRequest*,
                      api::StatusResponse* response) override {
    auto* condition = response->mutable_status()->add_conditions();
    condition->set_type("NetworkReady");
    condition->set_status(script.network_ready);
    condition->set_message("no CNI configuration");
    return grpc::Status::OK;
  }
  grpc::Status RunPodSandbox(grpc::ServerContext*, const api::RunPodSandboxRequest* request,
                             api::RunPodSandboxResponse* response) override {
    const absl::MutexLock lock(&mutex);
    calls.push_back("RunPodSandbox");
    sandbox = request->config();
    std::filesystem::create_directories(sandbox.log_directory());
    if (!script.sandbox_error.empty()) return {grpc::StatusCode::INTERNAL, script.sandbox_error};
    response->set_pod_sandbox_id("pod1");
    return grpc::Status::OK;
  }
  grpc::Status PodSandboxStatus(grpc::ServerContext*, const api::PodSandboxStatusRequest*,
                                api::PodSandboxStatusResponse* response) override {
    const absl::MutexLock lock(&mutex);
    *response->mutable_status()->mutable_metadata() = sandbox.metadata();
    return grpc::Status::OK;
  }
  grpc::Status CreateContainer(grpc::ServerContext*, const api::CreateContainerRequest* request,
                               api::CreateContainerResponse* response) override {
    const absl::MutexLock lock(&mutex);
    calls.push_back("CreateContainer");
    container = request->config();
    response->set_container_id("c0ffee1234567890");
    return grpc::Status::OK;
  }
  grpc::Status StartContainer(grpc::ServerContext*, const api::StartContainerRequest*,
                              api::StartContainerResponse*) override {
    const absl::MutexLock lock(&mutex);
    calls.push_back("StartContainer");
    if (!script.start_error.empty()) return {grpc::StatusCode::INTERNAL, script.start_error};
    std::ofstream(LogPath()) << script.log;
    exited = !script.runs_on;
    started = true;
    return grpc::Status::OK;
  }
  grpc::Status ContainerStatus(grpc::ServerContext*, const api::ContainerStatusRequest*,
                               api::ContainerStatusResponse* response) override {
    const absl::MutexLock lock(&mutex);
    auto* status = response->mutable_status();
    status->set_state(exited ? api::CONTAINER_EXITED : api::CONTAINER_RUNNING);
    status->set_exit_code(script.exit_code);
    status->set_reason(script.reason);
    status->set_log_path(LogPath());
    return grpc::Status::OK;
  }
  grpc::Status StopContainer(grpc::ServerContext*, const api::StopContainerRequest* request,
                             api::StopContainerResponse*) override {
    const absl::MutexLock lock(&mutex);
    calls.push_back(absl::StrCat("StopContainer ", request->timeout()));
    exited = true;
    return grpc::Status::OK;
  }
  grpc::Status StopPodSandbox(grpc::ServerContext*, const api::StopPodSandboxRequest*,
                              api::StopPodSandboxResponse*) override {
    const absl::MutexLock lock(&mutex);
    calls.push_back("StopPodSandbox");
    return grpc::Status::OK;
  }
  grpc::Status RemovePodSandbox(grpc::ServerContext*, const api::RemovePodSandboxRequest*,
                                api::RemovePodSandboxResponse*) override {
    const absl::MutexLock lock(&mutex);
    calls.push_back("RemovePodSandbox");
    return grpc::Status::OK;
  }
  grpc::Status ListContainers(grpc::ServerContext*, const api::ListContainersRequest*,
                              api::ListContainersResponse* response) override {
    const absl::MutexLock lock(&mutex);
    if (!started) return grpc::Status::OK;
    auto* one = response->add_containers();
    one->set_id("c0ffee1234567890");
    one->set_pod_sandbox_id("pod1");
    one->set_state(exited ? api::CONTAINER_EXITED : api::CONTAINER_RUNNING);
    *one->mutable_metadata() = container.metadata();
    *one->mutable_image() = container.image();
    return grpc::Status::OK;
  }
  grpc::Status ExecSync(grpc::ServerContext*, const api::ExecSyncRequest* request,
                        api::ExecSyncResponse* response) override {
    response->set_stdout(absl::StrJoin(request->cmd(), ",") + "\n");
    response->set_stderr("warned\n");
    response->set_exit_code(9);
    return grpc::Status::OK;
  }

  std::string LogPath() const { return sandbox.log_directory() + "/" + container.log_path(); }

  Script script;
  absl::Mutex mutex;
  std::vector<std::string> calls;
  api::PodSandboxConfig sandbox;
  api::ContainerConfig container;
  bool started = false;
  bool exited = false;
};

class Images : public api::ImageService::Service {
 public:
  explicit Images(Daemon& daemon) : daemon_(daemon) {}
  grpc::Status ImageStatus(grpc::ServerContext*, const api::ImageStatusRequest*,
                           api::ImageStatusResponse* response) override {
    if (daemon_.script.image_here) response->mutable_image()->set_id("sha256:1");
    return grpc::Status::OK;
  }
  grpc::Status ListImages(grpc::ServerContext*, const api::ListImagesRequest*,
                          api::ListImagesResponse* response) override {
    auto* image = response->add_images();
    image->set_id("sha256:0123456789abcdef");
    image->add_repo_tags("docker.io/library/busybox:latest");
    image->set_size(1'500'000);
    return grpc::Status::OK;
  }

 private:
  Daemon& daemon_;
};

class Own : public own::Gantry::Service {
 public:
  explicit Own(std::string root) : root_(std::move(root)) {}
  grpc::Status Info(grpc::ServerContext*, const own::InfoRequest*,
                    own::InfoResponse* response) override {
    response->set_version("9.9.9");
    response->set_root(root_);
    return grpc::Status::OK;
  }
  grpc::Status PullImage(grpc::ServerContext* context, const own::PullImageRequest* request,
                         grpc::ServerWriter<own::PullImageResponse>* writer) override {
    if (request->image() == "slow") {
      pulling = true;
      while (!context->IsCancelled()) poll(nullptr, 0, 5);
      return grpc::Status::CANCELLED;
    }
    if (request->image() == "missing") {
      return {grpc::StatusCode::NOT_FOUND, "no such image in registry-1.docker.io"};
    }
    own::PullImageResponse response;
    response.set_stage("done");
    response.set_image_id("sha256:77");
    writer->Write(response);
    return grpc::Status::OK;
  }
  grpc::Status ImportImage(grpc::ServerContext*,
                           grpc::ServerReader<own::ImportImageRequest>* reader,
                           own::ImportImageResponse* response) override {
    own::ImportImageRequest request;
    size_t size = 0;
    std::string name;
    while (reader->Read(&request)) {
      size += request.chunk().size();
      name += request.name();
    }
    auto* image = response->add_images();
    image->set_id(absl::StrCat("sha256:", size));
    image->add_names(name);
    return grpc::Status::OK;
  }

  grpc::Status ExplainImage(grpc::ServerContext*, const own::ExplainImageRequest* request,
                            own::ExplainImageResponse* response) override {
    auto* decision = response->add_decisions();
    decision->set_subject("reference");
    decision->set_text("docker.io/library/" + request->image() + "\x1b[2J");
    response->add_layers()->set_digest("sha256:5");
    response->set_code(request->image() == "box" ? 0 : 16);
    response->set_error("nobody is logged in");
    return grpc::Status::OK;
  }

  std::atomic<bool> pulling = false;

 private:
  std::string root_;
};

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

class CliTest : public ::testing::Test {
 protected:
  CliTest() : root_(MakeRoot()), images_(daemon_), own_(root_) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + root_ + "/s", grpc::InsecureServerCredentials());
    builder.RegisterService(&daemon_);
    builder.RegisterService(&images_);
    builder.RegisterService(&own_);
    server_ = builder.BuildAndStart();
  }
  ~CliTest() override {
    server_->Shutdown();
    std::filesystem::remove_all(root_);
  }
  static std::string MakeRoot() {
    std::string root = testing::TempDir() + "/gantry_cli_XXXXXX";
    EXPECT_NE(mkdtemp(root.data()), nullptr);
    return root;
  }

  StatusOr<ClonedProcess> Start(std::vector<std::string> words) {
    SpawnRequest request;
    request.path = GANTRY_BINARY;
    request.args = {"gantry"};
    request.args.insert(request.args.end(), words.begin(), words.end());
    request.env = {"PATH=/usr/bin:/bin", "GANTRY_SOCKET=unix://" + root_ + "/s"};
    const UniqueFd in(open("/dev/null", O_RDONLY | O_CLOEXEC));
    const UniqueFd out(open(Path("out").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const UniqueFd err(open(Path("err").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    request.fds = {{in.get(), 0}, {out.get(), 1}, {err.get(), 2}};
    return Spawn(request);
  }
  Outcome End(const StatusOr<ClonedProcess>& process) {
    EXPECT_TRUE(process.ok()) << process.status();
    if (!process.ok()) return {};
    const auto exit = WaitPidFd(process->pidfd.get(), /*block=*/true);
    EXPECT_TRUE(exit.ok() && exit->has_value());
    return {(*exit)->Code(), Text("out"), Text("err")};
  }
  Outcome Gantry(std::vector<std::string> words) { return End(Start(std::move(words))); }

  std::string Path(const std::string& name) const { return root_ + "/" + name; }
  std::string Text(const std::string& name) const {
    std::ifstream file(Path(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // Until `done`, with a bound.
  template <typename Done>
  bool Await(Done done) {
    const absl::Time bound = absl::Now() + absl::Seconds(30);
    while (!done() && absl::Now() < bound) poll(nullptr, 0, 5);
    return done();
  }

  std::string root_;
  Daemon daemon_;
  Images images_;
  Own own_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(CliTest, RunPrintsBothStreamsAndEndsWithTheContainersCode) {
  daemon_.script.log = "t stdout F out\nt stderr P half \nt stderr F err\nt stdout P end";
  daemon_.script.log += "\n";
  daemon_.script.exit_code = 42;
  const Outcome outcome =
      Gantry({"run", "--rm", "--name", "box", "busybox", "sh", "-c", "exit 42"});
  EXPECT_EQ(outcome.code, 42);
  EXPECT_EQ(outcome.out, "out\nend");
  EXPECT_EQ(outcome.err, "half err\n");
  EXPECT_THAT(daemon_.calls, ElementsAre("RunPodSandbox", "CreateContainer", "StartContainer",
                                         "StopPodSandbox", "RemovePodSandbox"));
  EXPECT_THAT(daemon_.container.args(), ElementsAre("sh", "-c", "exit 42"));
  EXPECT_EQ(daemon_.sandbox.metadata().name(), "box");
  EXPECT_FALSE(std::filesystem::exists(Path("run-logs")));
}

TEST_F(CliTest, RunWithoutRmStopsThePodAndKeepsTheLog) {
  daemon_.script.log = "t stdout F kept\n";
  EXPECT_EQ(Gantry({"run", "--name", "box", "busybox"}).code, 0);
  EXPECT_EQ(daemon_.calls.back(), "StopPodSandbox");
  EXPECT_EQ(Gantry({"logs", "box"}).out, "kept\n");
  EXPECT_EQ(Gantry({"logs", "-t", "-n", "1", "c0ff"}).out, "t kept\n");
  EXPECT_EQ(Gantry({"rm", "box"}).out, "box\n");
  EXPECT_EQ(daemon_.calls.back(), "RemovePodSandbox");
  EXPECT_FALSE(std::filesystem::exists(Path("run-logs")));
}

TEST_F(CliTest, CommandsOwnOptionsAreNotOurs) {
  Gantry({"run", "--rm", "busybox", "ls", "--rm", "-e", "--name"});
  EXPECT_THAT(daemon_.container.args(), ElementsAre("ls", "--rm", "-e", "--name"));
  Gantry({"run", "--rm", "busybox", "--", "-x"});
  EXPECT_EQ(daemon_.container.envs_size(), 0);
}

TEST_F(CliTest, SignalStopsTheContainerAndItsCodeIsPassedOn) {
  daemon_.script.runs_on = true;
  daemon_.script.exit_code = 143;
  const auto process = Start({"run", "--rm", "busybox"});
  ASSERT_TRUE(process.ok());
  ASSERT_TRUE(Await([&] {
    const absl::MutexLock lock(&daemon_.mutex);
    return daemon_.started;
  }));
  ASSERT_TRUE(SignalPidFd(process->pidfd.get(), SIGINT).ok());
  EXPECT_EQ(End(process).code, 143);
  EXPECT_THAT(daemon_.calls, ::testing::Contains("StopContainer 10"));
  EXPECT_EQ(daemon_.calls.back(), "RemovePodSandbox");
}

TEST_F(CliTest, FailedStartLeavesNothingAndTellsMissingFromForbidden) {
  const std::map<std::string, int> kErrors = {{"execve /nope: No such file or directory", 127},
                                              {"execve /etc/passwd: Permission denied", 126},
                                              {"cgroup: Device or resource busy", 125}};
  for (const auto& [error, code] : kErrors) {
    daemon_.calls.clear();
    daemon_.script.start_error = error;
    const Outcome outcome = Gantry({"run", "--name", "box", "busybox", "/nope"});
    EXPECT_EQ(outcome.code, code);
    EXPECT_EQ(outcome.err, "gantry: start \"box\": " + error + "\n");
    EXPECT_EQ(daemon_.calls.back(), "RemovePodSandbox");
  }
}

TEST_F(CliTest, FailedSandboxLeavesNoLogFolder) {
  daemon_.script.sandbox_error = "no address";
  EXPECT_EQ(Gantry({"run", "--name", "box", "busybox"}).err,
            "gantry: run pod \"box\": no address\n");
  EXPECT_FALSE(std::filesystem::exists(Path("run-logs")));
}

TEST_F(CliTest, MissingImageIsPulledFirst) {
  daemon_.script.image_here = false;
  const Outcome outcome = Gantry({"run", "--rm", "busybox"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("pulled busybox"));
  const Outcome missing = Gantry({"run", "missing"});
  EXPECT_EQ(missing.code, 125);
  EXPECT_EQ(missing.err, "gantry: pull \"missing\": no such image in registry-1.docker.io\n");
}

TEST_F(CliTest, SignalEndsAPull) {
  daemon_.script.image_here = false;
  const auto process = Start({"run", "slow"});
  ASSERT_TRUE(process.ok());
  ASSERT_TRUE(Await([&] { return own_.pulling.load(); }));
  ASSERT_TRUE(SignalPidFd(process->pidfd.get(), SIGTERM).ok());
  const Outcome outcome = End(process);
  EXPECT_EQ(outcome.code, 130);
  EXPECT_EQ(outcome.err, "gantry: pull \"slow\": interrupted\n");
  EXPECT_THAT(daemon_.calls, ElementsAre());
}

TEST_F(CliTest, WithoutAPodNetworkThereIsLoAndALineThatSaysSo) {
  daemon_.script.network_ready = false;
  const Outcome outcome = Gantry({"run", "--rm", "busybox"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("no pod network (no CNI configuration)"));
  EXPECT_EQ(daemon_.sandbox.annotations().at("io.gantry/network"), "none");
}

TEST_F(CliTest, OutOfMemoryIsSaid) {
  daemon_.script.reason = "OOMKilled";
  daemon_.script.exit_code = 137;
  const Outcome outcome = Gantry({"run", "--rm", "--name", "box", "busybox"});
  EXPECT_EQ(outcome.code, 137);
  EXPECT_THAT(outcome.err, HasSubstr("container \"box\" was killed: it needed more memory"));
}

TEST_F(CliTest, DetachedContainerIsListedFollowedExecutedInStoppedAndRemoved) {
  daemon_.script.runs_on = true;
  daemon_.script.log = "t stdout F first\n";
  EXPECT_EQ(Gantry({"run", "-d", "--name", "box", "busybox"}).out, "c0ffee1234567890\n");
  EXPECT_THAT(Gantry({"ps"}).out, HasSubstr("c0ffee123456  box   busybox  running"));
  EXPECT_EQ(Gantry({"ps", "-q"}).out, "c0ffee1234567890\n");
  const Outcome exec = Gantry({"exec", "box", "ls", "-l"});
  EXPECT_EQ(exec.code, 9);
  EXPECT_EQ(exec.out, "ls,-l\n");
  EXPECT_EQ(exec.err, "warned\n");
  const Outcome busy = Gantry({"rm", "box"});
  EXPECT_EQ(busy.code, 125);
  EXPECT_THAT(busy.err, HasSubstr("container \"box\" is running; stop it first"));

  const auto follower = Start({"logs", "-f", "box"});
  ASSERT_TRUE(Await([&] { return Text("out") == "first\n"; }));
  std::ofstream(daemon_.LogPath(), std::ios::app) << "t stdout F second\n";
  ASSERT_TRUE(Await([&] { return Text("out") == "first\nsecond\n"; }));
  {
    const absl::MutexLock lock(&daemon_.mutex);
    daemon_.exited = true;
  }
  EXPECT_EQ(End(follower).code, 0);
  EXPECT_EQ(Gantry({"stop", "-t", "3", "box"}).out, "box\n");
  EXPECT_EQ(daemon_.calls.back(), "StopContainer 3");
  EXPECT_EQ(Gantry({"rm", "-f", "box"}).code, 0);
}

TEST_F(CliTest, ImagesAreListedImportedAndRemovedByNameOnly) {
  EXPECT_EQ(Gantry({"image", "ls"}).out,
            "IMAGE                             ID            SIZE\n"
            "docker.io/library/busybox:latest  0123456789ab  1.5 MB\n");
  std::ofstream(Path("a.tar")) << std::string(2'500'000, 'x');
  EXPECT_EQ(Gantry({"image", "import", "--name", "app", Path("a.tar")}).out,
            "app  sha256:2500000\n");
  EXPECT_THAT(Gantry({"image", "import", Path("none.tar")}).err,
              HasSubstr("none.tar: No such file"));
  daemon_.script.image_here = false;
  const Outcome removed = Gantry({"image", "rm", "typo"});
  EXPECT_EQ(removed.code, 125);
  EXPECT_EQ(removed.err, "gantry: no image \"typo\"; `gantry image ls` lists all\n");
}

TEST_F(CliTest, ErrorsAreOneLineWithTheNextStep) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> kErrors = {
      {{"exec", "-i", "--timeout", "3", "box", "sh"}, "--timeout does not go with -i and -t"},
      {{"exec", "box"}, "a command is missing"},
      {{"logs", "ghost"}, "no container \"ghost\"; `gantry ps -a` lists all"},
      {{"rn"}, "unknown command \"rn\" (did you mean \"run\"?)"},
      {{"run", "--memry", "5", "busybox"}, "unknown option --memry"},
      {{"run"}, "IMAGE is missing"},
      {{"run", "--memory", "much", "busybox"}, "\"much\" is no size"},
      {{"ps", "--socket", "/nonexistent"},
       "gantryd is not running: nobody listens on /nonexistent"},
      {{"ps", "--socket", "tcp://x"}, "is no socket"},
      {{"config", "check", "/nonexistent"}, "does not exist"},
  };
  for (const auto& [words, error] : kErrors) {
    const Outcome outcome = Gantry(words);
    EXPECT_EQ(outcome.code, 125) << error;
    EXPECT_THAT(outcome.err, HasSubstr(error));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }
}

TEST_F(CliTest, HelpAndVersionAnswer) {
  for (const char* name : {"run", "pull", "ps", "stop", "rm", "logs", "exec"}) {
    const Outcome help = Gantry({name, "--help"});
    EXPECT_EQ(help.code, 0) << name;
    EXPECT_THAT(help.out, HasSubstr("Examples:")) << name;
  }
  EXPECT_THAT(Gantry({"version"}).out, HasSubstr("gantryd  9.9.9 (CRI v1"));
  EXPECT_THAT(Gantry({"config", "default"}).out, HasSubstr("conf_dir = \"/etc/cni/net.d\""));
}

TEST_F(CliTest, ExplainPrintsDecisionsAndEndsWithTheErrorOfAPull) {
  const Outcome good = Gantry({"image", "explain", "box"});
  EXPECT_EQ(good.out,
            "reference  docker.io/library/box?[2J\nlayer 1    sha256:5, 0 B, , to be fetched\n");
  const Outcome bad = Gantry({"image", "explain", "secret"});
  EXPECT_EQ(bad.code, 125);
  EXPECT_EQ(bad.err, "gantry: explain \"secret\": a pull would fail: nobody is logged in\n");
}

}  // namespace
}  // namespace gantry::cli
