#include "tools/middlebox/rules.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tools/middlebox/editor.h"

namespace switchback::middlebox {
namespace {

using packet::IpProtocol;

/// The number at the front of `text`, and the unit behind it.
std::optional<double> number(std::string_view text, std::string_view& unit) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !std::isfinite(value) || value < 0) return std::nullopt;
  unit = text.substr(static_cast<std::size_t>(end - text.data()));
  return value;
}

Result<double, UserError> chance(std::string_view key, std::string_view text) {
  std::string_view unit;
  const auto value = number(text, unit);
  if (!value || (unit != "%" && !unit.empty()) || *value > (unit == "%" ? 100 : 1)) {
    return fail_user(std::string{key} + "=" + std::string{text} + ": give a chance such as 3% or 0.03");
  }
  return unit == "%" ? *value / 100 : *value;
}

Result<Duration, UserError> duration(std::string_view key, std::string_view text) {
  std::string_view unit;
  const auto value = number(text, unit);
  const double scale = unit == "ms" ? 1e6 : unit == "s" ? 1e9 : unit == "us" ? 1e3 : 0;
  if (!value || scale == 0 || *value * scale > 1e15) {
    return fail_user(std::string{key} + "=" + std::string{text} + ": give a time such as 20ms or 1.5s");
  }
  return Duration{static_cast<Duration::rep>(*value * scale)};
}

/// Octets per second of a rate in bit per second.
Result<double, UserError> rate(std::string_view key, std::string_view text) {
  std::string_view unit;
  const auto value = number(text, unit);
  const double scale = unit.empty() ? 1 : unit == "k" ? 1e3 : unit == "M" ? 1e6 : unit == "G" ? 1e9 : 0;
  if (!value || scale == 0 || *value == 0) {
    return fail_user(std::string{key} + "=" + std::string{text} + ": give bit per second, such as 500k, 10M or 1G");
  }
  return *value * scale / 8;
}

Result<std::uint64_t, UserError> whole(std::string_view key, std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return fail_user(std::string{key} + "=" + std::string{text} + ": give a whole number");
  }
  return value;
}

std::string_view take_until(std::string_view& text, char separator) {
  const auto at = text.find(separator);
  const auto part = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view{} : text.substr(at + 1);
  return part;
}

/// "3/17/42"
Result<std::set<std::uint64_t>, UserError> numbers(std::string_view key, std::string_view text) {
  std::set<std::uint64_t> all;
  do {
    SB_TRY(const auto number, whole(key, take_until(text, '/')));
    all.insert(number);
  } while (!text.empty());
  return all;
}

}  // namespace

Result<Match, UserError> Match::parse(std::string_view text) {
  Match match;
  const auto whole_text = std::string{text};
  if (text.starts_with('!')) {
    match.all_but = true;
    text.remove_prefix(1);
  }
  const auto protocol = take_until(text, '/');
  if (protocol == "tcp") {
    match.protocol = static_cast<std::uint8_t>(IpProtocol::tcp);
  } else if (protocol == "udp") {
    match.protocol = static_cast<std::uint8_t>(IpProtocol::udp);
  } else if (protocol == "esp") {
    match.protocol = static_cast<std::uint8_t>(IpProtocol::esp);
  } else if (protocol == "icmp") {
    match.protocol = static_cast<std::uint8_t>(IpProtocol::icmp);
  } else if (protocol != "any") {
    return fail_user(
        "\"" + whole_text +
        "\" matches nothing: write any, tcp, udp, esp, icmp, tcp/PORT or udp/PORT, with ! for all but that");
  }
  if (text.empty()) return match;
  SB_TRY(const auto port, whole("port", text));
  if (port == 0 || port > 65535 || (protocol != "tcp" && protocol != "udp")) {
    return fail_user("\"" + whole_text + "\": only tcp and udp have ports, from 1 to 65535");
  }
  match.port = static_cast<std::uint16_t>(port);
  return match;
}

