#include "imageservice/digester.h"

#include <openssl/sha.h>

#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

// EVP hides the state of a hash, and OpenSSL 3.0 has no other way to it than these calls, which it
// calls deprecated but keeps for as long as its version is 3; the code under both is the same.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace gantry::images {
namespace {

// Both algorithms by one name, for std::visit.
int Init(SHA256_CTX& context) { return SHA256_Init(&context); }
int Init(SHA512_CTX& context) { return SHA512_Init(&context); }
int Add(SHA256_CTX& context, std::span<const char> bytes) {
  return SHA256_Update(&context, bytes.data(), bytes.size());
}
int Add(SHA512_CTX& context, std::span<const char> bytes) {
  return SHA512_Update(&context, bytes.data(), bytes.size());
}
size_t End(SHA256_CTX& context, unsigned char* hash) {
  return SHA256_Final(hash, &context) == 1 ? SHA256_DIGEST_LENGTH : 0;
}
size_t End(SHA512_CTX& context, unsigned char* hash) {
  return SHA512_Final(hash, &context) == 1 ? SHA512_DIGEST_LENGTH : 0;
}

// The length of what was hashed, in bits, is kept in two words.
template <typename Context>
void SetLength(Context& context, uint64_t bytes) {
  using Word = decltype(context.Nl);
  const uint64_t bits = bytes << 3;
  if constexpr (sizeof(Word) == sizeof(uint64_t)) {
    context.Nl = static_cast<Word>(bits);
    context.Nh = static_cast<Word>(bytes >> 61);
  } else {
    context.Nl = static_cast<Word>(bits);
    context.Nh = static_cast<Word>(bits >> 32);
  }
}

}  // namespace

struct Digester::State {
  std::string name;
  std::variant<SHA256_CTX, SHA512_CTX> context;
  uint64_t bytes = 0;
};

Digester::Digester(std::unique_ptr<State> state) : state_(std::move(state)) {}
Digester::Digester(Digester&&) noexcept = default;
Digester& Digester::operator=(Digester&&) noexcept = default;
Digester::~Digester() = default;

StatusOr<Digester> Digester::Make(absl::string_view algorithm) {
  auto state = std::make_unique<State>();
  state->name = std::string(algorithm.substr(0, algorithm.find(':')));
  if (state->name == "sha512") {
    state->context.emplace<SHA512_CTX>();
  } else if (state->name != "sha256") {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown digest algorithm \"", state->name, "\""));
  }
  GANTRY_CHECK(std::visit([](auto& context) { return Init(context); }, state->context) == 1);
  return Digester(std::move(state));
}

StatusOr<Digester> Digester::Resume(absl::string_view algorithm, const DigestMidstate& midstate) {
  if (midstate.bytes % kDigestBlock != 0)
    return absl::InvalidArgumentError("a digest cannot go on in the middle of a block");
  ASSIGN_OR_RETURN(Digester digester, Make(algorithm));
  digester.state_->bytes = midstate.bytes;
  std::visit(
      [&](auto& context) {
        for (size_t i = 0; i < midstate.words.size(); ++i)
          context.h[i] =
              static_cast<std::remove_reference_t<decltype(context.h[0])>>(midstate.words[i]);
        SetLength(context, midstate.bytes);
      },
      digester.state_->context);
  return digester;
}

std::optional<DigestMidstate> Digester::Midstate() const {
  if (state_->bytes % kDigestBlock != 0) return std::nullopt;
  DigestMidstate midstate;
  midstate.bytes = state_->bytes;
  std::visit(
      [&](const auto& context) {
        for (size_t i = 0; i < midstate.words.size(); ++i) midstate.words[i] = context.h[i];
      },
      state_->context);
  return midstate;
}

void Digester::Update(std::span<const char> bytes) {
  state_->bytes += bytes.size();
  GANTRY_CHECK(std::visit([&](auto& context) { return Add(context, bytes); }, state_->context) ==
               1);
}

std::string Digester::Finish() {
  unsigned char hash[SHA512_DIGEST_LENGTH];
  const size_t size =
      std::visit([&](auto& context) { return End(context, hash); }, state_->context);
  GANTRY_CHECK(size > 0);
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
