// `init`: a headend's directory with its authority, certificate, configuration and database.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/crypto/certificate.h"

namespace switchback::headend {

struct InitOptions {
  std::string directory;
  std::vector<std::string> addresses;  // names or IP addresses; at least one
  std::string identity;                // empty: the first name among the addresses, else the first address
  std::string pool = "10.99.0.0/16";   // "none": no IPv4
  std::string pool6;                   // empty: a random unique local /64 (RFC 4193); "none": no IPv6
  std::vector<std::string> dns;
  std::vector<std::string> routes;  // empty: everything
  crypto::KeyType key_type = crypto::KeyType::ecdsa_p256;
};

/// What was made, for the person who made it.
struct InitSummary {
  std::string identity;
  std::optional<IpPrefix> pool, pool6;
};

/// Makes the directory, complete or not at all.
/// Errors: it exists; an option that is wrong, with what would be right.
[[nodiscard]] Result<InitSummary, UserError> init_headend(const InitOptions& options, WallTime now);

}  // namespace switchback::headend
