#include "common/crypto/ike_identity.h"

#include <openssl/objects.h>

#include <utility>
#include <vector>

#include "common/crypto/openssl.h"

namespace switchback::crypto {
namespace {

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool printable(ByteView text) noexcept {
  return std::all_of(text.begin(), text.end(), [](std::uint8_t c) { return c > 0x20 && c < 0x7f; });
}

bool same_name(ByteView a, ByteView b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](std::uint8_t x, std::uint8_t y) {
    return lower(static_cast<char>(x)) == lower(static_cast<char>(y));
  });
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// "C=CH, O=Example \, Inc., CN=alice": parts in the order of the DER. A backslash takes the next character as it is.
std::optional<Bytes> encode_name(std::string_view text) {
  const ErrorQueueGuard guard;
  const X509NamePtr name{X509_NAME_new()};
  if (name == nullptr) return std::nullopt;
  std::vector<std::string> parts(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      parts.back() += text[++i];
    } else if (text[i] == ',') {
      parts.emplace_back();
    } else {
      parts.back() += text[i];
    }
  }
  for (const auto& part : parts) {
    const auto equals = part.find('=');
    if (equals == std::string::npos) return std::nullopt;
    const std::string key{trim(std::string_view{part}.substr(0, equals))};
    const auto value = as_bytes(trim(std::string_view{part}.substr(equals + 1)));
    if (value.empty() || X509_NAME_add_entry_by_txt(name.get(), key.c_str(), MBSTRING_UTF8, value.data(),
                                                    static_cast<int>(value.size()), -1, 0) != 1) {
      return std::nullopt;
    }
  }
  std::uint8_t* der = nullptr;
  const auto size = i2d_X509_NAME(name.get(), &der);
  if (size <= 0) return std::nullopt;
  Bytes out{der, der + size};
  OPENSSL_free(der);
  return out;
}

}  // namespace

Result<IkeIdentity, UserError> IkeIdentity::parse(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return fail_user("The identity \"" + std::string{text.substr(0, 100)} + "\" " + std::string{why});
  };
  text = trim(text);
  if (text.empty()) return fail_user("An identity is empty: give a name, a mail address, an IP address or a DN.");
  if (text.size() > kMaxIdentityOctets) return refuse("is too long: 1024 characters are the most.");

  auto value = text;
  const auto prefix = [&](std::string_view candidate) {
    if (!value.starts_with(candidate)) return false;
    value.remove_prefix(candidate.size());
    return true;
  };
  IkeIdentity identity;
  if (prefix("keyid:")) {
    identity = {IdType::key_id, to_bytes(as_bytes(value))};
  } else if (prefix("fqdn:") || prefix("@")) {
    identity = {IdType::fqdn, to_bytes(as_bytes(value))};
  } else if (prefix("email:")) {
    identity = {IdType::email, to_bytes(as_bytes(value))};
  } else if (prefix("dn:") || value.find('=') != std::string_view::npos) {
    auto der = encode_name(value);
    if (!der) return refuse("is no distinguished name: write it as \"C=CH, O=Example, CN=alice\".");
    identity = {IdType::der_asn1_dn, *std::move(der)};
  } else if (const auto address = IpAddress::parse(value)) {
    return from_address(*address);
  } else if (value.find('@') != std::string_view::npos) {
    identity = {IdType::email, to_bytes(as_bytes(value))};
  } else {
    identity = {IdType::fqdn, to_bytes(as_bytes(value))};
  }
  if (!from_wire(static_cast<std::uint8_t>(identity.type), identity.data)) {
    return refuse("is empty, too long, or holds spaces or characters outside ASCII: use a plain name.");
  }
  return identity;
}

std::optional<IkeIdentity> IkeIdentity::from_wire(std::uint8_t type, ByteView data) {
  if (data.empty() || data.size() > kMaxIdentityOctets) return std::nullopt;
  const auto id_type = IdType{type};
  switch (id_type) {
    case IdType::ipv4_address:
      if (data.size() != 4) return std::nullopt;
      break;
    case IdType::ipv6_address:
      if (data.size() != 16) return std::nullopt;
      break;
    case IdType::fqdn:
    case IdType::email:
      // RFC 7296 §3.5: no terminators. A name that does not print would also deceive whoever reads the log.
      if (!printable(data)) return std::nullopt;
      break;
    case IdType::der_asn1_dn:
      if (parse_name(data) == nullptr) return std::nullopt;
      break;
    case IdType::der_asn1_gn:
    case IdType::key_id: break;
    default: return std::nullopt;
  }
  return IkeIdentity{id_type, to_bytes(data)};
}

IkeIdentity IkeIdentity::from_address(const IpAddress& address) {
  return {address.is_v4() ? IdType::ipv4_address : IdType::ipv6_address, to_bytes(address.bytes())};
}

std::string IkeIdentity::to_string() const {
  switch (type) {
    case IdType::ipv4_address:
    case IdType::ipv6_address: {
      const auto address = IpAddress::from_bytes(data);
      return address.empty() ? "invalid address " + to_hex(data) : address.to_string();
    }
    case IdType::fqdn:
    case IdType::email: {
      if (!printable(data)) return "invalid name " + to_hex(data);
      const std::string text{as_text(data)};
      // Only names that parse() would take for something else need their prefix.
      const bool has_at = text.find('@') != std::string::npos;
      const bool mistakable = text.find('=') != std::string::npos || text.find(':') != std::string::npos ||
                              IpAddress::parse(text).has_value() || text.starts_with('@');
      if (type == IdType::fqdn) return mistakable || has_at ? "fqdn:" + text : text;
      return mistakable || !has_at ? "email:" + text : text;
    }
    case IdType::der_asn1_dn: {
      const auto name = parse_name(data);
      return name != nullptr ? name_text(name.get()) : "invalid DN " + to_hex(data);
    }
    case IdType::key_id:
      return printable(data) ? "keyid:" + std::string{as_text(data)} : "keyid in hex " + to_hex(data);
    case IdType::der_asn1_gn: break;
  }
  return "general name " + to_hex(data);
}

bool IkeIdentity::matches(const IkeIdentity& other) const {
  if (type != other.type) return false;
  if (type == IdType::fqdn || type == IdType::email) return same_name(data, other.data);
  if (type == IdType::der_asn1_dn) {
    const auto mine = parse_name(data);
    const auto theirs = parse_name(other.data);
    return mine != nullptr && theirs != nullptr && X509_NAME_cmp(mine.get(), theirs.get()) == 0;
  }
  return data == other.data;
}

}  // namespace switchback::crypto
