// gantry run: a pod with one container, followed to its end.
//
//   image (pulled when missing) → RunPodSandbox → CreateContainer → StartContainer → log until the
//   exit → StopPodSandbox, and with --rm RemovePodSandbox
#include <cstdio>
#include <future>
#include <memory>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "cri/cli/attach.h"
#include "cri/cli/command.h"
#include "cri/cli/interrupts.h"
#include "cri/cli/log_follow.h"
#include "cri/cli/lookup.h"
#include "cri/cli/pull.h"
#include "cri/cli/run_config.h"

namespace gantry::cli {
namespace {

constexpr absl::Duration kStartLimit = absl::Minutes(5);
constexpr int64_t kStopSeconds = 10;
constexpr int kCannotExecute = 126;
constexpr int kNotFound = 127;

class Run {
 public:
  Run(Client& client, RunOptions options, Interrupts& interrupts)
      : client_(client), options_(std::move(options)), interrupts_(interrupts) {}

  StatusOr<int> ToTheEnd() {
    RETURN_IF_ERROR(GetImage());
    RETURN_IF_ERROR(ChooseNetwork());
    RETURN_IF_ERROR(Plan());
    const Status started = Start();
    if (!started.ok()) {
      RemoveQuietly();
      return started;
    }
    if (options_.detach) {
      printf("%s\n", container_id_.c_str());
      return 0;
    }
    if (Attached() && Interact() == SessionEnd::kDetached) {
      fprintf(stderr, "\r\ngantry: detached from \"%s\", which runs on\n", identity_.name.c_str());
      return 0;
    }
    const StatusOr<int> code = Follow();
    const Status finished = Finish();
    if (code.ok() && !finished.ok()) Warn(finished.message());
    return code;
  }

 private:
  static void Warn(absl::string_view text) {
    fprintf(stderr, "gantry: %s\n", std::string(text).c_str());
  }

  static Status Interrupted(absl::string_view what) {
    return WithExitCode(absl::CancelledError(absl::StrCat(what, ": interrupted")), kInterrupted);
  }

  Status GetImage() {
    ASSIGN_OR_RETURN(const bool here, HasImage(client_, options_.image));
    if (here) return absl::OkStatus();
    grpc::ClientContext call;
    interrupts_.CancelOnSignal(&call);
    PullOptions pull;
    pull.image = options_.image;
    const Status pulled = PullWithProgress(client_, pull, &call).status();
    interrupts_.CancelOnSignal(nullptr);
    if (interrupts_.count() > 0) return Interrupted(absl::StrCat("pull \"", options_.image, "\""));
    return pulled;
  }

  // Without a configured pod network the container still runs, with lo alone.
  Status ChooseNetwork() {
    if (options_.network != "pod") return absl::OkStatus();
    const api::StatusRequest request;
    ASSIGN_OR_RETURN(
        const api::StatusResponse response,
        Call<api::StatusResponse>("ask for the node's status", [&](auto* context, auto* answer) {
          return client_.runtime().Status(context, request, answer);
        }));
    for (const auto& condition : response.status().conditions()) {
      if (condition.type() != "NetworkReady" || condition.status()) continue;
      Warn(absl::StrCat("no pod network (", condition.message(),
                        "): the container has lo alone; --net host gives it the host's network"));
      options_.network = "none";
    }
    return absl::OkStatus();
  }

  Status Plan() {
    identity_.uid = NewRunUid();
    identity_.name = options_.name.empty() ? identity_.uid.substr(0, 12) : options_.name;
    ASSIGN_OR_RETURN(identity_.log_directory, RunLogDirectory(client_, identity_.uid));
    ASSIGN_OR_RETURN(plan_, PlanRun(options_, identity_));
    return absl::OkStatus();
  }

  Status Start() {
    RETURN_IF_ERROR(RunSandbox());
    RETURN_IF_ERROR(CreateContainer());
    // Before the start: the first prompt is part of the session.
    if (Attached()) {
      ASSIGN_OR_RETURN(url_,
                       AskToAttach(client_, {container_id_, options_.interactive, options_.tty}));
    }
    // A signal that comes later stops the container, whose code is then the answer.
    if (interrupts_.count() > 0) return Interrupted(absl::StrCat("start \"", identity_.name, "\""));
    api::StartContainerRequest start;
    start.set_container_id(container_id_);
    const Status status = Call<api::StartContainerResponse>(
                              absl::StrCat("start \"", identity_.name, "\""),
                              [&](auto* context, auto* answer) {
                                return client_.runtime().StartContainer(context, start, answer);
                              },
                              kStartLimit)
                              .status();
    // The child's own words, as execve gave them.
    if (absl::StrContains(status.message(), "Permission denied")) {
      return WithExitCode(status, kCannotExecute);
    }
    if (absl::StrContains(status.message(), "No such file or directory")) {
      return WithExitCode(status, kNotFound);
    }
    return status;
  }

