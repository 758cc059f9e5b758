// Owners of OpenSSL's handles. Of this folder only: nothing else includes OpenSSL through it.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/secret.h"

namespace switchback::crypto {

template <auto Free>
struct OpensslDeleter {
  template <class T>
  void operator()(T* handle) const noexcept {
    Free(handle);
  }
};
template <class T, auto Free>
using OpensslPtr = std::unique_ptr<T, OpensslDeleter<Free>>;

using EvpPkeyPtr = OpensslPtr<EVP_PKEY, EVP_PKEY_free>;
using EvpPkeyCtxPtr = OpensslPtr<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using EvpCipherCtxPtr = OpensslPtr<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;
using EvpMdCtxPtr = OpensslPtr<EVP_MD_CTX, EVP_MD_CTX_free>;
using EvpMacCtxPtr = OpensslPtr<EVP_MAC_CTX, EVP_MAC_CTX_free>;
using BioPtr = OpensslPtr<BIO, BIO_free_all>;
using BignumPtr = OpensslPtr<BIGNUM, BN_clear_free>;
using X509Ptr = OpensslPtr<X509, X509_free>;
using X509NamePtr = OpensslPtr<X509_NAME, X509_NAME_free>;

/// Text for reading, borrowed by the BIO.
[[nodiscard]] BioPtr memory_reader(ByteView text);
/// What was written to a memory BIO, borrowed from it.
[[nodiscard]] ByteView written(BIO* bio);
/// A memory BIO that wipes what was written when it goes.
[[nodiscard]] BioPtr secret_writer();

/// A distinguished name from DER with nothing after it; null if it is none.
[[nodiscard]] X509NamePtr parse_name(ByteView der);
/// "O=Example, CN=alice", what does not print escaped.
[[nodiscard]] std::string name_text(const X509_NAME* name);

/// OpenSSL's error queue belongs to the thread; whoever makes it grow empties it.
class ErrorQueueGuard {
 public:
  ErrorQueueGuard() = default;
  ErrorQueueGuard(const ErrorQueueGuard&) = delete;
  ErrorQueueGuard& operator=(const ErrorQueueGuard&) = delete;
  ~ErrorQueueGuard();
};

}  // namespace switchback::crypto
