#include "transports/tls/visit.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "transports/tcp/connection.h"
#include "transports/tls/context.h"
#include "transports/tls/handles.h"

namespace switchback::transports::tls {
namespace {

constexpr std::size_t kHeadLimit = 8192;

using X509Ptr = std::unique_ptr<X509, HandleDeleter<X509_free>>;

std::string name_text(const X509_NAME* name) {
  const BioPtr out{BIO_new(BIO_s_mem())};
  if (!out || name == nullptr || X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253) < 0) return {};
  char* text = nullptr;
  const auto length = BIO_get_mem_data(out.get(), &text);
  std::string result{text, static_cast<std::size_t>(std::clamp<long>(length, 0, 200))};
  std::erase_if(result, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
  return result;
}

}  // namespace

Visit visit(const IpAddress& local, const Endpoint& remote, const VisitOptions& options) {
  Visit found;
  const auto end = monotonic_now() + options.most;
  const auto fd = tcp::start_connect(local, remote, {options.mark, std::size_t{64} << 10U});
  if (!fd) {
    found.error = fd.error().message();
    return found;
  }
  const auto ready = [&](short events) {
    pollfd one{fd->get(), events, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - monotonic_now()).count();
    return left > 0 && ::poll(&one, 1, static_cast<int>(left)) == 1;
  };
  int error = 0;
  socklen_t size = sizeof error;
  if (!ready(POLLOUT) || ::getsockopt(fd->get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
    found.error = error != 0 ? std::strerror(error) : "no answer";
    return found;
  }
  found.connected = true;
  const auto context = client_context();
  if (!context) {
    found.error = context.error().message;
    return found;
  }
  const SslPtr ssl{SSL_new(context->get())};
  if (!ssl || SSL_set_fd(ssl.get(), fd->get()) != 1) {
    found.error = take_error();
    return found;
  }
  if (!options.server_name.empty()) {
    // What the macro SSL_set_tlsext_host_name does, with casts of our own.
    SSL_ctrl(ssl.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
             const_cast<char*>(options.server_name.c_str()));
  }
  // Whatever OpenSSL wants next; false when it is over.
  const auto again = [&](int result) {
    switch (SSL_get_error(ssl.get(), result)) {
      case SSL_ERROR_WANT_READ: return ready(POLLIN);
      case SSL_ERROR_WANT_WRITE: return ready(POLLOUT);
      default: return false;
    }
  };
  int result = 0;
  while ((result = SSL_connect(ssl.get())) != 1) {
    if (again(result)) continue;
    found.error = ERR_peek_error() != 0 ? take_error() : "the handshake broke off";
    return found;
  }
  found.secured = true;
  if (const X509Ptr shown{SSL_get1_peer_certificate(ssl.get())}) {
    found.subject = name_text(X509_get_subject_name(shown.get()));
    found.issuer = name_text(X509_get_issuer_name(shown.get()));
  }
  const std::string host = options.server_name.empty() ? remote.address.to_string() : options.server_name;
  const std::string request = "GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
  while ((result = SSL_write(ssl.get(), request.data(), static_cast<int>(request.size()))) <= 0) {
    if (!again(result)) return found;
  }
  std::array<char, 2048> piece{};
  while (found.head.size() < kHeadLimit && found.head.find("\r\n\r\n") == std::string::npos) {
    result = SSL_read(ssl.get(), piece.data(), static_cast<int>(piece.size()));
    if (result > 0) {
      found.head.append(piece.data(), static_cast<std::size_t>(result));
    } else if (!again(result)) {
      break;
    }
  }
  ERR_clear_error();
  return found;
}

}  // namespace switchback::transports::tls
