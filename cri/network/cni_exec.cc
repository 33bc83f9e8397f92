#include "cri/network/cni_exec.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/spawn.h"

namespace gantry::cri {
namespace {

constexpr size_t kMaxOutput = 4 << 20;
constexpr size_t kMaxErrorText = 4 << 10;  // of standard error, its end
constexpr char kCodePayload[] = "gantry/cni_code";
constexpr int kBusyRetries = 25;
constexpr absl::Duration kBusyPause = absl::Milliseconds(200);

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SyscallError("pipe2");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// A running plugin and our ends of its three pipes.
struct Plugin {
  ClonedProcess process;
  UniqueFd input;
  UniqueFd output;
  UniqueFd errors;
};

std::vector<std::string> Environment(const PluginCall& call) {
  std::vector<std::string> env;
  bool has_path = false;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const absl::string_view text(*variable);
    // The service manager's variables are the daemon's own.
    if (absl::StartsWith(text, "CNI_") || absl::StartsWith(text, "NOTIFY_SOCKET=") ||
        absl::StartsWith(text, "LISTEN_") || absl::StartsWith(text, "WATCHDOG_")) {
      continue;
    }
    has_path = has_path || absl::StartsWith(text, "PATH=");
    env.emplace_back(text);
  }
  if (!has_path) env.push_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  env.insert(env.end(), call.env.begin(), call.env.end());
  env.push_back(absl::StrCat("CNI_COMMAND=", call.command));
  return env;
}

// A plugin that is being installed cannot be executed while somebody has it open for writing.
StatusOr<ClonedProcess> SpawnWhenWritten(const SpawnRequest& request, const Deadline& deadline) {
  StatusOr<ClonedProcess> process = Spawn(request);
  for (int i = 0; i < kBusyRetries && ErrnoOf(process.status()) == ETXTBSY; ++i) {
    if (deadline.Left() <= kBusyPause) break;
    absl::SleepFor(kBusyPause);
    process = Spawn(request);
  }
  return process;
}

StatusOr<Plugin> Start(const PluginCall& call) {
  ASSIGN_OR_RETURN(Pipe input, MakePipe());
  ASSIGN_OR_RETURN(Pipe output, MakePipe());
  ASSIGN_OR_RETURN(Pipe errors, MakePipe());
  for (const int fd : {input.write.get(), output.read.get(), errors.read.get()}) {
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return SyscallError("fcntl", "pipe");
  }
  SpawnRequest request;
  request.path = call.path;
  request.args = {call.path};
  request.env = Environment(call);
  request.fds = {{input.read.get(), STDIN_FILENO},
                 {output.write.get(), STDOUT_FILENO},
                 {errors.write.get(), STDERR_FILENO}};
  request.new_session = true;
  ASSIGN_OR_RETURN(ClonedProcess process, SpawnWhenWritten(request, call.deadline));
  return Plugin{std::move(process), std::move(input.write), std::move(output.read),
                std::move(errors.read)};
}

class Conversation {
 public:
  Conversation(Plugin& plugin, const PluginCall& call) : plugin_(plugin), call_(call) {}

  // Until the plugin has exited. False: the deadline passed, it was cancelled, or wrote too much.
  bool Run() {
    while (!exited_) {
      const absl::Duration left = call_.deadline.Left();
      if (left <= absl::ZeroDuration() || output_.size() > kMaxOutput || cancelled_) return false;
      // Negative descriptors are skipped by poll.
      std::array<pollfd, 5> fds = {{{plugin_.input.get(), POLLOUT, 0},
                                    {plugin_.output.get(), POLLIN, 0},
                                    {plugin_.errors.get(), POLLIN, 0},
                                    {plugin_.process.pidfd.get(), POLLIN, 0},
                                    {call_.cancel_fd, POLLIN, 0}}};
      const absl::Duration wait = std::min(left + absl::Milliseconds(1), absl::Minutes(1));
      poll(fds.data(), fds.size(), static_cast<int>(absl::ToInt64Milliseconds(wait)));
      exited_ = fds[3].revents != 0;
      cancelled_ = fds[4].revents != 0;
      if (fds[0].revents != 0) WriteInput();
      // After the exit too: what it wrote is still in the pipes. What its children, if any are
      // left, write later is not waited for.
      Drain(plugin_.output, output_, kMaxOutput + 1);
      Drain(plugin_.errors, errors_, 0);
    }
    return output_.size() <= kMaxOutput;
  }

  [[nodiscard]] const std::string& output() const { return output_; }
  [[nodiscard]] bool cancelled() const { return cancelled_; }
  [[nodiscard]] std::string error_text() const {
    return std::string(absl::StripAsciiWhitespace(errors_));
  }

