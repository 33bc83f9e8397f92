// gantry-oci as its callers use it: the real program, on a bundle made of the machine's busybox.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "runtime/linux/file.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::runtime {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr char kBusybox[] = "/bin/busybox";

struct Result {
  int code = -1;
  std::string output;  // 1 and 2
};

constexpr char kConfig[] = R"({
  "ociVersion": "1.0.2",
  "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
        "args": @ARGS@, "terminal": @TTY@,
    "capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL"]}},
  "root": {"path": "rootfs"}, "hostname": "inside",
  "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
             {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid",
        "mode=755"]},
             {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
             {"destination": "/data", "source": "data", "options": ["rbind", "ro"]}],
  "hooks": @HOOKS@,
  "annotations": {"who": "test"},
  "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
        {"type": "network"}],
    "cgroupsPath": "@CGROUP@", "maskedPaths": ["/proc/kcore"],
    "resources": {"pids": {"limit": 50}, "devices": [{"allow": false, "access": "rwm"}]},
    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sethostname"],
        "action": "SCMP_ACT_ERRNO"}]}}
})";

class OciTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    if (!fs::exists(kBusybox)) GTEST_SKIP() << "needs " << kBusybox;
    // As a shim: the containers' processes become our children when gantry-oci exits.
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    std::string name = ::testing::TempDir() + "/gantry-oci-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
    fs::create_directories(dir_ + "/bundle/rootfs/bin");
    fs::create_directories(dir_ + "/bundle/rootfs/proc");
    fs::create_directories(dir_ + "/bundle/data");
    std::ofstream(dir_ + "/bundle/data/file") << "from the host\n";
    fs::copy_file(kBusybox, dir_ + "/bundle/rootfs/bin/busybox");
    for (const char* applet :
         {"sh", "cat", "sleep", "hostname", "echo", "true", "id", "ls", "kill", "stty"})
      fs::create_symlink("busybox", dir_ + "/bundle/rootfs/bin/" + applet);
    cgroup_ = absl::StrCat("/gantry-test-oci-", getpid());
  }
  void TearDown() override {
    if (dir_.empty()) return;
    Oci({"delete", "--force", "c1"});
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    std::error_code ignored;
    EXPECT_FALSE(fs::exists(dir_ + "/state/c1"));
    EXPECT_FALSE(fs::exists("/sys/fs/cgroup/pids" + cgroup_ + "/c1"));
    for (const auto& hierarchy : fs::directory_iterator("/sys/fs/cgroup"))
      rmdir((hierarchy.path().string() + cgroup_).c_str());
    rmdir(("/sys/fs/cgroup" + cgroup_).c_str());
    fs::remove_all(dir_, ignored);
  }

  void WriteConfig(const std::string& args, const std::string& hooks = "{}",
                   bool terminal = false) {
    std::ofstream(dir_ + "/bundle/config.json")
        << absl::StrReplaceAll(kConfig, {{"@ARGS@", args},
                                         {"@HOOKS@", hooks},
                                         {"@CGROUP@", cgroup_ + "/c1"},
                                         {"@TTY@", terminal ? "true" : "false"}});
  }

  // Starts gantry-oci; its output goes to a file, since what it leaves running keeps it open.
  pid_t Spawn(std::vector<std::string> arguments) {
    const std::vector<std::string> global = {
        GANTRY_OCI, "--root", dir_ + "/state", "--log", dir_ + "/log", "--log-format", "json"};
    arguments.insert(arguments.begin(), global.begin(), global.end());
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      const int out = open((dir_ + "/output").c_str(),
                           O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
      const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
      dup2(null, 0);
      dup2(out, 1);
      dup2(out, 2);
      execv(GANTRY_OCI, argv.data());
      _exit(127);
    }
    return pid;
  }
  std::string Output() { return Read(dir_ + "/output"); }
  Result Oci(const std::vector<std::string>& arguments) {
    const pid_t pid = Spawn(arguments);
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return {.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            .output = Output()};
  }
  Result Create() {
    return Oci({"create", "--bundle", dir_ + "/bundle", "--pid-file", dir_ + "/pid", "c1"});
  }
  pid_t Pid() { return std::stoi(Read(dir_ + "/pid")); }
  std::string State() { return Oci({"state", "c1"}).output; }
  std::string Read(const std::string& file) {
    const auto text = ReadFileAt(AT_FDCWD, file);
    return text.ok() ? *text : text.status().ToString();
  }

  std::string dir_, cgroup_;
};