  Status RunSandbox() {
    api::RunPodSandboxRequest request;
    *request.mutable_config() = plan_.sandbox;
    ASSIGN_OR_RETURN(const api::RunPodSandboxResponse response,
                     Call<api::RunPodSandboxResponse>(
                         absl::StrCat("run pod \"", identity_.name, "\""),
                         [&](auto* context, auto* answer) {
                           return client_.runtime().RunPodSandbox(context, request, answer);
                         },
                         kStartLimit));
    sandbox_id_ = response.pod_sandbox_id();
    return absl::OkStatus();
  }

  Status CreateContainer() {
    api::CreateContainerRequest request;
    request.set_pod_sandbox_id(sandbox_id_);
    *request.mutable_config() = plan_.container;
    *request.mutable_sandbox_config() = plan_.sandbox;
    ASSIGN_OR_RETURN(const api::CreateContainerResponse response,
                     Call<api::CreateContainerResponse>(
                         absl::StrCat("create container \"", identity_.name, "\""),
                         [&](auto* context, auto* answer) {
                           return client_.runtime().CreateContainer(context, request, answer);
                         },
                         kStartLimit));
    container_id_ = response.container_id();
    return absl::OkStatus();
  }

  // The first signal stops the container, the next ones kill it.
  void Stop() {
    interrupts_.Clear();
    const int64_t seconds = interrupts_.count() > 1 ? 0 : kStopSeconds;
    stops_.push_back(std::async(std::launch::async, [this, seconds] {
      api::StopContainerRequest request;
      request.set_container_id(container_id_);
      request.set_timeout(seconds);
      return Call<api::StopContainerResponse>(
                 absl::StrCat("stop \"", identity_.name, "\""),
                 [&](auto* context, auto* answer) {
                   return client_.runtime().StopContainer(context, request, answer);
                 },
                 absl::Seconds(seconds) + kQueryLimit)
          .status();
    }));
  }

  [[nodiscard]] bool Attached() const {
    return (options_.interactive || options_.tty) && !options_.detach;
  }

  // A session that breaks says so, and the container goes on to its end.
  SessionEnd Interact() {
    const StreamSession session = {url_, options_.interactive, options_.tty, interrupts_.fd()};
    const StatusOr<SessionResult> result = RelayStreams(session);
    if (!result.ok()) Warn(result.status().message());
    return result.ok() ? result->end : SessionEnd::kFinished;
  }

  StatusOr<int> Follow() {
    LogPrinter printer(/*timestamps=*/false);
    FollowRequest request;
    request.container_id = container_id_;
    request.log_path = absl::StrCat(identity_.log_directory, "/", kLogFile);
    // What a session has shown is not shown again.
    request.visit = [&](const LogLine& line) {
      if (!Attached()) printer.Print(line);
    };
    // Nobody reads any more: as in a pipe, that ends it.
    request.flush = [&] {
      if (!printer.Flush() && interrupts_.count() == 0) interrupts_.Raise();
    };
    request.wake_fd = interrupts_.fd();
    request.woken = [this] { Stop(); };
    LogReader reader(request.log_path);
    StatusOr<api::ContainerStatus> status = FollowToExit(client_, reader, request);
    for (std::future<Status>& stop : stops_) {
      const Status stopped = stop.get();
      if (!stopped.ok()) Warn(stopped.message());
    }
    RETURN_IF_ERROR(status.status());
    if (status->reason() == "OOMKilled") {
      Warn(absl::StrCat("container \"", identity_.name,
                        "\" was killed: it needed more memory than its limit"));
    }
    return status->exit_code();
  }

  Status Finish() {
    if (options_.remove) return RemovePod(client_, sandbox_id_);
    api::StopPodSandboxRequest request;
    request.set_pod_sandbox_id(sandbox_id_);
    return Call<api::StopPodSandboxResponse>(
               absl::StrCat("stop pod \"", identity_.name, "\""),
               [&](auto* context, auto* answer) {
                 return client_.runtime().StopPodSandbox(context, request, answer);
               },
               kStartLimit)
        .status();
  }

