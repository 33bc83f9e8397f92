// The result cache of libcni (kind cniCacheV1): for plugins and tools that read it. We never do;
// our own record is the truth.
#pragma once

#include <string>

#include "cri/network/cni.h"
#include "cri/network/conflist.h"
#include "runtime/base/status.h"

namespace gantry::cri {

struct CniCacheEntry {
  std::string result;           // JSON
  std::string capability_args;  // JSON object; empty: none
};

// Writes <cache_dir>/results/NETWORK-ID-IFNAME: complete or absent after a crash at any point
// (libcni writes in place, and an empty file then failed every later DEL).
Status WriteCniCache(const std::string& cache_dir, const CniConfig& config,
                     const PodNetworkRequest& request, const CniCacheEntry& entry);

// OK when there is none.
Status RemoveCniCache(const std::string& cache_dir, const CniConfig& config,
                      const PodNetworkRequest& request);

}  // namespace gantry::cri
