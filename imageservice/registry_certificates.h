// PEM files of registries, checked when they are read: a mistake names its file, not the connection
// that it would break.
#pragma once

#include <string>

#include "imageservice/http_client.h"
#include "runtime/base/status.h"

namespace gantry::images {

// All functions: kFailedPrecondition, naming the file, when it cannot be read or is not what it
// should be; the text holds nothing of the file's content. Any thread.

// Adds the certificates of `path` to tls.extra_ca. It must hold at least one.
Status AddAuthority(const std::string& path, TlsOptions& tls);

// Sets tls.client_cert and tls.client_key; both paths may be the same file. The key must belong to
// the certificate and must not be encrypted: nobody is there to type a password.
Status SetClientPair(const std::string& certificate, const std::string& key, TlsOptions& tls);

}  // namespace gantry::images
