// A user's credentials in the forms that clients take: our profile, strongSwan's, Apple's, PKCS#12.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/random.h"
#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/crypto/certificate.h"
#include "common/crypto/private_key.h"
#include "headend/config.h"

namespace switchback::headend {

/// What `user add` has made: either a certificate with its key, or a pre-shared key.
struct UserCredentials {
  std::string name;
  std::vector<crypto::Certificate> certificate;  // one, or none with a pre-shared key
  std::vector<crypto::PrivateKey> key;           // one, or none
  Secret pre_shared_key;                         // text
  std::vector<crypto::Certificate> authorities;
};

/// Our own client's profile, a file of mode 0600. Errors: the file exists.
[[nodiscard]] Result<void, UserError> export_switchback(const Config& config, const UserCredentials& user,
                                                        const std::string& out, bool sync = true);
/// A directory with swanctl.conf, x509/, x509ca/ and private/, to be copied to /etc/swanctl.
[[nodiscard]] Result<void, UserError> export_strongswan(const Config& config, const UserCredentials& user,
                                                        const std::string& out);
/// An Apple configuration profile (iOS, iPadOS, macOS): the authority, the identity and an IKEv2 VPN that uses them.
[[nodiscard]] Result<void, UserError> export_mobileconfig(const Config& config, const UserCredentials& user,
                                                          const std::string& out, RandomSource& random);
/// Certificate, key and authority in one PKCS#12 file. Errors: a user with a pre-shared key has nothing to put in it.
[[nodiscard]] Result<void, UserError> export_p12(const UserCredentials& user, const std::string& out,
                                                 std::string_view password);

/// The texts inside the above. Pure but for mobileconfig's UUIDs and its password.
[[nodiscard]] Secret swanctl_conf(const Config& config, const UserCredentials& user);
[[nodiscard]] Result<Secret, UserError> mobileconfig_text(const Config& config, const UserCredentials& user,
                                                          RandomSource& random);
[[nodiscard]] std::string base64(ByteView octets);

}  // namespace switchback::headend
