#include <catch2/catch.hpp>

#include "common/ike/payload_auth.h"
#include "common/ike/payload_cp.h"
#include "common/ike/payload_eap.h"
#include "common/ike/payload_ke.h"
#include "common/ike/payload_notify.h"
#include "common/ike/payload_sa.h"
#include "common/ike/payload_ts.h"
#include "tests/unit/ike/wire_test.h"

using namespace switchback;
using namespace switchback::ike;
using switchback::ike::test::hex;
using switchback::ike::test::only_body;

namespace {

// What strongSwan 5.9.8 offers for aes128gcm16-prfsha256-x25519.
const char* const kIkeOffer =
    "00 00 0024 01 01 00 03"
    "03 00 000c 01 00 0014 800e0080"
    "03 00 0008 02 00 0005"
    "00 00 0008 04 00 001f";

}  // namespace

TEST_CASE("an SA payload reads into proposals and transforms", "[ike][rfc7296-3.3]") {
  const auto proposals = parse_sa(hex(kIkeOffer)).value();
  REQUIRE(proposals.size() == 1);
  CHECK(proposals[0].protocol == ProtocolId::ike);
  CHECK(proposals[0].spi.empty());
  REQUIRE(proposals[0].transforms.size() == 3);
  CHECK(proposals[0].transforms[0] == Transform{TransformType::encryption, 20, 128, true});
  CHECK(proposals[0].transforms[1] == Transform{TransformType::prf, 5, std::nullopt, true});
  CHECK(proposals[0].transforms[2] == Transform{TransformType::key_exchange, 31, std::nullopt, true});
}

TEST_CASE("proposals are written as they are read", "[ike][rfc7296-3.3]") {
  ChainBuilder chain;
  add_sa(chain, parse_sa(hex(kIkeOffer)).value());
  CHECK(only_body(chain) == hex(kIkeOffer));
}

TEST_CASE("an unknown attribute makes its transform unusable and nothing else", "[ike][rfc7296-3.3.6]") {
  const auto proposals = parse_sa(hex("00 00 0028 01 03 04 02 c0ffee00"
                                      "03 00 0014 01 00 0014 800e0080 0063 0004 01020304"
                                      "00 00 0008 05 00 0000"))
                             .value();
  CHECK_FALSE(proposals.at(0).transforms.at(0).usable);
  CHECK(proposals.at(0).transforms.at(1).usable);
  CHECK(proposals.at(0).esp_spi() == Spi{0xc0ffee00});
}

TEST_CASE("SA payloads whose lengths, counts or markers disagree are refused", "[ike][rfc7296-3.3]") {
  const auto refused = [](std::size_t at, std::uint8_t value) {
    auto body = hex(kIkeOffer);
    body.at(at) = value;
    const auto result = parse_sa(body);
    REQUIRE_FALSE(result.has_value());
    return result.error().code;
  };
  CHECK(refused(0, 2) == ParseErrc::truncated);      // another proposal announced
  CHECK(refused(0, 1) == ParseErrc::bad_value);      // no such marker
  CHECK(refused(3, 0x25) == ParseErrc::bad_length);  // proposal longer than the payload
  CHECK(refused(3, 0x07) == ParseErrc::bad_length);
  CHECK(refused(4, 0) == ParseErrc::bad_value);     // proposal number
  CHECK(refused(6, 4) == ParseErrc::bad_spi_size);  // IKE has 0 or 8
  CHECK(refused(7, 2) == ParseErrc::bad_value);     // "more" on what would be the last
  CHECK(refused(7, 4) == ParseErrc::bad_value);     // "last" on what would not be
  CHECK(refused(7, 65) == ParseErrc::too_many);
  CHECK(refused(8 + 3, 7) == ParseErrc::bad_length);  // transform shorter than its header
  CHECK(refused(8 + 3, 14) == ParseErrc::truncated);  // half an attribute
  CHECK(refused(8 + 12 + 3, 200) == ParseErrc::bad_length);
  CHECK_FALSE(parse_sa({}).has_value());
}

