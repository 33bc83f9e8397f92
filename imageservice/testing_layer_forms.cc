#include "imageservice/testing_layer_forms.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "imageservice/crc32c.h"
#include "imageservice/erofs_reader.h"
#include "imageservice/erofs_verify.h"
#include "runtime/linux/mount.h"

namespace gantry::images {
namespace {

constexpr size_t kPiece = 1 << 20;

Status ReadXattrs(int fd, TreeEntry* entry) {
  std::array<char, 65536> names, value;
  const ssize_t n = flistxattr(fd, names.data(), names.size());
  if (n < 0) return SyscallError("flistxattr");
  for (const char* name = names.data(); name < names.data() + n; name += strlen(name) + 1) {
    const ssize_t length = fgetxattr(fd, name, value.data(), value.size());
    if (length < 0) return SyscallError("fgetxattr", name);
    entry->xattrs[name] = std::string(value.data(), static_cast<size_t>(length));
  }
  return absl::OkStatus();
}

Status ReadContent(int fd, TreeEntry* entry) {
  std::string piece(kPiece, '\0');
  uint64_t total = 0;
  while (true) {
    const ssize_t n = read(fd, piece.data(), piece.size());
    if (n < 0) return SyscallError("read");
    if (n == 0) break;
    entry->sum = Crc32c({piece.data(), static_cast<size_t>(n)}, entry->sum);
    total += static_cast<uint64_t>(n);
  }
  if (total == entry->size) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(total, " bytes where ", entry->size, " are told"));
}

class Lister {
 public:
  explicit Lister(const std::vector<std::string>& opaque) : opaque_(opaque) {}

  Status List(int directory, const std::string& path) {
    RETURN_IF_ERROR(Add(directory, ".", path.empty() ? "." : path));
    std::vector<std::string> names;
    UniqueFd again(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR* stream = fdopendir(again.Release());
    if (stream == nullptr) return SyscallError("fdopendir", path);
    while (const dirent* entry = readdir(stream)) names.emplace_back(entry->d_name);
    closedir(stream);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      if (name == "." || name == "..") continue;
      const std::string below = path.empty() ? name : absl::StrCat(path, "/", name);
      UniqueFd child(
          openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      RETURN_IF_ERROR(child.valid() ? List(child.get(), below) : Add(directory, name, below));
    }
    return absl::OkStatus();
  }

  TreeListing Take() { return std::move(listing_); }

 private:
  Status Add(int directory, const std::string& name, const std::string& path) {
    struct stat st;
    if (fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return SyscallError("stat", path);
    }
    TreeEntry entry;
    entry.mode = st.st_mode;
    entry.uid = st.st_uid;
    entry.gid = st.st_gid;
    entry.seconds = st.st_mtim.tv_sec;
    entry.nanoseconds = static_cast<uint64_t>(st.st_mtim.tv_nsec);
    // On overlayfs each layer has its own inode numbers and its own device.
    entry.inode = st.st_ino | static_cast<uint64_t>(st.st_dev) << 40;
    entry.nlink = st.st_nlink;
    entry.size = static_cast<uint64_t>(st.st_size);
    entry.device = st.st_rdev;
    if (S_ISLNK(st.st_mode)) {
      std::array<char, 4096> target;
      const ssize_t n = readlinkat(directory, name.c_str(), target.data(), target.size());
      if (n < 0) return SyscallError("readlink", path);
      entry.link.assign(target.data(), static_cast<size_t>(n));
    }
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
      UniqueFd fd(openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
      if (!fd.valid()) return SyscallError("open", path);
      RETURN_IF_ERROR(ReadXattrs(fd.get(), &entry));
      if (S_ISREG(st.st_mode)) RETURN_IF_ERROR_CONTEXT(ReadContent(fd.get(), &entry), path);
    }
    const std::string key = path == "." ? "" : path;
    if (std::find(opaque_.begin(), opaque_.end(), key) != opaque_.end()) {
      entry.xattrs["trusted.overlay.opaque"] = "y";
    }
    listing_[path] = TreeLine(entry, path, &first_path_);
    return absl::OkStatus();
  }

  const std::vector<std::string>& opaque_;
  TreeListing listing_;
  std::map<uint64_t, std::string> first_path_;
};

class ErofsLister {
 public:
  explicit ErofsLister(ErofsReader* reader) : reader_(*reader) {}

  Status List(const ErofsInode& directory, const std::string& path) {
    RETURN_IF_ERROR(Add(directory, path.empty() ? "." : path));
    std::map<std::string, uint64_t> names;
    RETURN_IF_ERROR(reader_.List(directory, [&](const ErofsName& name) {
      if (name.name != "." && name.name != "..") names[std::string(name.name)] = name.nid;
      return absl::OkStatus();
    }));
    for (const auto& [name, nid] : names) {
      const std::string below = path.empty() ? name : absl::StrCat(path, "/", name);
      ASSIGN_OR_RETURN(const ErofsInode inode, reader_.Inode(nid));
      RETURN_IF_ERROR(inode.type == ErofsType::kDirectory ? List(inode, below) : Add(inode, below));
    }
    return absl::OkStatus();
  }

