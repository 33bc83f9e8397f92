// Tries what a container should or should not be able to do, and says how the kernel answered.
#pragma once

#include <string>

#include "tests/incontainer/probe_json.h"

namespace gantry::probe {

// {"path":…, "error":""} : the file could be opened for writing, or made where it was missing (and
// is removed then). Nothing is written.
void WriteWriteAttempt(JsonWriter& json, const std::string& path);

// {"call":…, "error":…}: "" when the call succeeded, else the errno's name; "unknown" for a name
// that is not in the list (probe_main.cc). Each is tried in a child of its own, so that what it
// changes ends with it.
void WriteCallAttempt(JsonWriter& json, const std::string& name);

}  // namespace gantry::probe
