// IP addresses, prefixes, ranges and endpoints of either family, as values.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/bytes.h"

struct sockaddr_storage;

namespace switchback {

enum class IpFamily : std::uint8_t { none = 0, v4 = 4, v6 = 6 };

/// An IPv4 or IPv6 address, or nothing. IPv4 uses the first 4 octets; the rest stay zero.
class IpAddress {
 public:
  constexpr IpAddress() noexcept = default;
  /// 4 or 16 octets in network order; any other size gives an empty address.
  [[nodiscard]] static IpAddress from_bytes(ByteView octets) noexcept;
  [[nodiscard]] static IpAddress v4(std::uint32_t host_order) noexcept;
  /// Text without brackets, port, prefix or zone.
  [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text) noexcept;
  [[nodiscard]] static IpAddress any(IpFamily family) noexcept;

  [[nodiscard]] constexpr IpFamily family() const noexcept { return family_; }
  [[nodiscard]] constexpr bool is_v4() const noexcept { return family_ == IpFamily::v4; }
  [[nodiscard]] constexpr bool is_v6() const noexcept { return family_ == IpFamily::v6; }
  [[nodiscard]] constexpr bool empty() const noexcept { return family_ == IpFamily::none; }
  [[nodiscard]] bool is_unspecified() const noexcept;
  /// 4, 16 or 0 octets in network order, borrowed from this address.
  [[nodiscard]] ByteView bytes() const noexcept { return {octets_.data(), size()}; }
  [[nodiscard]] constexpr std::size_t size() const noexcept {
    return family_ == IpFamily::v4 ? 4 : family_ == IpFamily::v6 ? 16 : 0;
  }
  [[nodiscard]] constexpr unsigned bits() const noexcept { return static_cast<unsigned>(size() * 8); }
  [[nodiscard]] std::string to_string() const;
  /// The address `count` further on, wrapping within the family.
  [[nodiscard]] IpAddress plus(std::uint64_t count) const noexcept;

  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  IpFamily family_ = IpFamily::none;
  std::array<std::uint8_t, 16> octets_{};
};

/// A CIDR prefix; host bits are kept as given by `address` and ignored by contains().
struct IpPrefix {
  IpAddress address;
  std::uint8_t length = 0;

  /// "10.0.0.0/8"; a bare address is a host prefix.
  [[nodiscard]] static std::optional<IpPrefix> parse(std::string_view text) noexcept;
  [[nodiscard]] static IpPrefix host(const IpAddress& address) noexcept {
    return {address, static_cast<std::uint8_t>(address.bits())};
  }
  [[nodiscard]] bool contains(const IpAddress& candidate) const noexcept;
  [[nodiscard]] IpAddress first() const noexcept;
  [[nodiscard]] IpAddress last() const noexcept;
  [[nodiscard]] std::string to_string() const;
  friend constexpr auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
};

/// An address and a port.
struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  /// "192.0.2.1:500" or "[2001:db8::1]:500".
  [[nodiscard]] static std::optional<Endpoint> parse(std::string_view text) noexcept;
  [[nodiscard]] std::string to_string() const;
  /// Fills a sockaddr_in or sockaddr_in6 and returns its length.
  std::uint32_t to_sockaddr(sockaddr_storage& out) const noexcept;
  [[nodiscard]] static Endpoint from_sockaddr(const sockaddr_storage& in) noexcept;
  friend constexpr auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

/// Both ends of an outer flow, as seen from here, and what carries it: a path, as DESIGN.md calls it.
struct AddressPair {
  Endpoint local, remote;
  /// Number of this host's transport, transports::TransportId; 0 where there is only one. Never on the wire.
  std::uint8_t transport = 0;
  friend constexpr auto operator<=>(const AddressPair&, const AddressPair&) = default;
};

}  // namespace switchback

template <>
struct std::hash<switchback::IpAddress> {
  [[nodiscard]] std::size_t operator()(const switchback::IpAddress& address) const noexcept;
};
template <>
struct std::hash<switchback::AddressPair> {
  [[nodiscard]] std::size_t operator()(const switchback::AddressPair& path) const noexcept;
};
template <>
struct std::hash<switchback::Endpoint> {
  [[nodiscard]] std::size_t operator()(const switchback::Endpoint& endpoint) const noexcept {
    return std::hash<switchback::IpAddress>{}(endpoint.address) * 31 + endpoint.port;
  }
};
