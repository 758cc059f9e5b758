#include <catch2/catch.hpp>

#include "common/ike/cookie.h"
#include "common/ike/nat_detection.h"
#include "common/ike/payload_ke.h"
#include "common/ike/payload_notify.h"
#include "tests/unit/ike/wire_test.h"

using namespace switchback;
using namespace switchback::ike;
using namespace std::chrono_literals;
using switchback::ike::test::hex;

namespace {

class CountingRandom final : public RandomSource {
 public:
  void public_fill(ByteSpan out) override { secret_fill(out); }
  void secret_fill(ByteSpan out) override {
    for (auto& octet : out) octet = next_++;
  }

 private:
  std::uint8_t next_ = 0;
};

const auto kPeer = IpAddress::parse("192.0.2.7").value();
const Instant kStart{1000s};

Header init_request() {
  Header header;
  header.initiator_spi = IkeSpi{7};
  header.exchange = ExchangeType::ike_sa_init;
  header.from_initiator = true;
  return header;
}

Bytes init_message(ByteView cookie, bool cookie_first = true) {
  ChainBuilder chain;
  if (!cookie.empty() && cookie_first) add_notify(chain, NotifyType::cookie, cookie);
  chain.add(PayloadType::security_association, Bytes(40));
  chain.add(PayloadType::key_exchange, Bytes(36));
  add_nonce(chain, Bytes(32, 9));
  if (!cookie.empty() && !cookie_first) add_notify(chain, NotifyType::cookie, cookie);
  return build_message(init_request(), chain);
}

}  // namespace

TEST_CASE("a cookie is good for its nonce, address and SPI only", "[ike][rfc7296-2.6]") {
  CountingRandom random;
  CookieJar jar{random};
  const Bytes nonce(32, 1);
  auto cookie = jar.make(nonce, kPeer, IkeSpi{5}, kStart);
  CHECK(jar.valid(cookie, nonce, kPeer, IkeSpi{5}, kStart));
  CHECK_FALSE(jar.valid(cookie, Bytes(32, 2), kPeer, IkeSpi{5}, kStart));
  CHECK_FALSE(jar.valid(cookie, Bytes(31, 1), kPeer, IkeSpi{5}, kStart));
  CHECK_FALSE(jar.valid(cookie, nonce, IpAddress::parse("192.0.2.8").value(), IkeSpi{5}, kStart));
  CHECK_FALSE(jar.valid(cookie, nonce, kPeer, IkeSpi{6}, kStart));
  CHECK_FALSE(jar.valid(ByteView{cookie}.first(32), nonce, kPeer, IkeSpi{5}, kStart));
  CHECK_FALSE(jar.valid({}, nonce, kPeer, IkeSpi{5}, kStart));
  for (auto& octet : cookie) {
    octet ^= 1U;
    CHECK_FALSE(jar.valid(cookie, nonce, kPeer, IkeSpi{5}, kStart));
    octet ^= 1U;
  }
}

TEST_CASE("a cookie survives one change of the secret and no more", "[ike][rfc7296-2.6]") {
  CountingRandom random;
  CookieJar jar{random};
  const Bytes nonce(32, 1);
  const auto cookie = jar.make(nonce, kPeer, IkeSpi{5}, kStart);
  CHECK(jar.valid(cookie, nonce, kPeer, IkeSpi{5}, kStart + 59s));
  CHECK(jar.valid(cookie, nonce, kPeer, IkeSpi{5}, kStart + 61s));
  CHECK(jar.make(nonce, kPeer, IkeSpi{5}, kStart + 62s) != cookie);
  CHECK(jar.valid(cookie, nonce, kPeer, IkeSpi{5}, kStart + 63s));
  CHECK_FALSE(jar.valid(cookie, nonce, kPeer, IkeSpi{5}, kStart + 122s));
}

TEST_CASE("after a long pause no old cookie is good", "[ike][rfc7296-2.6]") {
  CountingRandom random;
  CookieJar jar{random};
  const Bytes nonce(32, 1);
  const auto cookie = jar.make(nonce, kPeer, IkeSpi{5}, kStart);
  CHECK_FALSE(jar.valid(cookie, nonce, kPeer, IkeSpi{5}, kStart + 121s));
}

TEST_CASE("a cookie made before the first clock tick of a jar is not accepted by another", "[ike][rfc7296-2.6]") {
  CountingRandom random;
  CookieJar one{random};
  CookieJar other{random};
  const auto cookie = one.make(Bytes(16), kPeer, IkeSpi{5}, kStart);
  CHECK_FALSE(other.valid(cookie, Bytes(16), kPeer, IkeSpi{5}, kStart));
}

