// IANA numbers of IKEv2 as enum classes, each with its name table.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace switchback::ike {

// Every enum here may hold a value that it does not name: what comes off the wire is converted without loss. name()
// gives the registry's name or an empty view; to_string() gives the name or the number, fit for a log line.

/// RFC 7296 §3.1.
enum class ExchangeType : std::uint8_t {
  ike_sa_init = 34,
  ike_auth = 35,
  create_child_sa = 36,
  informational = 37,
  ike_session_resume = 38,  // RFC 5723
  ike_intermediate = 43,    // RFC 9242
};

/// RFC 7296 §3.2.
enum class PayloadType : std::uint8_t {
  none = 0,
  security_association = 33,
  key_exchange = 34,
  id_initiator = 35,
  id_responder = 36,
  certificate = 37,
  certificate_request = 38,
  authentication = 39,
  nonce = 40,
  notify = 41,
  delete_sa = 42,
  vendor_id = 43,
  ts_initiator = 44,
  ts_responder = 45,
  encrypted = 46,
  configuration = 47,
  eap = 48,
  encrypted_fragment = 53,  // RFC 7383
};

/// RFC 7296 §3.3.1.
enum class ProtocolId : std::uint8_t { none = 0, ike = 1, ah = 2, esp = 3 };

/// RFC 7296 §3.3.2. Types 6 to 12 (RFC 9370) are known so that they can be named, and are not supported.
enum class TransformType : std::uint8_t {
  encryption = 1,
  prf = 2,
  integrity = 3,
  key_exchange = 4,
  extended_sequence_numbers = 5,
  additional_key_exchange_1 = 6,
  additional_key_exchange_7 = 12,
};

/// Transform type 1.
enum class EncryptionId : std::uint16_t {
  triple_des = 3,
  null = 11,
  aes_cbc = 12,
  aes_ctr = 13,
  aes_ccm_8 = 14,
  aes_ccm_12 = 15,
  aes_ccm_16 = 16,
  aes_gcm_8 = 18,
  aes_gcm_12 = 19,
  aes_gcm_16 = 20,
  camellia_cbc = 23,
  chacha20_poly1305 = 28,
};

/// Transform type 2.
enum class PrfId : std::uint16_t {
  hmac_md5 = 1,
  hmac_sha1 = 2,
  aes128_xcbc = 4,
  hmac_sha2_256 = 5,
  hmac_sha2_384 = 6,
  hmac_sha2_512 = 7,
  aes128_cmac = 8,
};

/// Transform type 3.
enum class IntegrityId : std::uint16_t {
  none = 0,
  hmac_md5_96 = 1,
  hmac_sha1_96 = 2,
  aes_xcbc_96 = 5,
  hmac_sha2_256_128 = 12,
  hmac_sha2_384_192 = 13,
  hmac_sha2_512_256 = 14,
};

/// Transform type 4, and the first field of a KE payload.
enum class KeyExchangeId : std::uint16_t {
  none = 0,
  modp_1024 = 2,
  modp_1536 = 5,
  modp_2048 = 14,
  modp_3072 = 15,
  modp_4096 = 16,
  modp_6144 = 17,
  modp_8192 = 18,
  ecp_256 = 19,
  ecp_384 = 20,
  ecp_521 = 21,
  curve25519 = 31,
  curve448 = 32,
  ml_kem_512 = 35,
  ml_kem_768 = 36,
  ml_kem_1024 = 37,
};

/// Transform type 5.
enum class EsnId : std::uint16_t { no_esn = 0, esn = 1 };

/// RFC 7296 §3.5.
enum class IdPayloadType : std::uint8_t {
  ipv4_address = 1,
  fqdn = 2,
  rfc822_address = 3,
  ipv6_address = 5,
  der_asn1_dn = 9,
  der_asn1_gn = 10,
  key_id = 11,
  null = 13,  // RFC 7619
};

/// RFC 7296 §3.6.
enum class CertificateEncoding : std::uint8_t {
  x509_signature = 4,
  crl = 7,
  x509_hash_and_url = 12,
  x509_bundle_hash_and_url = 13,
  ocsp_content = 14,
  raw_public_key = 15,
};

