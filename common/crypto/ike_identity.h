// Who a peer says it is: the Identification payload's content, and its text form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/result.h"

namespace switchback::crypto {

/// Values are those of the Identification payload, RFC 7296 §3.5.
enum class IdType : std::uint8_t {
  ipv4_address = 1,
  fqdn = 2,
  email = 3,  // ID_RFC822_ADDR
  ipv6_address = 5,
  der_asn1_dn = 9,
  der_asn1_gn = 10,
  key_id = 11,
};

inline constexpr std::size_t kMaxIdentityOctets = 1024;

/// Type and data as on the wire. Equality is exact; matches() is what policy asks.
struct IkeIdentity {
  IdType type = IdType::key_id;
  Bytes data;

  /// "192.0.2.1", "2001:db8::1", "alice@example.org", "C=CH, O=Example, CN=alice" (any text with '='), and otherwise a
  /// name: "vpn.example.org" or "alice", both ID_FQDN as other IKE daemons have it. A prefix forces the type: "fqdn:",
  /// "email:", "keyid:", "dn:"; "@name" is "fqdn:name".
  [[nodiscard]] static Result<IkeIdentity, UserError> parse(std::string_view text);
  /// What a peer sent. Errors: a type that is not known, an empty or oversized value, an address of the wrong size, a
  /// name that is not printable ASCII, a DN that is no DER Name.
  [[nodiscard]] static std::optional<IkeIdentity> from_wire(std::uint8_t type, ByteView data);
  [[nodiscard]] static IkeIdentity from_address(const IpAddress& address);

  /// As parse() takes it; what does not print is escaped. For logs and people.
  [[nodiscard]] std::string to_string() const;
  /// The same identity: names and mail addresses without regard to case, DNs as RFC 5280 §7.1 compares them.
  [[nodiscard]] bool matches(const IkeIdentity& other) const;

  friend bool operator==(const IkeIdentity&, const IkeIdentity&) = default;
};

}  // namespace switchback::crypto
