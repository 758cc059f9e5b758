// What serves visitors of the tls transport that do not speak our protocol: a page, or a real web server behind.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "common/base/ip_address.h"
#include "common/base/unique_fd.h"
#include "transports/tcp/byte_stream.h"
#include "transports/tls/http_server.h"

namespace switchback::transports::tls {

/// How long a request may take, from its first octet to the last one of its answer, and how long a connection may idle.
inline constexpr Duration kRequestTimeout = std::chrono::seconds{60};
/// Relayed connections without traffic.
inline constexpr Duration kRelayIdleTimeout = std::chrono::seconds{75};

/// The built-in page.
class PageDecoy final : public tcp::Foreign {
 public:
  /// @param first  what the visitor has said so far
  PageDecoy(std::shared_ptr<const std::string> page, ByteView first, Instant now);

  [[nodiscard]] bool proceed(tcp::ByteStream& peer, Instant now) override;
  [[nodiscard]] Instant deadline() const noexcept override { return deadline_; }
  [[nodiscard]] int upstream_fd() const noexcept override { return -1; }
  [[nodiscard]] tcp::Interest interest(const tcp::ByteStream& peer) const noexcept override;

 private:
  [[nodiscard]] bool sending() const noexcept { return sent_ < response_.head.size() + response_.body.size(); }
  [[nodiscard]] tcp::IoStatus send(tcp::ByteStream& peer);

  std::shared_ptr<const std::string> page_;
  HttpServer server_;
  HttpResponse response_;
  std::size_t sent_ = 0;  // of response_
  Instant deadline_;
};

/// Passes the decrypted stream on to an HTTP server, both ways.
class RelayDecoy final : public tcp::Foreign {
 public:
  /// Null: no connection can be started.
  [[nodiscard]] static std::unique_ptr<RelayDecoy> create(const Endpoint& upstream, ByteView first, Instant now);

  [[nodiscard]] bool proceed(tcp::ByteStream& peer, Instant now) override;
  [[nodiscard]] Instant deadline() const noexcept override { return deadline_; }
  [[nodiscard]] int upstream_fd() const noexcept override { return fd_.get(); }
  [[nodiscard]] tcp::Interest interest(const tcp::ByteStream& peer) const noexcept override;

 private:
  /// Octets on their way in one direction.
  struct Pipe {
    static constexpr std::size_t kBytes = 8192;
    std::array<std::uint8_t, kBytes> octets;
    std::size_t begin = 0, end = 0;
    bool ended = false;  // nothing more comes in
    [[nodiscard]] bool empty() const noexcept { return begin == end; }
    [[nodiscard]] bool full() const noexcept { return end == kBytes; }
    [[nodiscard]] ByteSpan room() noexcept { return ByteSpan{octets}.subspan(end); }
    [[nodiscard]] ByteSpan held() noexcept { return ByteSpan{octets}.subspan(begin, end - begin); }
    void drop(std::size_t count) noexcept {
      begin += count;
      if (begin == end) begin = end = 0;
    }
  };
  enum class Step { moved, idle, over };

  RelayDecoy(UniqueFd fd, ByteView first, Instant now);
  [[nodiscard]] Step step(tcp::ByteStream& peer);

  UniqueFd fd_;
  bool connecting_ = true, shut_ = false;
  Pipe in_, out_;  // to the server; to the visitor
  Instant deadline_;
};

}  // namespace switchback::transports::tls