TEST_CASE("a demand for a cookie is no longer than what asked for it", "[ike][rfc7296-2.6]") {
  const auto request = parse_header(init_message({})).value();
  const auto demand = build_cookie_demand(request, Bytes(33, 3));
  REQUIRE(demand.has_value());
  CHECK(demand->size() == 28 + 8 + 33);
  const auto answer = parse_message(*demand).value();
  CHECK(answer.header.initiator_spi == IkeSpi{7});
  CHECK(answer.header.responder_spi == IkeSpi{0});
  CHECK(answer.header.response);
  CHECK_FALSE(answer.header.from_initiator);
  CHECK(find_notify(answer.payloads, NotifyType::cookie)->data.size() == 33);

  auto tiny = request;
  tiny.length = 28 + 8 + 32;
  CHECK_FALSE(build_cookie_demand(tiny, Bytes(33, 3)).has_value());
  auto response = request;
  response.response = true;
  CHECK_FALSE(build_cookie_demand(response, Bytes(33, 3)).has_value());
  auto later = request;
  later.message_id = MessageId{1};
  CHECK_FALSE(build_cookie_demand(later, Bytes(33, 3)).has_value());
}

TEST_CASE("a cookie is seen only where it belongs", "[ike][rfc7296-2.6]") {
  const auto with = init_message(Bytes(33, 3));
  const auto message = parse_message(with).value();
  CHECK(same_bytes(*preview_init(message)->cookie, Bytes(33, 3)));
  CHECK(same_bytes(preview_init(message)->nonce, Bytes(32, 9)));
  const auto late = init_message(Bytes(33, 3), false);
  CHECK_FALSE(preview_init(parse_message(late).value())->cookie.has_value());
  const auto long_one = init_message(Bytes(65, 3));
  CHECK_FALSE(preview_init(parse_message(long_one).value())->cookie.has_value());
  const auto none = build_message(init_request(), ChainBuilder{});
  CHECK_FALSE(preview_init(parse_message(none).value()).has_value());
}

TEST_CASE("without a NAT both hashes fit", "[ike][nat][rfc7296-2.23]") {
  const AddressPair here{Endpoint::parse("192.0.2.1:500").value(), Endpoint::parse("198.51.100.2:500").value()};
  const AddressPair there{here.remote, here.local};
  const AddressPair translated{here.remote, Endpoint::parse("203.0.113.9:1024").value()};
  auto header = init_request();
  ChainBuilder chain;
  add_nat_detection(chain, header.initiator_spi, header.responder_spi, here, false);
  const auto payloads = parse_payloads(chain.view(), chain.first()).value();
  const auto plain = detect_nat(header, payloads, there);
  CHECK(plain.supported);
  CHECK_FALSE(plain.any());
  const auto behind = detect_nat(header, payloads, translated);
  CHECK(behind.remote_behind);
  CHECK_FALSE(behind.local_behind);
  const auto moved = detect_nat(header, payloads, {Endpoint::parse("10.0.0.1:500").value(), here.local});
  CHECK(moved.local_behind);
  CHECK_FALSE(moved.remote_behind);
  header.responder_spi = IkeSpi{1};
  CHECK(detect_nat(header, payloads, there).local_behind);
}

TEST_CASE("forced encapsulation looks like a NAT before the sender", "[ike][nat]") {
  const AddressPair here{Endpoint::parse("[2001:db8::1]:500").value(), Endpoint::parse("[2001:db8::2]:500").value()};
  const auto header = init_request();
  ChainBuilder chain;
  add_nat_detection(chain, header.initiator_spi, header.responder_spi, here, true);
  const auto status =
      detect_nat(header, parse_payloads(chain.view(), chain.first()).value(), {here.remote, here.local});
  CHECK(status.remote_behind);
  CHECK_FALSE(status.local_behind);
}

TEST_CASE("a peer without NAT detection tells nothing", "[ike][nat]") {
  CHECK_FALSE(detect_nat(init_request(), Payloads{}, {}).supported);
  CHECK_FALSE(detect_nat(init_request(), Payloads{}, {}).any());
}

TEST_CASE("the hash covers SPIs, address and port", "[ike][nat][rfc7296-2.23]") {
  // printf '\1\2\3\4\5\6\7\10\0\0\0\0\0\0\0\0\300\0\2\1\1\364' | sha1sum
  const auto hash = nat_detection_hash(IkeSpi{0x0102030405060708}, IkeSpi{0}, Endpoint::parse("192.0.2.1:500").value());
  CHECK(same_bytes(hash, hex("644b4575455bd6fcc1efe2be8162a9218e448e5f")));
}
