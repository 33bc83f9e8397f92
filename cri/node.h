// Everything that the RPCs work with: built once by main.cc, passed by reference, no singletons.
// Members are thread-safe or immutable after start.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "cri/apparmor.h"
#include "cri/background.h"
#include "cri/config/config.h"
#include "cri/container.h"
#include "cri/create_operations.h"
#include "cri/event_feed.h"
#include "cri/log.h"
#include "cri/metrics/statistics.h"
#include "cri/name_registry.h"
#include "cri/network/cni.h"
#include "cri/network_debts.h"
#include "cri/object_locks.h"
#include "cri/object_table.h"
#include "cri/sandbox.h"
#include "cri/store/store.h"
#include "cri/streaming/server.h"
#include "imageservice/image_store.h"
#include "imageservice/pull.h"
#include "imageservice/snapshot.h"
#include "runtime/cdi/registry.h"
#include "runtime/linux/cgroup.h"
#include "runtime/seccomp/compile.h"
#include "shim/client.h"

namespace gantry::cri {

// What this machine and this daemon can do; found out once at start.
struct NodeFeatures {
  std::string boot_id;
  CgroupHost cgroups;
  std::set<std::string> capabilities;         // what the daemon holds: containers get no more
  std::set<std::string> kernel_capabilities;  // all there are: those of a user namespace's root
  int oom_score_adj = 0;                      // of the daemon: lower needs CAP_SYS_RESOURCE
  bool may_lower_oom_score_adj = false;
  bool recursive_read_only_mounts = false;  // mount_setattr(2), Linux 5.12
  bool user_namespaces = false;             // pod_user_namespace.h
  std::string no_user_namespaces_because;
};

struct Node {
  Node(Config node_config, Logger node_log)
      : config(std::move(node_config)), log(std::move(node_log)) {}

  Config config;
  Logger log;
  NodeFeatures features;
  std::string shim_binary, init_binary, unpacker_binary;
  CgroupPaths shim_cgroup;  // of all shims, outside of the pods' limits
  int64_t started_at_ns = 0;

  std::unique_ptr<Store> store;
  std::unique_ptr<images::ImageStore> images;
  std::unique_ptr<images::Snapshots> snapshots;
  std::unique_ptr<images::Puller> puller;
  std::unique_ptr<Network> network;
  std::unique_ptr<cdi::Registry> devices;
  std::unique_ptr<shim::Reactor> reactor;
  std::unique_ptr<streaming::Server> streaming;  // outlives the calls that its sessions make
  std::unique_ptr<Background> events;            // what shims tell
  std::unique_ptr<Background> background;        // acknowledgements, clean-up, sweeps
  seccomp::FilterCache filters;
  AppArmor apparmor;

  ObjectTable<Sandbox> sandboxes;
  ObjectTable<Container> containers;
  EventFeed feed;  // for GetContainerEvents
  std::unique_ptr<Statistics> statistics;
  NameRegistry names;         // of sandboxes and containers
  ObjectLocks stops;          // by sandbox: one stop or removal at a time
  absl::Mutex host_ports;     // see ClaimNetwork
  absl::Mutex persist_order;  // see persist.h
  std::set<std::string> unrecorded ABSL_GUARDED_BY(persist_order);  // ids
  std::unique_ptr<CreateOperations> creations;
  std::unique_ptr<NetworkDebts> network_debts;

  [[nodiscard]] std::string PodDirectory(const std::string& id) const {
    return config.state + "/pods/" + id;
  }
  // Empty: where a container's child attaches its root file system, in its own mount namespace.
  [[nodiscard]] std::string RootfsMountPoint() const { return config.state + "/rootfs"; }
  [[nodiscard]] std::string ContainerDirectory(const std::string& id) const {
    return config.root + "/containers/" + id;
  }
};

}  // namespace gantry::cri
