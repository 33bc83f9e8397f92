#include "imageservice/puller_protocol.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <utility>

#define JSON_NO_IO
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "imageservice/manifest.h"
#include "imageservice/reference.h"
#include "runtime/base/json.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::images {
namespace {

using Json = nlohmann::json;

Json ToJson(const Credentials& credentials) {
  return {{"username", credentials.username},
          {"password", credentials.password},
          {"auth", credentials.auth},
          {"server_address", credentials.server_address},
          {"identity_token", credentials.identity_token},
          {"registry_token", credentials.registry_token}};
}

Json ToJson(const Status& status) {
  return {{"code", static_cast<int>(status.code())}, {"message", std::string(status.message())}};
}

Json ToJson(const ImageConfig& config) {
  return {{"user", config.user},
          {"entrypoint", config.entrypoint},
          {"cmd", config.cmd},
          {"env", config.env},
          {"working_dir", config.working_dir},
          {"volumes", config.volumes},
          {"exposed_ports", config.exposed_ports},
          {"stop_signal", config.stop_signal},
          {"labels", config.labels},
          {"healthcheck", config.healthcheck_json},
          {"architecture", config.architecture},
          {"os", config.os}};
}

Json ToJson(const std::vector<HostReport>& reports) {
  Json hosts = Json::array();
  for (const HostReport& report : reports) {
    hosts.push_back({{"origin", report.origin},
                     {"failures", report.failures},
                     {"open_ms", report.open_for.count()},
                     {"reason", report.reason}});
  }
  return hosts;
}

Json ToJson(const FoundImage& image) {
  Json layers = Json::array();
  for (const FoundLayer& layer : image.layers) {
    layers.push_back({{"digest", layer.digest}, {"size", layer.size}, {"diff_id", layer.diff_id}});
  }
  return {{"id", image.id},
          {"repo_tags", image.repo_tags},
          {"repo_digests", image.repo_digests},
          {"config", ToJson(image.config)},
          {"config_size", image.config_size},
          {"config_document", image.documents.config},
          {"manifest_document", image.documents.manifest},
          {"layers", std::move(layers)}};
}

struct OrderEncoder {
  Json operator()(const PullTask& task) const {
    return {{"type", "pull"},
            {"reference", task.reference},
            {"credentials", ToJson(task.credentials)},
            {"registry_config_path", task.registry_config_path},
            {"auth_files", task.auth_files},
            {"environment", task.environment},
            {"stall_timeout_ms", task.stall_timeout_ms},
            {"hosts", ToJson(task.hosts)},
            {"known_config", task.known_config}};
  }
  Json operator()(const ExplainTask& task) const {
    Json order = (*this)(task.pull);
    order["type"] = "explain";
    return order;
  }
  Json operator()(const ImportTask& task) const {
    return {{"type", "import"}, {"name", task.name}};
  }
  Json operator()(const FetchLayer& fetch) const {
    return {{"type", "fetch"}, {"digest", fetch.digest}, {"resume", fetch.resume}};
  }
  Json operator()(const EndOfLayers&) const { return {{"type", "end"}}; }
};

struct ReportEncoder {
  Json operator()(const ImagesFound& found) const {
    Json images = Json::array();
    for (const FoundImage& image : found.images) images.push_back(ToJson(image));
    return {{"type", "images"}, {"images", std::move(images)}};
  }
  Json operator()(const LayerProgressed& progress) const {
    return {{"type", "progress"}, {"digest", progress.digest}, {"done", progress.done}};
  }
  Json operator()(const LayerEnded& ended) const {
    return {{"type", "layer"},
            {"digest", ended.digest},
            {"status", ToJson(ended.status)},
            {"again", ended.again}};
  }
  Json operator()(const HostsSeen& seen) const {
    return {{"type", "hosts"}, {"hosts", ToJson(seen.hosts)}};
  }
  Json operator()(const TaskEnded& ended) const {
    return {{"type", "ended"}, {"status", ToJson(ended.status)}};
  }
};

// A decoder's view of a frame.
struct Frame {
  const JsonReader& root;
  Status& status;