TEST_CASE("the number of proposals is bounded", "[ike]") {
  std::vector<Proposal> proposals;
  for (std::uint8_t i = 1; i <= kMaxProposals; ++i) proposals.push_back({i, ProtocolId::ike, {}, {}});
  ChainBuilder good;
  add_sa(good, proposals);
  CHECK(parse_sa(only_body(good)).value() == proposals);
  proposals.push_back({static_cast<std::uint8_t>(kMaxProposals + 1), ProtocolId::ike, {}, {}});
  ChainBuilder bad;
  add_sa(bad, proposals);
  CHECK(parse_sa(only_body(bad)).error().code == ParseErrc::too_many);
}

TEST_CASE("KE and nonce payloads keep their bounds", "[ike][rfc7296-3.4][rfc7296-3.9]") {
  const auto ke = hex("001f 0000 0102");
  CHECK(parse_key_exchange(ke).value().method == KeyExchangeId::curve25519);
  CHECK(same_bytes(parse_key_exchange(ke).value().public_value, hex("0102")));
  CHECK_FALSE(parse_key_exchange(hex("001f 0000")).has_value());
  CHECK_FALSE(parse_key_exchange(hex("001f 00")).has_value());
  CHECK_FALSE(parse_nonce(Bytes(15)).has_value());
  CHECK(parse_nonce(Bytes(16)).has_value());
  CHECK(parse_nonce(Bytes(256)).has_value());
  CHECK_FALSE(parse_nonce(Bytes(257)).has_value());
}

TEST_CASE("identities of fixed size have that size", "[ike][rfc7296-3.5]") {
  CHECK(parse_id(hex("01 000000 c0000201")).value().type == IdPayloadType::ipv4_address);
  CHECK_FALSE(parse_id(hex("01 000000 c00002")).has_value());
  CHECK_FALSE(parse_id(hex("05 000000 c0000201")).has_value());
  CHECK_FALSE(parse_id(hex("02 000000")).has_value());
  CHECK_FALSE(parse_id(hex("02 0000")).has_value());
  ChainBuilder chain;
  add_id(chain, PayloadType::id_initiator, IdPayloadType::fqdn, as_bytes("alice"));
  CHECK(only_body(chain) == hex("02000000 616c696365"));
  CHECK(only_body(chain) == id_body(IdPayloadType::fqdn, as_bytes("alice")));
}

TEST_CASE("a certificate request finds an authority among its hashes", "[ike][rfc7296-3.7]") {
  Bytes authorities(20, 1);
  append(authorities, Bytes(20, 2));
  ChainBuilder chain;
  add_certificate_request(chain, CertificateEncoding::x509_signature, authorities);
  const auto body = only_body(chain);
  const auto view = parse_certificate_request(body).value();
  CHECK(view.names(Bytes(20, 2)));
  CHECK_FALSE(view.names(Bytes(20, 3)));
  CHECK_FALSE(parse_certificate_request(ByteView{body}.first(30)).has_value());
  CHECK(parse_certificate_request(hex("04")).value().authorities.empty());
  CHECK_FALSE(parse_certificate_request({}).has_value());
}

TEST_CASE("certificates and AUTH data are never empty", "[ike][rfc7296-3.6][rfc7296-3.8]") {
  CHECK_FALSE(parse_certificate(hex("04")).has_value());
  CHECK(parse_certificate(hex("04 30")).value().encoding == CertificateEncoding::x509_signature);
  CHECK_FALSE(parse_auth(hex("02 000000")).has_value());
  CHECK(parse_auth(hex("0e 000000 aa")).value().method == AuthenticationMethod::digital_signature);
}

TEST_CASE("a notify has an SPI of no, four or eight octets", "[ike][rfc7296-3.10]") {
  const auto body = hex("03 04 4009 c0ffee00 0102");
  const auto notify = parse_notify(body).value();
  CHECK(notify.protocol == ProtocolId::esp);
  CHECK(notify.type == NotifyType::rekey_sa);
  CHECK(notify.esp_spi() == Spi{0xc0ffee00});
  CHECK(same_bytes(notify.data, hex("0102")));
  CHECK(parse_notify(hex("03 02 4009 c0ff")).error() == ParseError{ParseErrc::bad_spi_size, 1});
  CHECK(parse_notify(hex("03 04 4009 c0ff")).error().code == ParseErrc::truncated);
  CHECK(parse_notify(hex("00 00 40")).error().code == ParseErrc::truncated);
}

