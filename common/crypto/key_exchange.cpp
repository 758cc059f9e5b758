#include "common/crypto/key_exchange.h"

#include <openssl/core_names.h>
#include <openssl/dh.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>

#include <array>
#include <utility>

#include "common/crypto/openssl.h"

namespace switchback::crypto {
namespace {

using ParamBuildPtr = OpensslPtr<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free>;
using ParamsPtr = OpensslPtr<OSSL_PARAM, OSSL_PARAM_free>;
using GroupPtr = OpensslPtr<EC_GROUP, EC_GROUP_free>;
using PointPtr = OpensslPtr<EC_POINT, EC_POINT_clear_free>;
using BnCtxPtr = OpensslPtr<BN_CTX, BN_CTX_free>;

constexpr const char* kModpGroup = "modp_2048";
constexpr unsigned kModpGenerator = 2;
constexpr std::uint8_t kUncompressed = 0x04;  // SEC 1 §2.3.3; RFC 5903 §7 sends the point without it

bool is_ecp(KeyExchangeMethod method) noexcept {
  return method == KeyExchangeMethod::ecp_256 || method == KeyExchangeMethod::ecp_384;
}
const char* curve_name(KeyExchangeMethod method) noexcept {
  return method == KeyExchangeMethod::ecp_256 ? "P-256" : "P-384";
}
int curve_nid(KeyExchangeMethod method) noexcept {
  return method == KeyExchangeMethod::ecp_256 ? NID_X9_62_prime256v1 : NID_secp384r1;
}
std::size_t shared_octets(KeyExchangeMethod method) noexcept {
  return is_ecp(method) ? public_value_octets(method) / 2 : public_value_octets(method);
}

Bytes with_point_prefix(ByteView coordinates) {
  Bytes point{kUncompressed};
  append(point, coordinates);
  return point;
}

EvpPkeyPtr from_params(const char* type, int selection, OSSL_PARAM_BLD* build) {
  const ParamsPtr params{OSSL_PARAM_BLD_to_param(build)};
  const EvpPkeyCtxPtr context{EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr)};
  EVP_PKEY* key = nullptr;
  if (params == nullptr || context == nullptr || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, selection, params.get()) != 1) {
    EVP_PKEY_free(key);
    return nullptr;
  }
  return EvpPkeyPtr{key};
}

EvpPkeyPtr make_ecp(KeyExchangeMethod method, const Bytes& point, const BIGNUM* private_key) {
  const ParamBuildPtr build{OSSL_PARAM_BLD_new()};
  if (build == nullptr ||
      OSSL_PARAM_BLD_push_utf8_string(build.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve_name(method), 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(build.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) != 1 ||
      (private_key != nullptr && OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_PRIV_KEY, private_key) != 1)) {
    return nullptr;
  }
  return from_params("EC", private_key != nullptr ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, build.get());
}

EvpPkeyPtr make_modp(const BIGNUM* public_key, const BIGNUM* private_key) {
  const ParamBuildPtr build{OSSL_PARAM_BLD_new()};
  if (build == nullptr ||
      OSSL_PARAM_BLD_push_utf8_string(build.get(), OSSL_PKEY_PARAM_GROUP_NAME, kModpGroup, 0) != 1 ||
      OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_PUB_KEY, public_key) != 1 ||
      (private_key != nullptr && OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_PRIV_KEY, private_key) != 1)) {
    return nullptr;
  }
  return from_params("DH", private_key != nullptr ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, build.get());
}

BignumPtr to_bignum(ByteView octets) {
  return BignumPtr{BN_bin2bn(octets.data(), static_cast<int>(octets.size()), nullptr)};
}