Result<ImpairmentRules, UserError> parse_impairment(std::string_view text) {
  ImpairmentRules rules;
  while (!text.empty()) {
    auto value = take_until(text, ',');
    const auto key = take_until(value, '=');
    if (key == "loss") {
      SB_TRY(rules.loss, chance(key, value));
    } else if (key == "duplicate") {
      SB_TRY(rules.duplicate, chance(key, value));
    } else if (key == "corrupt") {
      SB_TRY(rules.corrupt, chance(key, value));
    } else if (key == "reorder") {
      SB_TRY(rules.reorder, chance(key, value));
    } else if (key == "reorder-by") {
      SB_TRY(rules.reorder_by, duration(key, value));
    } else if (key == "delay") {
      SB_TRY(rules.delay, duration(key, value));
    } else if (key == "jitter") {
      SB_TRY(rules.jitter, duration(key, value));
    } else if (key == "rate") {
      SB_TRY(rules.rate, rate(key, value));
    } else if (key == "queue") {
      SB_TRY(rules.queue_octets, whole(key, value));
    } else if (key == "mtu") {
      SB_TRY(const auto mtu, whole(key, value));
      if (mtu < 68 || mtu > 65535) return fail_user("mtu=" + std::string{value} + ": give 68 to 65535 octets");
      rules.mtu = static_cast<std::uint32_t>(mtu);
    } else if (key == "no-icmp") {
      rules.mtu_icmp = false;
    } else if (key == "lose") {
      SB_TRY(rules.lose, numbers(key, value));
    } else if (key == "burst") {  // to-bad/to-good/loss-in-bad
      BurstLoss burst;
      SB_TRY(burst.to_bad, chance(key, take_until(value, '/')));
      SB_TRY(burst.to_good, chance(key, take_until(value, '/')));
      if (!value.empty()) {
        SB_TRY(burst.loss_bad, chance(key, value));
      }
      rules.burst = burst;
    } else {
      return fail_user("\"" + std::string{key} +
                       "\" is no impairment; there are loss, burst, lose, duplicate, corrupt, "
                       "reorder, reorder-by, delay, jitter, rate, queue, mtu and no-icmp");
    }
  }
  return rules;
}

namespace {

/// "isn,strip=sack/ts/wscale,mss=1200"
Result<EditRules, UserError> parse_edit(std::string_view text) {
  EditRules rules;
  const auto whole_text = std::string{text};
  while (!text.empty()) {
    auto value = take_until(text, ',');
    const auto key = take_until(value, '=');
    if (key == "isn" && value.empty()) {
      rules.randomize_isn = true;
    } else if (key == "mss") {
      SB_TRY(const auto mss, whole(key, value));
      if (mss < 64 || mss > 65535) return fail_user("mss=" + std::string{value} + ": give 64 to 65535 octets");
      rules.mss = static_cast<std::uint16_t>(mss);
    } else if (key == "strip" && !value.empty()) {
      while (!value.empty()) {
        const auto option = take_until(value, '/');
        if (option == "sack") {
          rules.strip_sack = true;
        } else if (option == "ts") {
          rules.strip_timestamps = true;
        } else if (option == "wscale") {
          rules.strip_window_scale = true;
        } else {
          return fail_user("strip=" + std::string{option} + ": there are sack, ts and wscale, joined by /");
        }
      }
    } else {
      return fail_user("edit=" + whole_text + ": write isn, strip=sack/ts/wscale and mss=OCTETS, joined by commas");
    }
  }
  return rules;
}

Result<void, UserError> add_nat(BoxRules& rules, std::string_view text) {
  auto value = text.substr(4);
  const auto address = IpAddress::parse(take_until(value, '/'));
  if (!address) {
    return fail_user("\"" + std::string{text} +
                     "\": write nat=ADDRESS, with /60s for a new port after a pause, or /at=30s");
  }
  NatRule nat{*address, {}};
  while (!value.empty()) {
    auto part = take_until(value, '/');
    if (part.starts_with("at=")) {
      SB_TRY(const auto at, duration("at", part.substr(3)));
      rules.rebind_at.push_back(at);
      std::sort(rules.rebind_at.begin(), rules.rebind_at.end());
    } else {
      SB_TRY(nat.rebind_after_idle, duration("nat", part));
    }
  }
  rules.nat.push_back(nat);
  return {};
}

/// The devices that take a value. Nothing: `key` is none of them.
Result<std::optional<DeviceRule>, UserError> device_with_value(std::string_view key, std::string_view value) {
  DeviceRule rule;
  rule.name = std::string{key};
  if (key == "edit") {
    SB_TRY(const auto edits, parse_edit(value));
    rule.make = [edits](std::mt19937_64& random) -> std::unique_ptr<Device> {
      const auto outward = static_cast<std::uint32_t>(random());
      return std::make_unique<Editor>(edits, std::array{outward, static_cast<std::uint32_t>(random())});
    };
  } else if (key == "lose-outward" || key == "lose-inward") {
    SB_TRY(const auto which, numbers(key, value));
    const auto direction = key == "lose-outward" ? Direction::outward : Direction::inward;
    rule.make = [which, direction](std::mt19937_64&) -> std::unique_ptr<Device> {
      return std::make_unique<Loser>(direction, which);
    };
  } else if ((key == "proxy" || key == "proxy-coalesce") && !value.empty()) {
    ProxyRules proxy;
    if (key == "proxy") {
      SB_TRY(const auto octets, whole(key, value));
      if (octets == 0 || octets > 65000) {
        return fail_user("proxy=" + std::string{value} + ": give the octets of a segment, 1 to 65000");
      }
      proxy.segment_octets = static_cast<std::uint16_t>(octets);
    } else {
      SB_TRY(proxy.coalesce_wait, duration(key, value));
    }
    rule.make = [proxy](std::mt19937_64& random) -> std::unique_ptr<Device> {
      const auto to_client = static_cast<std::uint32_t>(random());
      return std::make_unique<Proxy>(proxy, to_client, static_cast<std::uint32_t>(random()));
    };
  } else {
    return std::optional<DeviceRule>{};
  }
  return std::optional{std::move(rule)};
}

}  // namespace

