#include <algorithm>
#include <catch2/catch.hpp>

#include "common/ike/payload_ke.h"
#include "common/ike/payload_notify.h"
#include "common/ike/sk_payload.h"
#include "tests/unit/ike/wire_test.h"

using namespace switchback;
using namespace switchback::ike;
using switchback::ike::test::hex;

namespace {

crypto::AeadKey some_key(crypto::AeadAlgorithm algorithm = crypto::AeadAlgorithm::aes128_gcm) {
  Secret octets{crypto::aead_key_octets(algorithm) + crypto::kAeadSaltOctets};
  std::fill(octets.span().begin(), octets.span().end(), std::uint8_t{0x42});
  return {algorithm, std::move(octets)};
}

Header request(std::uint32_t id = 1) {
  Header header;
  header.initiator_spi = IkeSpi{1};
  header.responder_spi = IkeSpi{2};
  header.exchange = ExchangeType::ike_auth;
  header.from_initiator = true;
  header.message_id = MessageId{id};
  return header;
}

ChainBuilder long_chain(std::size_t octets, std::uint8_t fill = 1) {
  ChainBuilder chain;
  add_notify(chain, NotifyType::initial_contact);
  chain.add(PayloadType::certificate, Bytes(octets, fill));
  return chain;
}

}  // namespace

TEST_CASE("what is sealed is opened, with every cipher", "[ike][rfc5282]") {
  for (const auto algorithm : {crypto::AeadAlgorithm::aes128_gcm, crypto::AeadAlgorithm::aes256_gcm,
                               crypto::AeadAlgorithm::chacha20_poly1305}) {
    SkSealer sealer{some_key(algorithm)};
    SkOpener opener{some_key(algorithm)};
    const auto wire = sealer.seal(request(), long_chain(100));
    CHECK(wire.size() == 28 + 4 + 8 + (8 + 104) + 1 + 16);
    const auto opened = opener.open(wire).value();
    REQUIRE(opened.has_value());
    CHECK(opened->payloads.list().size() == 2);
    CHECK(find_notify(opened->payloads, NotifyType::initial_contact).has_value());
    CHECK(opened->header.message_id == MessageId{1});
  }
}

TEST_CASE("an empty SK payload is an empty message", "[ike][rfc7296-1.4]") {
  SkSealer sealer{some_key()};
  SkOpener opener{some_key()};
  const auto opened = opener.open(sealer.seal(request(), ChainBuilder{})).value();
  REQUIRE(opened.has_value());
  CHECK(opened->payloads.empty());
}

TEST_CASE("an IV never comes twice", "[ike][rfc5282-3]") {
  SkSealer sealer{some_key()};
  const auto iv = [](const Bytes& wire) { return Bytes{wire.begin() + 32, wire.begin() + 40}; };
  CHECK(iv(sealer.seal(request(), ChainBuilder{})) == hex("0000000000000000"));
  CHECK(iv(sealer.seal(request(), ChainBuilder{})) == hex("0000000000000001"));
}

TEST_CASE("every octet of a message is authenticated", "[ike][rfc5282-5.1]") {
  SkSealer sealer{some_key()};
  SkOpener opener{some_key()};
  const auto wire = sealer.seal(request(), long_chain(5));
  for (std::size_t i = 0; i < wire.size(); ++i) {
    auto changed = wire;
    changed[i] ^= 0x01U;
    const auto result = opener.open(changed);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error() != OpenErrc::malformed_inside);
  }
  for (std::size_t size = 0; size < wire.size(); ++size)
    CHECK_FALSE(opener.open(ByteView{wire}.first(size)).has_value());
  CHECK(opener.open(wire).has_value());
}

