// Owners of OpenSSL's TLS handles. Of this folder only: TLS is the one protocol that is not built on common/crypto.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <memory>

namespace switchback::transports::tls {

template <auto Free>
struct HandleDeleter {
  template <class T>
  void operator()(T* handle) const noexcept {
    Free(handle);
  }
};
using SslCtxPtr = std::unique_ptr<SSL_CTX, HandleDeleter<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, HandleDeleter<SSL_free>>;
using BioPtr = std::unique_ptr<BIO, HandleDeleter<BIO_free_all>>;
using BioMethodPtr = std::unique_ptr<BIO_METHOD, HandleDeleter<BIO_meth_free>>;

}  // namespace switchback::transports::tls
