#include "cri/network/cni_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "cri/network/cni_input.h"
#include "runtime/base/json.h"
#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

std::string FileName(const CniConfig& config, const PodNetworkRequest& request) {
  return absl::StrCat(config.name, "-", request.id, "-", request.ifname);
}

StatusOr<std::string> Entry(const CniConfig& config, const PodNetworkRequest& request,
                            const CniCacheEntry& cached) {
  nlohmann::json entry = {{"kind", "cniCacheV1"},
                          {"containerId", request.id},
                          {"config", absl::Base64Escape(config.bytes)},
                          {"ifName", request.ifname},
                          {"networkName", config.name},
                          {"netns", request.netns_path}};
  nlohmann::json args = nlohmann::json::array();
  for (const auto& [key, value] : CniArgs(request)) {
    args.push_back(nlohmann::json::array({key, value}));
  }
  entry["cniArgs"] = std::move(args);
  if (!cached.capability_args.empty()) {
    ASSIGN_OR_RETURN(entry["capabilityArgs"], ParseJson(cached.capability_args));
  }
  ASSIGN_OR_RETURN(entry["result"], ParseJson(cached.result));
  return DumpJson(entry);
}

}  // namespace

Status WriteCniCache(const std::string& cache_dir, const CniConfig& config,
                     const PodNetworkRequest& request, const CniCacheEntry& cached) {
  ASSIGN_OR_RETURN(const std::string entry, Entry(config, request, cached));
  ASSIGN_OR_RETURN(const UniqueFd folder,
                   MakeDirectories(AT_FDCWD, absl::StrCat(cache_dir, "/results"), 0700));
  const std::string name = FileName(config, request);
  const std::string temporary = absl::StrCat(".", name, ".gantry");
  ASSIGN_OR_RETURN(const UniqueFd file,
                   OpenAt(folder.get(), temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  Status written = WriteAll(file.get(), entry, temporary);
  if (written.ok() && fsync(file.get()) != 0) written = SyscallError("fsync", temporary);
  if (written.ok() && renameat(folder.get(), temporary.c_str(), folder.get(), name.c_str()) != 0) {
    written = SyscallError("rename", name);
  }
  if (!written.ok()) unlinkat(folder.get(), temporary.c_str(), 0);
  return written;
}

Status RemoveCniCache(const std::string& cache_dir, const CniConfig& config,
                      const PodNetworkRequest& request) {
  const std::string path = absl::StrCat(cache_dir, "/results/", FileName(config, request));
  if (unlink(path.c_str()) == 0 || errno == ENOENT || errno == ENOTDIR) return absl::OkStatus();
  return SyscallError("unlink", path);
}

}  // namespace gantry::cri