  TreeListing Take() { return std::move(listing_); }

 private:
  Status Add(const ErofsInode& inode, const std::string& path) {
    TreeEntry entry;
    entry.mode = inode.mode;
    entry.uid = inode.uid;
    entry.gid = inode.gid;
    entry.seconds = inode.mtime.seconds;
    entry.nanoseconds = inode.mtime.nanoseconds;
    entry.inode = inode.nid;
    entry.nlink = inode.nlink;
    entry.size = inode.size;
    entry.device =
        makedev(inode.device >> 8 & 0xfff, (inode.device & 0xff) | (inode.device >> 12 & 0xfff00));
    ASSIGN_OR_RETURN(const Xattrs xattrs, reader_.ReadXattrs(inode));
    entry.xattrs.insert(xattrs.begin(), xattrs.end());
    if (inode.type == ErofsType::kSymlink) {
      ASSIGN_OR_RETURN(entry.link, reader_.ReadLink(inode));
    }
    if (inode.type == ErofsType::kFile) {
      for (uint64_t at = 0; at < inode.size; at += kPiece) {
        ASSIGN_OR_RETURN(const std::string piece, reader_.Read(inode, at, kPiece));
        entry.sum = Crc32c(piece, entry.sum);
      }
    }
    listing_[path] = TreeLine(entry, path, &first_path_);
    return absl::OkStatus();
  }

