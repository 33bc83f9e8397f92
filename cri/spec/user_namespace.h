// userns_options of the API (KEP-127): what a pod and its containers may ask for. Pure.
#pragma once

#include "cri/api.h"
#include "runtime/base/status.h"
#include "runtime/id_maps.h"

namespace gantry::cri {

// Whether the pod has a user namespace of its own.
inline bool HasUserNamespace(const v1::NamespaceOption& options) {
  return options.has_userns_options() && options.userns_options().mode() == v1::POD;
}

// The mapping that it asks for; empty for one without a user namespace of its own.
runtime::IdMaps IdMapsOf(const v1::NamespaceOption& options);

// kInvalidArgument unless the mode is NODE without mappings, or POD with one mapping of user ids
// and one of group ids, which begin with the container's id 0 and end where ids do.
Status CheckUserNamespace(const v1::NamespaceOption& options);

// kInvalidArgument when the container names another user namespace than its sandbox has. One that
// names none gets the sandbox's.
Status CheckUserNamespaceOfPod(const v1::NamespaceOption& sandbox,
                               const v1::NamespaceOption& container);

// True when an id of the host's belongs to both: one pod's processes could be the other's.
bool SharesIds(const runtime::IdMaps& a, const runtime::IdMaps& b);

// A mount's own mapping: none, or one of each. kInvalidArgument for one alone or an empty extent.
Status CheckIdMappings(const v1::Mount& mount);

std::vector<spec::IdMapping> MappingsOf(
    const google::protobuf::RepeatedPtrField<v1::IDMapping>& from);

}  // namespace gantry::cri
