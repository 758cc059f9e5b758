#include "transports/tls/http_server.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::transports::tls;

namespace {

constexpr std::string_view kPage = "<p>hello</p>";
const WallTime kNow{std::chrono::seconds{784111777}};

struct Visit {
  HttpServer server{kPage};
  std::string all;
  bool over = false;
  void say(std::string_view text) {
    for (const char c : text) {
      if (over) return;
      server.give(as_bytes({&c, 1}));
      while (auto response = server.next(kNow)) {
        all += response->head;
        all += response->body;
        over = response->last;
      }
    }
  }
  std::string status() const { return all.substr(0, all.find("\r\n")); }
};

Visit visit(std::string_view text) {
  Visit made;
  made.say(text);
  return made;
}

}  // namespace

TEST_CASE("dates are as RFC 9110 wants them", "[tls][rfc9110]") {
  CHECK(http_date(kNow) == "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST_CASE("GET and HEAD of the page are answered, and the connection stays", "[tls][rfc9112]") {
  const auto got = visit("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(got.status() == "HTTP/1.1 200 OK");
  CHECK(got.all.find("\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n") != std::string::npos);
  CHECK(got.all.find("\r\nContent-Length: 12\r\n") != std::string::npos);
  CHECK(got.all.find("\r\nConnection: keep-alive\r\n\r\n<p>hello</p>") != std::string::npos);
  CHECK_FALSE(got.over);
  const auto head = visit("HEAD /index.html?x HTTP/1.1\r\nhost: a\r\n\r\n");
  CHECK(head.status() == "HTTP/1.1 200 OK");
  CHECK(head.all.find("Content-Length: 12\r\n") != std::string::npos);
  CHECK(head.all.find("hello") == std::string::npos);
}

TEST_CASE("a connection carries several requests, up to its last", "[tls][rfc9112]") {
  auto two = visit("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /x HTTP/1.1\nHost: a\nConnection: close\n\n");
  CHECK(two.all.find("200 OK") != std::string::npos);
  CHECK(two.all.find("404 Not Found") != std::string::npos);
  CHECK(two.over);
  Visit many;
  unsigned count = 0;
  for (; !many.over && count < 1000; ++count) many.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(count == HttpServer::kMostRequests);
  CHECK(visit("GET / HTTP/1.0\r\n\r\n").over);
  CHECK_FALSE(visit("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").over);
}

TEST_CASE("other requests get ordinary errors", "[tls][rfc9112]") {
  CHECK(visit("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").status() == "HTTP/1.1 404 Not Found");
  CHECK(visit("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").status() == "HTTP/1.1 405 Not Allowed");
  CHECK(visit("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").over);
  for (const auto* bad :
       {"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "get / HTTP/1.1\r\nHost: a\r\n\r\n", "x\n\n",
        "GET  HTTP/1.1\r\nHost: a\r\n\r\n", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost a\r\n\r\n"}) {
    INFO(bad);
    const auto got = visit(bad);
    CHECK(got.status() == "HTTP/1.1 400 Bad Request");
    CHECK(got.over);
  }
}

TEST_CASE("a head that never ends is bounded", "[tls]") {
  Visit got;
  got.say("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(HttpServer::kHeadLimit, 'a'));
  CHECK(got.over);
  CHECK(got.status() == "HTTP/1.1 400 Bad Request");
}
