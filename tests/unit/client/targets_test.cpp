#include "client/targets.h"

#include <catch2/catch.hpp>

namespace switchback::client {
namespace {

using path::Candidate;
using path::TransportKind;

IpAddress address(std::string_view text) { return *IpAddress::parse(text); }
Endpoint endpoint(std::string_view text) { return *Endpoint::parse(text); }

constexpr Candidate kUdp4{TransportKind::udp, IpFamily::v4}, kCtcp4{TransportKind::ctcp, IpFamily::v4},
    kEsp6{TransportKind::esp, IpFamily::v6};

}  // namespace

TEST_CASE("candidates are the order times the families that the headend has, IPv6 first", "[paths][rfc8305]") {
  const Targets both{{TransportKind::ctcp, TransportKind::udp}, {}, {address("192.0.2.1"), address("2001:db8::1")}};
  CHECK(both.candidates() == std::vector<Candidate>{{TransportKind::ctcp, IpFamily::v6},
                                                    {TransportKind::ctcp, IpFamily::v4},
                                                    {TransportKind::udp, IpFamily::v6},
                                                    {TransportKind::udp, IpFamily::v4}});
  const Targets v4{{TransportKind::udp}, {}, {address("192.0.2.1")}};
  CHECK(v4.candidates() == std::vector<Candidate>{kUdp4});
  CHECK(Targets{{TransportKind::udp}, {}, {}}.candidates().empty());
}

TEST_CASE("every opening of a candidate goes to its next address and then to its next port", "[paths]") {
  TransportPorts ports;
  ports.ctcp = {10000, 443};
  Targets targets{{TransportKind::udp, TransportKind::ctcp, TransportKind::esp},
                  ports,
                  {address("192.0.2.1"), address("2001:db8::1"), address("192.0.2.2")}};
  CHECK(targets.next(kCtcp4) == endpoint("192.0.2.1:10000"));
  CHECK(targets.next(kCtcp4) == endpoint("192.0.2.2:10000"));
  CHECK(targets.next(kCtcp4) == endpoint("192.0.2.1:443"));
  CHECK(targets.next(kCtcp4) == endpoint("192.0.2.2:443"));
  CHECK(targets.next(kCtcp4) == endpoint("192.0.2.1:10000"));
  CHECK(targets.next(kUdp4) == endpoint("192.0.2.1:4500"));  // each candidate has its own turn
  CHECK(targets.next(kEsp6) == Endpoint{address("2001:db8::1"), 0});
  CHECK(targets.next({TransportKind::tls, IpFamily::v4}) == Endpoint{});  // not in the order
}

TEST_CASE("a race is over when every candidate has failed at all of its addresses and often enough", "[paths]") {
  Targets targets{{TransportKind::udp}, {}, {address("192.0.2.1"), address("192.0.2.2"), address("192.0.2.3")}};
  targets.note_failed(kUdp4);
  targets.note_failed(kUdp4);
  CHECK_FALSE(targets.exhausted(1, true, false));  // the third address has not been tried
  targets.note_failed(kUdp4);
  CHECK(targets.exhausted(1, true, false));
  CHECK_FALSE(targets.exhausted(4, true, false));
  targets.note_failed(kCtcp4);  // not one of its own
  CHECK_FALSE(targets.exhausted(4, true, false));
}

TEST_CASE("a race does not wait for a family that no way leads to", "[paths]") {
  Targets targets{{TransportKind::udp}, {}, {address("192.0.2.1"), address("2001:db8::1")}};
  targets.note_failed(kUdp4);
  CHECK(targets.exhausted(1, true, false));
  CHECK_FALSE(targets.exhausted(1, true, true));
  CHECK_FALSE(targets.exhausted(1, false, true));
}

TEST_CASE("the headend's offer corrects the ports, and the address that it was met at goes first", "[paths]") {
  Targets targets{
      {TransportKind::udp, TransportKind::ctcp, TransportKind::tls}, {}, {address("192.0.2.1"), address("192.0.2.2")}};
  path::Offer offer;
  offer.transports = {{TransportKind::ctcp, 8443, true, false, 0},
                      {TransportKind::ctcp, 10001, true, true, 1},
                      {TransportKind::tls, 4443, false, false, 2}};
  targets.apply(offer);
  CHECK(targets.ports().ctcp == std::vector<std::uint16_t>{8443, 10001});
  CHECK(targets.ports().tls == 4443);
  CHECK(targets.ports().nat_t == 4500);  // not in the offer
  CHECK(targets.next(kCtcp4) == endpoint("192.0.2.1:8443"));
  targets.prefer(address("192.0.2.2"));
  CHECK(targets.next(kCtcp4) == endpoint("192.0.2.2:8443"));
  CHECK(targets.next(kCtcp4) == endpoint("192.0.2.1:8443"));
  CHECK(targets.first(IpFamily::v4) == address("192.0.2.2"));
  CHECK(targets.first(IpFamily::v6).empty());
}

TEST_CASE("people are told what a firewall has to let through", "[paths]") {
  TransportPorts ports;
  ports.ctcp = {10000, 443};
  CHECK(wire_name(TransportKind::udp, ports) == "UDP 500 and 4500");
  CHECK(wire_name(TransportKind::esp, ports) == "protocol 50 and UDP 500");
  CHECK(wire_name(TransportKind::ctcp, ports) == "TCP 10000/443");
  CHECK(wire_name(TransportKind::tls, ports) == "TCP 443");
  CHECK(wire_name(TransportKind::tcp, ports) == "TCP 4500");
}

}  // namespace switchback::client