TEST_CASE("notifies are found by type and by being errors", "[ike][rfc7296-3.10.1]") {
  ChainBuilder chain;
  add_notify(chain, NotifyType::initial_contact);
  add_notify(chain, NotifyType::rekey_sa, ProtocolId::esp, Spi{0x1000});
  add_invalid_ke(chain, KeyExchangeId::ecp_256);
  const std::array hashes{SignatureHash::sha2_256, SignatureHash::identity};
  add_signature_hashes(chain, hashes);
  chain.add(PayloadType::notify, hex("00 05 4000"));  // malformed: as if it were not there
  const auto payloads = parse_payloads(chain.view(), chain.first()).value();
  CHECK(notifies(payloads).size() == 4);
  CHECK(find_notify(payloads, NotifyType::rekey_sa)->esp_spi() == Spi{0x1000});
  CHECK(find_error(payloads)->type == NotifyType::invalid_ke_payload);
  CHECK(wanted_key_exchange(*find_error(payloads)) == KeyExchangeId::ecp_256);
  CHECK(signature_hashes(*find_notify(payloads, NotifyType::signature_hash_algorithms)) ==
        std::vector<SignatureHash>{SignatureHash::sha2_256, SignatureHash::identity});
  CHECK_FALSE(find_notify(payloads, NotifyType::cookie).has_value());
}

TEST_CASE("a delete lists as many SPIs as it says", "[ike][rfc7296-3.11]") {
  CHECK(parse_delete(hex("01 00 0000")).value().protocol == ProtocolId::ike);
  CHECK(parse_delete(hex("03 04 0002 00001000 00002000")).value().spis == std::vector<Spi>{Spi{0x1000}, Spi{0x2000}});
  CHECK(parse_delete(hex("03 04 0002 00001000")).error().code == ParseErrc::bad_length);
  CHECK(parse_delete(hex("03 04 0001 00001000 00")).error().code == ParseErrc::bad_length);
  CHECK(parse_delete(hex("03 08 0001 0000100000001000")).error().code == ParseErrc::bad_spi_size);
  CHECK(parse_delete(hex("01 08 0001 0000100000001000")).error().code == ParseErrc::bad_spi_size);
  CHECK(parse_delete(hex("07 04 0000")).error().code == ParseErrc::bad_value);
  CHECK(parse_delete(hex("03 04 ffff")).error().code == ParseErrc::too_many);
  ChainBuilder chain;
  const std::array spis{Spi{0x1000}};
  add_delete_esp(chain, spis);
  CHECK(only_body(chain) == hex("03 04 0001 00001000"));
}

TEST_CASE("traffic selectors of both families are read, others are skipped", "[ike][rfc7296-3.13]") {
  const auto body =
      hex("03 000000"
          "07 00 0010 0000 ffff 0a000000 0affffff"
          "09 00 0008 00000000"
          "08 06 0028 01bb 01bb 20010db8000000000000000000000000 20010db800000000ffffffffffffffff");
  const auto view = parse_traffic_selectors(body).value();
  CHECK(view.skipped == 1);
  REQUIRE(view.selectors.size() == 2);
  CHECK(view.selectors[0] == packet::from_prefix(IpPrefix::parse("10.0.0.0/8").value()));
  CHECK(view.selectors[1].ip_protocol == 6);
  CHECK(view.selectors[1].first_port == 443);
  CHECK(view.selectors[1].last == IpAddress::parse("2001:db8::ffff:ffff:ffff:ffff"));
  ChainBuilder chain;
  add_traffic_selectors(chain, PayloadType::ts_initiator, view.selectors);
  CHECK(parse_traffic_selectors(only_body(chain)).value().selectors == view.selectors);
}

TEST_CASE("traffic selectors that cannot be true are refused", "[ike][rfc7296-3.13]") {
  CHECK(parse_traffic_selectors(hex("00 000000")).error().code == ParseErrc::bad_value);
  CHECK(parse_traffic_selectors(hex("01 000000")).error().code == ParseErrc::truncated);
  CHECK(parse_traffic_selectors(hex("01 000000 07 00 0010 0000 ffff 0b000000 0a000000")).error().code ==
        ParseErrc::bad_value);
  CHECK(parse_traffic_selectors(hex("01 000000 07 00 0003 0000 ffff 0a000000 0a000000")).error().code ==
        ParseErrc::bad_length);
  CHECK(parse_traffic_selectors(hex("01 000000 08 00 0010 0000 ffff 0a000000 0a000000")).error().code ==
        ParseErrc::bad_length);
  CHECK(parse_traffic_selectors(hex("01 000000 07 00 0010 0000 ffff 0a000000 0a000000 00")).error().code ==
        ParseErrc::bad_length);
  // OPAQUE ports, RFC 7296 §3.13.1
  CHECK(parse_traffic_selectors(hex("01 000000 07 06 0010 ffff 0000 0a000000 0a000000")).has_value());
}

