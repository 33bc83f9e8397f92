// The workshop: threads in a mount namespace of their own, which holds nothing but the image
// store's folder. Overlays are made there and leave it as detached mounts, so that neither they nor
// a step on the way shows in the host's mount table, and no mount of the host is kept busy by us.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

// Paths are relative to the workshop's root and shorter than 256 bytes.
struct OverlayPlan {
  std::vector<std::string> lower;  // top first; may be empty; no path twice
  std::string upper, work;         // both empty: a read-only view
  bool may_execute = false;        // of a view: programs in it may be run
  // Owners in the lower directories go through this user namespace's mapping (idmapped mounts of
  // them, Linux 5.19); -1: as they are.
  int user_namespace = -1;
};

// A read-only mount of something inside of layers.
struct VolumePlan {
  std::vector<std::string> lower;  // as in OverlayPlan; programs in it may be run
  std::string sub_path;            // of a directory or file in it; empty: all of it
  int user_namespace = -1;
};

struct WorkshopOptions {
  size_t threads = 2;
  // Use mount(2) even where overlayfs takes one layer at a time (lowerdir+, Linux 6.5); for tests.
  bool force_mount2 = false;
  // Where to pin the namespace (workshop_namespace.h), so that a later gantryd goes on in it; below
  // the state folder. Empty: it ends with this process and the mounts that came out of it.
  std::string pin{};
};

// Any thread may call; the work is done by the workshop's threads, and the caller waits.
class Workshop {
 public:
  // `root`: absolute. Finds out, by trying, how overlays can be made here. Needs CAP_SYS_ADMIN.
  static StatusOr<std::unique_ptr<Workshop>> Open(const std::string& root,
                                                  const WorkshopOptions& options);
  ~Workshop();

  // A detached mount of the overlay. Containers' overlays are `volatile` (never synced, never
  // mounted again).
  StatusOr<UniqueFd> MakeOverlay(const OverlayPlan& plan);
  // A detached mount. One layer is bound as it is, several become an overlay. kInvalidArgument:
  // the sub path is missing, or leads out of the layers.
  StatusOr<UniqueFd> MakeVolume(const VolumePlan& plan);

  // A directory in the workshop, open for reading.
  StatusOr<UniqueFd> OpenDirectory(const std::string& path);
  // Attaches a detached mount on the directory `path`, where it stays while the workshop lives.
  // When the directory is removed, also by its name outside of the workshop, the kernel takes the
  // mount away (since Linux 4.2).
  Status Attach(int mount, const std::string& path);

  // Nothing uses what was made here any more: the namespace goes with this process.
  Status Unpin();

  bool uses_mount2() const;

 private:
  struct State;
  explicit Workshop(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
