// For tests: a staged layer in directory form as the same layer in EROFS form.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "imageservice/erofs_writer.h"
#include "imageservice/layer_record.h"
#include "runtime/linux/file.h"

namespace gantry::images {

inline LayerInfo MakeLayer(const std::string& digest, const std::string& diff_id,
                           uint64_t bytes = 0) {
  LayerInfo info;
  info.digest = digest;
  info.diff_id = diff_id;
  info.usage.bytes = bytes;
  return info;
}

// What an archive of the layer would say of `path`.
inline TarEntry EntryOf(const std::string& path, const std::string& name) {
  struct stat st = {};
  lstat(path.c_str(), &st);
  TarEntry entry;
  entry.name = name;
  entry.mode = st.st_mode & 07777;
  entry.uid = st.st_uid;
  entry.gid = st.st_gid;
  entry.mtime = {st.st_mtim.tv_sec, static_cast<uint32_t>(st.st_mtim.tv_nsec)};
  if (S_ISDIR(st.st_mode)) {
    entry.type = TarType::kDirectory;
  } else if (S_ISLNK(st.st_mode)) {
    entry.type = TarType::kSymlink;
    entry.link_target = std::filesystem::read_symlink(path).string();
  } else if (S_ISREG(st.st_mode)) {
    entry.size = static_cast<uint64_t>(st.st_size);
  } else {  // a whiteout
    const size_t slash = name.rfind('/');
    entry.name.insert(slash == std::string::npos ? 0 : slash + 1, ".wh.");
  }
  return entry;
}

inline Status WriteEntry(ErofsWriter* writer, const TarEntry& entry, const std::string& path) {
  RETURN_IF_ERROR(writer->OnEntry(entry));
  if (entry.type == TarType::kFile && entry.size > 0) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    RETURN_IF_ERROR(writer->OnData(0, text.str()));
  }
  return writer->OnEntryEnd();
}

// `staging` holds fs/ and perhaps opaque; afterwards data, meta and an empty recipe.
inline Status StageAsErofs(const std::string& staging) {
  namespace fs = std::filesystem;
  constexpr int kNew = O_RDWR | O_CREAT | O_EXCL;
  const std::string tree = staging + "/fs";
  ASSIGN_OR_RETURN(const UniqueFd data, OpenAt(AT_FDCWD, staging + "/data", kNew, 0600));
  ASSIGN_OR_RETURN(const UniqueFd meta, OpenAt(AT_FDCWD, staging + "/meta", kNew, 0600));
  RETURN_IF_ERROR(CreateFileAt(AT_FDCWD, staging + "/recipe", "", 0600));  // there was no archive
  ErofsWriter writer(data.get(), meta.get(), LayerWriterLimits());
  RETURN_IF_ERROR(WriteEntry(&writer, EntryOf(tree, "./"), tree));
  std::vector<std::string> paths;
  for (const auto& found : fs::recursive_directory_iterator(tree)) paths.push_back(found.path());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    RETURN_IF_ERROR(WriteEntry(&writer, EntryOf(path, path.substr(tree.size() + 1)), path));
  }
  std::ifstream opaque(staging + "/opaque", std::ios::binary);
  for (std::string path; std::getline(opaque, path, '\0');) {
    TarEntry entry;
    entry.name = path + "/.wh..wh..opq";
    RETURN_IF_ERROR(WriteEntry(&writer, entry, ""));
  }
  RETURN_IF_ERROR(writer.Finish().status());
  fs::remove_all(tree);
  fs::remove(staging + "/opaque");
  return absl::OkStatus();
}

}  // namespace gantry::images
