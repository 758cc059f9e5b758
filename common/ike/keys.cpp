#include "common/ike/keys.h"

#include <array>
#include <cassert>

namespace switchback::ike {

namespace {

/// Cuts a secret into parts, front to back.
class Cutter {
 public:
  explicit Cutter(const Secret& material) noexcept : rest_{material.view()} {}
  [[nodiscard]] Secret take(std::size_t octets) {
    assert(octets <= rest_.size());
    const auto part = rest_.first(octets);
    rest_ = rest_.subspan(octets);
    return Secret{part};
  }

 private:
  ByteView rest_;
};

}  // namespace

std::size_t key_and_salt_octets(crypto::AeadAlgorithm algorithm) noexcept {
  return crypto::aead_key_octets(algorithm) + crypto::kAeadSaltOctets;
}

Secret skeyseed(crypto::PrfAlgorithm prf, const Nonces& nonces, const Secret& shared) {
  // Ni | Nr is the key: nonces are public, so an ordinary buffer does.
  auto key = to_bytes(nonces.i);
  append(key, nonces.r);
  return crypto::prf(prf, key, {shared.view()});
}

Secret rekey_skeyseed(const IkeKeys& old_keys, const Secret& shared, const Nonces& nonces) {
  return crypto::prf(old_keys.prf, old_keys.sk_d.view(), {shared.view(), nonces.i, nonces.r});
}

IkeKeys derive_ike_keys(const IkeSuite& suite, const Secret& skeyseed, const Nonces& nonces, IkeSpi initiator_spi,
                        IkeSpi responder_spi) {
  std::array<std::uint8_t, 16> spis{};
  store_be(spis.data(), initiator_spi.value);
  store_be(spis.data() + 8, responder_spi.value);
  const auto prf = crypto::prf_octets(suite.prf);
  const auto cipher = key_and_salt_octets(suite.encryption);
  const auto material =
      crypto::prf_plus(suite.prf, skeyseed.view(), {nonces.i, nonces.r, ByteView{spis}}, 3 * prf + 2 * cipher);
  Cutter cut{material};
  IkeKeys keys;
  keys.prf = suite.prf;
  keys.sk_d = cut.take(prf);
  keys.sk_ei = {suite.encryption, cut.take(cipher)};  // SK_ai and SK_ar before it are empty, RFC 5282 §7.1
  keys.sk_er = {suite.encryption, cut.take(cipher)};
  keys.sk_pi = cut.take(prf);
  keys.sk_pr = cut.take(prf);
  return keys;
}

ChildKeys derive_child_keys(const IkeKeys& ike, crypto::AeadAlgorithm encryption, const Secret* shared,
                            const Nonces& nonces) {
  const auto cipher = key_and_salt_octets(encryption);
  const auto material =
      shared != nullptr ? crypto::prf_plus(ike.prf, ike.sk_d.view(), {shared->view(), nonces.i, nonces.r}, 2 * cipher)
                        : crypto::prf_plus(ike.prf, ike.sk_d.view(), {nonces.i, nonces.r}, 2 * cipher);
  Cutter cut{material};
  ChildKeys keys;
  keys.initiator = {encryption, cut.take(cipher)};
  keys.responder = {encryption, cut.take(cipher)};
  return keys;
}

}  // namespace switchback::ike
