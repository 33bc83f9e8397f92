#include "imageservice/testing_registry.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <chrono>
#include <fstream>
#include <thread>
#include <utility>

#define JSON_NO_IO
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

#include "imageservice/digester.h"
#include "imageservice/tar_archive.h"

namespace gantry::images {
namespace {

using Json = nlohmann::json;

constexpr char kManifestType[] = "application/vnd.oci.image.manifest.v1+json";
constexpr char kIndexType[] = "application/vnd.oci.image.index.v1+json";
constexpr char kConfigType[] = "application/vnd.oci.image.config.v1+json";
constexpr char kLayerType[] = "application/vnd.oci.image.layer.v1.tar";
constexpr char kRegistryBinary[] = "/usr/bin/docker-registry";

std::string Sha256(const std::string& bytes) { return *DigestOf(bytes); }

std::string Gzip(const std::string& bytes) {
  z_stream stream = {};
  GANTRY_CHECK(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  GANTRY_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string Zstd(const std::string& bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
  return out;
}

Json DescriptorOf(const TestImage::Blob& blob) {
  return {{"mediaType", blob.media_type}, {"digest", blob.digest}, {"size", blob.bytes.size()}};
}

std::string OciBlobPath(const std::string& digest) {
  return absl::StrCat("blobs/", absl::StrReplaceAll(digest, {{":", "/"}}));
}

}  // namespace

TestImage& TestImage::AddLayer(const std::string& tar, TestCompression compression,
                               const std::string& diff_id) {
  Blob blob;
  blob.bytes = compression == TestCompression::kGzip   ? Gzip(tar)
               : compression == TestCompression::kZstd ? Zstd(tar)
                                                       : tar;
  const char* suffix = compression == TestCompression::kGzip   ? "+gzip"
                       : compression == TestCompression::kZstd ? "+zstd"
                                                               : "";
  blob.media_type = absl::StrCat(kLayerType, suffix);
  blob.digest = Sha256(blob.bytes);
  layers_.push_back(std::move(blob));
  diff_ids_.push_back(diff_id.empty() ? Sha256(tar) : diff_id);
  return *this;
}

TestImage::Blob TestImage::Config() const {
  const Json config = {{"os", "linux"},
                       {"architecture", "amd64"},
                       {"config", {{"Cmd", {"/bin/true"}}, {"Env", {"A=b"}}}},
                       {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids_}}}};
  Blob blob{"", config.dump(), kConfigType};
  blob.digest = Sha256(blob.bytes);
  return blob;
}

TestImage::Blob TestImage::Manifest() const {
  Json layers = Json::array();
  for (const Blob& layer : layers_) layers.push_back(DescriptorOf(layer));
  const Json manifest = {{"schemaVersion", 2},
                         {"mediaType", kManifestType},
                         {"config", DescriptorOf(Config())},
                         {"layers", layers}};
  Blob blob{"", manifest.dump(), kManifestType};
  blob.digest = Sha256(blob.bytes);
  return blob;
}

std::map<std::string, std::string> TestImage::Blobs() const {
  std::map<std::string, std::string> blobs;
  for (const Blob& layer : layers_) blobs[layer.digest] = layer.bytes;
  const Blob config = Config();
  blobs[config.digest] = config.bytes;
  return blobs;
}

std::string TestImage::DockerArchive(const std::string& name) const {
  TarArchive archive;
  Json paths = Json::array();
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string path = absl::StrCat("layer", i, "/layer.tar");
    archive.Directory(absl::StrCat("layer", i)).File(path, layers_[i].bytes);
    // As old docker did: one of the paths is a link.
    if (i == 0) archive.Symlink("first/layer.tar", "../layer0/layer.tar");
    paths.push_back(i == 0 ? "first/layer.tar" : path);
  }
  archive.File("config.json", Config().bytes);
  const Json tags = name.empty() ? Json(nullptr) : Json::array({name});
  const Json manifest =
      Json::array({{{"Config", "config.json"}, {"RepoTags", tags}, {"Layers", paths}}});
  archive.File("manifest.json", manifest.dump());
  return archive.Finish();
}

std::string TestImage::OciArchive(const std::string& name) const {
  TarArchive archive;
  for (const auto& [digest, bytes] : Blobs()) archive.File(OciBlobPath(digest), bytes);
  const Blob manifest = Manifest();
  archive.File(OciBlobPath(manifest.digest), manifest.bytes);
  Json entry = DescriptorOf(manifest);
  if (!name.empty()) entry["annotations"] = {{"io.containerd.image.name", name}};
  const Json index = {{"schemaVersion", 2}, {"manifests", {entry}}};
  archive.File("./index.json", index.dump())
      .File("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  return archive.Finish();
}

TestImage::Blob TestIndex(const std::vector<std::pair<std::string, TestImage::Blob>>& manifests) {
  Json entries = Json::array();
  for (const auto& [architecture, manifest] : manifests) {
    Json entry = DescriptorOf(manifest);
    entry["platform"] = {{"os", "linux"}, {"architecture", architecture}};
    entries.push_back(entry);
  }
  const Json index = {{"schemaVersion", 2}, {"mediaType", kIndexType}, {"manifests", entries}};
  TestImage::Blob blob{"", index.dump(), kIndexType};
  blob.digest = Sha256(blob.bytes);
  return blob;
}

void MemoryRegistry::Add(const std::string& repository, const std::string& tag,
                         const TestImage& image) {
  AddManifest(repository, tag, image.Manifest());
  for (const auto& [digest, bytes] : image.Blobs()) AddBlob(digest, bytes);
}

void MemoryRegistry::AddManifest(const std::string& repository, const std::string& tag,
                                 const TestImage::Blob& manifest) {
  const std::string base = absl::StrCat("/v2/", repository, "/manifests/");
  const std::lock_guard lock(mutex_);
  if (!tag.empty()) manifests_[base + tag] = manifest;
  manifests_[base + manifest.digest] = manifest;
}

void MemoryRegistry::AddBlob(const std::string& digest, const std::string& bytes) {
  const std::lock_guard lock(mutex_);
  blobs_[digest] = bytes;
}

TestResponse MemoryRegistry::Answer(const TestRequest& request) const {
  const std::lock_guard lock(mutex_);
  const auto manifest = manifests_.find(request.path);
  if (manifest != manifests_.end()) {
    const TestImage::Blob& found = manifest->second;
    return {200,
            {{"Content-Type", found.media_type}, {"Docker-Content-Digest", found.digest}},
            found.bytes};
  }
  const size_t at = request.path.rfind("/blobs/");
  if (at != std::string::npos) return AnswerBlob(request, request.path.substr(at + 7));
  return {404, {}, R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]})"};
}

