#include "client/doctor_knock.h"

#include <catch2/catch.hpp>

namespace switchback::client::doctor {

TEST_CASE("the head of a web server's answer is read", "[doctor]") {
  WebFacts facts;
  read_http_head(
      "HTTP/1.1 302 Found\r\nServer: portal\r\nLOCATION: http://login.example/\r\n"
      "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nbody: no",
      facts);
  CHECK(facts.status == 302);
  CHECK(facts.location == "http://login.example/");
  CHECK(facts.server == "portal");
  CHECK(facts.date == WallTime{std::chrono::seconds{784111777}});
}

TEST_CASE("what is no HTTP, or hostile, is no more than it is", "[doctor]") {
  WebFacts facts;
  read_http_head("SSH-2.0-OpenSSH_9.2\r\n", facts);
  CHECK(facts.status == 0);
  read_http_head("HTTP/1.1 x02 Found\r\nLocation: a\r\n\r\n", facts);
  CHECK(facts.status == 0);
  read_http_head("HTTP/1.1 200", facts);
  CHECK(facts.status == 200);
  read_http_head("HTTP/1.1 301 M\r\nLocation: \x1B[2Jx" + std::string(1000, 'a') + "\r\nDate: soon\r\n", facts);
  CHECK(facts.location.size() <= 200);
  CHECK(facts.location.find('\x1B') == std::string::npos);
  CHECK_FALSE(facts.date);
}

}  // namespace switchback::client::doctor
