// The devices that CDI specification files offer on this node, by their qualified names.
//
// Folders are looked through when devices are asked for; files that have not changed since are not
// read again. A later folder wins over an earlier one; the same device twice in one folder is
// nobody's; a file with an error takes only itself away. CDI 1.1.0, "Containerd and CRI-O
// behaviour" and the reference library's cache.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "runtime/base/status.h"
#include "runtime/cdi/model.h"

namespace gantry::cdi {

// A file of a folder: what is in it, or why it cannot be used.
struct LoadedFile {
  std::string path;
  size_t priority = 0;  // of its folder: higher wins
  StatusOr<SpecFile> spec = absl::UnknownError("not read");
};

// What one device asks for: a file, and a device in it.
struct Found {
  std::shared_ptr<const LoadedFile> file;
  const Device* device = nullptr;  // in `file`
};

// Any thread; a call that finds the folders changed reads them.
class Registry {
 public:
  // Folders that are not there are empty. Lowest priority first.
  explicit Registry(std::vector<std::string> directories) : directories_(std::move(directories)) {}

  // In the order of `names`, each once. kInvalidArgument for a malformed name; kFailedPrecondition,
  // with all names that nobody offers, the folders, the broken files and near matches.
  StatusOr<std::vector<Found>> Find(const std::vector<std::string>& names);

  // "PATH: reason" of every file that cannot be used, as of now.
  std::vector<std::string> Errors();

 private:
  struct Entry {
    std::string stamp;  // of the file's state: device, inode, size, time
    std::shared_ptr<const LoadedFile> file;
  };
  void Refresh() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LookThrough(size_t priority, std::map<std::string, Entry>* found)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Index() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] std::string Explanation(const std::vector<std::string>& missing) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const std::vector<std::string> directories_;
  absl::Mutex mutex_;
  std::map<std::string, Entry> files_ ABSL_GUARDED_BY(mutex_);            // by path
  std::map<std::string, Found> devices_ ABSL_GUARDED_BY(mutex_);          // by qualified name
  std::map<std::string, std::string> conflicts_ ABSL_GUARDED_BY(mutex_);  // name → both files
};

}  // namespace gantry::cdi
