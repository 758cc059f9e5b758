// TLS over a socket. Records leave through a buffer of our own, so that what OpenSSL has taken is never half written.
#pragma once

#include <string>

#include "transports/tcp/byte_stream.h"
#include "transports/tls/handles.h"

namespace switchback::transports::tls {

/// Octets of a full record, RFC 8446 §5.1.
inline constexpr std::size_t kRecordBytes = 16384;

class TlsStream final : public tcp::ByteStream {
 public:
  /// Null: out of memory. @param server_name  client: SNI, none if empty
  [[nodiscard]] static std::unique_ptr<TlsStream> create(int fd, SSL_CTX* context, bool server,
                                                         const std::string& server_name);

  [[nodiscard]] tcp::IoStatus establish() override;
  [[nodiscard]] tcp::IoResult read(ByteSpan out) override;
  [[nodiscard]] tcp::IoResult write(std::span<const iovec> parts) override;
  [[nodiscard]] tcp::IoStatus flush() override;
  [[nodiscard]] bool wants_write() const noexcept override { return sent_ < sealed_.size(); }
  [[nodiscard]] bool has_pending() const noexcept override { return !starved_ && SSL_has_pending(ssl_.get()) == 1; }
  void finish() override;
  [[nodiscard]] std::string error() const override { return error_; }

 private:
  explicit TlsStream(int fd) noexcept : fd_{fd} {}
  [[nodiscard]] static const BIO_METHOD* method();
  static int bio_write(BIO* bio, const char* data, int size);
  static int bio_read(BIO* bio, char* data, int size);
  static long bio_control(BIO* bio, int command, long number, void* pointer);
  /// Every protocol message, as it passes.
  static void note_message(int sent, int version, int type, const void* data, std::size_t size, SSL* ssl, void* self);
  /// What became of a call of OpenSSL that returned `result` <= 0.
  [[nodiscard]] tcp::IoStatus explain(int result);
  [[nodiscard]] bool seal(ByteView plain);

  int fd_;
  SslPtr ssl_;
  Bytes sealed_;  // records that are on their way out
  std::size_t sent_ = 0;
  tcp::IoStatus socket_ = tcp::IoStatus::ok;  // what the socket said last when it did not do as asked
  bool starved_ = false;                      // what OpenSSL holds is part of a record, and the socket is empty
  std::size_t received_ = 0;                  // octets of application data …
  std::size_t key_updates_ = 0;               // … and how often the peer changed its keys
  std::string error_;
};

}  // namespace switchback::transports::tls
