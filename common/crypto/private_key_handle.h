// What PrivateKey holds. Of this folder only.
#pragma once

#include "common/crypto/openssl.h"
#include "common/crypto/private_key.h"

namespace switchback::crypto {

struct PrivateKey::Handle {
  EvpPkeyPtr key;
  KeyType type{};
};

/// Errors: a key type that we do not use, as accepted_key_type() says.
[[nodiscard]] Result<PrivateKey, UserError> adopt_private_key(EvpPkeyPtr key, std::string_view where);

}  // namespace switchback::crypto
