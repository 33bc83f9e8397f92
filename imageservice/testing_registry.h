// For tests: images made by code, a registry that serves them from memory, and Debian's
// docker-registry.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "imageservice/child_process.h"
#include "imageservice/testing_server.h"
#include "runtime/base/status.h"

namespace gantry::images {

enum class TestCompression { kNone, kGzip, kZstd };

// An image under construction; the documents are made on demand from what was added.
class TestImage {
 public:
  // A layer from the bytes of a tar (tar_archive.h). `diff_id` other than the true one makes a
  // lying configuration.
  TestImage& AddLayer(const std::string& tar, TestCompression compression = TestCompression::kGzip,
                      const std::string& diff_id = "");

  struct Blob {
    std::string digest, bytes, media_type;
  };
  const std::vector<Blob>& layers() const { return layers_; }
  const std::vector<std::string>& diff_ids() const { return diff_ids_; }
  Blob Config() const;
  // An OCI manifest of it all.
  Blob Manifest() const;
  // All blobs by digest: layers and configuration.
  std::map<std::string, std::string> Blobs() const;

  // The archive that `docker save` and `skopeo copy … oci-archive:` would write. An empty `name`
  // leaves it out.
  std::string DockerArchive(const std::string& name) const;
  std::string OciArchive(const std::string& name) const;

 private:
  std::vector<Blob> layers_;
  std::vector<std::string> diff_ids_;
};

// An OCI index with one entry per manifest; the n-th for the n-th platform ("amd64", "arm64", …).
TestImage::Blob TestIndex(const std::vector<std::pair<std::string, TestImage::Blob>>& manifests);

// The reading half of a registry (any thread): manifests by "repository:tag" and digest, blobs with
// ranges.
class MemoryRegistry {
 public:
  void Add(const std::string& repository, const std::string& tag, const TestImage& image);
  void AddManifest(const std::string& repository, const std::string& tag,
                   const TestImage::Blob& manifest);
  void AddBlob(const std::string& digest, const std::string& bytes);
  // Wrong content under a right name.
  void SpoilBlob(const std::string& digest, const std::string& bytes) { AddBlob(digest, bytes); }
  TestResponse Answer(const TestRequest& request) const;

 private:
  TestResponse AnswerBlob(const TestRequest& request, const std::string& digest) const;
  mutable std::mutex mutex_;
  std::map<std::string, TestImage::Blob> manifests_;  // by path
  std::map<std::string, std::string> blobs_;
};

// A docker-registry process on loopback with a folder of its own.
class DockerRegistry {
 public:
  // kUnimplemented when it is not installed. `http`: more lines for the http section of its
  // configuration, `top`: for the top level (YAML, one line each).
  static StatusOr<std::unique_ptr<DockerRegistry>> Start(const std::string& directory,
                                                         const std::string& http = "",
                                                         const std::string& top = "");
  // 127.0.0.1:<port>
  std::string host() const;
  Status Push(const std::string& repository, const std::string& tag, const TestImage& image) const;
  Status PushManifest(const std::string& repository, const std::string& tag,
                      const TestImage::Blob& manifest) const;

 private:
  DockerRegistry(ChildProcess process, uint16_t port) : process_(std::move(process)), port_(port) {}
  Status PushBlob(const std::string& repository, const std::string& digest,
                  const std::string& bytes) const;
  ChildProcess process_;
  uint16_t port_;
};

}  // namespace gantry::images
