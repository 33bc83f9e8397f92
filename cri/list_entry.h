// Containers and pods as elements of lists, in their wire form. Nothing of one changes while it is
// listed but its state: the rest is encoded once, because kubelets ask for all of them each second.
#pragma once

#include <string>

#include "cri/container.h"
#include "cri/sandbox.h"

namespace gantry::cri {

// Makes what ListEntry then has ready: of an object that gets its caller, or was found again.
void KeepListEntry(Container* container);
void KeepListEntry(Sandbox* sandbox);

// A v1::Container and a v1::PodSandbox.
std::string ListEntry(const Container& container);
std::string ListEntry(const Sandbox& sandbox);

// Adds an element of a repeated field of messages that is encoded already: as an unknown field,
// which protobuf sends as it is.
void AddEncoded(int field, std::string element, google::protobuf::Message* message);

}  // namespace gantry::cri
