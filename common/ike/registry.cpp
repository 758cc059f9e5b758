#include "common/ike/registry.h"

namespace switchback::ike {

std::string_view name(ExchangeType value) noexcept {
  switch (value) {
    case ExchangeType::ike_sa_init: return "IKE_SA_INIT";
    case ExchangeType::ike_auth: return "IKE_AUTH";
    case ExchangeType::create_child_sa: return "CREATE_CHILD_SA";
    case ExchangeType::informational: return "INFORMATIONAL";
    case ExchangeType::ike_session_resume: return "IKE_SESSION_RESUME";
    case ExchangeType::ike_intermediate: return "IKE_INTERMEDIATE";
  }
  return {};
}

std::string_view name(PayloadType value) noexcept {
  switch (value) {
    case PayloadType::none: return "none";
    case PayloadType::security_association: return "SA";
    case PayloadType::key_exchange: return "KE";
    case PayloadType::id_initiator: return "IDi";
    case PayloadType::id_responder: return "IDr";
    case PayloadType::certificate: return "CERT";
    case PayloadType::certificate_request: return "CERTREQ";
    case PayloadType::authentication: return "AUTH";
    case PayloadType::nonce: return "Nonce";
    case PayloadType::notify: return "N";
    case PayloadType::delete_sa: return "D";
    case PayloadType::vendor_id: return "V";
    case PayloadType::ts_initiator: return "TSi";
    case PayloadType::ts_responder: return "TSr";
    case PayloadType::encrypted: return "SK";
    case PayloadType::configuration: return "CP";
    case PayloadType::eap: return "EAP";
    case PayloadType::encrypted_fragment: return "SKF";
  }
  return {};
}

std::string_view name(ProtocolId value) noexcept {
  switch (value) {
    case ProtocolId::none: return "none";
    case ProtocolId::ike: return "IKE";
    case ProtocolId::ah: return "AH";
    case ProtocolId::esp: return "ESP";
  }
  return {};
}

std::string_view name(TransformType value) noexcept {
  switch (value) {
    case TransformType::encryption: return "ENCR";
    case TransformType::prf: return "PRF";
    case TransformType::integrity: return "INTEG";
    case TransformType::key_exchange: return "KE";
    case TransformType::extended_sequence_numbers: return "ESN";
    case TransformType::additional_key_exchange_1: return "ADDKE1";
    case TransformType::additional_key_exchange_7: return "ADDKE7";
  }
  return {};
}

std::string_view name(EncryptionId value) noexcept {
  switch (value) {
    case EncryptionId::triple_des: return "ENCR_3DES";
    case EncryptionId::null: return "ENCR_NULL";
    case EncryptionId::aes_cbc: return "ENCR_AES_CBC";
    case EncryptionId::aes_ctr: return "ENCR_AES_CTR";
    case EncryptionId::aes_ccm_8: return "ENCR_AES_CCM_8";
    case EncryptionId::aes_ccm_12: return "ENCR_AES_CCM_12";
    case EncryptionId::aes_ccm_16: return "ENCR_AES_CCM_16";
    case EncryptionId::aes_gcm_8: return "ENCR_AES_GCM_8";
    case EncryptionId::aes_gcm_12: return "ENCR_AES_GCM_12";
    case EncryptionId::aes_gcm_16: return "ENCR_AES_GCM_16";
    case EncryptionId::camellia_cbc: return "ENCR_CAMELLIA_CBC";
    case EncryptionId::chacha20_poly1305: return "ENCR_CHACHA20_POLY1305";
  }
  return {};
}

std::string_view name(PrfId value) noexcept {
  switch (value) {
    case PrfId::hmac_md5: return "PRF_HMAC_MD5";
    case PrfId::hmac_sha1: return "PRF_HMAC_SHA1";
    case PrfId::aes128_xcbc: return "PRF_AES128_XCBC";
    case PrfId::hmac_sha2_256: return "PRF_HMAC_SHA2_256";
    case PrfId::hmac_sha2_384: return "PRF_HMAC_SHA2_384";
    case PrfId::hmac_sha2_512: return "PRF_HMAC_SHA2_512";
    case PrfId::aes128_cmac: return "PRF_AES128_CMAC";
  }
  return {};
}

std::string_view name(IntegrityId value) noexcept {
  switch (value) {
    case IntegrityId::none: return "NONE";
    case IntegrityId::hmac_md5_96: return "AUTH_HMAC_MD5_96";
    case IntegrityId::hmac_sha1_96: return "AUTH_HMAC_SHA1_96";
    case IntegrityId::aes_xcbc_96: return "AUTH_AES_XCBC_96";
    case IntegrityId::hmac_sha2_256_128: return "AUTH_HMAC_SHA2_256_128";
    case IntegrityId::hmac_sha2_384_192: return "AUTH_HMAC_SHA2_384_192";
    case IntegrityId::hmac_sha2_512_256: return "AUTH_HMAC_SHA2_512_256";
  }
  return {};
}

std::string_view name(KeyExchangeId value) noexcept {
  switch (value) {
    case KeyExchangeId::none: return "NONE";
    case KeyExchangeId::modp_1024: return "MODP_1024";
    case KeyExchangeId::modp_1536: return "MODP_1536";
    case KeyExchangeId::modp_2048: return "MODP_2048";
    case KeyExchangeId::modp_3072: return "MODP_3072";
    case KeyExchangeId::modp_4096: return "MODP_4096";
    case KeyExchangeId::modp_6144: return "MODP_6144";
    case KeyExchangeId::modp_8192: return "MODP_8192";
    case KeyExchangeId::ecp_256: return "ECP_256";
    case KeyExchangeId::ecp_384: return "ECP_384";
    case KeyExchangeId::ecp_521: return "ECP_521";
    case KeyExchangeId::curve25519: return "CURVE25519";
    case KeyExchangeId::curve448: return "CURVE448";
    case KeyExchangeId::ml_kem_512: return "ML_KEM_512";
    case KeyExchangeId::ml_kem_768: return "ML_KEM_768";
    case KeyExchangeId::ml_kem_1024: return "ML_KEM_1024";
  }
  return {};
}

std::string_view name(EsnId value) noexcept {
  switch (value) {
    case EsnId::no_esn: return "NO_ESN";
    case EsnId::esn: return "ESN";
  }
  return {};
}

std::string_view name(IdPayloadType value) noexcept {
  switch (value) {
    case IdPayloadType::ipv4_address: return "ID_IPV4_ADDR";
    case IdPayloadType::fqdn: return "ID_FQDN";
    case IdPayloadType::rfc822_address: return "ID_RFC822_ADDR";
    case IdPayloadType::ipv6_address: return "ID_IPV6_ADDR";
    case IdPayloadType::der_asn1_dn: return "ID_DER_ASN1_DN";
    case IdPayloadType::der_asn1_gn: return "ID_DER_ASN1_GN";
    case IdPayloadType::key_id: return "ID_KEY_ID";
    case IdPayloadType::null: return "ID_NULL";
  }
  return {};
}

std::string_view name(CertificateEncoding value) noexcept {
  switch (value) {
    case CertificateEncoding::x509_signature: return "X509_SIGNATURE";
    case CertificateEncoding::crl: return "CRL";
    case CertificateEncoding::x509_hash_and_url: return "X509_HASH_AND_URL";
    case CertificateEncoding::x509_bundle_hash_and_url: return "X509_BUNDLE_HASH_AND_URL";
    case CertificateEncoding::ocsp_content: return "OCSP_CONTENT";
    case CertificateEncoding::raw_public_key: return "RAW_PUBLIC_KEY";
  }
  return {};
}

std::string_view name(AuthenticationMethod value) noexcept {
  switch (value) {
    case AuthenticationMethod::rsa_signature: return "RSA_SIGNATURE";
    case AuthenticationMethod::shared_key: return "SHARED_KEY";
    case AuthenticationMethod::dss_signature: return "DSS_SIGNATURE";
    case AuthenticationMethod::ecdsa_sha256_p256: return "ECDSA_SHA256_P256";
    case AuthenticationMethod::ecdsa_sha384_p384: return "ECDSA_SHA384_P384";
    case AuthenticationMethod::ecdsa_sha512_p521: return "ECDSA_SHA512_P521";
    case AuthenticationMethod::null: return "NULL";
    case AuthenticationMethod::digital_signature: return "DIGITAL_SIGNATURE";
  }
  return {};
}

std::string_view name(SignatureHash value) noexcept {
  switch (value) {
    case SignatureHash::sha1: return "SHA1";
    case SignatureHash::sha2_256: return "SHA2-256";
    case SignatureHash::sha2_384: return "SHA2-384";
    case SignatureHash::sha2_512: return "SHA2-512";
    case SignatureHash::identity: return "Identity";
  }
  return {};
}

std::string_view name(NotifyType value) noexcept {
  switch (value) {
    case NotifyType::unsupported_critical_payload: return "UNSUPPORTED_CRITICAL_PAYLOAD";
    case NotifyType::invalid_ike_spi: return "INVALID_IKE_SPI";
    case NotifyType::invalid_major_version: return "INVALID_MAJOR_VERSION";
    case NotifyType::invalid_syntax: return "INVALID_SYNTAX";
    case NotifyType::invalid_message_id: return "INVALID_MESSAGE_ID";
    case NotifyType::invalid_spi: return "INVALID_SPI";
    case NotifyType::no_proposal_chosen: return "NO_PROPOSAL_CHOSEN";
    case NotifyType::invalid_ke_payload: return "INVALID_KE_PAYLOAD";
    case NotifyType::authentication_failed: return "AUTHENTICATION_FAILED";
    case NotifyType::single_pair_required: return "SINGLE_PAIR_REQUIRED";
    case NotifyType::no_additional_sas: return "NO_ADDITIONAL_SAS";
    case NotifyType::internal_address_failure: return "INTERNAL_ADDRESS_FAILURE";
    case NotifyType::failed_cp_required: return "FAILED_CP_REQUIRED";
    case NotifyType::ts_unacceptable: return "TS_UNACCEPTABLE";
    case NotifyType::invalid_selectors: return "INVALID_SELECTORS";
    case NotifyType::unacceptable_addresses: return "UNACCEPTABLE_ADDRESSES";
    case NotifyType::unexpected_nat_detected: return "UNEXPECTED_NAT_DETECTED";
    case NotifyType::temporary_failure: return "TEMPORARY_FAILURE";
    case NotifyType::child_sa_not_found: return "CHILD_SA_NOT_FOUND";
    case NotifyType::initial_contact: return "INITIAL_CONTACT";
    case NotifyType::set_window_size: return "SET_WINDOW_SIZE";
    case NotifyType::additional_ts_possible: return "ADDITIONAL_TS_POSSIBLE";
    case NotifyType::ipcomp_supported: return "IPCOMP_SUPPORTED";
    case NotifyType::nat_detection_source_ip: return "NAT_DETECTION_SOURCE_IP";
    case NotifyType::nat_detection_destination_ip: return "NAT_DETECTION_DESTINATION_IP";
    case NotifyType::cookie: return "COOKIE";
    case NotifyType::use_transport_mode: return "USE_TRANSPORT_MODE";
    case NotifyType::http_cert_lookup_supported: return "HTTP_CERT_LOOKUP_SUPPORTED";
    case NotifyType::rekey_sa: return "REKEY_SA";
    case NotifyType::esp_tfc_padding_not_supported: return "ESP_TFC_PADDING_NOT_SUPPORTED";
    case NotifyType::non_first_fragments_also: return "NON_FIRST_FRAGMENTS_ALSO";
    case NotifyType::mobike_supported: return "MOBIKE_SUPPORTED";
    case NotifyType::additional_ip4_address: return "ADDITIONAL_IP4_ADDRESS";
    case NotifyType::additional_ip6_address: return "ADDITIONAL_IP6_ADDRESS";
    case NotifyType::no_additional_addresses: return "NO_ADDITIONAL_ADDRESSES";
    case NotifyType::update_sa_addresses: return "UPDATE_SA_ADDRESSES";
    case NotifyType::cookie2: return "COOKIE2";
    case NotifyType::no_nats_allowed: return "NO_NATS_ALLOWED";
    case NotifyType::auth_lifetime: return "AUTH_LIFETIME";
    case NotifyType::multiple_auth_supported: return "MULTIPLE_AUTH_SUPPORTED";
    case NotifyType::another_auth_follows: return "ANOTHER_AUTH_FOLLOWS";
    case NotifyType::redirect_supported: return "REDIRECT_SUPPORTED";
    case NotifyType::redirect: return "REDIRECT";
    case NotifyType::redirected_from: return "REDIRECTED_FROM";
    case NotifyType::ticket_lt_opaque: return "TICKET_LT_OPAQUE";
    case NotifyType::ticket_request: return "TICKET_REQUEST";
    case NotifyType::ticket_ack: return "TICKET_ACK";
    case NotifyType::ticket_nack: return "TICKET_NACK";
    case NotifyType::ticket_opaque: return "TICKET_OPAQUE";
    case NotifyType::link_id: return "LINK_ID";
    case NotifyType::rohc_supported: return "ROHC_SUPPORTED";
    case NotifyType::eap_only_authentication: return "EAP_ONLY_AUTHENTICATION";
    case NotifyType::childless_ikev2_supported: return "CHILDLESS_IKEV2_SUPPORTED";
    case NotifyType::quick_crash_detection: return "QUICK_CRASH_DETECTION";
    case NotifyType::ikev2_message_id_sync_supported: return "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
    case NotifyType::ipsec_replay_counter_sync_supported: return "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED";
    case NotifyType::ikev2_message_id_sync: return "IKEV2_MESSAGE_ID_SYNC";
    case NotifyType::ipsec_replay_counter_sync: return "IPSEC_REPLAY_COUNTER_SYNC";
    case NotifyType::secure_password_methods: return "SECURE_PASSWORD_METHODS";
    case NotifyType::ikev2_fragmentation_supported: return "IKEV2_FRAGMENTATION_SUPPORTED";
    case NotifyType::signature_hash_algorithms: return "SIGNATURE_HASH_ALGORITHMS";
    case NotifyType::clone_ike_sa_supported: return "CLONE_IKE_SA_SUPPORTED";
    case NotifyType::clone_ike_sa: return "CLONE_IKE_SA";
    case NotifyType::use_ppk: return "USE_PPK";
    case NotifyType::ppk_identity: return "PPK_IDENTITY";
    case NotifyType::no_ppk_auth: return "NO_PPK_AUTH";
    case NotifyType::intermediate_exchange_supported: return "INTERMEDIATE_EXCHANGE_SUPPORTED";
    case NotifyType::ip4_allowed: return "IP4_ALLOWED";
    case NotifyType::ip6_allowed: return "IP6_ALLOWED";
    case NotifyType::additional_key_exchange: return "ADDITIONAL_KEY_EXCHANGE";
    case NotifyType::use_aggfrag: return "USE_AGGFRAG";
  }
  return {};
}

std::string_view name(TsType value) noexcept {
  switch (value) {
    case TsType::ipv4_range: return "TS_IPV4_ADDR_RANGE";
    case TsType::ipv6_range: return "TS_IPV6_ADDR_RANGE";
  }
  return {};
}

std::string_view name(ConfigurationType value) noexcept {
  switch (value) {
    case ConfigurationType::request: return "CFG_REQUEST";
    case ConfigurationType::reply: return "CFG_REPLY";
    case ConfigurationType::set: return "CFG_SET";
    case ConfigurationType::ack: return "CFG_ACK";
  }
  return {};
}

std::string_view name(ConfigurationAttribute value) noexcept {
  switch (value) {
    case ConfigurationAttribute::internal_ip4_address: return "INTERNAL_IP4_ADDRESS";
    case ConfigurationAttribute::internal_ip4_netmask: return "INTERNAL_IP4_NETMASK";
    case ConfigurationAttribute::internal_ip4_dns: return "INTERNAL_IP4_DNS";
    case ConfigurationAttribute::internal_ip4_nbns: return "INTERNAL_IP4_NBNS";
    case ConfigurationAttribute::internal_ip4_dhcp: return "INTERNAL_IP4_DHCP";
    case ConfigurationAttribute::application_version: return "APPLICATION_VERSION";
    case ConfigurationAttribute::internal_ip6_address: return "INTERNAL_IP6_ADDRESS";
    case ConfigurationAttribute::internal_ip6_dns: return "INTERNAL_IP6_DNS";
    case ConfigurationAttribute::internal_ip6_dhcp: return "INTERNAL_IP6_DHCP";
    case ConfigurationAttribute::internal_ip4_subnet: return "INTERNAL_IP4_SUBNET";
    case ConfigurationAttribute::supported_attributes: return "SUPPORTED_ATTRIBUTES";
    case ConfigurationAttribute::internal_ip6_subnet: return "INTERNAL_IP6_SUBNET";
    case ConfigurationAttribute::internal_dns_domain: return "INTERNAL_DNS_DOMAIN";
    case ConfigurationAttribute::internal_dnssec_ta: return "INTERNAL_DNSSEC_TA";
  }
  return {};
}

std::string_view name(EapCode value) noexcept {
  switch (value) {
    case EapCode::request: return "REQUEST";
    case EapCode::response: return "RESPONSE";
    case EapCode::success: return "SUCCESS";
    case EapCode::failure: return "FAILURE";
  }
  return {};
}

}  // namespace switchback::ike
