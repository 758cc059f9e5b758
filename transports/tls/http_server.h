// The few words of HTTP/1.1 that a page needs (RFC 9112): what a visitor sees where the headend has no web server.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/time.h"

namespace switchback::transports::tls {

/// What a freshly installed web server shows.
[[nodiscard]] std::string_view default_page() noexcept;
/// RFC 9110 §5.6.7, "Sun, 06 Nov 1994 08:49:37 GMT".
[[nodiscard]] std::string http_date(WallTime when);

struct HttpResponse {
  std::string head;       // with the body of errors
  std::string_view body;  // borrowed from the page
  bool last = false;      // the connection ends after it
};

/// One connection's requests, in order. GET and HEAD of / give the page; everything else ordinary errors.
class HttpServer {
 public:
  /// Most octets of a request's head.
  static constexpr std::size_t kHeadLimit = 8192;
  static constexpr unsigned kMostRequests = 100;

  /// @param page  borrowed for the server's life
  explicit HttpServer(std::string_view page) noexcept : page_{page} {}

  /// How many octets give() takes now.
  [[nodiscard]] std::size_t room() const noexcept { return kHeadLimit - head_.size(); }
  /// Pre: octets.size() <= room(), and next() has nothing to say.
  void give(ByteView octets) { head_ += as_text(octets); }
  /// The answer to the next request that is complete, or too long ever to be; nothing after the last.
  [[nodiscard]] std::optional<HttpResponse> next(WallTime now);
  /// In the middle of a request.
  [[nodiscard]] bool busy() const noexcept { return !head_.empty(); }

 private:
  [[nodiscard]] HttpResponse answer(std::string_view head, WallTime now);
  [[nodiscard]] HttpResponse error(std::string_view status, bool last, bool with_body, WallTime now) const;

  std::string_view page_;
  std::string head_;
  unsigned requests_ = 0;
  bool over_ = false;
};

}  // namespace switchback::transports::tls
