#include "common/crypto/ike_identity.h"
#include "tests/unit/crypto/support.h"

namespace switchback::crypto {
namespace {

TEST_CASE("a text becomes the identity type that other IKE daemons make of it", "[crypto][identity][rfc7296]") {
  const auto type = [](std::string_view text) { return IkeIdentity::parse(text).value().type; };
  CHECK(type("alice") == IdType::fqdn);
  CHECK(type("vpn.example.org") == IdType::fqdn);
  CHECK(type("@alice") == IdType::fqdn);
  CHECK(type("alice@example.org") == IdType::email);
  CHECK(type("192.0.2.1") == IdType::ipv4_address);
  CHECK(type("2001:db8::1") == IdType::ipv6_address);
  CHECK(type("C=CH, CN=alice") == IdType::der_asn1_dn);
  CHECK(type("keyid:router-7") == IdType::key_id);
  CHECK(type("fqdn:192.0.2.1") == IdType::fqdn);
}

TEST_CASE("identities print as they are read", "[crypto][identity]") {
  for (const auto* text : {"alice", "alice@example.org", "192.0.2.1", "2001:db8::1", "keyid:router-7", "fqdn:192.0.2.1",
                           "C=CH, O=Example, CN=alice", "O=Example\\, Inc., CN=a"}) {
    CAPTURE(text);
    const auto identity = IkeIdentity::parse(text);
    REQUIRE(identity);
    CHECK(IkeIdentity::parse(identity->to_string()).value() == *identity);
  }
}

TEST_CASE("identities that no honest peer sends are refused", "[crypto][identity]") {
  CHECK_FALSE(IkeIdentity::from_wire(2, {}));
  CHECK_FALSE(IkeIdentity::from_wire(1, Bytes(16, 1)));
  CHECK_FALSE(IkeIdentity::from_wire(5, Bytes(4, 1)));
  CHECK_FALSE(IkeIdentity::from_wire(2, as_bytes(std::string_view{"a\0b", 3})));
  CHECK_FALSE(IkeIdentity::from_wire(3, as_bytes("a\nlevel=error")));
  CHECK_FALSE(IkeIdentity::from_wire(9, as_bytes("CN=alice")));
  CHECK_FALSE(IkeIdentity::from_wire(4, as_bytes("x")));
  CHECK_FALSE(IkeIdentity::from_wire(11, Bytes(kMaxIdentityOctets + 1, 'x')));
  CHECK(IkeIdentity::from_wire(11, Bytes(kMaxIdentityOctets, 0)));
  for (const auto* text : {"", "  ", "two words", "CN=", "dn:alice", "nosuchfield=x", "fqdn:"}) {
    CAPTURE(text);
    CHECK_FALSE(IkeIdentity::parse(text));
  }
}

TEST_CASE("names match without regard to case, key IDs octet for octet", "[crypto][identity]") {
  const auto id = [](std::string_view text) { return IkeIdentity::parse(text).value(); };
  CHECK(id("VPN.example.org").matches(id("vpn.EXAMPLE.org")));
  CHECK_FALSE(id("VPN.example.org") == id("vpn.example.org"));
  CHECK_FALSE(id("alice").matches(id("keyid:alice")));
  CHECK_FALSE(id("keyid:A").matches(id("keyid:a")));
  CHECK(id("C=CH, CN=Alice").matches(id("C=CH, CN=alice")));
  CHECK_FALSE(id("C=CH, CN=Alice").matches(id("CN=alice, C=CH")));
}

}  // namespace
}  // namespace switchback::crypto
