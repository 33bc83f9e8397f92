// For tests: a dozen images that are the same in every process, and the journal in which somebody
// outside the disk can read which of them were acknowledged. A worker pulls and removes them until
// its power is cut (testing_store_churn.cc), a checker looks at what is left
// (testing_store_check.cc).
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/testing_registry.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

inline constexpr char kChurnHost[] = "churn.example";

struct ChurnImage {
  std::string repository;         // "image/7"
  std::string reference;          // "churn.example/image/7:latest"
  std::vector<std::string> tars;  // of the layers
  TestImage image;
};

// A layer's archive, the same for the same arguments: `files` small files in directories, one of
// `large` bytes that do not compress, links, attributes, a whiteout, an opaque directory.
std::string ChurnLayer(uint32_t seed, int files, size_t large);

// Some share layers, some are tiny, some have megabytes; not compressed, gzip and zstd.
std::vector<ChurnImage> ChurnImages();

// One line for each step, durable in a file on another file system when Write returns:
//   started             the worker is about to begin
//   pulling REFERENCE   from here on it may be there
//   have REFERENCE      from here on it must be there
//   removing REFERENCE  from here on it may be gone
//   removed REFERENCE   from here on it must be gone
//   error TEXT          what must not happen
class ChurnJournal {
 public:
  // Makes the file `path`, which must not be there.
  static StatusOr<ChurnJournal> Create(const std::string& path);
  ChurnJournal(ChurnJournal&& other) noexcept : file_(std::move(other.file_)) {}
  // Any thread. Ends the process when the journal cannot be written.
  void Write(absl::string_view step, absl::string_view subject = "");

 private:
  explicit ChurnJournal(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
  std::mutex mutex_;
};

// What the journals in a folder say, read in the order of their names.
struct ChurnHistory {
  std::map<std::string, std::string> last;  // by reference: the last step of it
  std::vector<std::string> errors;
  int pulls = 0, removals = 0;  // acknowledged ones
};
// A last line that was torn did not return to the worker and does not count.
StatusOr<ChurnHistory> ReadChurnHistory(const std::string& folder);

}  // namespace gantry::images
