// gantry image ls, rm, import, explain, inspect.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"

#include "cri/cli/command.h"
#include "cri/cli/format.h"
#include "cri/cli/pull.h"
#include "runtime/linux/file.h"

namespace gantry::cli {
namespace {

constexpr size_t kChunk = 1 << 20;  // what gantry.v1 allows in one message

struct ImageArguments {
  std::vector<std::string> images;
  std::string image;
  std::string file;
  std::string name;
  bool quiet = false;
};

// "name:tag" or, for an image without a tag, "name@sha256:…" or "<none>".
std::vector<std::string> NamesOf(const api::Image& image) {
  if (image.repo_tags_size() > 0) return {image.repo_tags().begin(), image.repo_tags().end()};
  if (image.repo_digests_size() > 0) return {image.repo_digests(0)};
  return {"<none>"};
}

StatusOr<int> Ls(const CommandContext& context, const ImageArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  const api::ListImagesRequest request;
  ASSIGN_OR_RETURN(const api::ListImagesResponse response,
                   Call<api::ListImagesResponse>("list images", [&](auto* call, auto* answer) {
                     return client->images().ListImages(call, request, answer);
                   }));
  std::vector<std::vector<std::string>> rows;
  if (!arguments.quiet) rows.push_back({"IMAGE", "ID", "SIZE"});
  for (const api::Image& image : response.images()) {
    if (arguments.quiet) {
      rows.push_back({Printable(image.id())});
      continue;
    }
    for (const std::string& name : NamesOf(image)) {
      rows.push_back({Printable(name), ShortId(image.id()), HumanSize(image.size())});
    }
  }
  printf("%s", Table(rows).c_str());
  return 0;
}

StatusOr<int> Rm(const CommandContext& context, const ImageArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  for (const std::string& image : arguments.images) {
    // CRI calls it success when there is none; a person has mistyped.
    ASSIGN_OR_RETURN(const bool here, HasImage(*client, image));
    if (!here) {
      return absl::NotFoundError(
          absl::StrCat("no image \"", image, "\"; `gantry image ls` lists all"));
    }
    api::RemoveImageRequest request;
    request.mutable_image()->set_image(image);
    RETURN_IF_ERROR(Call<api::RemoveImageResponse>(
                        absl::StrCat("remove image \"", image, "\""),
                        [&](auto* call, auto* answer) {
                          return client->images().RemoveImage(call, request, answer);
                        },
                        absl::Minutes(2))
                        .status());
    printf("%s\n", image.c_str());
  }
  return 0;
}

Status SendArchive(int fd, const ImageArguments& arguments,
                   grpc::ClientWriter<own::ImportImageRequest>& writer) {
  own::ImportImageRequest message;
  message.set_name(arguments.name);
  std::string& chunk = *message.mutable_chunk();
  while (true) {
    chunk.resize(kChunk);
    const ssize_t n = read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SyscallError("read", arguments.file);
    chunk.resize(static_cast<size_t>(n));
    // A write fails when the daemon has given up: its reason comes with Finish.
    if (n == 0 || !writer.Write(message)) return absl::OkStatus();
    message.clear_name();
  }
}

StatusOr<int> Import(const CommandContext& context, const ImageArguments& arguments) {
  UniqueFd file;
  if (arguments.file != "-") {
    ASSIGN_OR_RETURN(file, OpenAt(AT_FDCWD, arguments.file, O_RDONLY));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  grpc::ClientContext call;
  own::ImportImageResponse response;
  const auto writer = client->gantry().ImportImage(&call, &response);
  const Status sent = SendArchive(file.valid() ? file.get() : STDIN_FILENO, arguments, *writer);
  if (!sent.ok()) call.TryCancel();
  writer->WritesDone();
  const Status imported =
      FromRpc(writer->Finish(), absl::StrCat("import \"", arguments.file, "\""));
  RETURN_IF_ERROR(sent);
  RETURN_IF_ERROR(imported);
  for (const auto& image : response.images()) {
    for (const std::string& name : image.names()) printf("%s  ", Printable(name).c_str());
    printf("%s\n", Printable(image.id()).c_str());
  }
  return 0;
}

StatusOr<int> Explain(const CommandContext& context, const ImageArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  own::ExplainImageRequest request;
  request.set_image(arguments.image);
  const std::string what = absl::StrCat("explain \"", arguments.image, "\"");
  ASSIGN_OR_RETURN(const own::ExplainImageResponse response,
                   Call<own::ExplainImageResponse>(
                       what,
                       [&](auto* call, auto* answer) {
                         return client->gantry().ExplainImage(call, request, answer);
                       },
                       absl::Minutes(5)));
  std::vector<std::vector<std::string>> rows;
  for (const auto& decision : response.decisions())
    rows.push_back({Printable(decision.subject()), Printable(decision.text())});
  int number = 0;
  for (const auto& layer : response.layers()) {
    rows.push_back({absl::StrCat("layer ", ++number),
                    absl::StrCat(Printable(layer.digest()), ", ", HumanSize(layer.size()), ", ",
                                 Printable(layer.media_type()),
                                 layer.present() ? ", is here" : ", to be fetched")});
  }
  printf("%s", Table(rows).c_str());
  if (response.code() == 0) return 0;
  return Annotate(Status(static_cast<absl::StatusCode>(response.code()), response.error()),
                  absl::StrCat(what, ": a pull would fail"));
}

StatusOr<int> Inspect(const CommandContext& context, const ImageArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  own::InspectImageRequest request;
  request.set_image(arguments.image);
  ASSIGN_OR_RETURN(
      const own::InspectImageResponse response,
      Call<own::InspectImageResponse>(absl::StrCat("inspect \"", arguments.image, "\""),
                                      [&](auto* call, auto* answer) {
                                        return client->gantry().InspectImage(call, request, answer);
                                      }));
  printf("%s\n", response.json().c_str());
  return 0;
}

using Action = StatusOr<int> (*)(const CommandContext&, const ImageArguments&);

struct Subcommand {
  CLI::App* command;
  std::shared_ptr<ImageArguments> arguments;
};

Subcommand Add(CLI::App& group, CommandContext& context, const char* name, const char* what,
               Action action) {
  auto arguments = std::make_shared<ImageArguments>();
  CLI::App* command = group.add_subcommand(name, what);
  AddSocketOption(*command, context);
  command->callback([&context, arguments, action] {
    context.action = [&context, arguments, action] { return action(context, *arguments); };
  });
  return {command, arguments};
}

}  // namespace

void AddImageCommands(CLI::App& app, CommandContext& context) {
  CLI::App* group = app.add_subcommand(
      "image", "List, remove, import, export, check, verify, explain and inspect images");
  group->require_subcommand(1);
  const Subcommand ls = Add(*group, context, "ls", "List images", Ls);
  ls.command->add_flag("-q,--quiet", ls.arguments->quiet, "Ids alone");
  ls.command->footer("Example:\n  gantry image ls");

  const Subcommand rm = Add(*group, context, "rm", "Remove images, with all their names", Rm);
  rm.command->add_option("IMAGE", rm.arguments->images, "Names or ids")->required();
  rm.command->footer("Example:\n  gantry image rm busybox:1.36");

  const Subcommand import =
      Add(*group, context, "import", "Read a docker save or OCI layout archive", Import);
  import.command->add_option("FILE", import.arguments->file, "The archive; - is standard input")
      ->required();
  import.command->add_option("--name", import.arguments->name,
                             "Name for an archive with one image that has none");
  import.command->footer(
      "Examples:\n  gantry image import app.tar\n  docker save app | gantry image import -");

  const Subcommand explain =
      Add(*group, context, "explain",
          "Print what a pull would do and why: files, mirrors, logins, platform, digests", Explain);
  explain.command->add_option("IMAGE", explain.arguments->image, "Name of an image")->required();
  explain.command->footer("Example:\n  gantry image explain registry.k8s.io/pause:3.10");

  const Subcommand inspect =
      Add(*group, context, "inspect", "Print what is known of an image, as JSON", Inspect);
  inspect.command->add_option("IMAGE", inspect.arguments->image, "Name or id")->required();
  inspect.command->footer("Example:\n  gantry image inspect busybox");

  AddImageCheckCommands(*group, context);
}

}  // namespace gantry::cli