TEST_F(OciTest, RunsAContainerAndPassesItsExitCode) {
  WriteConfig(
      R"(["sh", "-c",
        "hostname; cat /data/file; echo $$; cat /proc/1/comm; hostname x; exit 42"])");
  const Result result = Oci({"run", "-b", dir_ + "/bundle", "c1"});
  EXPECT_EQ(result.code, 42) << result.output;
  EXPECT_THAT(result.output, HasSubstr("inside\nfrom the host\n1\nsh\n"));
  EXPECT_THAT(result.output, HasSubstr("Operation not permitted")) << "seccomp refuses sethostname";
  EXPECT_THAT(Oci({"state", "c1"}).output, HasSubstr("container does not exist"));
}

TEST_F(OciTest, CreateLeavesAContainerThatWaitsForStart) {
  WriteConfig(R"(["sh", "-c", "echo started > /dev/stdout; exec sleep 1000"])");
  const Result created = Create();
  ASSERT_EQ(created.code, 0) << created.output;
  EXPECT_THAT(State(), HasSubstr("\"status\": \"created\""));
  EXPECT_THAT(State(), HasSubstr("\"who\": \"test\""));
  EXPECT_THAT(State(), HasSubstr(absl::StrCat("\"pid\": ", Pid())));
  EXPECT_THAT(Create().output, HasSubstr("a container of this name exists"));
  EXPECT_THAT(Oci({"delete", "c1"}).output, HasSubstr("cannot delete a container that is created"));

  const Result started = Oci({"start", "c1"});
  EXPECT_EQ(started.code, 0) << started.output;
  EXPECT_THAT(State(), HasSubstr("\"status\": \"running\""));
  EXPECT_THAT(Oci({"start", "c1"}).output, HasSubstr("cannot start a container that is running"));
  EXPECT_THAT(Oci({"list"}).output, HasSubstr(absl::StrCat("c1\t", Pid(), "\trunning\t")));
  EXPECT_EQ(Oci({"ps", "--format", "json", "c1"}).output, absl::StrCat("[", Pid(), "]\n"));

  const pid_t init = Pid();
  EXPECT_EQ(Oci({"kill", "c1", "KILL"}).code, 0);
  int status = 0;
  EXPECT_EQ(waitpid(init, &status, 0), init) << "init is the child of gantry-oci's caller";
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_THAT(State(), HasSubstr("\"status\": \"stopped\""));
  EXPECT_THAT(Oci({"kill", "c1"}).output, HasSubstr("container not running"));
  const Result deleted = Oci({"delete", "c1"});
  EXPECT_EQ(deleted.code, 0) << deleted.output;
  EXPECT_FALSE(fs::exists(dir_ + "/state/c1"));
}

TEST_F(OciTest, DeleteForceEndsAContainerThatWasNeverStarted) {
  WriteConfig(R"(["true"])");
  ASSERT_EQ(Create().code, 0);
  const pid_t init = Pid();
  const Result deleted = Oci({"delete", "-f", "c1"});
  EXPECT_EQ(deleted.code, 0) << deleted.output;
  EXPECT_EQ(waitpid(init, nullptr, 0), init);
  // The keeper goes with it: our last child.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (waitpid(-1, nullptr, WNOHANG) >= 0 && std::chrono::steady_clock::now() < deadline)
    poll(nullptr, 0, 5);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a keeper is left";
}

