#include "transports/tls/tls_stream.h"

#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "transports/tls/context.h"

namespace switchback::transports::tls {

using tcp::IoResult;
using tcp::IoStatus;

namespace {

/// More than a handshake's flight, or two records. A peer that makes us answer (key updates, alerts) without reading
/// gets no further.
constexpr std::size_t kMostSealed = 128 * 1024;
/// Each key update of a peer costs us some microseconds and it 27 octets, and OpenSSL takes any number of them in a
/// row. Honest peers send one in gigabytes (RFC 8446 §5.5).
constexpr std::size_t kFreeKeyUpdates = 32, kOctetsForOneMore = std::size_t{1} << 20U;

}  // namespace

// OpenSSL's own socket BIO would write with write(), which raises SIGPIPE.
const BIO_METHOD* TlsStream::method() {
  static const BioMethodPtr made = [] {
    BioMethodPtr fresh{BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream")};
    if (fresh) {
      BIO_meth_set_write(fresh.get(), &TlsStream::bio_write);
      BIO_meth_set_read(fresh.get(), &TlsStream::bio_read);
      BIO_meth_set_ctrl(fresh.get(), &TlsStream::bio_control);
    }
    return fresh;
  }();
  return made.get();
}

int TlsStream::bio_write(BIO* bio, const char* data, int size) {
  auto& self = *static_cast<TlsStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (size <= 0) return 0;
  if (self.sealed_.size() - self.sent_ > kMostSealed) {
    BIO_set_retry_write(bio);
    return -1;
  }
  append(self.sealed_, {reinterpret_cast<const std::uint8_t*>(data), static_cast<std::size_t>(size)});
  return size;
}

int TlsStream::bio_read(BIO* bio, char* data, int size) {
  auto& self = *static_cast<TlsStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (self.key_updates_ > kFreeKeyUpdates + self.received_ / kOctetsForOneMore) {
    self.socket_ = IoStatus::failed;
    self.error_ = "TLS: too many key updates";
    return -1;
  }
  for (;;) {
    const auto got = ::recv(self.fd_, data, static_cast<std::size_t>(size), 0);
    if (got > 0) return static_cast<int>(got);
    if (got == 0) {
      self.socket_ = IoStatus::finished;
      return 0;
    }
    if (errno == EINTR) continue;
    self.socket_ = tcp::status_of_errno(errno);
    if (self.socket_ == IoStatus::blocked) {
      BIO_set_retry_read(bio);
    } else {
      self.error_ = tcp::describe_errno(errno);
    }
    return -1;
  }
}

long TlsStream::bio_control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) {
    return static_cast<TlsStream*>(BIO_get_data(bio))->socket_ == IoStatus::finished ? 1 : 0;
  }
  return 0;
}

void TlsStream::note_message(int sent, int /*version*/, int type, const void* data, std::size_t size, SSL* /*ssl*/,
                             void* self) {
  if (sent != 0 || type != SSL3_RT_HANDSHAKE || size == 0) return;
  if (*static_cast<const std::uint8_t*>(data) == SSL3_MT_KEY_UPDATE) ++static_cast<TlsStream*>(self)->key_updates_;
}

std::unique_ptr<TlsStream> TlsStream::create(int fd, SSL_CTX* context, bool server, const std::string& server_name) {
  std::unique_ptr<TlsStream> made{new TlsStream{fd}};
  made->ssl_.reset(SSL_new(context));
  BioPtr bio{method() != nullptr ? BIO_new(method()) : nullptr};
  if (!made->ssl_ || !bio) return nullptr;
  BIO_set_data(bio.get(), made.get());
  BIO_set_init(bio.get(), 1);
  auto* const both = bio.release();
  SSL_set_bio(made->ssl_.get(), both, both);
  SSL_set_msg_callback(made->ssl_.get(), &TlsStream::note_message);
  SSL_ctrl(made->ssl_.get(), SSL_CTRL_SET_MSG_CALLBACK_ARG, 0, made.get());
  if (server) {
    SSL_set_accept_state(made->ssl_.get());
  } else {
    SSL_set_connect_state(made->ssl_.get());
    // What the macro SSL_set_tlsext_host_name does, with casts of our own.
    auto* const name = const_cast<char*>(server_name.c_str());
    if (!server_name.empty() &&
        SSL_ctrl(made->ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name) != 1) {
      return nullptr;
    }
  }
  return made;
}