  ErofsReader& reader_;
  TreeListing listing_;
  std::map<uint64_t, std::string> first_path_;
};

}  // namespace

StatusOr<TreeListing> ListErofs(int meta, int data) {
  ASSIGN_OR_RETURN(auto reader, ErofsReader::Open(meta, data));
  ASSIGN_OR_RETURN(const ErofsInode root, reader->Inode(kErofsRoot));
  ErofsLister lister(reader.get());
  RETURN_IF_ERROR(lister.List(root, ""));
  return lister.Take();
}

std::string TreeLine(const TreeEntry& entry, const std::string& path,
                     std::map<uint64_t, std::string>* first_path) {
  if (S_ISCHR(entry.mode) && entry.device == 0)
    return absl::StrCat("whiteout ", entry.seconds, ".", entry.nanoseconds);
  std::string line = absl::StrCat(absl::Hex(entry.mode), " ", entry.uid, ":", entry.gid, " ",
                                  entry.seconds, ".", entry.nanoseconds, " nlink ", entry.nlink);
  if (S_ISREG(entry.mode)) absl::StrAppend(&line, " size ", entry.size, " sum ", entry.sum);
  if (S_ISLNK(entry.mode)) absl::StrAppend(&line, " -> ", absl::CHexEscape(entry.link));
  if (S_ISCHR(entry.mode) || S_ISBLK(entry.mode)) {
    absl::StrAppend(&line, " device ", major(entry.device), ":", minor(entry.device));
  }
  for (const auto& [name, value] : entry.xattrs) {
    absl::StrAppend(&line, " ", absl::CHexEscape(name), "=", absl::CHexEscape(value));
  }
  if (!S_ISDIR(entry.mode)) {
    const auto [first, added] = first_path->try_emplace(entry.inode, path);
    if (!added) absl::StrAppend(&line, " same as ", first->second);
  }
  return line;
}

StatusOr<TreeListing> ListTree(int root, const std::vector<std::string>& opaque) {
  Lister lister(opaque);
  RETURN_IF_ERROR(lister.List(root, ""));
  return lister.Take();
}

std::string Difference(const TreeListing& expected, const TreeListing& found) {
  std::string out;
  int lines = 0;
  for (const auto& [path, line] : expected) {
    const auto it = found.find(path);
    if (it != found.end() && it->second == line) continue;
    if (++lines > 10) return out;
    absl::StrAppend(&out, path, "\n  expected ", line, "\n  found    ",
                    it == found.end() ? "nothing" : it->second, "\n");
  }
  for (const auto& [path, line] : found) {
    if (expected.count(path) == 0 && ++lines <= 10) {
      absl::StrAppend(&out, path, "\n  not expected: ", line, "\n");
    }
  }
  return out;
}

std::string WithRightSums(std::string meta) {
  ErofsSuperBlock super;
  memcpy(&super, meta.data() + kErofsSuperAt, sizeof(super));
  super.checksum = 0;
  memcpy(meta.data() + kErofsSuperAt, &super, sizeof(super));
  super.checksum =
      RawCrc32c(absl::string_view(meta).substr(kErofsSuperAt, kErofsBlock - kErofsSuperAt), ~0u);
  memcpy(meta.data() + kErofsSuperAt, &super, sizeof(super));
  const uint64_t end = super.blocks * kErofsBlock;
  if (end + sizeof(ErofsFooter) + sizeof(uint32_t) > meta.size()) return meta;
  uint32_t sum = 0;
  for (uint64_t at = 0; at < end; at += kErofsBlock) {
    const uint32_t block = Crc32c(absl::string_view(meta).substr(at, kErofsBlock));
    sum = Crc32c({reinterpret_cast<const char*>(&block), sizeof(block)}, sum);
  }
  memcpy(meta.data() + end + offsetof(ErofsFooter, meta_sum), &sum, sizeof(sum));
  const size_t last = meta.size() - sizeof(uint32_t);
  sum = Crc32c(absl::string_view(meta).substr(end, last - end));
  memcpy(meta.data() + last, &sum, sizeof(sum));
  return meta;
}

LayerForms::LayerForms() {
  char dir[] = "/tmp/gantry-forms-XXXXXX";
  GANTRY_CHECK(mkdtemp(dir) != nullptr);
  folder_ = dir;
}

LayerForms::~LayerForms() {
  std::error_code ignored;  // what a test left mounted stays
  std::filesystem::remove_all(folder_, ignored);
}

StatusOr<LayerWriter::Result> LayerForms::WriteDirectory(absl::string_view tar) {
  std::filesystem::remove_all(root());
  if (mkdir(root().c_str(), 0755) != 0) return SyscallError("mkdir", root());
  UniqueFd fd(open(root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  LayerWriter writer(fd.get(), {});
  TarReader reader(&writer, {});
  RETURN_IF_ERROR(reader.Feed(tar));
  RETURN_IF_ERROR(reader.Finish());
  return writer.Finish();
}

StatusOr<ErofsWriter::Result> LayerForms::WriteErofs(absl::string_view tar,
                                                     const LayerWriterLimits& limits) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  UniqueFd data(open(this->data().c_str(), kFlags, 0600));
  UniqueFd meta(open(this->meta().c_str(), kFlags, 0600));
  if (!data.valid() || !meta.valid()) return SyscallError("open", folder_);
  ErofsWriter writer(data.get(), meta.get(), limits);
  TarReader reader(&writer, {});
  RETURN_IF_ERROR(reader.Feed(tar));
  RETURN_IF_ERROR(reader.Finish());
  return writer.Finish();
}

StatusOr<UniqueFd> LayerForms::Mount() const {
  return NewMount("erofs", meta(), {{"device", data()}, {"ro", ""}}, 0);
}

std::string LayerForms::Compare(absl::string_view tar) {
  const auto unpacked = WriteDirectory(tar);
  const auto written = WriteErofs(tar);
  if (unpacked.ok() != written.ok()) {
    return absl::StrCat("directory: ", unpacked.status().ToString(),
                        "\nEROFS: ", written.status().ToString());
  }
  if (!unpacked.ok()) {
    if (unpacked.status().code() == written.status().code()) return "";
    return absl::StrCat(unpacked.status().ToString(), "\n", written.status().ToString());
  }
  const auto mount = Mount();
  if (!mount.ok()) return absl::StrCat("mount: ", mount.status().ToString());
  UniqueFd root(open(this->root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto expected = ListTree(root.get(), unpacked->opaque);
  const auto found = ListTree(mount->get(), {});
  if (!expected.ok() || !found.ok()) {
    return absl::StrCat(expected.status().ToString(), "\n", found.status().ToString());
  }
  const std::string difference = Difference(*expected, *found);
  return difference.empty() ? CompareRead(*expected) : difference;
}

std::string LayerForms::CompareRead(const TreeListing& expected) const {
  const UniqueFd data = OpenData(), meta = OpenMeta();
  const auto summary = VerifyErofs(meta.get(), std::filesystem::file_size(this->data()));
  if (!summary.ok()) return absl::StrCat("verifier: ", summary.status().ToString());
  const Status sums = VerifyErofsData(data.get(), meta.get());
  if (!sums.ok()) return absl::StrCat("sums: ", sums.ToString());
  const auto read = ListErofs(meta.get(), data.get());
  if (!read.ok()) return absl::StrCat("reader: ", read.status().ToString());
  const std::string difference = Difference(expected, *read);
  return difference.empty() ? "" : absl::StrCat("by our reader:\n", difference);
}

UniqueFd LayerForms::OpenData() const {
  return UniqueFd(open(data().c_str(), O_RDONLY | O_CLOEXEC));
}
UniqueFd LayerForms::OpenMeta() const {
  return UniqueFd(open(meta().c_str(), O_RDONLY | O_CLOEXEC));
}

std::string LayerForms::ReadMeta() const {
  std::ifstream in(meta(), std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

bool CanMountErofs() {
  static const bool can = [] {
    LayerForms forms;
    const auto written = forms.WriteErofs(std::string(1024, '\0'));
    const Status status = written.ok() ? forms.Mount().status() : written.status();
    if (!status.ok()) printf("no file-backed EROFS here: %s\n", status.ToString().c_str());
    return status.ok();
  }();
  return can;
}

}  // namespace gantry::images