TEST_F(OciTest, ExecRunsBesideInit) {
  WriteConfig(R"(["sleep", "1000"])");
  ASSERT_EQ(Create().code, 0);
  ASSERT_EQ(Oci({"start", "c1"}).code, 0);
  const Result exec = Oci({"exec", "-e", "X=here", "-u", "5:6", "--cwd", "/data", "c1", "sh", "-c",
                           "hostname; echo $X; id -u; id -g; ls; exit 7"});
  EXPECT_EQ(exec.code, 7);
  EXPECT_EQ(exec.output, "inside\nhere\n5\n6\nfile\n");
  EXPECT_THAT(Oci({"exec", "c1", "cat", "/proc/self/status"}).output, HasSubstr("Seccomp:\t2"));
  const Result missing = Oci({"exec", "c1", "no-such-program"});
  EXPECT_EQ(missing.code, 255);
  EXPECT_THAT(missing.output, HasSubstr("no-such-program"));
  EXPECT_EQ(Oci({"exec", "-u", "4294967295", "c1", "true"}).code, 255);

  const Result detached =
      Oci({"exec", "-d", "--pid-file", dir_ + "/exec-pid", "c1", "sleep", "1000"});
  EXPECT_EQ(detached.code, 0) << detached.output;
  const pid_t pid = std::stoi(Read(dir_ + "/exec-pid"));
  EXPECT_THAT(Read(absl::StrCat("/proc/", pid, "/cgroup")), HasSubstr(cgroup_ + "/c1"));
  EXPECT_EQ(Oci({"kill", "--all", "c1", "9"}).code, 0);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST_F(OciTest, UpdatesAndFreezes) {
  WriteConfig(R"(["sleep", "1000"])");
  ASSERT_EQ(Create().code, 0);
  ASSERT_EQ(Oci({"start", "c1"}).code, 0);
  const std::string pids = absl::StrCat("/sys/fs/cgroup/pids", cgroup_, "/c1/pids.max");
  const bool v1 = fs::exists(pids);
  const auto limit = [&] { return v1 ? Read(pids) : ""; };
  EXPECT_EQ(limit(), v1 ? "50\n" : "");
  EXPECT_EQ(Oci({"update", "--pids-limit", "60", "c1"}).code, 0);
  EXPECT_EQ(limit(), v1 ? "60\n" : "");
  EXPECT_EQ(Oci({"pause", "c1"}).code, 0);
  EXPECT_THAT(State(), HasSubstr("\"status\": \"paused\""));
  EXPECT_THAT(Oci({"exec", "c1", "true"}).output,
              HasSubstr("cannot exec in a container that is paused"));
  EXPECT_EQ(Oci({"resume", "c1"}).code, 0);
  EXPECT_THAT(State(), HasSubstr("\"status\": \"running\""));
}

TEST_F(OciTest, RunsHooksWithTheState) {
  const auto hook = [&](const std::string& name) {
    return absl::StrCat(R"([{"path": "/bin/busybox", "args": ["sh", "-c", "busybox cat > )", dir_,
                        "/", name, R"(; echo $X $HOME >> )", dir_, "/", name,
                        R"("], "env": ["X=1", "PATH=/bin"], "timeout": 10}])");
  };
  WriteConfig(R"(["true"])",
              absl::StrCat(R"({"createRuntime": )", hook("created"), R"(, "poststart": )",
                           hook("started"), R"(, "poststop": )", hook("stopped"), "}"));
  const Result result = Oci({"run", "-b", dir_ + "/bundle", "c1"});
  EXPECT_EQ(result.code, 0) << result.output;
  EXPECT_THAT(Read(dir_ + "/created"), HasSubstr("\"id\": \"c1\""));
  EXPECT_THAT(Read(dir_ + "/created"), HasSubstr("}1\n"))
      << "the hook's environment, and nothing of ours";
  EXPECT_THAT(Read(dir_ + "/started"), HasSubstr("\"status\": \"running\""));
  EXPECT_THAT(Read(dir_ + "/stopped"), HasSubstr("\"status\": \"stopped\""));
}