  std::string Text(const char* key) const {
    std::string text;
    root.Read(key, text);
    return text;
  }
  std::string Digest(const char* key) const {
    std::string digest = Text(key);
    if (!IsDigest(digest)) root.Fail(key, "must be a digest");
    return digest;
  }
  std::string DigestOrNone(const char* key) const {
    return Text(key).empty() ? std::string() : Digest(key);
  }
};

Credentials ReadCredentialsFrom(const JsonReader& reader) {
  Credentials credentials;
  reader.Read("username", credentials.username);
  reader.Read("password", credentials.password);
  reader.Read("auth", credentials.auth);
  reader.Read("server_address", credentials.server_address);
  reader.Read("identity_token", credentials.identity_token);
  reader.Read("registry_token", credentials.registry_token);
  return credentials;
}

ImageConfig ReadConfigFrom(const JsonReader& reader) {
  ImageConfig config;
  reader.Read("user", config.user);
  reader.Read("entrypoint", config.entrypoint);
  reader.Read("cmd", config.cmd);
  reader.Read("env", config.env);
  reader.Read("working_dir", config.working_dir);
  reader.Read("volumes", config.volumes);
  reader.Read("exposed_ports", config.exposed_ports);
  reader.Read("stop_signal", config.stop_signal);
  reader.Read("labels", config.labels);
  reader.Read("healthcheck", config.healthcheck_json);
  reader.Read("architecture", config.architecture);
  reader.Read("os", config.os);
  return config;
}

FoundImage ReadImageFrom(const JsonReader& reader, Status& status) {
  FoundImage image;
  image.id = Frame{reader, status}.Digest("id");
  reader.Read("repo_tags", image.repo_tags);
  reader.Read("repo_digests", image.repo_digests);
  for (const std::vector<std::string>* names : {&image.repo_tags, &image.repo_digests}) {
    for (const std::string& name : *names) {
      if (!ParseReference(name).ok()) reader.Fail("repo_tags", "holds a name that is no reference");
    }
  }
  reader.Object("config", [&](JsonReader config) { image.config = ReadConfigFrom(config); });
  reader.Read("config_size", image.config_size);
  reader.Read("config_document", image.documents.config);
  reader.Read("manifest_document", image.documents.manifest);
  reader.ForEach("layers", [&](JsonReader entry) {
    FoundLayer layer;
    layer.digest = Frame{entry, status}.Digest("digest");
    layer.diff_id = Frame{entry, status}.DigestOrNone("diff_id");
    entry.Read("size", layer.size);
    image.layers.push_back(std::move(layer));
  });
  if (image.layers.size() > kMaxLayers) reader.Fail("layers", "are too many");
  return image;
}

std::vector<HostReport> ReadHostsFrom(const JsonReader& root) {
  std::vector<HostReport> hosts;
  root.ForEach("hosts", [&](JsonReader entry) {
    HostReport host;
    uint64_t open_ms = 0;
    entry.Read("origin", host.origin);
    entry.Read("failures", host.failures);
    entry.Read("open_ms", open_ms);
    entry.Read("reason", host.reason);
    if (host.origin.size() > kMaxHostReason) entry.Fail("origin", "is too long");
    host.open_for = std::chrono::milliseconds(std::min<uint64_t>(open_ms, 1 << 30));
    hosts.push_back(std::move(host));
  });
  if (hosts.size() > kMaxHostReports) root.Fail("hosts", "are too many");
  return hosts;
}

PullTask ReadPullTask(const JsonReader& root) {
  PullTask task;
  root.Read("reference", task.reference);
  root.Object("credentials",
              [&](JsonReader reader) { task.credentials = ReadCredentialsFrom(reader); });
  root.Read("registry_config_path", task.registry_config_path);
  root.Read("auth_files", task.auth_files);
  root.Read("environment", task.environment);
  root.Read("stall_timeout_ms", task.stall_timeout_ms);
  root.Read("known_config", task.known_config);
  task.hosts = ReadHostsFrom(root);
  return task;
}

Status ReadStatusFrom(const JsonReader& root) {
  int32_t code = static_cast<int32_t>(absl::StatusCode::kInternal);
  std::string message;
  root.Object("status", [&](JsonReader reader) {
    reader.Read("code", code);
    reader.Read("message", message);
  });
  if (code < 0 || code > 16) code = static_cast<int32_t>(absl::StatusCode::kInternal);
  return Status(static_cast<absl::StatusCode>(code), message);
}

StatusOr<Json> ParseFrame(absl::string_view text) {
  const JsonLimits limits = {
      .max_bytes = kMaxPullerFrame, .max_depth = 16, .max_values = 2'000'000};
  ASSIGN_OR_RETURN(Json document, ParseJson(text, limits));
  if (!document.is_object()) return absl::InvalidArgumentError("frame: must be an object");
  return document;
}

}  // namespace

std::string EncodeOrder(const PullerOrder& order) {
  return DumpJson(std::visit(OrderEncoder(), order));
}

