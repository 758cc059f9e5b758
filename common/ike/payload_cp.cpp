#include "common/ike/payload_cp.h"

#include <algorithm>
#include <bit>
#include <optional>

namespace switchback::ike {

namespace {

using Attribute = ConfigurationAttribute;

constexpr std::size_t kMaxDomainOctets = 253;
constexpr std::uint16_t kAttributeTypeMask = 0x7fff;  // RFC 7296 §3.15.1: the top bit is reserved

/// What ends up in resolver configuration and logs: plain host names and nothing else.
bool is_host_name(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kMaxDomainOctets && text.front() != '-' && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  c == '.';
         });
}

/// The prefix length of a netmask with its ones in front, else nothing.
std::optional<std::uint8_t> mask_length(ByteView mask) noexcept {
  if (mask.size() != 4) return std::nullopt;
  const auto bits = load_be<std::uint32_t>(mask.data());
  const auto ones = std::countl_one(bits);
  if (std::popcount(bits) != ones) return std::nullopt;
  return static_cast<std::uint8_t>(ones);
}

std::uint32_t mask_of(std::uint8_t length) noexcept { return length == 0 ? 0 : ~std::uint32_t{0} << (32U - length); }

/// 16 octets of address and one of length; some peers leave the length out of an address.
std::optional<IpPrefix> parse_v6_prefix(ByteView value) noexcept {
  if (value.size() != 17 || value[16] > 128) return std::nullopt;
  return IpPrefix{IpAddress::from_bytes(value.first(16)), value[16]};
}

void write_attribute(WireWriter& w, Attribute type, ByteView value) {
  w.u16be(static_cast<std::uint16_t>(type));
  w.u16be(static_cast<std::uint16_t>(value.size()));
  w.bytes(value);
}

void write_v6_prefix(WireWriter& w, Attribute type, const IpPrefix& prefix) {
  auto value = to_bytes(prefix.address.bytes());
  value.push_back(prefix.length);
  write_attribute(w, type, value);
}

void write_address(WireWriter& w, const IpPrefix& prefix, bool reply) {
  if (prefix.address.is_v6()) {
    write_v6_prefix(w, Attribute::internal_ip6_address, prefix);
    return;
  }
  write_attribute(w, Attribute::internal_ip4_address, prefix.address.bytes());
  if (reply && prefix.length < 32) {
    std::array<std::uint8_t, 4> mask{};
    store_be(mask.data(), mask_of(prefix.length));
    write_attribute(w, Attribute::internal_ip4_netmask, mask);
  }
}

void write_subnet(WireWriter& w, const IpPrefix& prefix) {
  if (prefix.address.is_v6()) {
    write_v6_prefix(w, Attribute::internal_ip6_subnet, prefix);
    return;
  }
  // RFC 7296 §3.15.1: address and netmask.
  auto value = to_bytes(prefix.first().bytes());
  WireWriter{value}.u32be(mask_of(prefix.length));
  write_attribute(w, Attribute::internal_ip4_subnet, value);
}

}  // namespace

Result<ConfigurationView, ParseError> parse_configuration(ByteView body) {
  WireReader r{body};
  ConfigurationView view{};
  view.type = ConfigurationType{r.u8()};
  r.skip(3);
  if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
  while (!r.at_end()) {
    const auto offset = r.offset();
    if (view.attributes.size() == kMaxConfigurationAttributes) return fail(ParseErrc::too_many, offset);
    const auto type = static_cast<std::uint16_t>(r.u16be() & kAttributeTypeMask);
    const auto value = r.bytes(r.u16be());
    if (!r.ok()) return fail(ParseErrc::truncated, offset);
    view.attributes.push_back({Attribute{type}, value});
  }
  return view;
}

