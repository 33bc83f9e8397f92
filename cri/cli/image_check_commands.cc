// gantry image check, verify, export: what lies on disk, and the way out of it.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "cri/cli/client.h"
#include "cri/cli/command.h"
#include "cri/cli/format.h"
#include "runtime/linux/file.h"

namespace gantry::cli {
namespace {

struct CheckArguments {
  std::string image;
  std::vector<std::string> images;
  std::string file;
  bool deep = false, repair = false;
};

// 1 when something is wrong after all.
StatusOr<int> CheckLayers(const CommandContext& context, const CheckArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  own::CheckImagesRequest request;
  request.set_contents(arguments.deep);
  request.set_repair(arguments.repair);
  ASSIGN_OR_RETURN(const own::CheckImagesResponse response,
                   Call<own::CheckImagesResponse>(
                       "check images",
                       [&](auto* call, auto* answer) {
                         return client->gantry().CheckImages(call, request, answer);
                       },
                       absl::Hours(12)));
  for (const auto& damage : response.damages()) {
    printf("layer %s: %s\n", Printable(damage.layer()).c_str(),
           Printable(damage.problem()).c_str());
    for (const std::string& image : damage.images())
      printf("  of image %s\n", Printable(image).c_str());
  }
  for (const auto& repair : response.repairs()) {
    printf("image %s: %s\n", Printable(repair.image()).c_str(),
           repair.error().empty()
               ? absl::StrCat("pulled again as ", Printable(repair.reference())).c_str()
               : Printable(repair.error()).c_str());
  }
  for (const std::string& image : response.incomplete())
    printf("image %s misses a layer: pull it again, or use --repair\n", Printable(image).c_str());
  const bool healthy =
      response.incomplete().empty() && (response.damages().empty() || arguments.repair);
  if (healthy && response.damages().empty()) printf("all layers are as they were written\n");
  return healthy ? 0 : 1;
}

StatusOr<int> VerifyImage(const CommandContext& context, const CheckArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  own::VerifyImageRequest request;
  request.set_image(arguments.image);
  grpc::ClientContext call;
  const auto reader = client->gantry().VerifyImage(&call, request);
  own::VerifyImageResponse message;
  int unproved = 0;
  while (reader->Read(&message)) {
    if (!message.problem().empty()) ++unproved;
    printf("layer %s  %s\n", Printable(message.layer()).c_str(),
           message.problem().empty() ? absl::StrCat("is ", Printable(message.diff_id())).c_str()
                                     : Printable(message.problem()).c_str());
    fflush(stdout);
  }
  RETURN_IF_ERROR(
      FromRpc(reader->Finish(), absl::StrCat("verify image \"", arguments.image, "\"")));
  return unproved == 0 ? 0 : 1;
}

StatusOr<int> ExportImages(const CommandContext& context, const CheckArguments& arguments) {
  UniqueFd file;
  if (arguments.file != "-") {
    ASSIGN_OR_RETURN(file, OpenAt(AT_FDCWD, arguments.file, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  } else if (isatty(STDOUT_FILENO) != 0) {
    return absl::InvalidArgumentError("an archive is not for a terminal: use -o FILE");
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  own::ExportImagesRequest request;
  for (const std::string& image : arguments.images) request.add_images(image);
  grpc::ClientContext call;
  const auto reader = client->gantry().ExportImages(&call, request);
  own::ExportImagesResponse message;
  Status written;
  while (written.ok() && reader->Read(&message)) {
    written = WriteAll(file.valid() ? file.get() : STDOUT_FILENO, message.chunk(), arguments.file);
    if (!written.ok()) call.TryCancel();
  }
  while (reader->Read(&message)) {
  }
  const Status sent =
      FromRpc(reader->Finish(), absl::StrCat("export ", absl::StrJoin(arguments.images, " ")));
  Status status = written.ok() ? sent : written;
  // Half an archive is worse than none.
  if (!status.ok() && file.valid()) unlink(arguments.file.c_str());
  RETURN_IF_ERROR(status);
  return 0;
}

}  // namespace

void AddImageCheckCommands(CLI::App& group, CommandContext& context) {
  const auto add = [&](const char* name, const char* what, auto action) {
    auto arguments = std::make_shared<CheckArguments>();
    CLI::App* command = group.add_subcommand(name, what);
    AddSocketOption(*command, context);
    command->callback([&context, arguments, action] {
      context.action = [&context, arguments, action] { return action(context, *arguments); };
    });
    return std::pair(command, arguments);
  };
  const auto [check, check_arguments] = add("check", "Look for damaged layers", CheckLayers);
  check->add_flag("--deep", check_arguments->deep, "Read every byte of every layer");
  check->add_flag("--repair", check_arguments->repair,
                  "Set damaged layers aside and pull their images again");
  check->footer("Examples:\n  gantry image check\n  gantry image check --deep --repair");

  const auto [verify, verify_arguments] =
      add("verify", "Prove that an image's layers are what its digests name", VerifyImage);
  verify->add_option("IMAGE", verify_arguments->image, "Name or id")->required();
  verify->footer("Example:\n  gantry image verify busybox:1.36");

  const auto [exported, export_arguments] =
      add("export", "Write images to an archive (OCI layout, also for docker load)", ExportImages);
  exported->add_option("IMAGE", export_arguments->images, "Names or ids")->required();
  exported->add_option("-o,--output", export_arguments->file, "The archive; - is standard output")
      ->required();
  exported->footer(
      "Examples:\n  gantry image export -o app.tar app:1\n  gantry image export -o - app:1 | "
      "docker load");
}

}  // namespace gantry::cli
