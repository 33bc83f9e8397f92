#include "cri/cli/lookup.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "cri/cli/run_config.h"

namespace gantry::cli {
namespace {

constexpr absl::Duration kTeardownLimit = absl::Minutes(3);

// The uid of a pod of `gantry run`; empty for other pods, and for those that are gone.
std::string RunUid(Client& client, const std::string& sandbox_id) {
  api::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(sandbox_id);
  const auto response =
      Call<api::PodSandboxStatusResponse>("pod", [&](auto* context, auto* answer) {
        return client.runtime().PodSandboxStatus(context, request, answer);
      });
  if (!response.ok() || !IsRunUid(response->status().metadata().uid())) return "";
  return response->status().metadata().uid();
}

}  // namespace

StatusOr<std::vector<api::Container>> ListContainers(Client& client, bool all) {
  api::ListContainersRequest request;
  if (!all) request.mutable_filter()->mutable_state()->set_state(api::CONTAINER_RUNNING);
  ASSIGN_OR_RETURN(
      const api::ListContainersResponse response,
      Call<api::ListContainersResponse>("list containers", [&](auto* context, auto* answer) {
        return client.runtime().ListContainers(context, request, answer);
      }));
  return std::vector<api::Container>(response.containers().begin(), response.containers().end());
}

StatusOr<api::Container> ChooseContainer(const std::vector<api::Container>& containers,
                                         const std::string& wanted) {
  std::vector<const api::Container*> by_name;
  std::vector<const api::Container*> by_prefix;
  for (const api::Container& container : containers) {
    if (container.id() == wanted) return container;
    if (container.metadata().name() == wanted) by_name.push_back(&container);
    if (!wanted.empty() && absl::StartsWith(container.id(), wanted))
      by_prefix.push_back(&container);
  }
  const auto& found = by_name.empty() ? by_prefix : by_name;
  if (found.size() == 1) return *found[0];
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no container \"", wanted, "\"; `gantry ps -a` lists all"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", wanted, "\" means ", found.size(), " containers; use more of the id"));
}

StatusOr<api::Container> FindContainer(Client& client, const std::string& wanted) {
  ASSIGN_OR_RETURN(const std::vector<api::Container> containers,
                   ListContainers(client, /*all=*/true));
  return ChooseContainer(containers, wanted);
}

StatusOr<std::string> RunLogDirectory(Client& client, const std::string& uid) {
  const own::InfoRequest request;
  ASSIGN_OR_RETURN(const own::InfoResponse info,
                   Call<own::InfoResponse>("ask gantryd", [&](auto* context, auto* answer) {
                     return client.gantry().Info(context, request, answer);
                   }));
  return absl::StrCat(info.root(), "/run-logs/", uid);
}

void RemoveRunLogs(const std::string& log_directory) {
  std::error_code error;
  std::filesystem::remove_all(log_directory, error);
  std::filesystem::remove(std::filesystem::path(log_directory).parent_path(), error);
}

Status RemovePod(Client& client, const std::string& sandbox_id) {
  const std::string uid = RunUid(client, sandbox_id);
  api::StopPodSandboxRequest stop;
  stop.set_pod_sandbox_id(sandbox_id);
  RETURN_IF_ERROR(Call<api::StopPodSandboxResponse>(
                      absl::StrCat("stop pod \"", sandbox_id, "\""),
                      [&](auto* context, auto* answer) {
                        return client.runtime().StopPodSandbox(context, stop, answer);
                      },
                      kTeardownLimit)
                      .status());
  api::RemovePodSandboxRequest remove;
  remove.set_pod_sandbox_id(sandbox_id);
  RETURN_IF_ERROR(Call<api::RemovePodSandboxResponse>(
                      absl::StrCat("remove pod \"", sandbox_id, "\""),
                      [&](auto* context, auto* answer) {
                        return client.runtime().RemovePodSandbox(context, remove, answer);
                      },
                      kTeardownLimit)
                      .status());
  if (uid.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string logs, RunLogDirectory(client, uid));
  RemoveRunLogs(logs);
  return absl::OkStatus();
}

}  // namespace gantry::cli