  void RemoveQuietly() {
    if (sandbox_id_.empty()) return RemoveRunLogs(identity_.log_directory);
    const Status removed = RemovePod(client_, sandbox_id_);
    if (!removed.ok()) Warn(removed.message());
  }

  Client& client_;
  RunOptions options_;
  Interrupts& interrupts_;
  RunIdentity identity_;
  RunPlan plan_;
  std::string sandbox_id_;
  std::string container_id_;
  std::string url_;  // of the session, when it is interactive
  std::vector<std::future<Status>> stops_;
};

StatusOr<int> RunAction(const CommandContext& context, RunOptions options,
                        const CLI::App& command) {
  ASSIGN_OR_RETURN(std::vector<std::string> words, TrailingWords(command, "IMAGE"));
  options.image = words.front();
  options.command.assign(words.begin() + 1, words.end());
  // What is wrong with the options is said before anything is pulled.
  RETURN_IF_ERROR(PlanRun(options, {}).status());
  Interrupts interrupts;
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  return Run(*client, std::move(options), interrupts).ToTheEnd();
}

void AddResourceOptions(CLI::App& command, RunOptions& options) {
  command.add_option("-m,--memory", options.memory, "Memory limit: 512m, 2g");
  command.add_option("--cpus", options.cpus, "Processors at most: 1.5");
  command.add_option("-u,--user", options.user, "User by number or name, with :GID at will");
  command.add_option("--cap-add", options.add_capabilities, "Capability to add")
      ->take_all()
      ->expected(1);
  command.add_option("--cap-drop", options.drop_capabilities, "Capability to drop; ALL")
      ->take_all()
      ->expected(1);
  command.add_flag("--read-only", options.read_only, "Root file system is read-only");
  command.add_flag("--privileged", options.privileged, "All devices and capabilities, no seccomp");
}

void AddRunOptions(CLI::App& command, RunOptions& options) {
  command.add_flag("--rm", options.remove, "Remove the container and its pod when it has exited");
  command.add_flag("-i,--interactive", options.interactive, "Standard input goes to the container");
  command.add_flag("-t,--tty", options.tty, "Give the container a terminal");
  command.add_flag("-d,--detach", options.detach, "Print the id and leave it running");
  command.add_option("--name", options.name, "Name of pod and container");
  command.add_option("--net", options.network, "pod (default), host, or none: lo alone");
  command.add_option("-p,--publish", options.publish, "[IP:]HOST_PORT:PORT[/tcp|udp|sctp]")
      ->take_all()
      ->expected(1);
  command
      .add_option("--mount", options.mounts,
                  "type=bind,source=DIR,target=DIR[,readonly][,propagation=rslave]")
      ->take_all()
      ->expected(1);
  command.add_option("-v,--volume", options.volumes, "SOURCE:TARGET[:ro]")->take_all()->expected(1);
  command.add_option("-e,--env", options.envs, "KEY=value, or KEY for the value here")
      ->take_all()
      ->expected(1);
  command.add_option("-w,--workdir", options.workdir, "Working directory");
  command.add_option("--hostname", options.hostname, "Host name (default: the name)");
  command.add_option("--entrypoint", options.entrypoint,
                     "Program in place of the image's ENTRYPOINT");
  AddResourceOptions(command, options);
}

}  // namespace

void AddRunCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand(
      "run", "Run a container in a pod of its own: gantry run [OPTIONS] IMAGE [COMMAND...]");
  AddSocketOption(*command, context);
  AddRunOptions(*command, *options);
  // From the image on all words are the container's.
  command->prefix_command();
  command->footer(
      "The image is pulled when it is not here. Output goes where the container writes it, the "
      "exit\n"
      "code is the container's (125: gantry failed, 126: cannot execute, 127: no such program).\n"
      "Ctrl-C stops the container, a second one kills it.\n\n"
      "Examples:\n"
      "  gantry run --rm busybox echo hello\n"
      "  gantry run --rm -it busybox sh\n"
      "  gantry run -d --name web -m 256m --cpus 0.5 -p 8080:80 nginx\n"
      "  gantry run --rm --net host -v /data:/data:ro -e MODE=test -u 1000:1000 alpine ls /data");
  command->callback([&context, options, command] {
    context.action = [&context, options, command] {
      return RunAction(context, *options, *command);
    };
  });
}

}  // namespace gantry::cli
