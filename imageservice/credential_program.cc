#include "imageservice/credential_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#define JSON_NO_IO
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/spawn.h"

namespace gantry::images {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxAnswer = 64 << 10;
constexpr char kUsualPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
// What helpers print, on standard output, when they have no login (credentials/error.go there).
constexpr absl::string_view kNoLogin = "credentials not found in native keychain";

// The helper's path; empty: there is none.
std::string FindProgram(const CredentialHelper& helper) {
  std::string path = kUsualPath;
  for (const std::string& variable : helper.environment) {
    if (absl::StartsWith(variable, "PATH=")) path = variable.substr(5);
  }
  for (const absl::string_view directory : absl::StrSplit(path, ':', absl::SkipEmpty())) {
    if (!absl::StartsWith(directory, "/")) continue;
    std::string program = absl::StrCat(directory, "/docker-credential-", helper.name);
    if (access(program.c_str(), X_OK) == 0) return program;
  }
  return "";
}

bool IsHelperName(absl::string_view name) {
  return !name.empty() && name.size() <= 128 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

int MillisecondsUntil(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::max<int64_t>(left.count(), 0));
}

// One run of a helper; kills it when it goes.
class HelperRun {
 public:
  explicit HelperRun(Clock::time_point deadline) : deadline_(deadline) {}
  HelperRun(const HelperRun&) = delete;
  HelperRun& operator=(const HelperRun&) = delete;
  ~HelperRun() {
    if (!pidfd_.valid()) return;
    static_cast<void>(SignalPidFd(pidfd_.get(), SIGKILL));
    static_cast<void>(WaitPidFd(pidfd_.get(), /*block=*/true));
  }

  Status Start(const std::string& program, const CredentialHelper& helper,
               const std::string& server) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0) return SyscallError("pipe2");
    const UniqueFd input_read(in[0]);
    UniqueFd input_write(in[1]);
    if (pipe2(out, O_CLOEXEC) != 0) return SyscallError("pipe2");
    output_ = UniqueFd(out[0]);
    const UniqueFd output_write(out[1]);
    ASSIGN_OR_RETURN(const UniqueFd null, OpenAt(AT_FDCWD, "/dev/null", O_RDWR));
    // A server's name fits into a pipe (pipe(7): 64 KiB): nobody has to read it yet.
    RETURN_IF_ERROR(WriteAll(input_write.get(), server, "credential helper's input"));
    SpawnRequest request;
    request.path = program;
    request.args = {absl::StrCat("docker-credential-", helper.name), "get"};
    request.env = helper.environment;
    request.fds = {{input_read.get(), STDIN_FILENO},
                   {output_write.get(), STDOUT_FILENO},
                   {null.get(), STDERR_FILENO}};
    request.new_session = true;
    ASSIGN_OR_RETURN(ClonedProcess process, Spawn(request));
    pidfd_ = std::move(process.pidfd);
    return absl::OkStatus();
  }

  // All that it prints, until it closes its output.
  StatusOr<std::string> Output() {
    std::string output;
    std::array<char, 4096> piece;
    for (;;) {
      RETURN_IF_ERROR(Await(output_.get()));
      const ssize_t size = read(output_.get(), piece.data(), piece.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return SyscallError("read", "credential helper's output");
      if (size == 0) return output;
      output.append(piece.data(), static_cast<size_t>(size));
      if (output.size() > kMaxAnswer)
        return absl::FailedPreconditionError("it answers more than 64 KiB");
    }
  }

  StatusOr<ExitStatus> End() {
    RETURN_IF_ERROR(Await(pidfd_.get()));
    ASSIGN_OR_RETURN(const std::optional<ExitStatus> status, WaitPidFd(pidfd_.get(), true));
    pidfd_.Reset();
    return *status;
  }

 private:
  Status Await(int fd) const {
    struct pollfd polled = {fd, POLLIN, 0};
    int ready;
    do {
      ready = poll(&polled, 1, MillisecondsUntil(deadline_));
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) return SyscallError("poll");
    if (ready == 0) return absl::UnavailableError("it does not answer in time");
    return absl::OkStatus();
  }

  const Clock::time_point deadline_;
  UniqueFd output_, pidfd_;
};

StatusOr<Credentials> ReadAnswer(const std::string& output, const std::string& server) {
  const auto document =
      ParseJson(output, {.max_bytes = kMaxAnswer, .max_depth = 4, .max_values = 1000});
  Credentials credentials;
  credentials.server_address = server;
  Status status;
  if (document.ok() && document->is_object()) {
    const JsonReader root(*document, status);
    root.Read("Username", credentials.username);
    root.Read("Secret", credentials.password);
  }
  if (!status.ok() || credentials.password.empty())
    return absl::FailedPreconditionError("its answer is no JSON with Username and Secret");
  return credentials;
}

StatusOr<std::optional<Credentials>> Run(const CredentialHelper& helper,
                                         const std::string& server) {
  if (!IsHelperName(helper.name)) return absl::FailedPreconditionError("that is no helper's name");
  const std::string program = FindProgram(helper);
  if (program.empty()) return absl::FailedPreconditionError("there is no such program in PATH");
  HelperRun run(Clock::now() + helper.deadline);
  RETURN_IF_ERROR(run.Start(program, helper, server));
  ASSIGN_OR_RETURN(const std::string output, run.Output());
  ASSIGN_OR_RETURN(const ExitStatus status, run.End());
  if (status.Code() == 0) {
    ASSIGN_OR_RETURN(Credentials credentials, ReadAnswer(output, server));
    return std::optional<Credentials>(std::move(credentials));
  }
  if (absl::StrContains(output, kNoLogin)) return std::optional<Credentials>();
  return absl::FailedPreconditionError(absl::StrCat("it fails with ", status.Code()));
}

}  // namespace

StatusOr<std::optional<Credentials>> AskCredentialHelper(const CredentialHelper& helper,
                                                         const std::string& server) {
  auto answer = Run(helper, server);
  if (answer.ok()) return answer;
  return Annotate(answer.status(),
                  absl::StrCat("credential helper docker-credential-", helper.name.substr(0, 128)));
}

}  // namespace gantry::images
