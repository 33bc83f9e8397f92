#include "imageservice/digester.h"

#include <openssl/evp.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

struct Digester::State {
  std::string name;
  std::unique_ptr<EVP_MD_CTX, FreeContext> context{EVP_MD_CTX_new()};
};

Digester::Digester(std::unique_ptr<State> state) : state_(std::move(state)) {}
Digester::Digester(Digester&&) noexcept = default;
Digester& Digester::operator=(Digester&&) noexcept = default;
Digester::~Digester() = default;

StatusOr<Digester> Digester::Make(absl::string_view algorithm) {
  const std::string name(algorithm.substr(0, algorithm.find(':')));
  const EVP_MD* type = name == "sha256" ? EVP_sha256() : name == "sha512" ? EVP_sha512() : nullptr;
  if (type == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("unknown digest algorithm \"", name, "\""));
  auto state = std::make_unique<State>();
  state->name = name;
  if (state->context == nullptr || EVP_DigestInit_ex(state->context.get(), type, nullptr) != 1) {
    return absl::InternalError(absl::StrCat("OpenSSL offers no ", name));
  }
  return Digester(std::move(state));
}

void Digester::Update(std::span<const char> bytes) {
  GANTRY_CHECK(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1);
}

std::string Digester::Finish() {
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  GANTRY_CHECK(EVP_DigestFinal_ex(state_->context.get(), hash, &size) == 1);
  return absl::StrCat(
      state_->name, ":",
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(hash), size)));
}

StatusOr<std::string> DigestOf(absl::string_view bytes, absl::string_view algorithm) {
  ASSIGN_OR_RETURN(Digester digester, Digester::Make(algorithm));
  digester.Update(std::span<const char>(bytes.data(), bytes.size()));
  return digester.Finish();
}

}  // namespace gantry::images
