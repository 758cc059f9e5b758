// The headend's list of transports, as octets that anybody might have sent.
#include "common/path/offer.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::path;

namespace {

Offer full() {
  Offer offer;
  offer.transports = {{TransportKind::udp, 4500, false, false, 0}, {TransportKind::esp, 0, false, false, 1},
                      {TransportKind::ctcp, 443, true, true, 2},   {TransportKind::ctcp, 10000, false, true, 2},
                      {TransportKind::tls, 8443, false, false, 3}, {TransportKind::tcp, 4500, false, false, 4}};
  return offer;
}

}  // namespace

TEST_CASE("an offer reads as it was written, octet for octet", "[path][offer]") {
  const auto data = build_offer(full());
  CHECK(data.size() == kOfferHeaderOctets + 6 * kOfferEntryOctets);
  const Bytes head{1, 1, 6, 0, 0, 0, 0x11, 0x94, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 3, 0x01, 0xBB, 2, 0, 0, 0};
  CHECK(Bytes(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(head.size())) == head);
  const auto parsed = parse_offer(data);
  REQUIRE(parsed);
  CHECK(*parsed == full());
  CHECK(parsed->kinds() == std::vector{TransportKind::udp, TransportKind::esp, TransportKind::ctcp, TransportKind::tls,
                                       TransportKind::tcp});
  REQUIRE(parsed->find(TransportKind::ctcp) != nullptr);
  CHECK(parsed->find(TransportKind::ctcp)->port == 443);
}

TEST_CASE("an offer is in the order of its preferences", "[path][offer]") {
  auto offer = full();
  offer.transports[0].preference = 9;
  const auto parsed = parse_offer(build_offer(offer));
  REQUIRE(parsed);
  CHECK(parsed->transports.front().transport == TransportKind::esp);
  CHECK(parsed->transports.back().transport == TransportKind::udp);
  CHECK(parsed->transports[1].port == 443);  // equal preferences stay in order
}

TEST_CASE("a transport that is not offered is not found", "[path][offer]") {
  Offer offer;
  CHECK(offer.find(TransportKind::udp) == nullptr);
  const auto parsed = parse_offer(build_offer(offer));
  REQUIRE(parsed);
  CHECK(parsed->kinds().empty());
}

TEST_CASE("unknown transports and unusable entries are passed over", "[path][offer]") {
  auto data = build_offer(full());
  SECTION("a transport of the future") { data[kOfferHeaderOctets] = 5; }
  SECTION("udp without a port") { data[kOfferHeaderOctets + 2] = data[kOfferHeaderOctets + 3] = 0; }
  SECTION("esp with a port") { data[kOfferHeaderOctets + kOfferEntryOctets + 3] = 1; }
  SECTION("ctcp without a mode") { data[kOfferHeaderOctets + 2 * kOfferEntryOctets + 1] = 0xFC; }
  const auto parsed = parse_offer(data);
  REQUIRE(parsed);
  CHECK(parsed->transports.size() == 5);
}

TEST_CASE("flags and reserved octets of the future do no harm", "[path][offer]") {
  auto data = build_offer(full());
  data[3] = 0xFF;
  for (std::size_t i = 0; i < 6; ++i) {
    const auto at = kOfferHeaderOctets + i * kOfferEntryOctets;
    data[at + 1] |= 0xF0U;
    data[at + 7] = 0xFF;
  }
  data[kOfferHeaderOctets + 1] = 0xFF;  // udp has no modes
  const auto parsed = parse_offer(data);
  REQUIRE(parsed);
  CHECK(*parsed == full());
}

TEST_CASE("an offer of wrong length, number or version is refused", "[path][offer]") {
  const auto data = build_offer(full());
  for (std::size_t length = 0; length < data.size(); ++length) {
    CHECK_FALSE(parse_offer(ByteView{data}.first(length)));
  }
  auto longer = data;
  longer.push_back(0);
  CHECK(parse_offer(longer).error().code == ParseErrc::bad_length);
  auto newer = data;
  newer[0] = 2;
  CHECK(parse_offer(newer).error().code == ParseErrc::unsupported);
  Bytes many{1, 1, 17, 0};
  many.resize(kOfferHeaderOctets + 17 * kOfferEntryOctets);
  CHECK(parse_offer(many).error().code == ParseErrc::too_many);
}

TEST_CASE("no more is written than may be read", "[path][offer]") {
  Offer offer;
  offer.transports.assign(40, {TransportKind::tls, 443, false, false, 0});
  const auto parsed = parse_offer(build_offer(offer));
  REQUIRE(parsed);
  CHECK(parsed->transports.size() == kMaxOffered);
}

TEST_CASE("a client says which in-band control it speaks", "[path][offer]") {
  CHECK(parse_in_band(build_in_band()) == kControlVersion);
  CHECK(parse_in_band(Bytes{2, 9, 9}) == 2);
  CHECK_FALSE(parse_in_band({}));
  CHECK_FALSE(parse_in_band(Bytes{0}));
}