EvpPkeyPtr generate_key(KeyExchangeMethod method) {
  switch (method) {
    case KeyExchangeMethod::curve25519: return EvpPkeyPtr{EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519")};
    case KeyExchangeMethod::ecp_256:
    case KeyExchangeMethod::ecp_384: return EvpPkeyPtr{EVP_EC_gen(curve_name(method))};
    case KeyExchangeMethod::modp_2048: break;
  }
  const ParamBuildPtr build{OSSL_PARAM_BLD_new()};
  if (build == nullptr ||
      OSSL_PARAM_BLD_push_utf8_string(build.get(), OSSL_PKEY_PARAM_GROUP_NAME, kModpGroup, 0) != 1) {
    return nullptr;
  }
  const ParamsPtr params{OSSL_PARAM_BLD_to_param(build.get())};
  const EvpPkeyCtxPtr context{EVP_PKEY_CTX_new_from_name(nullptr, "DH", nullptr)};
  EVP_PKEY* key = nullptr;
  if (params == nullptr || context == nullptr || EVP_PKEY_keygen_init(context.get()) != 1 ||
      EVP_PKEY_CTX_set_params(context.get(), params.get()) != 1 || EVP_PKEY_generate(context.get(), &key) != 1) {
    EVP_PKEY_free(key);
    return nullptr;
  }
  return EvpPkeyPtr{key};
}

EvpPkeyPtr key_from_private(KeyExchangeMethod method, ByteView private_key) {
  if (method == KeyExchangeMethod::curve25519) {
    return EvpPkeyPtr{EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, private_key.data(), private_key.size())};
  }
  const auto secret = to_bignum(private_key);
  const BnCtxPtr scratch{BN_CTX_new()};
  if (secret == nullptr || scratch == nullptr) return nullptr;
  BN_set_flags(secret.get(), BN_FLG_CONSTTIME);
  if (method == KeyExchangeMethod::modp_2048) {
    const BignumPtr prime{BN_get_rfc3526_prime_2048(nullptr)};
    const BignumPtr generator{BN_new()};
    const BignumPtr result{BN_new()};
    if (prime == nullptr || generator == nullptr || result == nullptr ||
        BN_set_word(generator.get(), kModpGenerator) != 1 ||
        BN_mod_exp(result.get(), generator.get(), secret.get(), prime.get(), scratch.get()) != 1) {
      return nullptr;
    }
    return make_modp(result.get(), secret.get());
  }
  const GroupPtr group{EC_GROUP_new_by_curve_name(curve_nid(method))};
  const PointPtr point{group != nullptr ? EC_POINT_new(group.get()) : nullptr};
  Bytes encoded(public_value_octets(method) + 1);
  if (point == nullptr || EC_POINT_mul(group.get(), point.get(), secret.get(), nullptr, nullptr, scratch.get()) != 1 ||
      EC_POINT_point2oct(group.get(), point.get(), POINT_CONVERSION_UNCOMPRESSED, encoded.data(), encoded.size(),
                         scratch.get()) != encoded.size()) {
    return nullptr;
  }
  return make_ecp(method, encoded, secret.get());
}

// Empty if the library fails.
Bytes encode_public(KeyExchangeMethod method, const EVP_PKEY* key) {
  Bytes value(public_value_octets(method));
  if (method == KeyExchangeMethod::modp_2048) {
    BIGNUM* number = nullptr;
    const bool got = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PUB_KEY, &number) == 1;
    const BignumPtr owned{number};
    if (!got || BN_bn2binpad(number, value.data(), static_cast<int>(value.size())) < 0) return {};
    return value;
  }
  auto size = value.size();
  if (method == KeyExchangeMethod::curve25519) {
    if (EVP_PKEY_get_raw_public_key(key, value.data(), &size) != 1 || size != value.size()) return {};
    return value;
  }
  Bytes point(value.size() + 1);
  if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point.data(), point.size(), &size) !=
          1 ||
      size != point.size() || point.front() != kUncompressed) {
    return {};
  }
  point.erase(point.begin());
  return point;
}

// Null if the value is none of the group: RFC 6989 §2.1 (1 < y < p - 1 for MODP), §2.3 (a point of the curve).
EvpPkeyPtr decode_peer(KeyExchangeMethod method, ByteView value) {
  switch (method) {
    case KeyExchangeMethod::curve25519:
      return EvpPkeyPtr{EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, value.data(), value.size())};
    case KeyExchangeMethod::ecp_256:
    case KeyExchangeMethod::ecp_384: {
      auto peer = make_ecp(method, with_point_prefix(value), nullptr);
      const EvpPkeyCtxPtr check{peer != nullptr ? EVP_PKEY_CTX_new(peer.get(), nullptr) : nullptr};
      if (check == nullptr || EVP_PKEY_public_check(check.get()) != 1) return nullptr;
      return peer;
    }
    case KeyExchangeMethod::modp_2048: break;
  }
  const auto number = to_bignum(value);
  const BignumPtr limit{BN_get_rfc3526_prime_2048(nullptr)};
  if (number == nullptr || limit == nullptr || BN_sub_word(limit.get(), 1) != 1 ||
      BN_cmp(number.get(), BN_value_one()) <= 0 || BN_cmp(number.get(), limit.get()) >= 0) {
    return nullptr;
  }
  return make_modp(number.get(), nullptr);
}

}  // namespace

