// The program of a process: where it lies, its environment, and the call that becomes it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace gantry::runtime {

// Where `name` may lie: itself when it holds a slash, else in the directories of PATH of `env` (or
// a usual PATH when env has none), in order. Pure.
std::vector<std::string> ProgramCandidates(const std::string& name,
                                           const std::vector<std::string>& env);

// The home directory of `uid` in an /etc/passwd; "/" when it is not listed. Pure.
std::string HomeOf(const std::string& passwd, uint32_t uid);

// `env`, with HOME from /etc/passwd below `root_fd` when it has none. The file is the image's: it
// is read only when it is a regular file of 1 MiB at most.
std::vector<std::string> WithHome(const std::vector<std::string>& env, uint32_t uid, int root_fd);

// execve(2) of the first candidate that runs. Returns only to tell why none did: `exec "foo": …`,
// with the errno.
Status Execute(const std::vector<std::string>& args, const std::vector<std::string>& env);

}  // namespace gantry::runtime
