// What gantryd and a gantry-puller say to each other, on a stream socket: frames of a 4-byte length
// (this machine's byte order) and one JSON object; descriptors ride on a frame's first byte.
//
//   gantryd                                            gantry-puller (descriptor 3)
//   PullTask or ImportTask{archive, spool}  ────────▶
//                                           ◀────────  ImagesFound, or TaskEnded{why not}
//   FetchLayer{ring, resume file} …         ────────▶  one at a time or several; a layer again only
//                                                      after its LayerEnded
//                                           ◀────────  LayerProgressed …, LayerEnded{verified, or
//                                                      why not}
//                                           ◀────────  HostsSeen, whenever there is news of servers
//   EndOfLayers                             ────────▶
//                                           ◀────────  TaskEnded{OK}, exit
//
// Credentials travel here and nowhere else: not in arguments, environment, files or logs.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "imageservice/credentials.h"
#include "imageservice/host_health.h"
#include "imageservice/image.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

inline constexpr int kPullerSocket = 3;  // the puller's number for its end
// For a puller that has nothing left to do, to end.
inline constexpr auto kPullerPatience = std::chrono::seconds(2);
// A task is sent in one go to who does not read yet: it must fit into the socket's buffer.
inline constexpr size_t kMaxKnownConfig = 32 << 10;
inline constexpr size_t kMaxPullerFrame = 32 << 20;

struct PullTask {
  std::string reference;
  Credentials credentials;
  std::string registry_config_path;
  std::string auth_files;                // logins of this node, when `credentials` are empty
  std::vector<std::string> environment;  // "NAME=value": for proxies and credential helpers
  uint64_t stall_timeout_ms = 0;         // 0: the default
  std::vector<HostReport> hosts;         // what earlier pulls learnt
  std::string known_config;              // of the image that has this name here, if it is small
};
// As a pull, up to the layers: answered with one PullExplanation (pull_explanation.h).
struct ExplainTask {
  PullTask pull;
};
struct ImportTask {  // descriptors: the archive, an empty file to spool to
  std::string name;
};
struct FetchLayer {  // descriptors: BlobRing::writer_memory, BlobRing::writer_socket, resume file
  std::string digest;
  bool resume = false;  // the third descriptor is there
};
struct EndOfLayers {};
using PullerOrder = std::variant<PullTask, ImportTask, FetchLayer, EndOfLayers, ExplainTask>;

struct FoundLayer {
  std::string digest;
  uint64_t size = 0;
  std::string diff_id;  // empty: not known before it is unpacked
};
struct FoundImage {
  std::string id;
  std::vector<std::string> repo_tags, repo_digests;
  ImageConfig config;
  uint64_t config_size = 0;
  ImageDocuments documents;
  std::vector<FoundLayer> layers;  // bottom first
};
struct ImagesFound {
  std::vector<FoundImage> images;
};
struct LayerProgressed {
  std::string digest;
  uint64_t done = 0;
};
struct LayerEnded {
  std::string digest;
  Status status;
  bool again = false;  // wrong bytes came, but there is another source than theirs
};
struct HostsSeen {
  std::vector<HostReport> hosts;
};
struct TaskEnded {
  Status status;
};
using PullerReport = std::variant<ImagesFound, LayerProgressed, LayerEnded, HostsSeen, TaskEnded>;

std::string EncodeOrder(const PullerOrder& order);
StatusOr<PullerOrder> DecodeOrder(absl::string_view text);
std::string EncodeReport(const PullerReport& report);
// The puller is not trusted: digests, references and counts in the result are valid.
StatusOr<PullerReport> DecodeReport(absl::string_view text);

// One end of the socket. Send from any thread, the rest from one.
class PullerChannel {
 public:
  explicit PullerChannel(UniqueFd socket) : socket_(std::move(socket)) {}

  // kUnavailable when the peer has gone. Without `wait` a peer that does not read is kUnavailable
  // too.
  Status Send(absl::string_view text, std::span<const int> fds, bool wait);

  // The next frame's text. Nothing when `wait` is false and it is not complete yet. kUnavailable:
  // the peer has gone.
  StatusOr<std::optional<std::string>> Receive(bool wait);

  // The next `count` descriptors, in the order of the frames that brought them. kInvalidArgument
  // when there are fewer.
  StatusOr<std::vector<UniqueFd>> TakeFds(size_t count);

  int fd() const { return socket_.get(); }

 private:
  UniqueFd socket_;
  std::mutex sending_;
  std::string received_;
  std::vector<UniqueFd> fds_;
};

}  // namespace gantry::images
