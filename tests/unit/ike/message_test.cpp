#include "common/ike/message.h"

#include <catch2/catch.hpp>

#include "tests/unit/ike/wire_test.h"

using namespace switchback;
using namespace switchback::ike;
using switchback::ike::test::hex;

namespace {

Header some_header() {
  Header header;
  header.initiator_spi = IkeSpi{0x0102030405060708};
  header.responder_spi = IkeSpi{0x1112131415161718};
  header.exchange = ExchangeType::ike_auth;
  header.from_initiator = true;
  header.message_id = MessageId{1};
  return header;
}

}  // namespace

TEST_CASE("a header reads as RFC 7296 draws it", "[ike][rfc7296-3.1]") {
  const auto wire = hex("0102030405060708 1112131415161718 29 20 25 28 00000001 0000001c");
  const auto header = parse_header(wire).value();
  CHECK(header.initiator_spi == IkeSpi{0x0102030405060708});
  CHECK(header.responder_spi == IkeSpi{0x1112131415161718});
  CHECK(header.first_payload == PayloadType::notify);
  CHECK(header.major_version == 2);
  CHECK(header.minor_version == 0);
  CHECK(header.exchange == ExchangeType::informational);
  CHECK(header.from_initiator);
  CHECK(header.response);
  CHECK_FALSE(header.higher_version);
  CHECK(header.message_id == MessageId{1});
}

TEST_CASE("a header with any other length than the datagram's is refused", "[ike][rfc7296-3.1]") {
  auto wire = hex("0102030405060708 1112131415161718 00 20 25 08 00000001 0000001c");
  CHECK(parse_header(wire).has_value());
  wire.push_back(0);
  CHECK(parse_header(wire).error() == ParseError{ParseErrc::bad_length, 24});
  wire.resize(27);
  CHECK(parse_header(wire).error().code == ParseErrc::truncated);
  CHECK(parse_header({}).error().code == ParseErrc::truncated);
  wire.resize(kMaxMessageOctets + 1);
  CHECK(parse_header(wire).error().code == ParseErrc::too_many);
}

TEST_CASE("a built message holds its payloads in order", "[ike][rfc7296-3.2]") {
  ChainBuilder chain;
  chain.add(PayloadType::nonce, Bytes(16, 7));
  chain.add(PayloadType::vendor_id, {});
  chain.add(PayloadType::notify, hex("00 00 4000"));
  const auto wire = build_message(some_header(), chain);
  CHECK(wire.size() == 28 + 20 + 4 + 8);
  const auto message = parse_message(wire).value();
  CHECK(message.header.first_payload == PayloadType::nonce);
  CHECK(message.header.length == wire.size());
  REQUIRE(message.payloads.list().size() == 3);
  CHECK(same_bytes(message.payloads.find(PayloadType::nonce)->body, Bytes(16, 7)));
  CHECK(message.payloads.find(PayloadType::vendor_id)->body.empty());
  CHECK(same_bytes(message.payloads.find(PayloadType::notify)->body, hex("00004000")));
  CHECK_FALSE(message.payloads.has(PayloadType::key_exchange));
}

TEST_CASE("no payloads are a message too", "[ike]") {
  const auto message = parse_message(build_message(some_header(), ChainBuilder{})).value();
  CHECK(message.payloads.empty());
  CHECK(message.header.first_payload == PayloadType::none);
}

TEST_CASE("an unknown payload is skipped unless it is critical", "[ike][rfc7296-2.5]") {
  auto chain = hex("29 00 0006 aabb  00 00 0008 00004000");
  auto payloads = parse_payloads(chain, PayloadType{200}).value();
  REQUIRE(payloads.list().size() == 1);
  CHECK(payloads.list()[0].type == PayloadType::notify);
  CHECK_FALSE(payloads.unsupported_critical());

  chain[1] = 0x80;
  payloads = parse_payloads(chain, PayloadType{200}).value();
  CHECK(payloads.unsupported_critical() == PayloadType{200});
}

TEST_CASE("the critical bit of a payload that is known does not count", "[ike][rfc7296-2.5]") {
  const auto chain = hex("00 80 0008 00004000");
  CHECK_FALSE(parse_payloads(chain, PayloadType::notify).value().unsupported_critical());
}

TEST_CASE("a chain must fill its space exactly", "[ike][rfc7296-3.2]") {
  CHECK(parse_payloads(hex("00 00 0003 00"), PayloadType::nonce).error() == ParseError{ParseErrc::bad_length, 2});
  CHECK(parse_payloads(hex("00 00 0009 00000000"), PayloadType::nonce).error().code == ParseErrc::truncated);
  CHECK(parse_payloads(hex("29 00 0008 00000000"), PayloadType::nonce).error().code == ParseErrc::truncated);
  CHECK(parse_payloads(hex("00 00 0004 00"), PayloadType::nonce).error() == ParseError{ParseErrc::bad_length, 4});
  CHECK(parse_payloads(hex("00"), PayloadType::none).error().code == ParseErrc::bad_length);
  CHECK(parse_payloads({}, PayloadType::nonce).error().code == ParseErrc::truncated);
}

TEST_CASE("an encrypted payload ends the chain and tells the type inside", "[ike][rfc7296-3.14]") {
  const auto inside = parse_payloads(hex("23 00 0006 aabb"), PayloadType::encrypted).value();
  CHECK(inside.list().at(0).next == PayloadType::id_initiator);
  CHECK(parse_payloads(hex("23 00 0006 aabb 00 00 0004"), PayloadType::encrypted).error().code ==
        ParseErrc::bad_length);
}

TEST_CASE("what may occur once occurs once", "[ike]") {
  CHECK(parse_payloads(hex("28 00 0004 00 00 0004"), PayloadType::nonce).error() == ParseError{ParseErrc::too_many, 4});
  CHECK(parse_payloads(hex("25 00 0004 00 00 0004"), PayloadType::certificate).value().list().size() == 2);
}

TEST_CASE("the number of payloads is bounded, known or not", "[ike]") {
  for (const auto type : {PayloadType::notify, PayloadType{99}}) {
    Bytes chain;
    for (std::size_t i = 0; i <= kMaxPayloads; ++i) {
      append(chain, Bytes{static_cast<std::uint8_t>(i == kMaxPayloads ? 0 : static_cast<int>(type)), 0, 0, 4});
    }
    CHECK(parse_payloads(chain, type).error().code == ParseErrc::too_many);
    chain.resize(chain.size() - 4);
    chain[chain.size() - 4] = 0;
    CHECK(parse_payloads(chain, type).has_value());
  }
}

TEST_CASE("numbers have the names of the registry", "[ike]") {
  CHECK(to_string(NotifyType::no_proposal_chosen) == "NO_PROPOSAL_CHOSEN");
  CHECK(to_string(NotifyType{42800}) == "42800");
  CHECK(to_string(PayloadType::ts_initiator) == "TSi");
  CHECK(to_string(ExchangeType::ike_sa_init) == "IKE_SA_INIT");
  CHECK(static_cast<unsigned>(NotifyType::signature_hash_algorithms) == 16431);
  CHECK(static_cast<unsigned>(NotifyType::childless_ikev2_supported) == 16418);
  CHECK(static_cast<unsigned>(NotifyType::cookie2) == 16401);
  CHECK(is_error(NotifyType::child_sa_not_found));
  CHECK_FALSE(is_error(NotifyType::initial_contact));
}