std::size_t public_value_octets(KeyExchangeMethod method) noexcept {
  switch (method) {
    case KeyExchangeMethod::modp_2048: return 256;
    case KeyExchangeMethod::ecp_256: return 64;
    case KeyExchangeMethod::ecp_384: return 96;
    case KeyExchangeMethod::curve25519: return 32;
  }
  return 0;
}

std::string_view to_string(KeyExchangeMethod method) noexcept {
  switch (method) {
    case KeyExchangeMethod::modp_2048: return "modp2048";
    case KeyExchangeMethod::ecp_256: return "ecp256";
    case KeyExchangeMethod::ecp_384: return "ecp384";
    case KeyExchangeMethod::curve25519: return "x25519";
  }
  return "unknown";
}

const char* to_string(KeyExchangeErrc code) noexcept {
  switch (code) {
    case KeyExchangeErrc::bad_size: return "the public value has the wrong size";
    case KeyExchangeErrc::bad_public_value: return "the public value is not of the group";
    case KeyExchangeErrc::internal: return "the cryptographic library failed";
  }
  return "unknown";
}

struct KeyExchange::Key {
  EvpPkeyPtr handle;
};

KeyExchange::KeyExchange(KeyExchangeMethod method, std::unique_ptr<Key> key, Bytes public_value) noexcept
    : method_{method}, key_{std::move(key)}, public_value_{std::move(public_value)} {}
KeyExchange::KeyExchange(KeyExchange&&) noexcept = default;
KeyExchange& KeyExchange::operator=(KeyExchange&&) noexcept = default;
KeyExchange::~KeyExchange() = default;

Result<KeyExchange, KeyExchangeErrc> KeyExchange::generate(KeyExchangeMethod method) {
  const ErrorQueueGuard guard;
  auto key = generate_key(method);
  if (key == nullptr) return fail(KeyExchangeErrc::internal);
  auto value = encode_public(method, key.get());
  if (value.empty()) return fail(KeyExchangeErrc::internal);
  return KeyExchange{method, std::make_unique<Key>(Key{std::move(key)}), std::move(value)};
}

Result<KeyExchange, KeyExchangeErrc> KeyExchange::from_private(KeyExchangeMethod method, ByteView private_key) {
  const ErrorQueueGuard guard;
  if (private_key.empty() || private_key.size() > shared_octets(method)) return fail(KeyExchangeErrc::bad_size);
  auto key = key_from_private(method, private_key);
  if (key == nullptr) return fail(KeyExchangeErrc::internal);
  auto value = encode_public(method, key.get());
  if (value.empty()) return fail(KeyExchangeErrc::internal);
  return KeyExchange{method, std::make_unique<Key>(Key{std::move(key)}), std::move(value)};
}

Result<Secret, KeyExchangeErrc> KeyExchange::shared_secret(ByteView peer) const {
  const ErrorQueueGuard guard;
  if (peer.size() != public_value_octets(method_)) return fail(KeyExchangeErrc::bad_size);
  const auto peer_key = decode_peer(method_, peer);
  if (peer_key == nullptr) return fail(KeyExchangeErrc::bad_public_value);

  const EvpPkeyCtxPtr context{EVP_PKEY_CTX_new(key_->handle.get(), nullptr)};
  if (context == nullptr || EVP_PKEY_derive_init(context.get()) != 1) return fail(KeyExchangeErrc::internal);
  // RFC 7296 §2.14: g^ir is padded with zeros to the length of the modulus.
  if (method_ == KeyExchangeMethod::modp_2048 && EVP_PKEY_CTX_set_dh_pad(context.get(), 1) != 1) {
    return fail(KeyExchangeErrc::internal);
  }
  if (EVP_PKEY_derive_set_peer(context.get(), peer_key.get()) != 1) return fail(KeyExchangeErrc::bad_public_value);
  Secret shared{shared_octets(method_)};
  auto size = shared.size();
  // For curve25519 the library refuses points of small order here, whose result is zero (RFC 7748 §6.1, RFC 8031 §2).
  if (EVP_PKEY_derive(context.get(), shared.span().data(), &size) != 1 || size != shared.size()) {
    return fail(KeyExchangeErrc::bad_public_value);
  }
  if (shared.equals(Bytes(shared.size(), 0))) return fail(KeyExchangeErrc::bad_public_value);
  return shared;
}

}  // namespace switchback::crypto
