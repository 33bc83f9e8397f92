#include "imageservice/testing_certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "runtime/base/status.h"

namespace gantry::images {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

constexpr long kDay = 24L * 3600;

Key MakeKey() {
  Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  GANTRY_CHECK(key != nullptr);
  return key;
}

std::string Taken(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

TestCertificate InPem(X509* certificate, EVP_PKEY* key) {
  const Bio first(BIO_new(BIO_s_mem()), BIO_free), second(BIO_new(BIO_s_mem()), BIO_free);
  GANTRY_CHECK(PEM_write_bio_X509(first.get(), certificate) == 1);
  GANTRY_CHECK(PEM_write_bio_PrivateKey(second.get(), key, nullptr, nullptr, 0, nullptr, nullptr) ==
               1);
  return {Taken(first), Taken(second)};
}

void Extend(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  GANTRY_CHECK(extension != nullptr);
  GANTRY_CHECK(X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Unsigned, valid for a day around now.
Certificate Blank(EVP_PKEY* key, const std::string& name, long serial) {
  Certificate certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kDay);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), kDay);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  return certificate;
}

}  // namespace

struct TestAuthority::State {
  Key key = MakeKey();
  Certificate certificate = Blank(key.get(), "test authority", 1);
  long serial = 1;
};

TestAuthority::TestAuthority() : state_(std::make_unique<State>()) {
  X509* certificate = state_->certificate.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  Extend(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
  Extend(certificate, certificate, NID_key_usage, "critical,keyCertSign");
  GANTRY_CHECK(X509_sign(certificate, state_->key.get(), EVP_sha256()) > 0);
  own_ = InPem(certificate, state_->key.get());
}

TestAuthority::~TestAuthority() = default;

TestCertificate TestAuthority::Sign(const std::string& names) const {
  const Key key = MakeKey();
  const Certificate certificate = Blank(key.get(), "test", ++state_->serial);
  X509* issuer = state_->certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer));
  Extend(certificate.get(), issuer, NID_subject_alt_name, names);
  GANTRY_CHECK(X509_sign(certificate.get(), state_->key.get(), EVP_sha256()) > 0);
  return InPem(certificate.get(), key.get());
}

std::string EncryptedKey(const TestCertificate& pair) {
  const Bio reader(BIO_new_mem_buf(pair.key.data(), static_cast<int>(pair.key.size())), BIO_free);
  const Key key(PEM_read_bio_PrivateKey(reader.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
  const Bio writer(BIO_new(BIO_s_mem()), BIO_free);
  const std::string password = "password";
  GANTRY_CHECK(PEM_write_bio_PrivateKey(writer.get(), key.get(), EVP_aes_128_cbc(),
                                        reinterpret_cast<const unsigned char*>(password.data()),
                                        static_cast<int>(password.size()), nullptr, nullptr) == 1);
  return Taken(writer);
}

}  // namespace gantry::images