TEST_CASE("authentic nonsense is told from a forgery", "[ike][rfc7296-2.21.2]") {
  SkSealer sealer{some_key()};
  SkOpener opener{some_key()};
  ChainBuilder chain;
  chain.add(PayloadType::encrypted, Bytes(40));  // SK inside SK
  CHECK(opener.open(sealer.seal(request(), chain)).error() == OpenErrc::malformed_inside);
  ChainBuilder twice;
  twice.add(PayloadType::nonce, Bytes(16));
  twice.add(PayloadType::nonce, Bytes(16));
  CHECK(opener.open(sealer.seal(request(), twice)).error() == OpenErrc::malformed_inside);
  CHECK(opener.open(build_message(request(), ChainBuilder{})).error() == OpenErrc::malformed_outside);
}

TEST_CASE("fragments keep to their size and come together in any order", "[ike][rfc7383]") {
  SkSealer sealer{some_key()};
  SkOpener opener{some_key()};
  const auto limit = max_message_octets(1280, IpFamily::v4, true);
  CHECK(limit == 1280 - 20 - 8 - 4);
  auto fragments = sealer.seal(request(), long_chain(5000), limit);
  REQUIRE(fragments.size() == 5);
  for (std::size_t i = 0; i < fragments.size(); ++i) {
    CHECK(fragments[i].size() <= limit);
    CHECK(peek_fragment(fragments[i]) == FragmentHeader{static_cast<std::uint16_t>(i + 1), 5});
  }
  CHECK(fragments[0].size() == limit);
  std::reverse(fragments.begin(), fragments.end());
  for (std::size_t i = 0; i + 1 < fragments.size(); ++i) {
    CHECK_FALSE(opener.open(fragments[i]).value().has_value());
    CHECK_FALSE(opener.open(fragments[i]).value().has_value());  // a duplicate
  }
  const auto opened = opener.open(fragments.back()).value();
  REQUIRE(opened.has_value());
  CHECK(same_bytes(opened->payloads.find(PayloadType::certificate)->body, Bytes(5000, 1)));
}

TEST_CASE("what fits is not fragmented", "[ike][rfc7383-2.5]") {
  SkSealer sealer{some_key()};
  const auto limit = max_message_octets(1280, IpFamily::v6, true);
  const auto room = limit - (28 + 4 + 8 + 1 + 16) - 12;  // 12: the notify and the second generic header
  CHECK(sealer.seal(request(), long_chain(room), limit).size() == 1);
  CHECK(sealer.seal(request(), long_chain(room), limit)[0].size() == limit);
  CHECK(sealer.seal(request(), long_chain(room + 1), limit).size() == 2);
  CHECK_FALSE(peek_fragment(sealer.seal(request(), long_chain(10))).has_value());
}

TEST_CASE("the greatest message is fragmented within what we take ourselves", "[ike][rfc7383]") {
  SkSealer sealer{some_key()};
  SkOpener opener{some_key()};
  const auto fragments = sealer.seal(request(), long_chain(65000), max_message_octets(0, IpFamily::v6, true));
  CHECK(fragments.size() <= kMaxFragments);
  std::optional<OpenedMessage> opened;
  for (const auto& fragment : fragments) opened = opener.open(fragment).value();
  REQUIRE(opened.has_value());
  CHECK(opened->payloads.find(PayloadType::certificate)->body.size() == 65000);
}

TEST_CASE("a forged fragment is not stored", "[ike][rfc7383-2.6]") {
  SkSealer sealer{some_key()};
  SkOpener opener{some_key()};
  const auto fragments = sealer.seal(request(), long_chain(2000), 1200);
  REQUIRE(fragments.size() == 2);
  auto forged = fragments[0];
  forged.back() ^= 1U;
  CHECK(opener.open(forged).error() == OpenErrc::forged);
  CHECK_FALSE(opener.open(fragments[1]).value().has_value());
  CHECK(opener.open(fragments[0]).value().has_value());
}

