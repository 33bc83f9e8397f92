#include "imageservice/http_client.h"

#include <curl/curl.h>
#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPollMs = 100;
constexpr size_t kMaxHeaders = 200;
constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr char kUserAgent[] = "gantry/" GANTRY_VERSION;

// The certificates that LoadSystemCertificates read: set once, before threads start.
const std::string* system_certificates = nullptr;

// What UseProxies set.
const ProxySettings* proxy_settings = nullptr;

struct Transfer {
  CURL* curl = nullptr;
  const HttpRequest* request = nullptr;
  HttpResponse response;
  size_t header_bytes = 0;
  bool head_done = false;
  Status failure;
  Status ended;          // by us: stalled or cancelled
  curl_off_t bytes = 0;  // that came so far, headers included
  Clock::time_point last_byte = Clock::now();
  // The stretch over which the rate is looked at: when it began, and with how many bytes.
  Clock::time_point stretch = Clock::now();
  curl_off_t stretch_bytes = 0;
};

bool HasContent(const Transfer& transfer) {
  return transfer.response.status == 200 || transfer.response.status == 206;
}

size_t OnHeader(char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  absl::string_view line = absl::StripAsciiWhitespace(absl::string_view(data, size));
  transfer.header_bytes += size;
  if (transfer.header_bytes > kMaxHeaderBytes || transfer.response.headers.size() > kMaxHeaders) {
    transfer.failure = absl::UnavailableError("the answer has too many headers");
    return 0;
  }
  if (absl::StartsWith(line, "HTTP/")) {
    transfer.response.headers.clear();  // those before belonged to a 1xx answer
  } else if (const size_t colon = line.find(':'); colon != absl::string_view::npos) {
    transfer.response.headers.emplace(
        absl::AsciiStrToLower(line.substr(0, colon)),
        std::string(absl::StripAsciiWhitespace(line.substr(colon + 1))));
  }
  return size;
}

Status TakeBody(Transfer& transfer, absl::string_view data) {
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
  const HttpRequest& request = *transfer.request;
  if (HasContent(transfer) && request.on_body) {
    if (!transfer.head_done && request.on_head) RETURN_IF_ERROR(request.on_head(transfer.response));
    transfer.head_done = true;
    return request.on_body(std::span<const char>(data.data(), data.size()));
  }
  const size_t room = request.max_body - transfer.response.body.size();
  if (data.size() > room && HasContent(transfer)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the answer is longer than ", request.max_body, " bytes"));
  }
  const absl::string_view taken = data.substr(0, room);
  transfer.response.body.append(taken.data(), taken.size());
  return absl::OkStatus();
}

size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const Clock::time_point before = Clock::now();
  transfer.failure = TakeBody(transfer, absl::string_view(data, size));
  transfer.last_byte = Clock::now();
  transfer.stretch += transfer.last_byte - before;  // not the server's time
  return transfer.failure.ok() ? size : 0;
}

// kUnavailable when the server has had its time without sending enough; kCancelled when nobody
// wants the answer any more.
Status CheckOn(Transfer& transfer) {
  const HttpRequest& request = *transfer.request;
  if (request.cancelled && request.cancelled()) return absl::CancelledError("not wanted any more");
  const Clock::time_point now = Clock::now();
  curl_off_t body = 0;
  long head = 0;
  curl_easy_getinfo(transfer.curl, CURLINFO_SIZE_DOWNLOAD_T, &body);
  curl_easy_getinfo(transfer.curl, CURLINFO_HEADER_SIZE, &head);
  if (std::exchange(transfer.bytes, body + head) != body + head) transfer.last_byte = now;
  const auto stall = request.timeouts.stall;
  const double seconds = std::chrono::duration<double>(stall).count();
  if (now - transfer.last_byte > stall)
    return absl::UnavailableError(absl::StrCat("no byte came for ", seconds, " s"));
  if (now - transfer.stretch <= 2 * stall) return absl::OkStatus();
  const curl_off_t came = transfer.bytes - transfer.stretch_bytes;
  if (static_cast<double>(came) < 2 * seconds * static_cast<double>(kMinBytesPerSecond)) {
    return absl::UnavailableError(
        absl::StrCat("only ", came, " bytes came in ", 2 * seconds, " s"));
  }
  transfer.stretch = now;
  transfer.stretch_bytes = transfer.bytes;
  return absl::OkStatus();
}

Status SetBlob(CURL* curl, CURLoption option, const std::string& pem) {
  struct curl_blob blob = {const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_COPY};
  if (curl_easy_setopt(curl, option, &blob) == CURLE_OK) return absl::OkStatus();
  return absl::InternalError("TLS: libcurl takes no certificate from memory");
}

