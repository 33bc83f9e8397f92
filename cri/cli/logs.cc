#include <memory>
#include <optional>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"

#include "cri/cli/command.h"
#include "cri/cli/log_follow.h"
#include "cri/cli/lookup.h"

namespace gantry::cli {
namespace {

struct LogsArguments {
  std::string container;
  bool follow = false;
  bool timestamps = false;
  std::optional<size_t> tail;
};

StatusOr<int> Logs(const CommandContext& context, const LogsArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  ASSIGN_OR_RETURN(const api::Container container, FindContainer(*client, arguments.container));
  ASSIGN_OR_RETURN(const api::ContainerStatus status, StatusOf(*client, container.id()));
  if (status.log_path().empty()) {
    return absl::NotFoundError(
        absl::StrCat("container \"", arguments.container, "\" has no log: its pod keeps none"));
  }
  LogPrinter printer(arguments.timestamps);
  LogReader reader(status.log_path(), arguments.tail);
  const LogReader::Visitor visit = [&](const LogLine& line) { printer.Print(line); };
  if (!arguments.follow) {
    RETURN_IF_ERROR(reader.Read(visit));
    printer.Flush();
    return 0;
  }
  FollowRequest request;
  request.container_id = container.id();
  request.log_path = status.log_path();
  request.visit = visit;
  request.flush = [&] { printer.Flush(); };
  RETURN_IF_ERROR(FollowToExit(*client, reader, request).status());
  return 0;
}

}  // namespace

void AddLogsCommand(CLI::App& app, CommandContext& context) {
  auto arguments = std::make_shared<LogsArguments>();
  CLI::App* command = app.add_subcommand("logs", "Print the output of a container");
  AddSocketOption(*command, context);
  command->add_option("CONTAINER", arguments->container, "Id, beginning of an id, or name")
      ->required();
  command->add_flag("-f,--follow", arguments->follow, "Go on until the container has exited");
  command->add_flag("-t,--timestamps", arguments->timestamps, "Begin each line with its time");
  command->add_option("-n,--tail", arguments->tail, "The last lines only");
  command->footer(
      "Reads the log file of the node, so it needs the rights to do that.\n\n"
      "Examples:\n"
      "  gantry logs web\n"
      "  gantry logs -f --tail 20 3f2a");
  command->callback([&context, arguments] {
    context.action = [&context, arguments] { return Logs(context, *arguments); };
  });
}

}  // namespace gantry::cli
