#include "transports/tls/context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace switchback::transports::tls {
namespace {

using X509Ptr = std::unique_ptr<X509, HandleDeleter<X509_free>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, HandleDeleter<EVP_PKEY_free>>;

/// RFC 7301 §3.1, the only protocol that both our tunnel and the page can pass for.
constexpr std::array<unsigned char, 9> kAlpn{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

/// Chooses http/1.1 where it is offered; otherwise, as ordinary servers do, goes on without ALPN.
int choose_protocol(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                    unsigned int offered_size, void* /*unused*/) {
  for (std::size_t at = 0; at < offered_size; at += std::size_t{1} + offered[at]) {
    const std::size_t size = offered[at];
    if (size > offered_size - at - 1) break;
    if (size == kAlpn.size() - 1 && std::memcmp(offered + at + 1, kAlpn.data() + 1, size) == 0) {
      *out = offered + at + 1;
      *out_size = static_cast<unsigned char>(size);
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_NOACK;
}

void set_common(SSL_CTX* context) {
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Idle connections hold no record buffers.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
  SSL_CTX_set_read_ahead(context, 1);  // a record with one system call, not two
}

BioPtr reader(ByteView text) { return BioPtr{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))}; }

}  // namespace

std::string take_error() {
  const auto code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "TLS failed";
  const auto* reason = ERR_reason_error_string(code);
  return "TLS: " + (reason != nullptr ? std::string{reason} : "error " + std::to_string(code));
}

Result<SslCtxPtr, UserError> server_context(const TlsConfig& config) {
  ERR_clear_error();
  SslCtxPtr context{SSL_CTX_new(TLS_server_method())};
  if (!context) return fail_user("cannot set up TLS: " + take_error());
  set_common(context.get());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_alpn_select_cb(context.get(), &choose_protocol, nullptr);
  // Tickets resume sessions without any state here.
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  static constexpr std::string_view kSession = "https";
  SSL_CTX_set_session_id_context(context.get(), reinterpret_cast<const unsigned char*>(kSession.data()),
                                 static_cast<unsigned>(kSession.size()));

  const auto chain = reader(as_bytes(config.certificate_chain));
  bool first = true;
  while (X509Ptr certificate{PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr)}) {
    const bool taken = first ? SSL_CTX_use_certificate(context.get(), certificate.get()) == 1
                             : SSL_CTX_add1_chain_cert(context.get(), certificate.get()) == 1;
    if (!taken) return fail_user("the TLS certificate cannot be used: " + take_error());
    first = false;
  }
  ERR_clear_error();  // the end of the text is an error to the reader
  if (first) return fail_user("the TLS certificate chain has no certificate in PEM format");
  const auto text = reader(config.private_key.view());
  const PkeyPtr key{PEM_read_bio_PrivateKey(text.get(), nullptr, nullptr, nullptr)};
  if (!key) return fail_user("the TLS private key cannot be read as PEM: " + take_error());
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1 || SSL_CTX_check_private_key(context.get()) != 1) {
    return fail_user("the TLS private key does not belong to the certificate: " + take_error());
  }
  return context;
}

Result<SslCtxPtr, UserError> client_context() {
  ERR_clear_error();
  SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
  if (!context) return fail_user("cannot set up TLS: " + take_error());
  set_common(context.get());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  if (SSL_CTX_set_alpn_protos(context.get(), kAlpn.data(), kAlpn.size()) != 0) {
    return fail_user("cannot set up TLS: " + take_error());
  }
  return context;
}

}  // namespace switchback::transports::tls