std::string EncodeReport(const PullerReport& report) {
  return DumpJson(std::visit(ReportEncoder(), report));
}

StatusOr<PullerOrder> DecodeOrder(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json document, ParseFrame(text));
  Status status;
  const JsonReader root(document, status);
  const Frame frame{root, status};
  const std::string type = frame.Text("type");
  PullerOrder order;
  if (type == "pull") {
    order = ReadPullTask(root);
  } else if (type == "explain") {
    order = ExplainTask{ReadPullTask(root)};
  } else if (type == "import") {
    order = ImportTask{frame.Text("name")};
  } else if (type == "fetch") {
    FetchLayer fetch{frame.Digest("digest"), false};
    root.Read("resume", fetch.resume);
    order = std::move(fetch);
  } else if (type == "end") {
    order = EndOfLayers{};
  } else {
    root.Fail("type", "is unknown");
  }
  RETURN_IF_ERROR(status);
  return order;
}

StatusOr<PullerReport> DecodeReport(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json document, ParseFrame(text));
  Status status;
  const JsonReader root(document, status);
  const Frame frame{root, status};
  const std::string type = frame.Text("type");
  PullerReport report;
  if (type == "images") {
    ImagesFound found;
    root.ForEach("images",
                 [&](JsonReader image) { found.images.push_back(ReadImageFrom(image, status)); });
    report = std::move(found);
  } else if (type == "progress") {
    LayerProgressed progress{frame.Digest("digest"), 0};
    root.Read("done", progress.done);
    report = std::move(progress);
  } else if (type == "layer") {
    LayerEnded ended{frame.Digest("digest"), ReadStatusFrom(root), false};
    root.Read("again", ended.again);
    report = std::move(ended);
  } else if (type == "hosts") {
    report = HostsSeen{ReadHostsFrom(root)};
  } else if (type == "ended") {
    report = TaskEnded{ReadStatusFrom(root)};
  } else {
    root.Fail("type", "is unknown");
  }
  RETURN_IF_ERROR(status);
  return report;
}

Status PullerChannel::Send(absl::string_view text, std::span<const int> fds, bool wait) {
  const auto length = static_cast<uint32_t>(text.size());
  std::string frame(reinterpret_cast<const char*>(&length), sizeof(length));
  absl::StrAppend(&frame, text);
  absl::string_view rest = frame;
  const std::lock_guard lock(sending_);
  while (!rest.empty()) {
    const StatusOr<size_t> sent = SendWithFds(socket_.get(), rest, fds, wait ? 0 : MSG_DONTWAIT);
    if (!sent.ok()) {
      const int error = ErrnoOf(sent.status());
      if (error == EINTR) continue;
      if (error == EPIPE || error == ECONNRESET) return absl::UnavailableError("the peer has gone");
      if (error == EAGAIN) return absl::UnavailableError("the peer does not read");
      return sent.status();
    }
    rest.remove_prefix(*sent);
    fds = {};
  }
  return absl::OkStatus();
}

StatusOr<std::optional<std::string>> PullerChannel::Receive(bool wait) {
  std::array<char, 65536> buffer;
  for (;;) {
    uint32_t length = 0;
    if (received_.size() >= sizeof(length)) {
      memcpy(&length, received_.data(), sizeof(length));
      if (length > kMaxPullerFrame) return absl::InvalidArgumentError("frame: too long");
      if (received_.size() >= sizeof(length) + length) {
        std::string text = received_.substr(sizeof(length), length);
        received_.erase(0, sizeof(length) + length);
        return std::optional<std::string>(std::move(text));
      }
    }
    ASSIGN_OR_RETURN(std::optional<ReceivedMessage> message,
                     ReceiveWithFds(socket_.get(), buffer, wait ? 0 : MSG_DONTWAIT));
    if (!message.has_value()) return std::optional<std::string>();
    if (message->size == 0) return absl::UnavailableError("the peer has gone");
    received_.append(buffer.data(), message->size);
    for (UniqueFd& fd : message->fds) fds_.push_back(std::move(fd));
    if (fds_.size() > kMaxMessageFds)
      return absl::InvalidArgumentError("frame: too many descriptors");
  }
}

StatusOr<std::vector<UniqueFd>> PullerChannel::TakeFds(size_t count) {
  if (fds_.size() < count) return absl::InvalidArgumentError("frame: descriptors are missing");
  const auto end = fds_.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<UniqueFd> taken(std::make_move_iterator(fds_.begin()), std::make_move_iterator(end));
  fds_.erase(fds_.begin(), end);
  return taken;
}

}  // namespace gantry::images
