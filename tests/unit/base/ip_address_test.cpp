#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "common/base/ip_address.h"

namespace switchback {
namespace {

TEST_CASE("addresses print as they are read, and others are refused", "[base][ip]") {
  for (const auto* text : {"0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "2001:db8::1", "fe80::1"}) {
    const auto address = IpAddress::parse(text);
    REQUIRE(address);
    CHECK(address->to_string() == text);
    CHECK(IpAddress::from_bytes(address->bytes()) == *address);
  }
  for (const auto* text : {"", "1.2.3", "1.2.3.4.5", "256.0.0.1", "1.2.3.4 ", "[::1]", "fe80::1%eth0", "::1/64", "a"}) {
    CAPTURE(text);
    CHECK_FALSE(IpAddress::parse(text));
  }
  CHECK(IpAddress::from_bytes(Bytes(5)).empty());
  CHECK(IpAddress{}.size() == 0);
  CHECK(IpAddress::parse("0.0.0.0")->is_unspecified());
  CHECK_FALSE(IpAddress::parse("::1")->is_unspecified());
}

TEST_CASE("counting on carries over octets and wraps within the family", "[base][ip]") {
  const auto plus = [](const char* text, std::uint64_t count) {
    return IpAddress::parse(text)->plus(count).to_string();
  };
  CHECK(plus("10.0.0.255", 1) == "10.0.1.0");
  CHECK(plus("255.255.255.255", 1) == "0.0.0.0");
  CHECK(plus("2001:db8::ffff:ffff:ffff:ffff", 1) == "2001:db8:0:1::");
  CHECK(plus("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1) == "::");
}

TEST_CASE("prefixes contain their addresses and no others", "[base][ip]") {
  const auto contains = [](const char* prefix, const char* address) {
    return IpPrefix::parse(prefix)->contains(*IpAddress::parse(address));
  };
  CHECK(contains("10.0.0.0/8", "10.255.255.255"));
  CHECK_FALSE(contains("10.0.0.0/8", "11.0.0.0"));
  CHECK(contains("10.1.2.3/31", "10.1.2.2"));
  CHECK(contains("0.0.0.0/0", "255.1.2.3"));
  CHECK_FALSE(contains("0.0.0.0/0", "::1"));
  CHECK(contains("2001:db8::/33", "2001:db8:7fff::1"));
  CHECK_FALSE(contains("2001:db8::/33", "2001:db8:8000::1"));
  CHECK(contains("::1", "::1"));
  CHECK(IpPrefix::parse("10.1.2.3/12")->first().to_string() == "10.0.0.0");
  CHECK(IpPrefix::parse("10.1.2.3/12")->last().to_string() == "10.15.255.255");
  CHECK(IpPrefix::parse("::/0")->last().to_string() == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
  for (const auto* text : {"10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x", "/8", ""}) {
    CAPTURE(text);
    CHECK_FALSE(IpPrefix::parse(text));
  }
}

TEST_CASE("endpoints print as they are read and go through a sockaddr", "[base][ip]") {
  for (const auto* text : {"192.0.2.1:500", "[2001:db8::1]:4500", "0.0.0.0:0", "[::]:65535"}) {
    CAPTURE(text);
    const auto endpoint = Endpoint::parse(text);
    REQUIRE(endpoint);
    CHECK(endpoint->to_string() == text);
    sockaddr_storage storage{};
    CHECK(endpoint->to_sockaddr(storage) > 0);
    CHECK(Endpoint::from_sockaddr(storage) == *endpoint);
  }
  for (const auto* text : {"192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "::1:500", "[::1]", "[::1]500", ":500"}) {
    CAPTURE(text);
    CHECK_FALSE(Endpoint::parse(text));
  }
}

}  // namespace
}  // namespace switchback
