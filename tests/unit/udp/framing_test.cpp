#include "transports/udp/framing.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::transports::udp;

namespace {
const AddressPair kClientPath{*Endpoint::parse("192.0.2.1:45123"), *Endpoint::parse("192.0.2.2:500")};
}

TEST_CASE("the headend's port decides whether IKE has a marker", "[udp][rfc7296]") {
  auto path = kClientPath;
  CHECK(framing_of(path, false, 500) == Framing::bare);
  path.remote.port = 4500;
  CHECK(framing_of(path, false, 500) == Framing::marked);
  const AddressPair seen_from_headend{path.remote, path.local};
  CHECK(framing_of(seen_from_headend, true, 500) == Framing::marked);
  // A client behind NAT may be seen at port 500: it does not matter.
  CHECK(framing_of({*Endpoint::parse("192.0.2.2:4500"), *Endpoint::parse("192.0.2.9:500")}, true, 500) ==
        Framing::marked);
  CHECK(framing_of({*Endpoint::parse("192.0.2.2:1500"), *Endpoint::parse("192.0.2.9:4500")}, true, 1500) ==
        Framing::bare);
}

TEST_CASE("one octet 0xFF is a keepalive on either port, another octet is not", "[udp][rfc3948]") {
  const Bytes keepalive{0xFF}, other{0x00};
  for (const auto framing : {Framing::bare, Framing::marked}) {
    CHECK(classify(keepalive, framing).content == Content::keepalive);
    CHECK(classify(other, framing).content == Content::malformed);
    CHECK(classify({}, framing).content == Content::malformed);
  }
}

TEST_CASE("four zero octets and an IKE header are IKE, without the marker", "[udp][rfc3948]") {
  Bytes datagram(4 + kIkeHeaderBytes, 0);
  datagram[4] = 1;
  const auto ike = classify(datagram, Framing::marked);
  CHECK(ike.content == Content::ike);
  CHECK(ike.skip == 4);
  datagram.pop_back();
  CHECK(classify(datagram, Framing::marked).content == Content::malformed);
}

TEST_CASE("anything else of sufficient length is ESP on the NAT-T port", "[udp][rfc3948]") {
  Bytes datagram(kMinimumEspBytes, 1);
  const auto esp = classify(datagram, Framing::marked);
  CHECK(esp.content == Content::esp);
  CHECK(esp.skip == 0);
  // SPIs that begin with zeros are legal.
  datagram[0] = datagram[1] = datagram[2] = 0;
  CHECK(classify(datagram, Framing::marked).content == Content::esp);
  datagram.pop_back();
  CHECK(classify(datagram, Framing::marked).content == Content::malformed);
  CHECK(classify(Bytes{1, 2, 3}, Framing::marked).content == Content::malformed);
}

TEST_CASE("everything on the IKE port is IKE if it could be", "[udp][rfc7296]") {
  CHECK(classify(Bytes(kIkeHeaderBytes, 7), Framing::bare).content == Content::ike);
  CHECK(classify(Bytes(kIkeHeaderBytes, 7), Framing::bare).skip == 0);
  CHECK(classify(Bytes(kIkeHeaderBytes - 1, 7), Framing::bare).content == Content::malformed);
}