TEST_CASE("a sender that lowers its fragment size starts afresh", "[ike][rfc7383-2.6]") {
  SkSealer sealer{some_key()};
  SkOpener opener{some_key()};
  const auto large = sealer.seal(request(), long_chain(2000), 1200);
  const auto small = sealer.seal(request(), long_chain(2000), 600);
  REQUIRE(small.size() > large.size());
  CHECK_FALSE(opener.open(large[0]).value().has_value());
  CHECK_FALSE(opener.open(small[0]).value().has_value());
  CHECK_FALSE(opener.open(large[1]).value().has_value());  // of the set given up: stale
  for (std::size_t i = 1; i + 1 < small.size(); ++i) CHECK_FALSE(opener.open(small[i]).value().has_value());
  CHECK(opener.open(small.back()).value().has_value());
}

TEST_CASE("reassembly keeps one message at a time and bounded octets", "[ike][rfc7383]") {
  Reassembler reassembler;
  CHECK_FALSE(reassembler.add(request(1), {1, 2}, PayloadType::nonce, Bytes(100)).has_value());
  CHECK(reassembler.octets() == 100);
  CHECK(reassembler.consider(request(1), {1, 2}) == Reassembler::Admission::duplicate);
  CHECK(reassembler.consider(request(1), {2, 2}) == Reassembler::Admission::wanted);
  CHECK_FALSE(reassembler.add(request(2), {1, 3}, PayloadType::nonce, Bytes(50)).has_value());
  CHECK(reassembler.octets() == 50);
  CHECK(reassembler.consider(request(2), {1, 2}) == Reassembler::Admission::stale);
  CHECK_FALSE(reassembler.add(request(2), {2, 3}, PayloadType::none, Bytes(kMaxMessageOctets - 20)).has_value());
  CHECK(reassembler.octets() == 0);  // too much: given up whole
  CHECK_FALSE(reassembler.add(request(2), {3, 2}, PayloadType::none, Bytes(1)).has_value());
  CHECK_FALSE(reassembler.add(request(2), {0, 2}, PayloadType::none, Bytes(1)).has_value());
  CHECK_FALSE(reassembler.add(request(2), {1, kMaxFragments + 1}, PayloadType::none, Bytes(1)).has_value());
  CHECK(reassembler.octets() == 0);
}

TEST_CASE("requests and responses of one message ID do not mix", "[ike][rfc7383]") {
  SkSealer sealer{some_key()};
  SkOpener opener{some_key()};
  auto response = request();
  response.response = true;
  const auto a = sealer.seal(request(), long_chain(2000, 1), 1200);
  const auto b = sealer.seal(response, long_chain(2000, 2), 1200);
  CHECK_FALSE(opener.open(a[0]).value().has_value());
  CHECK_FALSE(opener.open(b[1]).value().has_value());
  const auto opened = opener.open(a[1]).value();
  REQUIRE(opened.has_value());
  CHECK(opened->payloads.find(PayloadType::certificate)->body[0] == 1);
}

TEST_CASE("fragment headers that cannot be true are refused", "[ike][rfc7383-2.5]") {
  CHECK(parse_fragment_header(hex("0001 0001")).has_value());
  CHECK(parse_fragment_header(hex("0000 0001")).error().code == ParseErrc::bad_value);
  CHECK(parse_fragment_header(hex("0003 0002")).error().code == ParseErrc::bad_value);
  CHECK(parse_fragment_header(hex("0001 0081")).error().code == ParseErrc::too_many);
  CHECK(parse_fragment_header(hex("0001 00")).error().code == ParseErrc::truncated);
}

TEST_CASE("an unknown critical payload is reported from inside", "[ike][rfc7296-2.5]") {
  SkSealer sealer{some_key()};
  SkOpener opener{some_key()};
  ChainBuilder chain;
  chain.add(PayloadType{77}, Bytes(3));
  auto opened = opener.open(sealer.seal(request(), chain)).value();
  REQUIRE(opened.has_value());
  CHECK_FALSE(opened->unsupported_critical.has_value());
}