IoStatus TlsStream::explain(int result) {
  const auto code = SSL_get_error(ssl_.get(), result);
  switch (code) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return IoStatus::blocked;
    case SSL_ERROR_ZERO_RETURN: return IoStatus::finished;
    case SSL_ERROR_SYSCALL:
      ERR_clear_error();
      if (socket_ == IoStatus::reset || socket_ == IoStatus::finished) return socket_;
      return IoStatus::failed;
    default: error_ = take_error(); return IoStatus::failed;
  }
}

IoStatus TlsStream::flush() {
  while (sent_ < sealed_.size()) {
    const auto sent = ::send(fd_, sealed_.data() + sent_, sealed_.size() - sent_, MSG_NOSIGNAL);
    if (sent >= 0) {
      sent_ += static_cast<std::size_t>(sent);
      continue;
    }
    if (errno == EINTR) continue;
    const auto status = tcp::status_of_errno(errno);
    if (status != IoStatus::blocked) error_ = tcp::describe_errno(errno);
    return status;
  }
  sealed_.clear();
  sent_ = 0;
  return IoStatus::ok;
}

IoStatus TlsStream::establish() {
  if (SSL_is_init_finished(ssl_.get()) == 1) return flush();
  ERR_clear_error();
  const auto result = SSL_do_handshake(ssl_.get());
  const auto status = result == 1 ? IoStatus::ok : explain(result);
  // Whatever came of it: an alert too has to leave.
  const auto flushed = flush();
  if (status != IoStatus::ok) return status;
  return flushed;
}

IoResult TlsStream::read(ByteSpan out) {
  ERR_clear_error();
  std::size_t total = 0;
  while (total < out.size()) {
    const auto wanted = static_cast<int>(std::min<std::size_t>(out.size() - total, kRecordBytes));
    const auto got = SSL_read(ssl_.get(), out.data() + total, wanted);
    if (got > 0) {
      total += static_cast<std::size_t>(got);
      received_ += static_cast<std::size_t>(got);
      starved_ = false;
      continue;
    }
    const auto status = explain(got);
    starved_ = status == IoStatus::blocked;
    if (wants_write()) static_cast<void>(flush());
    // What came before an end is handed out first; the end will be found again.
    if (total > 0) return {IoStatus::ok, total};
    return {status, 0};
  }
  return {IoStatus::ok, total};
}

bool TlsStream::seal(ByteView plain) {
  while (!plain.empty()) {
    const auto wanted = static_cast<int>(std::min(plain.size(), kRecordBytes));
    const auto taken = SSL_write(ssl_.get(), plain.data(), wanted);
    if (taken <= 0) {
      if (explain(taken) == IoStatus::blocked) error_ = "TLS: the peer does not read";
      return false;
    }
    plain = plain.subspan(static_cast<std::size_t>(taken));
  }
  return true;
}

IoResult TlsStream::write(std::span<const iovec> parts) {
  ERR_clear_error();
  if (const auto status = flush(); status != IoStatus::ok) return {status, 0};
  // Frames share records as far as they fit whole; one thread has one such buffer, whatever the number of connections.
  thread_local std::array<std::uint8_t, kRecordBytes> record;
  std::size_t taken = 0;
  for (std::size_t next = 0; next < parts.size();) {
    std::size_t filled = 0;
    ByteView plain;
    const auto view = [&](std::size_t i) {
      return ByteView{static_cast<const std::uint8_t*>(parts[i].iov_base), parts[i].iov_len};
    };
    const auto start = next;
    while (next < parts.size() && filled + parts[next].iov_len <= record.size()) filled += parts[next++].iov_len;
    if (next <= start + 1) {
      next = start + 1;
      plain = view(start);  // one alone, of whatever size
    } else {
      std::size_t at = 0;
      for (auto i = start; i < next; ++i) {
        const auto part = view(i);
        if (!part.empty()) std::memcpy(record.data() + at, part.data(), part.size());
        at += part.size();
      }
      plain = ByteView{record}.first(filled);
    }
    if (!seal(plain)) return {IoStatus::failed, taken};
    taken += plain.size();
    if (const auto status = flush(); status != IoStatus::ok) return {status, taken};
  }
  return {IoStatus::ok, taken};
}

void TlsStream::finish() {
  ERR_clear_error();
  if (SSL_is_init_finished(ssl_.get()) == 1) static_cast<void>(SSL_shutdown(ssl_.get()));
  ERR_clear_error();
  static_cast<void>(flush());
}

}  // namespace switchback::transports::tls
