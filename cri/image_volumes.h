// Volumes made of images (KEP-4639): which image, which layers, and the mounts that a container is
// given.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cri/api.h"
#include "cri/store/record.pb.h"
#include "imageservice/image_store.h"
#include "imageservice/snapshot.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cri {

// Adds to the record what its configuration's image volumes are made of. kNotFound: an image is not
// on this node; nothing is pulled here.
Status FindImageVolumes(const images::ImageStore& images, const v1::ContainerConfig& config,
                        store::ContainerRecord* record);

// Every layer that the container needs: its image's and its volumes'.
std::vector<std::string> HeldLayers(const store::ContainerRecord& record);

// Detached mounts by destination, in the order of the map to be sent. `user_namespace` is borrowed;
// -1: none. kInvalidArgument: a sub path is missing or leads out of its image.
StatusOr<std::map<std::string, UniqueFd>> MountImageVolumes(images::Snapshots* snapshots,
                                                            const v1::ContainerConfig& config,
                                                            const store::ContainerRecord& record,
                                                            int user_namespace);

// Tells of which image they are, where one is: NAME@DIGEST, as of a container itself.
void AddImageRefs(const store::ContainerRecord& record, v1::ContainerStatus* status);

// The kubelet knows what went wrong by the first word. Errors of the functions above carry it
// along; put first at the end, when all the rest of the text is there.
Status WithReasonFirst(const Status& status);

}  // namespace gantry::cri
