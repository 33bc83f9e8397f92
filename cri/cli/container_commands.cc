// gantry ps, stop, rm.
#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"

#include "cri/cli/command.h"
#include "cri/cli/format.h"
#include "cri/cli/log_follow.h"
#include "cri/cli/lookup.h"
#include "cri/cli/run_config.h"

namespace gantry::cli {
namespace {

struct ContainerArguments {
  std::vector<std::string> containers;
  bool all = false;
  bool quiet = false;
  bool force = false;
  int64_t timeout = 10;
};

std::string StateText(const api::Container& container) {
  switch (container.state()) {
    case api::CONTAINER_CREATED:
      return "created";
    case api::CONTAINER_RUNNING:
      return "running";
    case api::CONTAINER_EXITED:
      return "exited";
    default:
      return "unknown";
  }
}

StatusOr<int> Ps(const CommandContext& context, const ContainerArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  ASSIGN_OR_RETURN(const std::vector<api::Container> containers,
                   ListContainers(*client, arguments.all));
  std::vector<std::vector<std::string>> rows;
  if (!arguments.quiet) rows.push_back({"CONTAINER", "NAME", "IMAGE", "STATE", "AGE", "POD"});
  for (const api::Container& container : containers) {
    if (arguments.quiet) {
      rows.push_back({container.id()});
      continue;
    }
    rows.push_back({ShortId(container.id()), Printable(container.metadata().name()),
                    Printable(container.image().image()), StateText(container),
                    HumanDuration(absl::Now() - absl::FromUnixNanos(container.created_at())),
                    ShortId(container.pod_sandbox_id())});
  }
  printf("%s", Table(rows).c_str());
  return 0;
}

Status StopOne(Client& client, const std::string& name, int64_t timeout) {
  ASSIGN_OR_RETURN(const api::Container container, FindContainer(client, name));
  api::StopContainerRequest request;
  request.set_container_id(container.id());
  request.set_timeout(timeout);
  return Call<api::StopContainerResponse>(
             absl::StrCat("stop \"", name, "\""),
             [&](auto* context, auto* answer) {
               return client.runtime().StopContainer(context, request, answer);
             },
             absl::Seconds(timeout) + kQueryLimit)
      .status();
}

Status RemoveOne(Client& client, const std::string& name, bool force) {
  ASSIGN_OR_RETURN(const api::Container container, FindContainer(client, name));
  if (container.state() == api::CONTAINER_RUNNING && !force) {
    return absl::FailedPreconditionError(
        absl::StrCat("container \"", name, "\" is running; stop it first, or use gantry rm -f"));
  }
  api::PodSandboxStatusRequest pod;
  pod.set_pod_sandbox_id(container.pod_sandbox_id());
  const auto owner = Call<api::PodSandboxStatusResponse>("pod", [&](auto* context, auto* answer) {
    return client.runtime().PodSandboxStatus(context, pod, answer);
  });
  if (owner.ok() && IsRunUid(owner->status().metadata().uid())) {
    return RemovePod(client, container.pod_sandbox_id());
  }
  api::RemoveContainerRequest request;
  request.set_container_id(container.id());
  return Call<api::RemoveContainerResponse>(
             absl::StrCat("remove \"", name, "\""),
             [&](auto* context, auto* answer) {
               return client.runtime().RemoveContainer(context, request, answer);
             },
             absl::Minutes(3))
      .status();
}

// All of them, past errors; the first error is returned, the others are printed.
StatusOr<int> ForEach(const CommandContext& context, const ContainerArguments& arguments,
                      const std::function<Status(Client&, const std::string&)>& act) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  Status first;
  for (const std::string& name : arguments.containers) {
    const Status status = act(*client, name);
    if (status.ok()) {
      printf("%s\n", name.c_str());
    } else if (first.ok()) {
      first = status;
    } else {
      fprintf(stderr, "gantry: %s\n", std::string(status.message()).c_str());
    }
  }
  if (!first.ok()) return first;
  return 0;
}

void AddPs(CLI::App& app, CommandContext& context) {
  auto arguments = std::make_shared<ContainerArguments>();
  CLI::App* command = app.add_subcommand("ps", "List containers");
  AddSocketOption(*command, context);
  command->add_flag("-a,--all", arguments->all, "Those that do not run too");
  command->add_flag("-q,--quiet", arguments->quiet, "Whole ids alone");
  command->footer("Examples:\n  gantry ps\n  gantry rm $(gantry ps -aq)");
  command->callback([&context, arguments] {
    context.action = [&context, arguments] { return Ps(context, *arguments); };
  });
}

void AddStop(CLI::App& app, CommandContext& context) {
  auto arguments = std::make_shared<ContainerArguments>();
  CLI::App* command = app.add_subcommand("stop", "Stop containers");
  AddSocketOption(*command, context);
  command->add_option("CONTAINER", arguments->containers, "Ids or names")->required();
  command->add_option("-t,--time", arguments->timeout, "Seconds until it is killed (default 10)")
      ->check(CLI::NonNegativeNumber);
  command->footer("Examples:\n  gantry stop web\n  gantry stop -t 0 web db");
  command->callback([&context, arguments] {
    context.action = [&context, arguments] {
      return ForEach(context, *arguments, [&](Client& client, const std::string& name) {
        return StopOne(client, name, arguments->timeout);
      });
    };
  });
}

void AddRm(CLI::App& app, CommandContext& context) {
  auto arguments = std::make_shared<ContainerArguments>();
  CLI::App* command =
      app.add_subcommand("rm", "Remove containers; those of `gantry run` with their pods and logs");
  AddSocketOption(*command, context);
  command->add_option("CONTAINER", arguments->containers, "Ids or names")->required();
  command->add_flag("-f,--force", arguments->force, "Kill what runs");
  command->footer("Examples:\n  gantry rm web\n  gantry rm -f $(gantry ps -aq)");
  command->callback([&context, arguments] {
    context.action = [&context, arguments] {
      return ForEach(context, *arguments, [&](Client& client, const std::string& name) {
        return RemoveOne(client, name, arguments->force);
      });
    };
  });
}

}  // namespace

void AddContainerCommands(CLI::App& app, CommandContext& context) {
  AddPs(app, context);
  AddStop(app, context);
  AddRm(app, context);
}

}  // namespace gantry::cli
