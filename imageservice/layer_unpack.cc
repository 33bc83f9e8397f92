#include "imageservice/layer_unpack.h"

#include <openssl/evp.h>

#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

struct FreeDigest {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

struct LayerUnpacker::State {
  State(TarConsumer* consumer, const UnpackLimits& limits)
      : inflater(limits.inflate), reader(consumer, limits.tar) {}

  Status OnTar(absl::string_view bytes) {
    if (EVP_DigestUpdate(digest.get(), bytes.data(), bytes.size()) != 1) {
      return absl::InternalError("sha256 failed");
    }
    tar_bytes += bytes.size();
    return reader.Feed(bytes);
  }

  Inflater inflater;
  std::unique_ptr<EVP_MD_CTX, FreeDigest> digest;
  TarReader reader;
  uint64_t tar_bytes = 0;
};

LayerUnpacker::LayerUnpacker(std::unique_ptr<State> state) : state_(std::move(state)) {}
LayerUnpacker::~LayerUnpacker() = default;

StatusOr<std::unique_ptr<LayerUnpacker>> LayerUnpacker::Create(TarConsumer* consumer,
                                                               const UnpackLimits& limits) {
  auto state = std::make_unique<State>(consumer, limits);
  state->digest.reset(EVP_MD_CTX_new());
  if (state->digest == nullptr ||
      EVP_DigestInit_ex(state->digest.get(), EVP_sha256(), nullptr) != 1) {
    return absl::InternalError("sha256 is not available");
  }
  return std::unique_ptr<LayerUnpacker>(new LayerUnpacker(std::move(state)));
}

Status LayerUnpacker::Feed(absl::string_view bytes) {
  State& s = *state_;
  return s.inflater.Feed(bytes, [&](absl::string_view tar) { return s.OnTar(tar); });
}

StatusOr<std::string> LayerUnpacker::Finish() {
  State& s = *state_;
  RETURN_IF_ERROR(s.inflater.Finish([&](absl::string_view tar) { return s.OnTar(tar); }));
  RETURN_IF_ERROR(s.reader.Finish());
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash;
  unsigned length = 0;
  if (EVP_DigestFinal_ex(s.digest.get(), hash.data(), &length) != 1) {
    return absl::InternalError("sha256 failed");
  }
  return absl::StrCat("sha256:",
                      absl::BytesToHexString({reinterpret_cast<const char*>(hash.data()), length}));
}

uint64_t LayerUnpacker::tar_bytes() const { return state_->tar_bytes; }

}  // namespace gantry::images
