#include "imageservice/erofs_mount.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

#include "imageservice/erofs_writer.h"
#include "imageservice/layer_record.h"
#include "imageservice/tree_walk.h"
#include "runtime/linux/file.h"
#include "runtime/linux/loop_device.h"
#include "runtime/linux/mount.h"

namespace gantry::images {
namespace {

constexpr unsigned kAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;

StatusOr<UniqueFd> MountFiles(const std::string& meta, const std::string& data) {
  // Without directio (6.13) each page is cached twice: as the file's and as the layer's.
  StatusOr<UniqueFd> mount =
      NewMount("erofs", meta, {{"ro", ""}, {"device", data}, {"directio", ""}}, kAttributes);
  if (mount.ok() || ErrnoOf(mount.status()) != EINVAL) return mount;
  return NewMount("erofs", meta, {{"ro", ""}, {"device", data}}, kAttributes);
}

StatusOr<UniqueFd> MountLoops(const std::string& meta, const std::string& data) {
  ASSIGN_OR_RETURN(const UniqueFd meta_file, OpenAt(AT_FDCWD, meta, O_RDONLY));
  ASSIGN_OR_RETURN(const LoopDevice meta_device, AttachLoopDevice(meta_file.get()));
  ASSIGN_OR_RETURN(const UniqueFd data_file, OpenAt(AT_FDCWD, data, O_RDONLY));
  ASSIGN_OR_RETURN(const LoopDevice data_device, AttachLoopDevice(data_file.get()));
  // Without "ro" the kernel asks for devices that can be written to.
  return NewMount("erofs", meta_device.path, {{"ro", ""}, {"device", data_device.path}},
                  kAttributes);
}

// A file that lies in `data`, and what it must read as.
constexpr char kProbe[] = "probe";
constexpr size_t kProbeBytes = 8192;

Status WriteProbe(const std::string& folder) {
  constexpr int kNew = O_RDWR | O_CREAT | O_EXCL;
  ASSIGN_OR_RETURN(const UniqueFd data,
                   OpenAt(AT_FDCWD, absl::StrCat(folder, "/", kLayerData), kNew, 0600));
  ASSIGN_OR_RETURN(const UniqueFd meta,
                   OpenAt(AT_FDCWD, absl::StrCat(folder, "/", kLayerMeta), kNew, 0600));
  ErofsWriter writer(data.get(), meta.get(), LayerWriterLimits());
  TarEntry entry;
  entry.name = kProbe;
  entry.mode = 0600;
  entry.size = kProbeBytes;
  RETURN_IF_ERROR(writer.OnEntry(entry));
  RETURN_IF_ERROR(writer.OnData(0, std::string(kProbeBytes, 'g')));
  RETURN_IF_ERROR(writer.OnEntryEnd());
  return writer.Finish().status();
}

Status Try(const std::string& folder, ErofsSupport support) {
  ASSIGN_OR_RETURN(const UniqueFd mount, MountErofs(folder, support));
  ASSIGN_OR_RETURN(const std::string read, ReadFileAt(mount.get(), kProbe));
  return read == std::string(kProbeBytes, 'g') ? absl::OkStatus()
                                               : absl::DataLossError("it reads as something else");
}

}  // namespace

absl::string_view ErofsSupportName(ErofsSupport support) {
  switch (support) {
    case ErofsSupport::kFile:
      return "file";
    case ErofsSupport::kLoop:
      return "loop";
    case ErofsSupport::kNone:
      break;
  }
  return "none";
}

StatusOr<UniqueFd> MountErofs(const std::string& folder, ErofsSupport support) {
  const std::string meta = absl::StrCat(folder, "/", kLayerMeta);
  const std::string data = absl::StrCat(folder, "/", kLayerData);
  switch (support) {
    case ErofsSupport::kFile:
      return MountFiles(meta, data);
    case ErofsSupport::kLoop:
      return MountLoops(meta, data);
    case ErofsSupport::kNone:
      break;
  }
  return absl::FailedPreconditionError("this kernel cannot mount EROFS layers");
}

ErofsSupport ProbeErofs(const std::string& scratch, std::string* why) {
  std::string folder = absl::StrCat(scratch, "/probe-XXXXXX");
  Status status =
      mkdtemp(folder.data()) != nullptr ? absl::OkStatus() : SyscallError("mkdtemp", folder);
  const absl::Cleanup remove = [&] { (void)RemoveTree(AT_FDCWD, folder); };
  if (status.ok()) status = WriteProbe(folder);
  std::string reasons;
  if (status.ok()) {
    for (const ErofsSupport support : {ErofsSupport::kFile, ErofsSupport::kLoop}) {
      const Status tried = Try(folder, support);
      if (tried.ok()) return support;
      absl::StrAppend(&reasons, reasons.empty() ? "" : "; ", ErofsSupportName(support), ": ",
                      tried.message());
    }
  } else {
    reasons = std::string(status.message());
  }
  if (why != nullptr) *why = reasons;
  return ErofsSupport::kNone;
}

}  // namespace gantry::images
