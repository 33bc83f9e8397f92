#include "imageservice/testing_churn.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "imageservice/tar_archive.h"
#include "runtime/base/log.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxJournal = 64 << 20;

std::string Noise(size_t size, uint32_t* state) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>((*state = *state * 1664525 + 1013904223) >> 24);
  return bytes;
}

ChurnImage MakeImage(int number, const std::vector<std::string>& tars, TestCompression how) {
  ChurnImage made;
  made.repository = absl::StrCat("image/", number);
  made.reference = absl::StrCat(kChurnHost, "/", made.repository, ":latest");
  made.tars = tars;
  for (const std::string& tar : tars) made.image.AddLayer(tar, how);
  return made;
}

}  // namespace

std::string ChurnLayer(uint32_t seed, int files, size_t large) {
  uint32_t state = seed * 2654435761u + 1;
  TarArchive tar;
  const std::string top = absl::StrCat("layer", seed);
  tar.Directory(top);
  for (int i = 0; i < files; ++i) {
    const std::string folder = absl::StrCat(top, "/", i / 16);
    if (i % 16 == 0) tar.Directory(folder);
    if (i % 8 == 0) tar.Pax({{"SCHILY.xattr.user.number", absl::StrCat(i)}});
    const size_t size = state % 6000;
    tar.File(absl::StrCat(folder, "/file", i), Noise(size, &state), i % 2 ? 0644 : 0755);
  }
  if (large > 0) tar.File(absl::StrCat(top, "/large"), Noise(large, &state));
  tar.File(absl::StrCat(top, "/first"), "first\n");
  tar.HardLink(absl::StrCat(top, "/second"), absl::StrCat(top, "/first"));
  tar.Symlink(absl::StrCat(top, "/link"), "first");
  tar.File(absl::StrCat(top, "/.wh.gone"), "");
  tar.Directory(absl::StrCat(top, "/opaque")).File(absl::StrCat(top, "/opaque/.wh..wh..opq"), "");
  return tar.Finish();
}

std::vector<ChurnImage> ChurnImages() {
  constexpr TestCompression kHow[] = {TestCompression::kGzip, TestCompression::kZstd,
                                      TestCompression::kNone};
  std::vector<ChurnImage> images;
  for (int i = 0; i < 12; ++i) {
    const auto seed = static_cast<uint32_t>(i);
    std::vector<std::string> tars;
    // Nine in threes over three bases, each three compressed in one way so that the blob is shared.
    if (i < 9) tars.push_back(ChurnLayer(100 + seed / 3, 60, 700'000));
    if (i % 3 == 0) tars.push_back(ChurnLayer(200 + seed, 0, 0));
    tars.push_back(ChurnLayer(300 + seed, 8 * i, i == 10 ? 5'000'000 : 40'000 * seed));
    images.push_back(MakeImage(i, tars, kHow[i / 3 % 3]));
  }
  return images;
}

StatusOr<ChurnJournal> ChurnJournal::Create(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd file,
                   OpenAt(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600));
  return ChurnJournal(std::move(file));
}

void ChurnJournal::Write(absl::string_view step, absl::string_view subject) {
  const std::string line = absl::StrCat(step, subject.empty() ? "" : " ", subject, "\n");
  const std::lock_guard lock(mutex_);
  const Status status = WriteAll(file_.get(), line, "the journal");
  if (status.ok() && fsync(file_.get()) == 0) return;
  Log(LogLevel::kError, "cannot write the journal", {{"reason", status.ToString()}});
  _exit(3);
}

StatusOr<ChurnHistory> ReadChurnHistory(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  ChurnHistory history;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const std::string text, ReadFileAt(AT_FDCWD, path, kMaxJournal));
    std::vector<std::string> lines = absl::StrSplit(text, '\n');
    lines.pop_back();
    for (const std::string& line : lines) {
      const std::pair<std::string, std::string> words =
          absl::StrSplit(line, absl::MaxSplits(' ', 1));
      if (words.first == "error") history.errors.push_back(words.second);
      if (words.first == "error" || words.first == "started") continue;
      history.last[words.second] = words.first;
      history.pulls += words.first == "have";
      history.removals += words.first == "removed";
    }
  }
  return history;
}

}  // namespace gantry::images