TEST_F(OciTest, LeavesNothingWhenCreateFails) {
  WriteConfig(R"(["true"])", R"({"createRuntime": [{"path": "/bin/busybox", "args": ["false"]}]})");
  const Result hook = Create();
  EXPECT_EQ(hook.code, 1);
  EXPECT_THAT(hook.output,
              HasSubstr("create c1: hook 1 of createRuntime (/bin/busybox): exited with 1"));
  EXPECT_FALSE(fs::exists(dir_ + "/state/c1"));
  EXPECT_FALSE(fs::exists("/sys/fs/cgroup/pids" + cgroup_ + "/c1"));
  EXPECT_THAT(Read(dir_ + "/log"), HasSubstr("\"level\":\"error\""));

  std::ofstream(dir_ + "/bundle/config.json") << "{\"ociVersion\": 1}";
  EXPECT_THAT(Create().output, HasSubstr("config.json: ociVersion: must be a string, not number"));
  EXPECT_THAT(Oci({"create", "-b", "/nonexistent", "c1"}).output, HasSubstr("/nonexistent"));
  EXPECT_THAT(Oci({"create", "-b", dir_ + "/bundle", "../c1"}).output,
              HasSubstr("\"../c1\" is not a container name"));
}

TEST_F(OciTest, StartTellsWhyTheProgramDidNotRun) {
  WriteConfig(R"(["/no/such/program"])");
  const Result created = Create();
  const Result started = created.code == 0 ? Oci({"start", "c1"}) : created;
  EXPECT_EQ(started.code, 1);
  EXPECT_THAT(started.output, HasSubstr("/no/such/program"));
}

TEST_F(OciTest, SendsTheTerminalToTheConsoleSocket) {
  WriteConfig(R"(["sh", "-c", "stty size; echo to the terminal"])", "{}", /*terminal=*/true);
  auto listener = ListenUnix(dir_ + "/console", 0600);
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_THAT(Create().output, HasSubstr("process.terminal needs --console-socket"));
  const Result created =
      Oci({"create", "-b", dir_ + "/bundle", "--console-socket", dir_ + "/console", "c1"});
  ASSERT_EQ(created.code, 0) << created.output;
  const UniqueFd peer(accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
  char name[64];
  auto message = ReceiveWithFds(peer.get(), name);
  ASSERT_TRUE(message.ok() && message->has_value() && (*message)->fds.size() == 1);
  ASSERT_EQ(Oci({"start", "c1"}).code, 0);
  std::string text;
  pollfd readable = {.fd = (*message)->fds[0].get(), .events = POLLIN, .revents = 0};
  while (poll(&readable, 1, 10'000) == 1) {
    char buffer[256];
    const ssize_t size = read(readable.fd, buffer, sizeof(buffer));
    if (size <= 0) break;
    text.append(buffer, static_cast<size_t>(size));
  }
  EXPECT_THAT(text, HasSubstr("to the terminal\r\n"));
}

TEST_F(OciTest, WritesAConfigurationThatRuns) {
  fs::remove(dir_ + "/bundle/config.json");
  ASSERT_EQ(Oci({"spec", "-b", dir_ + "/bundle"}).code, 0);
  EXPECT_EQ(Oci({"spec", "-b", dir_ + "/bundle"}).code, 1);
  std::string config = Read(dir_ + "/bundle/config.json");
  config = absl::StrReplaceAll(
      config, {{"\"terminal\": true", "\"terminal\": false"}, {"\"sh\"", "\"true\""}});
  std::ofstream(dir_ + "/bundle/config.json") << config;
  const Result result = Oci({"run", "-b", dir_ + "/bundle", "c1"});
  EXPECT_EQ(result.code, 0) << result.output;
}

TEST_F(OciTest, AnswersWhatItIs) {
  EXPECT_THAT(Oci({"version"}).output, HasSubstr("gantry-oci version "));
  EXPECT_THAT(Oci({"features"}).output, HasSubstr("\"ociVersionMax\": \"1.2.0\""));
  EXPECT_EQ(Oci({"nonsense"}).code, 1);
  EXPECT_THAT(Oci({"help"}).output, HasSubstr("create"));
}

}  // namespace
}  // namespace gantry::runtime