Configuration interpret(const ConfigurationView& view) {
  Configuration out;
  out.type = view.type;
  std::optional<std::uint8_t> v4_length;
  for (const auto& [type, value] : view.attributes) {
    switch (type) {
      case Attribute::internal_ip4_address:
        out.wants_v4 = true;
        if (value.size() == 4) out.addresses.push_back(IpPrefix::host(IpAddress::from_bytes(value)));
        break;
      case Attribute::internal_ip4_netmask: v4_length = mask_length(value); break;
      case Attribute::internal_ip6_address:
        out.wants_v6 = true;
        if (value.size() == 16) {
          out.addresses.push_back(IpPrefix::host(IpAddress::from_bytes(value)));
        } else if (const auto prefix = parse_v6_prefix(value)) {
          out.addresses.push_back(*prefix);
        }
        break;
      case Attribute::internal_ip4_dns:
      case Attribute::internal_ip6_dns:
        out.wants_dns = true;
        if (value.size() == (type == Attribute::internal_ip4_dns ? 4U : 16U)) {
          out.dns.push_back(IpAddress::from_bytes(value));
        }
        break;
      case Attribute::internal_ip4_subnet:
        out.wants_subnets = true;
        if (value.size() == 8) {
          if (const auto length = mask_length(value.subspan(4))) {
            out.subnets.push_back({IpAddress::from_bytes(value.first(4)), *length});
          }
        }
        break;
      case Attribute::internal_ip6_subnet:
        out.wants_subnets = true;
        if (const auto prefix = parse_v6_prefix(value)) out.subnets.push_back(*prefix);
        break;
      case Attribute::internal_dns_domain:
        out.wants_domains = true;
        if (is_host_name(as_text(value))) out.domains.emplace_back(as_text(value));
        break;
      default: break;  // RFC 7296 §3.15.1: unrecognised attributes are ignored
    }
  }
  if (v4_length) {
    for (auto& prefix : out.addresses) {
      if (prefix.address.is_v4()) prefix.length = *v4_length;
    }
  }
  // "0.0.0.0" and "::" ask for any address, as an empty attribute does.
  std::erase_if(out.addresses, [](const IpPrefix& prefix) { return prefix.address.is_unspecified(); });
  return out;
}

void add_configuration(ChainBuilder& chain, const Configuration& configuration) {
  chain.add(PayloadType::configuration, [&](WireWriter& w) {
    const bool request = configuration.type == ConfigurationType::request;
    w.u8(static_cast<std::uint8_t>(configuration.type));
    w.zeros(3);
    const auto has = [&](IpFamily family) {
      return std::any_of(configuration.addresses.begin(), configuration.addresses.end(),
                         [family](const IpPrefix& prefix) { return prefix.address.family() == family; });
    };
    if (request && configuration.wants_v4 && !has(IpFamily::v4)) {
      write_attribute(w, Attribute::internal_ip4_address, {});
    }
    if (request && configuration.wants_v6 && !has(IpFamily::v6)) {
      write_attribute(w, Attribute::internal_ip6_address, {});
    }
    for (const auto& prefix : configuration.addresses) write_address(w, prefix, !request);
    if (request && configuration.wants_dns) {
      if (configuration.wants_v4) write_attribute(w, Attribute::internal_ip4_dns, {});
      if (configuration.wants_v6) write_attribute(w, Attribute::internal_ip6_dns, {});
    }
    for (const auto& server : configuration.dns) {
      write_attribute(w, server.is_v4() ? Attribute::internal_ip4_dns : Attribute::internal_ip6_dns, server.bytes());
    }
    if (request && configuration.wants_subnets) {
      if (configuration.wants_v4) write_attribute(w, Attribute::internal_ip4_subnet, {});
      if (configuration.wants_v6) write_attribute(w, Attribute::internal_ip6_subnet, {});
    }
    for (const auto& prefix : configuration.subnets) write_subnet(w, prefix);
    if (request && configuration.wants_domains) write_attribute(w, Attribute::internal_dns_domain, {});
    for (const auto& domain : configuration.domains) {
      write_attribute(w, Attribute::internal_dns_domain, as_bytes(domain));
    }
  });
}

}  // namespace switchback::ike
