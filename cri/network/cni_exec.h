// Running a CNI plugin: a program that reads its configuration on standard input and its verb in
// the environment, and answers on standard output (CNI specification 1.1.0, section 2).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/deadline.h"
#include "runtime/base/status.h"

namespace gantry::cri {

struct PluginCall {
  std::string path;              // of the executable
  std::string command;           // ADD, DEL; goes into the environment
  std::vector<std::string> env;  // CNI_*=…, besides the daemon's own environment
  std::string input;             // the configuration
  Deadline deadline = Deadline::Never();
  int cancel_fd = -1;  // readable: the plugin is killed at once; -1: none
};

// Runs the plugin in a session of its own and returns what it wrote to standard output (at most 4
// MiB). Past the deadline its process group is killed. Blocks; from any thread. When the plugin
// answers with an error object, the message is the plugin's own (msg; details) with its code
// (CniErrorCode); code 11, "try again later", and the deadline are kUnavailable and
// kDeadlineExceeded, cancellation is kCancelled, all else kInternal. An answer that is no error
// object: exit status and the end of standard error.
StatusOr<std::string> RunPlugin(const PluginCall& call);

// The code of the plugin's error object, kept through Annotate. Nothing for other errors.
std::optional<int> CniErrorCode(const Status& status);

// The executable of that name in the first folder that has one. kInternal, naming the folders.
StatusOr<std::string> FindPlugin(absl::string_view type, const std::vector<std::string>& bin_dirs);

}  // namespace gantry::cri
