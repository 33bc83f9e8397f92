// Hostile layers in EROFS form. A first byte 'm': the rest changes a good meta file, and what the
// verifier then accepts is read to the end. Else the rest is an archive: what the writer makes of
// it the verifier must accept.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"

#include "imageservice/crc32c.h"
#include "imageservice/erofs_reader.h"
#include "imageservice/erofs_verify.h"
#include "imageservice/erofs_writer.h"
#include "imageservice/tar_archive.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

struct Files {
  UniqueFd data{memfd_create("data", MFD_CLOEXEC)};
  UniqueFd meta{memfd_create("meta", MFD_CLOEXEC)};
};

void Check(bool condition) {
  if (!condition) __builtin_trap();
}

uint64_t Size(int fd) { return static_cast<uint64_t>(lseek(fd, 0, SEEK_END)); }

bool Write(absl::string_view tar, const Files& files) {
  ErofsWriter writer(files.data.get(), files.meta.get(), {.max_inodes = 1000});
  TarLimits limits;
  limits.max_file_size = 1 << 20;  // holes are read as zeros here
  TarReader reader(&writer, limits);
  if (!reader.Feed(tar).ok() || !reader.Finish().ok()) return false;
  return writer.Finish().ok();
}

std::string Good() {
  TarArchive archive;
  archive.Pax({{"SCHILY.xattr.user.mime", "text"}})
      .File("d/small", "run me")
      .File("d/big", std::string(10'000, 'b'))
      .HardLink("d/hard", "d/small")
      .Symlink("link", "d/small")
      .File(".wh.gone", "")
      .File("d/e/.wh..wh..opq", "")
      .Add({.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3});
  for (int i = 0; i < 40; ++i) {
    archive.Pax({{"path", "many/" + std::string(120, 'n') + std::to_string(i)}}).File("f", "");
  }
  Files files;
  Check(Write(archive.Finish(), files));
  std::string meta(Size(files.meta.get()), '\0');
  Check(pread(files.meta.get(), meta.data(), meta.size(), 0) == static_cast<ssize_t>(meta.size()));
  return meta;
}

// As somebody does who wants to be believed.
void MakeSumsRight(std::string* meta) {
  ErofsSuperBlock super;
  memcpy(&super, meta->data() + kErofsSuperAt, sizeof(super));
  const uint64_t end = super.blocks * kErofsBlock;
  if (super.blocks == 0 || end + sizeof(ErofsFooter) + sizeof(uint32_t) > meta->size()) return;
  super.checksum = 0;
  memcpy(meta->data() + kErofsSuperAt, &super, sizeof(super));
  super.checksum =
      RawCrc32c(absl::string_view(*meta).substr(kErofsSuperAt, kErofsBlock - kErofsSuperAt), ~0u);
  memcpy(meta->data() + kErofsSuperAt, &super, sizeof(super));
  uint32_t sum = 0;
  for (uint64_t at = 0; at < end; at += kErofsBlock) {
    const uint32_t block = Crc32c(absl::string_view(*meta).substr(at, kErofsBlock));
    sum = Crc32c({reinterpret_cast<const char*>(&block), sizeof(block)}, sum);
  }
  memcpy(meta->data() + end + offsetof(ErofsFooter, meta_sum), &sum, sizeof(sum));
  const size_t last = meta->size() - sizeof(uint32_t);
  sum = Crc32c(absl::string_view(*meta).substr(end, last - end));
  memcpy(meta->data() + last, &sum, sizeof(sum));
}

// Every byte of an inode and all below it. Of an image that the verifier has accepted.
Status ReadAll(ErofsReader* reader, uint64_t nid) {
  ASSIGN_OR_RETURN(const ErofsInode inode, reader->Inode(nid));
  RETURN_IF_ERROR(reader->ReadXattrs(inode).status());
  if (inode.type == ErofsType::kSymlink) return reader->ReadLink(inode).status();
  if (inode.type == ErofsType::kFile) return reader->Read(inode, 0, 1 << 20).status();
  if (inode.type != ErofsType::kDirectory) return absl::OkStatus();
  return reader->List(inode, [&](const ErofsName& name) {
    if (name.name == "." || name.name == "..") return absl::OkStatus();
    return ReadAll(reader, name.nid);
  });
}

}  // namespace

void FuzzMeta(absl::string_view changes) {
  static const std::string good = Good();
  std::string meta = good;
  // Each change: two bytes where, one byte what.
  for (; changes.size() >= 3; changes.remove_prefix(3)) {
    const auto byte = [&](size_t i) -> size_t { return static_cast<uint8_t>(changes[i]); };
    const size_t at = kErofsSuperAt + (byte(0) << 8 | byte(1));
    if (at < meta.size()) meta[at] = changes[2];
  }
  MakeSumsRight(&meta);
  Files files;
  Check(pwrite(files.meta.get(), meta.data(), meta.size(), 0) == static_cast<ssize_t>(meta.size()));
  Check(ftruncate(files.data.get(), 12'288) == 0);
  if (VerifyErofs(files.meta.get(), 12'288).ok()) {
    auto reader = ErofsReader::Open(files.meta.get(), files.data.get());
    Check(reader.ok() && ReadAll(reader->get(), kErofsRoot).ok());
  }
}

void FuzzArchive(absl::string_view tar) {
  Files files;
  if (!Write(tar, files)) return;
  Check(VerifyErofs(files.meta.get(), Size(files.data.get())).ok());
  Check(VerifyErofsData(files.data.get(), files.meta.get()).ok());
  auto reader = ErofsReader::Open(files.meta.get(), files.data.get());
  Check(reader.ok() && ReadAll(reader->get(), kErofsRoot).ok());
}

}  // namespace gantry::images

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.empty()) return 0;
  if (bytes[0] == 'm') {
    gantry::images::FuzzMeta(bytes.substr(1));
  } else {
    gantry::images::FuzzArchive(bytes.substr(1));
  }
  return 0;
}
