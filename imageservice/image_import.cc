#include "imageservice/image_import.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

// An empty file without a name in a directory that is gone when this returns.
StatusOr<UniqueFd> MakeSpool(ImageStore* store) {
  ASSIGN_OR_RETURN(const std::string directory, store->MakeStagingDirectory());
  const std::string path = absl::StrCat(directory, "/archive");
  StatusOr<UniqueFd> spool = OpenAt(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, 0600);
  unlink(path.c_str());
  rmdir(directory.c_str());
  return spool;
}

}  // namespace

StatusOr<std::vector<std::shared_ptr<const Image>>> ImportArchive(ImageStore* store,
                                                                  const ImportRunner& run,
                                                                  int archive_fd,
                                                                  const std::string& name) {
  const StatusOr<UniqueFd> spool = MakeSpool(store);
  if (!spool.ok()) {
    if (ErrnoOf(spool.status()) == ENOSPC)
      return absl::ResourceExhaustedError(spool.status().message());
    return spool.status();
  }
  const int fds[] = {archive_fd, spool->get()};
  return run(ImportTask{name}, fds);
}

}  // namespace gantry::images
