#include "transports/tls/http_server.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <utility>

namespace switchback::transports::tls {
namespace {

constexpr std::string_view kPage =
    "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n<style>\nhtml { color-scheme: light dark; }\n"
    "body { width: 35em; margin: 0 auto;\nfont-family: Tahoma, Verdana, Arial, sans-serif; "
    "}\n</style>\n</head>\n<body>\n"
    "<h1>Welcome to nginx!</h1>\n<p>If you see this page, the nginx web server is successfully installed and\nworking. "
    "Further configuration is required.</p>\n\n<p>For online documentation and support please refer to\n"
    "<a href=\"http://nginx.org/\">nginx.org</a>.<br/>\nCommercial support is available at\n"
    "<a href=\"http://nginx.com/\">nginx.com</a>.</p>\n\n<p><em>Thank you for using "
    "nginx.</em></p>\n</body>\n</html>\n";

bool same_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

/// Cuts the next line off; lines may end with LF alone (RFC 9112 §2.2).
std::string_view cut_line(std::string_view& text) noexcept {
  const auto end = text.find('\n');
  auto line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

/// Octets of the first complete head of a text, 0 if there is none.
std::size_t head_size(std::string_view text) noexcept {
  for (auto at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (text.substr(at + 1, 1) == "\n") return at + 2;
    if (text.substr(at + 1, 2) == "\r\n") return at + 3;
  }
  return 0;
}

std::string start(std::string_view status, std::string_view type, std::size_t size, bool last, WallTime now) {
  std::string head{"HTTP/1.1 "};
  head.append(status).append("\r\nServer: nginx\r\nDate: ").append(http_date(now));
  head.append("\r\nContent-Type: ").append(type).append("\r\nContent-Length: ").append(std::to_string(size));
  return head.append(last ? "\r\nConnection: close\r\n\r\n" : "\r\nConnection: keep-alive\r\n\r\n");
}

}  // namespace

std::string_view default_page() noexcept { return kPage; }

std::string http_date(WallTime when) {
  static constexpr std::array<const char*, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto day = std::chrono::floor<std::chrono::days>(when);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss time{when - day};
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%s, %02u %s %04d %02d:%02d:%02d GMT",
                kDays[std::chrono::weekday{day}.c_encoding()], static_cast<unsigned>(date.day()),
                kMonths[static_cast<unsigned>(date.month()) - 1], static_cast<int>(date.year()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()));
  return text.data();
}

HttpResponse HttpServer::error(std::string_view status, bool last, bool with_body, WallTime now) const {
  std::string body{"<html>\r\n<head><title>"};
  body.append(status).append("</title></head>\r\n<body>\r\n<center><h1>").append(status);
  body.append("</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n");
  auto head = start(status, "text/html", body.size(), last, now);
  if (with_body) head += body;
  return {std::move(head), {}, last};
}

std::optional<HttpResponse> HttpServer::next(WallTime now) {
  if (over_) return std::nullopt;
  // RFC 9112 §2.2: empty lines before a request are ignored.
  head_.erase(0, std::min(head_.find_first_not_of("\r\n"), head_.size()));
  const auto size = head_size(head_);
  if (size == 0 && head_.size() < kHeadLimit) return std::nullopt;
  auto response =
      size == 0 ? error("400 Bad Request", true, true, now) : answer(std::string_view{head_}.substr(0, size), now);
  head_.erase(0, size);
  over_ = response.last;
  if (over_) head_ = {};
  return response;
}

HttpResponse HttpServer::answer(std::string_view head, WallTime now) {
  const auto bad = [&] { return error("400 Bad Request", true, true, now); };
  const auto line = cut_line(head);
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || last <= first + 1) return bad();
  const auto method = line.substr(0, first);
  const auto target = line.substr(first + 1, last - first - 1);
  const auto version = line.substr(last + 1);
  const bool old = version == "HTTP/1.0";
  const bool token = !method.empty() && std::all_of(method.begin(), method.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
  });
  if (!token || (!old && version != "HTTP/1.1") || target.find(' ') != std::string_view::npos) return bad();

  bool host = false, close = old, body = false;
  for (auto field = cut_line(head); !field.empty(); field = cut_line(head)) {
    const auto colon = field.find(':');
    if (colon == std::string_view::npos || colon == 0) return bad();
    const auto name = field.substr(0, colon);
    const auto value = trimmed(field.substr(colon + 1));
    if (same_ignoring_case(name, "host")) {
      if (std::exchange(host, true)) return bad();  // RFC 9112 §3.2: exactly one
    } else if (same_ignoring_case(name, "connection")) {
      if (same_ignoring_case(value, "close")) close = true;
      if (same_ignoring_case(value, "keep-alive")) close = false;
    } else if (same_ignoring_case(name, "content-length")) {
      body = value != "0";
    } else if (same_ignoring_case(name, "transfer-encoding")) {
      body = true;
    }
  }
  if (!host && !old) return bad();
  // Nothing here takes a body, and the connection's end is the simplest way past one.
  const bool end = close || body || ++requests_ >= kMostRequests;
  const bool is_head = method == "HEAD";
  if (!is_head && method != "GET") return error("405 Not Allowed", end, true, now);
  if (target.front() != '/') return bad();
  const auto path = target.substr(0, target.find('?'));
  if (path != "/" && path != "/index.html") return error("404 Not Found", end, !is_head, now);
  return {start("200 OK", "text/html", page_.size(), end, now), is_head ? std::string_view{} : page_, end};
}

}  // namespace switchback::transports::tls