 private:
  // SIGPIPE is ignored by the daemon; a plugin that does not read its input is no error.
  void WriteInput() {
    const absl::string_view rest = absl::string_view(call_.input).substr(written_);
    const ssize_t n = rest.empty() ? 0 : write(plugin_.input.get(), rest.data(), rest.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    written_ += n > 0 ? static_cast<size_t>(n) : 0;
    if (n < 0 || written_ == call_.input.size()) plugin_.input.Reset();
  }

  // With `limit` 0 the end of the text is kept, else its beginning.
  static void Drain(UniqueFd& fd, std::string& text, size_t limit) {
    char buffer[16 << 10];
    while (fd.valid() && (limit == 0 || text.size() < limit)) {
      const ssize_t n = read(fd.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) {
        fd.Reset();
        return;
      }
      text.append(buffer, static_cast<size_t>(n));
      if (limit == 0 && text.size() > kMaxErrorText) text.erase(0, text.size() - kMaxErrorText);
    }
  }

  Plugin& plugin_;
  const PluginCall& call_;
  size_t written_ = 0;
  bool exited_ = false;
  bool cancelled_ = false;
  std::string output_;
  std::string errors_;
};

Status ErrorObject(const nlohmann::json& answer) {
  std::string message;
  for (const char* key : {"msg", "details"}) {
    const auto found = answer.find(key);
    if (found == answer.end() || !found->is_string()) continue;
    const std::string text = found->get<std::string>();
    if (!text.empty()) absl::StrAppend(&message, message.empty() ? "" : "; ", text);
  }
  const auto found = answer.find("code");
  const int code = found != answer.end() && found->is_number_integer() ? found->get<int>() : 0;
  if (message.empty()) message = absl::StrCat("error ", code, " without a message");
  constexpr int kTryAgainLater = 11;
  Status status =
      code == kTryAgainLater ? absl::UnavailableError(message) : absl::InternalError(message);
  status.SetPayload(kCodePayload, absl::Cord(absl::StrCat(code)));
  return status;
}

// The error object that ends the output. Plugins have printed log lines, or a result, before it.
std::optional<nlohmann::json> LastErrorObject(absl::string_view output) {
  constexpr int kMaxTries = 64;
  size_t from = output.size();
  for (int i = 0; i < kMaxTries && from > 0; ++i) {
    from = output.rfind('{', from - 1);
    if (from == absl::string_view::npos) break;
    StatusOr<nlohmann::json> answer = ParseJson(output.substr(from));
    if (answer.ok() && answer->is_object() && answer->contains("code")) return *std::move(answer);
  }
  return std::nullopt;
}

Status Failure(const Conversation& talk, const ExitStatus& exit) {
  const std::optional<nlohmann::json> answer = LastErrorObject(talk.output());
  if (answer.has_value()) return ErrorObject(*answer);
  const std::string how = exit.signaled ? absl::StrCat("killed by signal ", exit.value)
                                        : absl::StrCat("exit status ", exit.value);
  std::string text = talk.error_text();
  if (text.empty()) {
    text = talk.output().substr(0, kMaxErrorText);
    absl::StripAsciiWhitespace(&text);
  }
  return absl::InternalError(text.empty() ? how : absl::StrCat(how, ": ", text));
}

}  // namespace

StatusOr<std::string> RunPlugin(const PluginCall& call) {
  ASSIGN_OR_RETURN(Plugin plugin, Start(call));
  Conversation talk(plugin, call);
  const bool ended = talk.Run();
  // Before it is reaped: as long as it is a zombie, its process group cannot be another one's.
  if (!ended) kill(-plugin.process.pid, SIGKILL);
  ASSIGN_OR_RETURN(const std::optional<ExitStatus> exit,
                   WaitPidFd(plugin.process.pidfd.get(), /*block=*/true));
  if (!ended && talk.output().size() > kMaxOutput) {
    return absl::InternalError(absl::StrCat("wrote more than ", kMaxOutput, " bytes"));
  }
  if (!ended && talk.cancelled()) return absl::CancelledError("killed: the daemon is ending");
  if (!ended) {
    const std::string text = talk.error_text();
    return absl::DeadlineExceededError(
        absl::StrCat("took too long and was killed", text.empty() ? "" : ": ", text));
  }
  if (!exit.has_value() || exit->Code() == 0) return talk.output();
  return Failure(talk, *exit);
}

std::optional<int> CniErrorCode(const Status& status) {
  const auto payload = status.GetPayload(kCodePayload);
  int code = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &code)) return std::nullopt;
  return code;
}

StatusOr<std::string> FindPlugin(absl::string_view type, const std::vector<std::string>& bin_dirs) {
  for (const std::string& dir : bin_dirs) {
    const std::string path = absl::StrCat(dir, "/", type);
    struct stat info = {};
    if (stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 0111) != 0) {
      return path;
    }
  }
  return absl::InternalError(
      absl::StrCat("CNI plugin \"", type, "\" is in none of ", absl::StrJoin(bin_dirs, ", ")));
}

}  // namespace gantry::cri
