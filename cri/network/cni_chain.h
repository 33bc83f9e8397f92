// The plugins of one configuration, run one after the other with one verb and one deadline.
#pragma once

#include <string>
#include <vector>

#include "cri/log.h"
#include "cri/network/cni.h"
#include "cri/network/conflist.h"
#include "runtime/base/deadline.h"
#include "runtime/base/status.h"

namespace gantry::cri {

// Errors name the network, the plugin and the verb; the words behind are the plugin's own. Every
// run is a line of the log at debug, with its duration. Blocks; from any thread.
class CniChain {
 public:
  struct Setting {
    const std::vector<std::string>* bin_dirs;
    const Logger* log;
    Deadline deadline = Deadline::Never();
    int cancel_fd = -1;  // see PluginCall
  };

  // For a pod: `env` and `capability_args` (JSON object) are its own.
  struct PodPart {
    std::string id;
    std::vector<std::string> env;
    std::string capability_args;
  };

  CniChain(CniConfig config, Setting setting, PodPart pod = {})
      : config_(std::move(config)), setting_(setting), pod_(std::move(pod)) {}

  void CancelBy(int fd) { setting_.cancel_fd = fd; }
  [[nodiscard]] const CniConfig& config() const { return config_; }
  [[nodiscard]] const PodPart& pod() const { return pod_; }

  // ADD in order; the result of the last plugin. Ends at the first error.
  [[nodiscard]] StatusOr<std::string> Add() const;

  // DEL in reverse, past errors: what the other plugins hold is freed. The first error. A plugin
  // that does not know the pod any more (code 3) has succeeded.
  [[nodiscard]] Status Del(const std::string& result) const;

  // STATUS in order, until the first that is not OK. For configurations of 1.1.0 and later.
  [[nodiscard]] Status CheckStatus() const;

  // GC of each, past errors; the first error. For configurations of 1.1.0 and later.
  [[nodiscard]] Status CollectGarbage(const std::vector<CniAttachment>& valid) const;

 private:
  [[nodiscard]] StatusOr<std::string> Run(const CniPlugin& plugin, const std::string& command,
                                          const StatusOr<std::string>& input) const;
  [[nodiscard]] StatusOr<std::string> RunUnnamed(const CniPlugin& plugin,
                                                 const std::string& command,
                                                 const StatusOr<std::string>& input) const;
  [[nodiscard]] StatusOr<std::string> AddOne(const CniPlugin& plugin,
                                             const std::string& prev_result) const;

  CniConfig config_;
  Setting setting_;
  PodPart pod_;
};

}  // namespace gantry::cri
