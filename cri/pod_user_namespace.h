// User namespaces of pods, as the node has them: whether it can, and which ids are whose.
#pragma once

#include <string>

#include "cri/node.h"

namespace gantry::cri {

// Tries at start what such a pod needs: a user namespace, the store's file system mapped, an
// overlay over it. Sets features.user_namespaces, or why not.
void ProbeUserNamespaces(Node* node);

// kInvalidArgument when ids of `sandbox_id`'s mapping belong to another pod that is not stopped and
// was there first. Of two that are made at once the later gives way. Attempts of one pod share
// their ids: the kubelet gives them to the pod.
Status CheckIdsAreFree(const Node& node, const std::string& sandbox_id);

// Gives the files and folders that a pod's containers share to the root of its user namespace.
Status GivePodFiles(const std::string& pod_directory, const v1::PodSandboxConfig& config);

}  // namespace gantry::cri
