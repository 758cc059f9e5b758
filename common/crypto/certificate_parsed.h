// What Certificate holds. Of this folder only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/crypto/certificate.h"
#include "common/crypto/openssl.h"

namespace switchback::crypto {

struct Certificate::Parsed {
  X509Ptr x509;
  Bytes der, subject, issuer, serial;
  std::string subject_text, common_name;
  std::vector<std::string> dns_names, emails;
  std::vector<IpAddress> addresses;
  WallTime not_before, not_after;
  bool is_authority = false;
  bool allows_headend = false, allows_client = false;
  KeyType key_type{};
  std::array<std::uint8_t, 32> fingerprint{};
  std::array<std::uint8_t, 20> public_key_hash{};
};

/// The type of a key that we accept at all: a curve that we know, Ed25519, RSA of 2048 to 8192 bits.
[[nodiscard]] std::optional<KeyType> accepted_key_type(const EVP_PKEY* key);

}  // namespace switchback::crypto
