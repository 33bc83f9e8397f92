#include "imageservice/blob_download.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "imageservice/digester.h"

namespace gantry::images {
namespace {

// A server that sends less than this between two failures makes no progress that is worth new
// tries.
constexpr uint64_t kProgress = 1 << 20;

struct ContentRange {
  uint64_t first = 0;
  std::optional<uint64_t> total;
};

// "bytes 100-199/200" or "bytes 100-199/*".
std::optional<ContentRange> ReadContentRange(absl::string_view text) {
  if (!absl::StartsWith(text, "bytes ")) return std::nullopt;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text.substr(6), absl::MaxSplits('/', 1));
  ContentRange range;
  if (!absl::SimpleAtoi(parts.first.substr(0, parts.first.find('-')), &range.first))
    return std::nullopt;
  uint64_t total = 0;
  if (absl::SimpleAtoi(parts.second, &total)) range.total = total;
  return range;
}

class Download {
 public:
  Download(const RegistryClient& registry, HttpClient& client, const Descriptor& descriptor,
           const BlobSink& sink, Digester digester)
      : registry_(registry),
        client_(client),
        descriptor_(descriptor),
        sink_(sink),
        digester_(std::move(digester)) {}

  Status Run() {
    const std::string path = absl::StrCat("blobs/", descriptor_.digest);
    EndpointFailures failures;
    for (const RegistryEndpoint* endpoint : registry_.Candidates(/*by_digest=*/true)) {
      const Status status = From(*endpoint, path);
      if (status.ok()) return status;
      const Status named = Annotate(status, registry_.Shown(*endpoint, path));
      if (final_) return named;
      registry_.NoteFailure(*endpoint, status);
      failures.Add(named);
    }
    return failures.Summary();
  }

 private:
  Status From(const RegistryEndpoint& endpoint, const std::string& path) {
    RetryPolicy retry;
    for (;;) {
      const uint64_t before = done_;
      std::string retry_after;
      const Status failure = Attempt(endpoint, path, retry_after);
      if (failure.ok()) return CheckDigest();
      if (final_) return failure;
      if (done_ - before >= kProgress) retry.Progressed();
      const auto wait = retry.Next(failure, retry_after);
      if (!wait.has_value()) {
        return done_ == 0 ? failure
                          : Annotate(failure, absl::StrCat("after ", done_, " of ",
                                                           descriptor_.size, " bytes"));
      }
      std::this_thread::sleep_for(*wait);
    }
  }

  // One request, from where we are to the end.
  Status Attempt(const RegistryEndpoint& endpoint, const std::string& path,
                 std::string& retry_after) {
    RegistryClient::Request request;
    request.path = path;
    // A range from the first byte breaks some small registries, and says nothing.
    if (done_ > 0) request.headers.emplace_back("Range", absl::StrCat("bytes=", done_, "-"));
    skip_ = 0;
    request.on_head = [this](const HttpResponse& response) { return OnHead(response); };
    request.on_body = [this](std::span<const char> bytes) { return OnBody(bytes); };
    const StatusOr<HttpResponse> response = registry_.Ask(client_, endpoint, request);
    if (!response.ok()) return response.status();
    retry_after = std::string(response->Header("retry-after"));
    if (response->status == 416)
      return Wrong(absl::DataLossError("the server has fewer bytes than its descriptor says"));
    if (response->status != 200 && response->status != 206) return AnswerError(*response);
    if (done_ == descriptor_.size) return absl::OkStatus();
    return Wrong(absl::DataLossError(absl::StrCat(
        "the blob ends after ", done_, " bytes, its descriptor says ", descriptor_.size)));
  }

  Status OnHead(const HttpResponse& response) {
    uint64_t length = 0;
    const bool has_length = absl::SimpleAtoi(response.Header("content-length"), &length);
    if (response.status == 200) {
      skip_ = done_;
      if (has_length && length != descriptor_.size) return WrongSize(length);
      return absl::OkStatus();
    }
    const auto range = ReadContentRange(response.Header("content-range"));
    if (!range.has_value() || range->first != done_) {
      return Wrong(absl::DataLossError("the server answers with another range than was asked for"));
    }
    if (range->total.has_value() && *range->total != descriptor_.size)
      return WrongSize(*range->total);
    return absl::OkStatus();
  }

  Status OnBody(std::span<const char> bytes) {
    const size_t known = static_cast<size_t>(std::min<uint64_t>(skip_, bytes.size()));
    skip_ -= known;
    bytes = bytes.subspan(known);
    if (bytes.size() > descriptor_.size - done_) {
      return Wrong(absl::DataLossError(absl::StrCat("the blob is longer than the ",
                                                    descriptor_.size, " bytes of its descriptor")));
    }
    if (bytes.empty()) return absl::OkStatus();
    digester_.Update(bytes);
    done_ += bytes.size();
    const Status status = sink_(bytes);
    final_ = !status.ok();
    return status;
  }

  Status CheckDigest() {
    final_ = true;
    const std::string digest = digester_.Finish();
    if (digest == descriptor_.digest) return absl::OkStatus();
    return Wrong(absl::DataLossError(
        absl::StrCat("the blob has digest ", digest, ", not ", descriptor_.digest)));
  }

  Status WrongSize(uint64_t size) {
    return Wrong(absl::DataLossError(
        absl::StrCat("the blob has ", size, " bytes, its descriptor says ", descriptor_.size)));
  }

  // No other try or endpoint can help: bytes of this blob are with the sink already, or the sink
  // itself has failed.
  Status Wrong(Status status) {
    final_ = true;
    return status;
  }

  const RegistryClient& registry_;
  HttpClient& client_;
  const Descriptor& descriptor_;
  const BlobSink& sink_;
  Digester digester_;
  uint64_t done_ = 0;  // bytes with the sink
  uint64_t skip_ = 0;  // of the present answer: those that the sink has already
  bool final_ = false;
};

}  // namespace

Status DownloadBlob(const RegistryClient& registry, HttpClient& client,
                    const Descriptor& descriptor, const BlobSink& sink) {
  ASSIGN_OR_RETURN(Digester digester, Digester::Make(descriptor.digest));
  return Download(registry, client, descriptor, sink, std::move(digester)).Run();
}

StatusOr<std::string> FetchBlob(const RegistryClient& registry, HttpClient& client,
                                const Descriptor& descriptor, size_t limit) {
  if (descriptor.size > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("blob ", descriptor.digest, " is longer than ", limit, " bytes"));
  }
  std::string bytes;
  RETURN_IF_ERROR(DownloadBlob(registry, client, descriptor, [&](std::span<const char> piece) {
    bytes.append(piece.data(), piece.size());
    return absl::OkStatus();
  }));
  return bytes;
}

}  // namespace gantry::images
