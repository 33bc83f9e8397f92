// For tests as root: a container made of the machine's static busybox, run by the real operations
// on the real kernel.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/create.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// A folder that goes with its object, with all in it (but nothing that is mounted).
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// True, with the reason printed, when the tests of this file cannot run here.
bool MustSkip();

struct Outcome {
  Status status;       // the first error of Begin, OnReadable …
  int exit_code = -1;  // 128 + signal for a signal
  std::string output;  // 1 and 2 of the container together
};

// A container that runs: killed and reaped with the object.
class RunningContainer {
 public:
  RunningContainer(Creation creation, UniqueFd output)
      : creation_(std::move(creation)), output_(std::move(output)) {}
  RunningContainer(RunningContainer&&) = default;
  RunningContainer& operator=(RunningContainer&&) = delete;
  ~RunningContainer();
  Creation& creation() { return creation_; }
  // Reads until the container has closed its output and has exited.
  Outcome Finish();

 private:
  Creation creation_;
  UniqueFd output_;
  bool reaped_ = false;
};

class TestContainer {
 public:
  TestContainer();

  // rootfs/ (busybox with links for all its applets), mount/ (for the rootfs), outside/.
  [[nodiscard]] const std::string& dir() const { return dir_.path(); }
  [[nodiscard]] std::string rootfs() const { return dir_.path() + "/rootfs"; }

  // As a CRI container's: own namespaces, usual mounts, masks, default capabilities. To be changed
  // before Run.
  spec::Spec spec;
  CreateRequest request;

  // Begin to the end of the program. `script` is for sh -c; empty: spec.process->args as they are.
  Outcome Run(const std::string& script = "");
  // As far as kCreated.
  StatusOr<RunningContainer> Create(const std::string& script = "");
  // As far as kRunning.
  StatusOr<RunningContainer> Start(const std::string& script = "");

 private:
  TempDir dir_;
};

// Drives a Creation until it is at `step`, or has failed, or ten seconds are over.
Status DriveUntil(Creation& creation, Creation::Step step);

// Reads until the end, ten seconds at most.
std::string Drain(int fd);

// The pipe that a container or exec writes to.
struct OutputPipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
OutputPipe MakeOutputPipe();

}  // namespace gantry::runtime
