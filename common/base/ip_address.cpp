#include "common/base/ip_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>

namespace switchback {
namespace {

// inet_pton wants a terminated string; addresses are short, so a stack copy does.
std::optional<IpAddress> parse_as(std::string_view text, int af, std::size_t size) noexcept {
  std::array<char, INET6_ADDRSTRLEN> copy{};
  if (text.size() >= copy.size()) return std::nullopt;
  std::copy(text.begin(), text.end(), copy.begin());
  std::array<std::uint8_t, 16> octets{};
  if (inet_pton(af, copy.data(), octets.data()) != 1) return std::nullopt;
  return IpAddress::from_bytes(ByteView{octets}.first(size));
}

template <class UInt>
std::optional<UInt> parse_decimal(std::string_view text) noexcept {
  UInt value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

IpAddress IpAddress::from_bytes(ByteView octets) noexcept {
  IpAddress address;
  if (octets.size() == 4) address.family_ = IpFamily::v4;
  if (octets.size() == 16) address.family_ = IpFamily::v6;
  std::copy_n(octets.begin(), address.size(), address.octets_.begin());
  return address;
}

IpAddress IpAddress::v4(std::uint32_t host_order) noexcept {
  std::array<std::uint8_t, 4> octets{};
  store_be(octets.data(), host_order);
  return from_bytes(octets);
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) noexcept {
  if (text.find(':') != std::string_view::npos) return parse_as(text, AF_INET6, 16);
  return parse_as(text, AF_INET, 4);
}

IpAddress IpAddress::any(IpFamily family) noexcept {
  IpAddress address;
  address.family_ = family;
  return address;
}

bool IpAddress::is_unspecified() const noexcept {
  return std::all_of(octets_.begin(), octets_.end(), [](auto octet) { return octet == 0; });
}

std::string IpAddress::to_string() const {
  if (empty()) return "none";
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(is_v4() ? AF_INET : AF_INET6, octets_.data(), text.data(), text.size());
  return text.data();
}

IpAddress IpAddress::plus(std::uint64_t count) const noexcept {
  auto sum = *this;
  for (std::size_t i = size(); i-- > 0 && count != 0;) {
    const auto octet = std::uint64_t{sum.octets_[i]} + (count & 0xFFU);
    sum.octets_[i] = static_cast<std::uint8_t>(octet);
    count = (count >> 8U) + (octet >> 8U);
  }
  return sum;
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) noexcept {
  const auto slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == std::string_view::npos) return host(*address);
  const auto length = parse_decimal<std::uint8_t>(text.substr(slash + 1));
  if (!length || *length > address->bits()) return std::nullopt;
  return IpPrefix{*address, *length};
}

bool IpPrefix::contains(const IpAddress& candidate) const noexcept {
  if (candidate.family() != address.family()) return false;
  const auto whole = static_cast<std::size_t>(length / 8);
  if (!same_bytes(address.bytes().first(whole), candidate.bytes().first(whole))) return false;
  const auto rest = length % 8U;
  if (rest == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xFFU << (8U - rest));
  return ((address.bytes()[whole] ^ candidate.bytes()[whole]) & mask) == 0;
}

IpAddress IpPrefix::first() const noexcept {
  std::array<std::uint8_t, 16> octets{};
  const auto from = address.bytes();
  for (std::size_t bit = 0; bit < length; ++bit) {
    octets[bit / 8] = static_cast<std::uint8_t>(octets[bit / 8] | (from[bit / 8] & (0x80U >> (bit % 8))));
  }
  return IpAddress::from_bytes(ByteView{octets}.first(from.size()));
}

IpAddress IpPrefix::last() const noexcept {
  std::array<std::uint8_t, 16> octets{};
  const auto from = first();
  std::copy(from.bytes().begin(), from.bytes().end(), octets.begin());
  for (std::size_t bit = length; bit < from.bits(); ++bit) {
    octets[bit / 8] = static_cast<std::uint8_t>(octets[bit / 8] | (0x80U >> (bit % 8)));
  }
  return IpAddress::from_bytes(ByteView{octets}.first(from.size()));
}

std::string IpPrefix::to_string() const { return address.to_string() + "/" + std::to_string(length); }

std::optional<Endpoint> Endpoint::parse(std::string_view text) noexcept {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  auto host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  const auto port = parse_decimal<std::uint16_t>(text.substr(colon + 1));
  if (!address || !port || address->is_v6() != bracketed) return std::nullopt;
  return Endpoint{*address, *port};
}

std::string Endpoint::to_string() const {
  const auto host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
  return host + ":" + std::to_string(port);
}

std::uint32_t Endpoint::to_sockaddr(sockaddr_storage& out) const noexcept {
  if (address.is_v6()) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&v6.sin6_addr, address.bytes().data(), sizeof(v6.sin6_addr));
    std::memcpy(&out, &v6, sizeof(v6));
    return sizeof(v6);
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (address.is_v4()) std::memcpy(&v4.sin_addr, address.bytes().data(), sizeof(v4.sin_addr));
  std::memcpy(&out, &v4, sizeof(v4));
  return sizeof(v4);
}

Endpoint Endpoint::from_sockaddr(const sockaddr_storage& in) noexcept {
  if (in.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &in, sizeof(v6));
    std::array<std::uint8_t, 16> octets{};
    std::memcpy(octets.data(), &v6.sin6_addr, octets.size());
    const auto port = ntohs(v6.sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return {IpAddress::from_bytes(ByteView{octets}.last(4)), port};
    return {IpAddress::from_bytes(octets), port};
  }
  if (in.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &in, sizeof(v4));
    return {IpAddress::v4(ntohl(v4.sin_addr.s_addr)), ntohs(v4.sin_port)};
  }
  return {};
}

}  // namespace switchback

std::size_t std::hash<switchback::IpAddress>::operator()(const switchback::IpAddress& address) const noexcept {
  return std::hash<std::string_view>{}(switchback::as_text(address.bytes()));
}

std::size_t std::hash<switchback::AddressPair>::operator()(const switchback::AddressPair& path) const noexcept {
  const std::hash<switchback::Endpoint> of_end;
  return (of_end(path.local) * 31 + of_end(path.remote)) * 31 + path.transport;
}
