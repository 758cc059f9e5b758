#include "client/denial.h"

#include <array>
#include <catch2/catch.hpp>

#include "common/ike/message.h"
#include "common/ike/payload_notify.h"

namespace switchback::client {
namespace {

constexpr IkeSpi kInitiator{0x1111}, kResponder{0x2222};
constexpr std::array kOutbound{Spi{0xAABBCCDD}, Spi{7}};

Bytes message(IkeSpi initiator, IkeSpi responder, bool response, ike::NotifyType type, ByteView data = {}) {
  ike::Header header;
  header.initiator_spi = initiator;
  header.responder_spi = responder;
  header.response = response;
  ike::ChainBuilder chain;
  ike::add_notify(chain, type, data);
  return ike::build_message(header, chain);
}

bool denied(const Bytes& octets) { return denies_session(octets, kInitiator, kResponder, kOutbound); }

}  // namespace

TEST_CASE("only who has seen our SPIs can say that the session is unknown", "[connect][rfc7296]") {
  using ike::NotifyType;
  CHECK(denied(message(kInitiator, kResponder, true, NotifyType::invalid_ike_spi)));
  CHECK_FALSE(denied(message(kInitiator, kResponder, false, NotifyType::invalid_ike_spi)));
  CHECK_FALSE(denied(message(kInitiator, IkeSpi{1}, true, NotifyType::invalid_ike_spi)));
  CHECK_FALSE(denied(message(IkeSpi{1}, kResponder, true, NotifyType::invalid_ike_spi)));
  CHECK_FALSE(denied(message(kInitiator, kResponder, true, NotifyType::invalid_syntax)));

  const std::array<std::uint8_t, 4> ours{0xAA, 0xBB, 0xCC, 0xDD}, other{0xAA, 0xBB, 0xCC, 0xDE};
  CHECK(denied(message(IkeSpi{99}, {}, false, NotifyType::invalid_spi, ours)));
  CHECK_FALSE(denied(message(IkeSpi{99}, {}, false, NotifyType::invalid_spi, other)));
  CHECK_FALSE(denied(message(IkeSpi{99}, {}, false, NotifyType::invalid_spi)));
}

TEST_CASE("octets that merely look like a notification deny nothing", "[connect]") {
  Bytes octets(36, 0x29);
  CHECK_FALSE(denied(octets));
  CHECK_FALSE(denied({}));
  octets = message(kInitiator, kResponder, true, ike::NotifyType::invalid_ike_spi);
  octets.pop_back();
  CHECK_FALSE(denied(octets));
}

}  // namespace switchback::client