TestResponse MemoryRegistry::AnswerBlob(const TestRequest& request,
                                        const std::string& digest) const {
  const auto blob = blobs_.find(digest);
  if (blob == blobs_.end())
    return {404, {}, R"({"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]})"};
  const auto range = request.headers.find("range");
  if (range == request.headers.end()) return {200, {}, blob->second};
  const size_t size = blob->second.size();
  const std::pair<std::string, std::string> ends =
      absl::StrSplit(range->second.substr(strlen("bytes=")), '-');
  size_t first = 0, last = size - 1;
  GANTRY_CHECK(absl::SimpleAtoi(ends.first, &first));
  GANTRY_CHECK(ends.second.empty() || absl::SimpleAtoi(ends.second, &last));
  if (first >= size) return {416, {}, ""};
  last = std::min(last, size - 1);
  return {206,
          {{"Content-Range", absl::StrCat("bytes ", first, "-", last, "/", size)}},
          blob->second.substr(first, last - first + 1)};
}

StatusOr<std::unique_ptr<DockerRegistry>> DockerRegistry::Start(const std::string& directory,
                                                                const std::string& http,
                                                                const std::string& top) {
  if (access(kRegistryBinary, X_OK) != 0)
    return absl::UnimplementedError("docker-registry is not installed");
  const uint16_t port = FreePort();
  const std::string config = absl::StrCat(directory, "/registry.yml");
  std::ofstream(config)
      << "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " << directory
      << "/data}}\n"
      << top << "\nhttp:\n  addr: 127.0.0.1:" << port << "\n  " << http << "\n";
  ASSIGN_OR_RETURN(ChildProcess process,
                   ChildProcess::Start(kRegistryBinary, {"serve", config}, {}));
  std::unique_ptr<DockerRegistry> registry(new DockerRegistry(std::move(process), port));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!TestExchange(port, {.method = "GET", .path = "/v2/"}).ok()) {
    if (std::chrono::steady_clock::now() > deadline)
      return absl::DeadlineExceededError("docker-registry does not start");
    std::this_thread::yield();
  }
  return registry;
}

std::string DockerRegistry::host() const { return absl::StrCat("127.0.0.1:", port_); }

Status DockerRegistry::PushBlob(const std::string& repository, const std::string& digest,
                                const std::string& bytes) const {
  ASSIGN_OR_RETURN(
      const TestAnswer upload,
      TestExchange(
          port_, {.method = "POST", .path = absl::StrCat("/v2/", repository, "/blobs/uploads/")}));
  const auto location = upload.headers.find("location");
  if (location == upload.headers.end())
    return absl::InternalError(absl::StrCat("upload: HTTP ", upload.status));
  const size_t path = location->second.find("/v2/");
  const size_t query = location->second.find('?');
  ASSIGN_OR_RETURN(const TestAnswer done,
                   TestExchange(port_, {.method = "PUT",
                                        .path = location->second.substr(path, query - path),
                                        .query = absl::StrCat(location->second.substr(query + 1),
                                                              "&digest=", digest),
                                        .headers = {{"Content-Type", "application/octet-stream"}},
                                        .body = bytes}));
  if (done.status != 201)
    return absl::InternalError(absl::StrCat("blob: HTTP ", done.status, " ", done.body));
  return absl::OkStatus();
}

Status DockerRegistry::PushManifest(const std::string& repository, const std::string& tag,
                                    const TestImage::Blob& manifest) const {
  ASSIGN_OR_RETURN(
      const TestAnswer done,
      TestExchange(port_, {.method = "PUT",
                           .path = absl::StrCat("/v2/", repository, "/manifests/", tag),
                           .headers = {{"Content-Type", manifest.media_type}},
                           .body = manifest.bytes}));
  if (done.status != 201)
    return absl::InternalError(absl::StrCat("manifest: HTTP ", done.status, " ", done.body));
  return absl::OkStatus();
}

Status DockerRegistry::Push(const std::string& repository, const std::string& tag,
                            const TestImage& image) const {
  for (const auto& [digest, bytes] : image.Blobs())
    RETURN_IF_ERROR(PushBlob(repository, digest, bytes));
  return PushManifest(repository, tag, image.Manifest());
}

}  // namespace gantry::images
