// What this process sees of itself and of the container around it, as JSON.
#pragma once

#include <string>
#include <string_view>

#include "tests/incontainer/probe_json.h"

namespace gantry::probe {

// The content of a file, at most 1 MiB of it; sets *error to the errno's name ("" on success).
std::string ReadFile(const std::string& path, std::string* error);

// "EPERM" for 1 …, "" for 0.
std::string ErrnoName(int error);

// Everything: see the keys at the head of probe_main.cc. An object.
void WriteReport(JsonWriter& json);

// {"path":…, "error":""} or with "type", "mode" (octal text), "uid", "gid", "size", "dev" and
// "rdev"
// ("major:minor"), "target" of a link, "readonly" of its mount. Links are not followed.
void WriteStat(JsonWriter& json, const std::string& path);

}  // namespace gantry::probe
