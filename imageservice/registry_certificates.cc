#include "imageservice/registry_certificates.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxPem = 4 << 20;

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Status Wrong(const std::string& path, absl::string_view problem) {
  ERR_clear_error();
  return absl::FailedPreconditionError(absl::StrCat(path, ": ", problem));
}

StatusOr<std::string> ReadPem(const std::string& path) {
  StatusOr<std::string> text = ReadFileAt(AT_FDCWD, path, kMaxPem);
  if (!text.ok()) return Wrong(path, text.status().message());
  return text;
}

// Without it OpenSSL would ask the terminal.
int NoPassword(char*, int, int, void*) { return -1; }

Bio Reader(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
}

Certificate FirstCertificate(const std::string& pem) {
  const Bio reader = Reader(pem);
  return Certificate(PEM_read_bio_X509(reader.get(), nullptr, NoPassword, nullptr), X509_free);
}

}  // namespace

Status AddAuthority(const std::string& path, TlsOptions& tls) {
  ASSIGN_OR_RETURN(const std::string pem, ReadPem(path));
  if (FirstCertificate(pem) == nullptr) return Wrong(path, "it holds no PEM certificate");
  absl::StrAppend(&tls.extra_ca, pem, "\n");
  return absl::OkStatus();
}

Status SetClientPair(const std::string& certificate, const std::string& key, TlsOptions& tls) {
  ASSIGN_OR_RETURN(std::string certificate_pem, ReadPem(certificate));
  ASSIGN_OR_RETURN(std::string key_pem, ReadPem(key));
  const Certificate parsed = FirstCertificate(certificate_pem);
  if (parsed == nullptr) return Wrong(certificate, "it holds no PEM certificate");
  const Bio reader = Reader(key_pem);
  const Key private_key(PEM_read_bio_PrivateKey(reader.get(), nullptr, NoPassword, nullptr),
                        EVP_PKEY_free);
  if (private_key == nullptr)
    return Wrong(key, "it holds no private key in PEM, or one that is encrypted");
  if (X509_check_private_key(parsed.get(), private_key.get()) != 1)
    return Wrong(key, absl::StrCat("the key does not belong to the certificate in ", certificate));
  tls.client_cert = std::move(certificate_pem);
  tls.client_key = std::move(key_pem);
  return absl::OkStatus();
}

}  // namespace gantry::images