/// RFC 7296 §3.8, RFC 4754, RFC 7427.
enum class AuthenticationMethod : std::uint8_t {
  rsa_signature = 1,
  shared_key = 2,
  dss_signature = 3,
  ecdsa_sha256_p256 = 9,
  ecdsa_sha384_p384 = 10,
  ecdsa_sha512_p521 = 11,
  null = 13,  // RFC 7619
  digital_signature = 14,
};

/// What a SIGNATURE_HASH_ALGORITHMS notify lists, RFC 7427 §4 and RFC 8420.
enum class SignatureHash : std::uint16_t { sha1 = 1, sha2_256 = 2, sha2_384 = 3, sha2_512 = 4, identity = 5 };

/// RFC 7296 §3.10.1 and the extensions named at each value. Below 16384: errors.
enum class NotifyType : std::uint16_t {
  unsupported_critical_payload = 1,
  invalid_ike_spi = 4,
  invalid_major_version = 5,
  invalid_syntax = 7,
  invalid_message_id = 9,
  invalid_spi = 11,
  no_proposal_chosen = 14,
  invalid_ke_payload = 17,
  authentication_failed = 24,
  single_pair_required = 34,
  no_additional_sas = 35,
  internal_address_failure = 36,
  failed_cp_required = 37,
  ts_unacceptable = 38,
  invalid_selectors = 39,
  unacceptable_addresses = 40,   // RFC 4555
  unexpected_nat_detected = 41,  // RFC 4555
  temporary_failure = 43,
  child_sa_not_found = 44,

  initial_contact = 16384,
  set_window_size = 16385,
  additional_ts_possible = 16386,
  ipcomp_supported = 16387,
  nat_detection_source_ip = 16388,
  nat_detection_destination_ip = 16389,
  cookie = 16390,
  use_transport_mode = 16391,
  http_cert_lookup_supported = 16392,
  rekey_sa = 16393,
  esp_tfc_padding_not_supported = 16394,
  non_first_fragments_also = 16395,
  mobike_supported = 16396,                     // RFC 4555
  additional_ip4_address = 16397,               // RFC 4555
  additional_ip6_address = 16398,               // RFC 4555
  no_additional_addresses = 16399,              // RFC 4555
  update_sa_addresses = 16400,                  // RFC 4555
  cookie2 = 16401,                              // RFC 4555
  no_nats_allowed = 16402,                      // RFC 4555
  auth_lifetime = 16403,                        // RFC 4478
  multiple_auth_supported = 16404,              // RFC 4739
  another_auth_follows = 16405,                 // RFC 4739
  redirect_supported = 16406,                   // RFC 5685
  redirect = 16407,                             // RFC 5685
  redirected_from = 16408,                      // RFC 5685
  ticket_lt_opaque = 16409,                     // RFC 5723
  ticket_request = 16410,                       // RFC 5723
  ticket_ack = 16411,                           // RFC 5723
  ticket_nack = 16412,                          // RFC 5723
  ticket_opaque = 16413,                        // RFC 5723
  link_id = 16414,                              // RFC 5739
  rohc_supported = 16416,                       // RFC 5857
  eap_only_authentication = 16417,              // RFC 5998
  childless_ikev2_supported = 16418,            // RFC 6023
  quick_crash_detection = 16419,                // RFC 6290
  ikev2_message_id_sync_supported = 16420,      // RFC 6311
  ipsec_replay_counter_sync_supported = 16421,  // RFC 6311
  ikev2_message_id_sync = 16422,                // RFC 6311
  ipsec_replay_counter_sync = 16423,            // RFC 6311
  secure_password_methods = 16424,              // RFC 6467
  ikev2_fragmentation_supported = 16430,        // RFC 7383
  signature_hash_algorithms = 16431,            // RFC 7427
  clone_ike_sa_supported = 16432,               // RFC 7791
  clone_ike_sa = 16433,                         // RFC 7791
  use_ppk = 16435,                              // RFC 8784
  ppk_identity = 16436,                         // RFC 8784
  no_ppk_auth = 16437,                          // RFC 8784
  intermediate_exchange_supported = 16438,      // RFC 9242
  ip4_allowed = 16439,                          // RFC 8983
  ip6_allowed = 16440,                          // RFC 8983
  additional_key_exchange = 16441,              // RFC 9370
  use_aggfrag = 16442,                          // RFC 9347
};

