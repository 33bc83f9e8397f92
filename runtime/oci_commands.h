// The commands of gantry-oci. Each reads its own options and returns the exit code of the program,
// or the error that main.cc reports.
#pragma once

#include <span>
#include <string>

#include "runtime/base/status.h"

namespace gantry::runtime {

struct OciGlobals {
  std::string root = "/run/gantry-oci";
};

using OciArguments = std::span<const std::string>;

// Life (oci_lifecycle.cc).
StatusOr<int> CreateCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> RunCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> StartCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> KillCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> DeleteCommand(const OciGlobals& globals, OciArguments arguments);
// A further process (oci_exec.cc).
StatusOr<int> ExecCommand(const OciGlobals& globals, OciArguments arguments);
// A container that runs (oci_manage.cc).
StatusOr<int> UpdateCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> PauseCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> ResumeCommand(const OciGlobals& globals, OciArguments arguments);
// What is (oci_reports.cc).
StatusOr<int> StateCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> ListCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> PsCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> SpecCommand(const OciGlobals& globals, OciArguments arguments);
StatusOr<int> FeaturesCommand(const OciGlobals& globals, OciArguments arguments);

}  // namespace gantry::runtime
