#include "common/esp/sa.h"

#include <algorithm>
#include <cassert>
#include <limits>

#include "common/packet/ip.h"

namespace switchback::esp {
namespace {

std::array<std::uint8_t, 4> salt_of(const crypto::AeadKey& key) noexcept {
  std::array<std::uint8_t, 4> salt{};
  assert(key.salt().size() == salt.size());
  std::copy_n(key.salt().begin(), salt.size(), salt.begin());
  return salt;
}

}  // namespace

OutboundSa::OutboundSa(SaParams params, std::uint64_t next_sequence)
    : OutboundSa{std::move(params), nullptr, next_sequence} {}

OutboundSa::OutboundSa(SaParams params, std::unique_ptr<crypto::Aead> aead, std::uint64_t next_sequence)
    : spi_{params.spi},
      esn_{params.esn},
      salt_{salt_of(params.key)},
      aead_{aead ? std::move(aead) : crypto::make_aead(params.key)},
      next_sequence_{next_sequence},
      last_sequence_{params.esn ? std::numeric_limits<std::uint64_t>::max() - 1
                                : std::numeric_limits<std::uint32_t>::max()},
      lifetime_{params.lifetime, params.installed},
      local_{params.local},
      remote_{params.remote},
      counters_{std::make_shared<SaCounters>()} {
  assert(next_sequence_ >= 1);
}

bool OutboundSa::permits(ByteView inner) const noexcept {
  const auto ip = packet::parse_ip(inner);
  return ip && local_.matches_source(inner, *ip) && remote_.matches_destination(inner, *ip);
}

InboundSa::InboundSa(SaParams params, std::uint64_t highest_sequence)
    : InboundSa{std::move(params), nullptr, highest_sequence} {}

InboundSa::InboundSa(SaParams params, std::unique_ptr<crypto::Aead> aead, std::uint64_t highest_sequence)
    : spi_{params.spi},
      esn_{params.esn},
      salt_{salt_of(params.key)},
      aead_{aead ? std::move(aead) : crypto::make_aead(params.key)},
      window_{params.esn, highest_sequence},
      lifetime_{params.lifetime, params.installed},
      local_{params.local},
      remote_{params.remote},
      counters_{std::make_shared<SaCounters>()} {}

}  // namespace switchback::esp