/// The notifies that Switchback's ends may exchange among themselves lie here (docs/protocol.md); a standard peer
/// skips them. RFC 7296 §3.10.1 sets 40960 to 65535 aside for private use.
inline constexpr std::uint16_t kPrivateNotifyFirst = 40960;
inline constexpr std::uint16_t kSwitchbackNotifyFirst = 42752;
inline constexpr std::uint16_t kSwitchbackNotifyLast = 42783;

[[nodiscard]] constexpr bool is_error(NotifyType type) noexcept { return static_cast<std::uint16_t>(type) < 16384; }

/// RFC 7296 §3.13.1.
enum class TsType : std::uint8_t { ipv4_range = 7, ipv6_range = 8 };

/// RFC 7296 §3.15.
enum class ConfigurationType : std::uint8_t { request = 1, reply = 2, set = 3, ack = 4 };

/// RFC 7296 §3.15.1.
enum class ConfigurationAttribute : std::uint16_t {
  internal_ip4_address = 1,
  internal_ip4_netmask = 2,
  internal_ip4_dns = 3,
  internal_ip4_nbns = 4,
  internal_ip4_dhcp = 6,
  application_version = 7,
  internal_ip6_address = 8,
  internal_ip6_dns = 10,
  internal_ip6_dhcp = 12,
  internal_ip4_subnet = 13,
  supported_attributes = 14,
  internal_ip6_subnet = 15,
  internal_dns_domain = 25,  // RFC 8598
  internal_dnssec_ta = 26,   // RFC 8598
};

/// RFC 3748 §4.
enum class EapCode : std::uint8_t { request = 1, response = 2, success = 3, failure = 4 };

[[nodiscard]] std::string_view name(ExchangeType value) noexcept;
[[nodiscard]] std::string_view name(PayloadType value) noexcept;
[[nodiscard]] std::string_view name(ProtocolId value) noexcept;
[[nodiscard]] std::string_view name(TransformType value) noexcept;
[[nodiscard]] std::string_view name(EncryptionId value) noexcept;
[[nodiscard]] std::string_view name(PrfId value) noexcept;
[[nodiscard]] std::string_view name(IntegrityId value) noexcept;
[[nodiscard]] std::string_view name(KeyExchangeId value) noexcept;
[[nodiscard]] std::string_view name(EsnId value) noexcept;
[[nodiscard]] std::string_view name(IdPayloadType value) noexcept;
[[nodiscard]] std::string_view name(CertificateEncoding value) noexcept;
[[nodiscard]] std::string_view name(AuthenticationMethod value) noexcept;
[[nodiscard]] std::string_view name(SignatureHash value) noexcept;
[[nodiscard]] std::string_view name(NotifyType value) noexcept;
[[nodiscard]] std::string_view name(TsType value) noexcept;
[[nodiscard]] std::string_view name(ConfigurationType value) noexcept;
[[nodiscard]] std::string_view name(ConfigurationAttribute value) noexcept;
[[nodiscard]] std::string_view name(EapCode value) noexcept;

/// The name, or the number for values without one: "NO_PROPOSAL_CHOSEN", "42800".
template <class Enum>
requires requires(Enum value) {
  { name(value) } -> std::same_as<std::string_view>;
}
[[nodiscard]] std::string to_string(Enum value) {
  const auto known = name(value);
  return known.empty() ? std::to_string(static_cast<unsigned>(value)) : std::string{known};
}

/// Whether this implementation understands the payload type; others are skipped unless critical (RFC 7296 §2.5).
[[nodiscard]] constexpr bool is_known(PayloadType type) noexcept {
  const auto value = static_cast<std::uint8_t>(type);
  return (value >= 33 && value <= 48) || type == PayloadType::encrypted_fragment;
}

}  // namespace switchback::ike