Result<void, UserError> add_profile(BoxRules& rules, std::string_view text) {
  if (text.starts_with("nat=")) return add_nat(rules, text);  // an IPv6 address has colons of its own
  for (const auto& network : network_profiles()) {
    if (text.substr(0, text.find(':')) != network.name) continue;
    if (text != network.name) {
      return fail_user("\"" + std::string{text} + "\": " + std::string{network.name} + " has its matches already");
    }
    for (const auto part : network.parts) SB_CHECK(add_profile(rules, part));
    return {};
  }
  const auto colon = text.rfind(':');
  Match match;
  if (colon != std::string_view::npos) {
    SB_TRY(match, Match::parse(text.substr(colon + 1)));
    text = text.substr(0, colon);
  }
  auto value = text;
  const auto key = take_until(value, '=');
  const auto only_tcp = [](Match wanted) {
    if (!wanted.protocol) wanted.protocol = static_cast<std::uint8_t>(IpProtocol::tcp);
    return wanted;
  };
  SB_TRY(auto device, device_with_value(key, value));
  if (device) {
    device->match = only_tcp(match);
    rules.devices.push_back(*std::move(device));
  } else if (key == "block" || key == "block-icmp" || key == "block-rst" || key == "block-syn") {
    rules.blocks.push_back({key == "block-icmp"  ? BlockRule::How::icmp
                            : key == "block-rst" ? BlockRule::How::reset
                                                 : BlockRule::How::silent,
                            match, key == "block-syn"});
  } else if (key == "idle" || key == "idle-rst") {
    IdleRule idle{{}, key == "idle-rst", match};
    SB_TRY(idle.after, duration(key, value));
    rules.idle.push_back(idle);
  } else if (key == "throttle") {
    ThrottleRule throttle{0, match};
    SB_TRY(throttle.rate, rate(key, value));
    rules.throttles.push_back(throttle);
  } else if (key == "rst" || key == "rst-block") {
    ResetRule reset{100, key == "rst-block", match};
    if (!value.empty()) {
      SB_TRY(reset.after_packets, whole(key, value));
    }
    rules.resets.push_back(reset);
  } else if (const auto* profile = find_profile(key); profile != nullptr && value.empty()) {
    rules.devices.push_back({std::string{profile->name}, profile->make, only_tcp(match)});
  } else {
    std::string names;
    for (const auto& known : device_profiles()) names.append(names.empty() ? "" : ", ").append(known.name);
    for (const auto& known : network_profiles()) names.append(", ").append(known.name);
    return fail_user("there is no profile \"" + std::string{text} + "\"; there are " + names +
                     ", edit=, proxy=, proxy-coalesce=, lose-outward=, lose-inward=, block, block-icmp, block-rst, "
                     "block-syn, idle=, idle-rst=, throttle=, rst=, rst-block= and nat=; --list explains them");
  }
  return {};
}

}  // namespace switchback::middlebox
