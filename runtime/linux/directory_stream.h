// A directory that is being read.
#pragma once

#include <dirent.h>

#include <memory>

namespace gantry {

struct CloseDirectory {
  void operator()(DIR* stream) const { closedir(stream); }
};
// Of opendir(3) or fdopendir(3): close-on-exec from opendir, and closed with its descriptor.
using DirectoryStream = std::unique_ptr<DIR, CloseDirectory>;

}  // namespace gantry
