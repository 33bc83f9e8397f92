// Following a container to its end: its log as it is written, then its status.
#pragma once

#include <functional>
#include <string>

#include "cri/cli/client.h"
#include "cri/cli/log_reader.h"

namespace gantry::cli {

struct FollowRequest {
  std::string container_id;
  std::string log_path;         // empty: the container has no log
  LogReader::Visitor visit;     // gets each line
  std::function<void()> flush;  // called when there is nothing more to read for now
  int wake_fd = -1;             // when readable, `woken` is called; it clears the descriptor
  std::function<void()> woken;
};

// Returns the status when the container has exited (or does not exist any more: then kNotFound) and
// all of its log has been visited: the runtime completes the log before it shows the exit.
StatusOr<::runtime::v1::ContainerStatus> FollowToExit(Client& client, LogReader& reader,
                                                      const FollowRequest& request);

StatusOr<::runtime::v1::ContainerStatus> StatusOf(Client& client, const std::string& container_id);

// Writes lines to standard output and standard error, as the container did. With `timestamps` each
// whole line begins with its time.
class LogPrinter {
 public:
  explicit LogPrinter(bool timestamps) : timestamps_(timestamps) {}
  void Print(const LogLine& line);
  // False: a reader has gone (EPIPE).
  bool Flush();

 private:
  bool timestamps_;
  bool in_line_[2] = {false, false};  // of standard output, of standard error
};

}  // namespace gantry::cli