Status SetTls(CURL* curl, const TlsOptions& tls) {
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, tls.skip_verify ? 0L : 1L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, tls.skip_verify ? 0L : 2L);
  curl_easy_setopt(curl, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  const std::string trusted =
      absl::StrCat(system_certificates == nullptr ? "" : *system_certificates, "\n", tls.extra_ca);
  if (trusted.size() > 1) RETURN_IF_ERROR(SetBlob(curl, CURLOPT_CAINFO_BLOB, trusted));
  if (tls.client_cert.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(SetBlob(curl, CURLOPT_SSLCERT_BLOB, tls.client_cert));
  return SetBlob(curl, CURLOPT_SSLKEY_BLOB, tls.client_key);
}

// Always set, so that libcurl does not look at the environment: what explains a pull decides by the
// same function.
Status SetProxy(CURL* curl, const Url& url) {
  const std::string proxy = proxy_settings == nullptr ? "" : ProxyFor(*proxy_settings, url);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "");
  curl_easy_setopt(curl, CURLOPT_PROXY, proxy.c_str());
  // A registry's headers are not for the proxy that tunnels to it.
  curl_easy_setopt(curl, CURLOPT_HEADEROPT, static_cast<long>(CURLHEADER_SEPARATE));
  if (proxy.empty() || system_certificates == nullptr || system_certificates->empty())
    return absl::OkStatus();
  return SetBlob(curl, CURLOPT_PROXY_CAINFO_BLOB, *system_certificates);
}

Status SetUp(Transfer& transfer, struct curl_slist* headers) {
  CURL* curl = transfer.curl;
  const HttpRequest& request = *transfer.request;
  curl_easy_reset(curl);  // keeps connections, sessions and the name cache
  curl_easy_setopt(curl, CURLOPT_URL, request.url.ToString().c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  // One HTTP/2 connection would be one TCP window for all layers.
  curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, kUserAgent);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(request.timeouts.connect.count()));
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  if (!request.form.empty()) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.form.size()));
    curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, request.form.c_str());
  }
  RETURN_IF_ERROR(SetProxy(curl, request.url));
  return SetTls(curl, request.tls);
}

Status TransportError(const Transfer& transfer, CURLcode code, const char* detail) {
  if (!transfer.failure.ok()) return transfer.failure;
  if (!transfer.ended.ok()) return transfer.ended;
  // libcurl would show it whole, password included.
  if (absl::StrContains(detail, "Unsupported proxy"))
    return absl::UnavailableError("the configured proxy is none that can be used");
  return absl::UnavailableError(*detail != '\0' ? detail : curl_easy_strerror(code));
}

// Runs the exchange to its end, or to ours: curl_easy_perform would look up only once a second.
CURLcode Perform(CURLM* multi, Transfer& transfer) {
  if (curl_multi_add_handle(multi, transfer.curl) != CURLM_OK) return CURLE_FAILED_INIT;
  CURLcode code = CURLE_OK;
  for (int running = 1; running > 0;) {
    if (curl_multi_perform(multi, &running) != CURLM_OK) code = CURLE_FAILED_INIT;
    if (running == 0 || code != CURLE_OK) break;
    transfer.ended = CheckOn(transfer);
    if (!transfer.ended.ok()) {
      code = CURLE_ABORTED_BY_CALLBACK;
      break;
    }
    curl_multi_poll(multi, nullptr, 0, kPollMs, nullptr);
  }
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg == CURLMSG_DONE && code == CURLE_OK) code = message->data.result;
  }
  curl_multi_remove_handle(multi, transfer.curl);  // closes a connection in mid-exchange
  return code;
}

}  // namespace

absl::string_view HttpResponse::Header(absl::string_view lower_case_name) const {
  const auto found = headers.find(std::string(lower_case_name));
  return found == headers.end() ? absl::string_view() : absl::string_view(found->second);
}

struct HttpClient::State {
  // The multi handle keeps the connections; destroyed last.
  std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi{curl_multi_init(),
                                                              curl_multi_cleanup};
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl{curl_easy_init(), curl_easy_cleanup};
};

HttpClient::HttpClient() : state_(std::make_unique<State>()) {
  GANTRY_CHECK(state_->curl != nullptr && state_->multi != nullptr);
}
HttpClient::~HttpClient() = default;

StatusOr<HttpResponse> HttpClient::Exchange(const HttpRequest& request) {
  struct curl_slist* list = nullptr;
  for (const auto& [name, value] : request.headers) {
    list = curl_slist_append(list, absl::StrCat(name, ": ", value).c_str());
  }
  const std::unique_ptr<struct curl_slist, decltype(&curl_slist_free_all)> headers(
      list, curl_slist_free_all);
  Transfer transfer;
  transfer.curl = state_->curl.get();
  transfer.request = &request;
  RETURN_IF_ERROR(SetUp(transfer, headers.get()));
  char detail[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(transfer.curl, CURLOPT_ERRORBUFFER, detail);
  const CURLcode code = Perform(state_->multi.get(), transfer);
  curl_easy_setopt(transfer.curl, CURLOPT_ERRORBUFFER, nullptr);
  if (code != CURLE_OK) return TransportError(transfer, code, detail);
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
  // An empty body never reached OnBody.
  if (HasContent(transfer) && request.on_head && !transfer.head_done) {
    RETURN_IF_ERROR(request.on_head(transfer.response));
  }
  return std::move(transfer.response);
}

void UseProxies(ProxySettings settings) {
  static ProxySettings used;
  used = std::move(settings);
  proxy_settings = &used;
}

void LoadSystemCertificates() {
  static std::string certificates;
  // Debian, Fedora, SUSE, Alpine.
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    StatusOr<std::string> text = ReadFileAt(AT_FDCWD, path, 16 << 20);
    if (!text.ok()) continue;
    certificates = *std::move(text);
    break;
  }
  system_certificates = &certificates;
}

}  // namespace gantry::images