TEST_CASE("a configuration request of strongSwan asks for addresses and DNS of both families", "[ike][rfc7296-3.15]") {
  const auto body = hex("01 000000 0001 0000 0008 0000 0003 0000 000a 0000");
  const auto request = interpret(parse_configuration(body).value());
  CHECK(request.type == ConfigurationType::request);
  CHECK(request.wants_v4);
  CHECK(request.wants_v6);
  CHECK(request.wants_dns);
  CHECK_FALSE(request.wants_subnets);
  CHECK(request.addresses.empty());
}

TEST_CASE("a configuration reply survives being written and read", "[ike][rfc7296-3.15]") {
  Configuration reply;
  reply.type = ConfigurationType::reply;
  reply.addresses = {IpPrefix::parse("10.99.0.2/16").value(), IpPrefix::parse("fd00::2/64").value()};
  reply.dns = {IpAddress::parse("10.99.0.1").value(), IpAddress::parse("fd00::1").value()};
  reply.subnets = {IpPrefix::parse("192.168.0.0/17").value(), IpPrefix::parse("fd01::/48").value(),
                   IpPrefix::parse("0.0.0.0/0").value()};
  reply.domains = {"corp.example"};
  ChainBuilder chain;
  add_configuration(chain, reply);
  const auto body = only_body(chain);
  const auto read = interpret(parse_configuration(body).value());
  CHECK(read.type == ConfigurationType::reply);
  CHECK(read.addresses == reply.addresses);
  CHECK(read.dns == reply.dns);
  CHECK(read.subnets == reply.subnets);
  CHECK(read.domains == reply.domains);
}

TEST_CASE("INTERNAL_IP6_ADDRESS has seventeen octets", "[ike][rfc7296-3.15.1]") {
  ChainBuilder chain;
  Configuration reply;
  reply.type = ConfigurationType::reply;
  reply.addresses = {IpPrefix::parse("fd00::2/128").value()};
  add_configuration(chain, reply);
  CHECK(only_body(chain) == hex("02 000000 0008 0011 fd000000000000000000000000000002 80"));
}

TEST_CASE("unusable configuration values are left out", "[ike][rfc7296-3.15]") {
  // An address of 3 octets, a netmask with a gap, a domain that is none, IPv6 of length 129, an unknown attribute.
  const auto body =
      hex("02 000000 0001 0003 0a0000 000d 0008 0a000000 ff00ff00 0019 0004 61206220"
          "000f 0011 fd000000000000000000000000000000 81 7abc 0001 00");
  const auto read = interpret(parse_configuration(body).value());
  CHECK(read.addresses.empty());
  CHECK(read.subnets.empty());
  CHECK(read.domains.empty());
  CHECK_FALSE(parse_configuration(hex("02 000000 0001 0004 0a0000")).has_value());
  Bytes many = hex("01 000000");
  for (std::size_t i = 0; i <= kMaxConfigurationAttributes; ++i) append(many, hex("0001 0000"));
  CHECK(parse_configuration(many).error().code == ParseErrc::too_many);
}

TEST_CASE("EAP packets fill their payload", "[ike][rfc7296-3.16]") {
  const auto request = hex("01 07 0006 01 61");
  const auto view = parse_eap(request).value();
  CHECK(view.code == EapCode::request);
  CHECK(view.identifier == 7);
  CHECK(view.type == std::uint8_t{1});
  CHECK(as_text(view.data) == "a");
  CHECK_FALSE(parse_eap(hex("03 07 0004")).value().type.has_value());
  CHECK_FALSE(parse_eap(hex("03 07 0005 00")).has_value());
  CHECK_FALSE(parse_eap(hex("01 07 0004")).has_value());
  CHECK_FALSE(parse_eap(hex("01 07 0007 01 61")).has_value());
  CHECK_FALSE(parse_eap(hex("05 07 0004")).has_value());
}
