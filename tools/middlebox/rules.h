// What a middlebox is told: which traffic meets what. Read from text, for the command line and for tests.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "tools/middlebox/impairment.h"
#include "tools/middlebox/inspector.h"
#include "tools/middlebox/ip_packet.h"
#include "tools/middlebox/proxy.h"

namespace switchback::middlebox {

/// Traffic by protocol and by the port of its outer end: "any", "tcp", "tcp/10000", "udp/4500", "esp", "icmp"; all but
/// that with "!" in front.
struct Match {
  std::optional<std::uint8_t> protocol;
  std::optional<std::uint16_t> port;
  bool all_but = false;
  [[nodiscard]] static Result<Match, UserError> parse(std::string_view text);
  [[nodiscard]] bool matches(const FlowKey& flow) const noexcept {
    return ((!protocol || *protocol == flow.protocol) && (!port || *port == flow.outer.port)) != all_but;
  }
};

/// A device that looks at TCP flows. The alias is another name for it, or empty.
struct DeviceProfile {
  std::string_view name, alias, summary, source;
  std::unique_ptr<Device> (*make)(std::mt19937_64& random);
};
/// All that there are, in the order of the manual.
[[nodiscard]] const std::vector<DeviceProfile>& device_profiles();
[[nodiscard]] const DeviceProfile* find_profile(std::string_view name) noexcept;

/// What a network does to all flows, as a name for other profiles.
struct NetworkProfile {
  std::string_view name, summary, source;
  std::vector<std::string_view> parts;  // as add_profile() takes them
};
[[nodiscard]] const std::vector<NetworkProfile>& network_profiles();

struct DeviceRule {
  std::string name;
  std::function<std::unique_ptr<Device>(std::mt19937_64& random)> make;
  Match match;
};
struct BlockRule {
  enum class How : std::uint8_t { silent, icmp, reset } how = How::silent;
  Match match;
  bool syn_only = false;  // what is connected stays so
};
/// Flows without a packet for so long are forgotten: TCP other than a SYN is dropped (or answered by RST), and so is
/// what comes from outside.
struct IdleRule {
  Duration after{};
  bool reset = false;
  Match match;
};
/// No more than so many octets per second in each direction of each flow; what exceeds it is dropped.
struct ThrottleRule {
  double rate = 0;
  Match match;
};
/// RSTs to both ends after so many packets of a flow, once; what follows passes, or not.
struct ResetRule {
  std::uint64_t after_packets = 100;
  bool then_block = false;
  Match match;
};
/// Source address translation of what comes from inside. The address must be routed to the box and be nobody's own.
struct NatRule {
  IpAddress address;
  Duration rebind_after_idle{};  // zero: never; a flow gets another port then, as when a mapping has run out
};

struct BoxRules {
  /// By direction, then 0: before the devices, 1: behind them.
  std::array<std::array<ImpairmentRules, 2>, 2> impair;
  std::vector<DeviceRule> devices;  // all that match are met, the first is nearest to the inner end
  std::vector<BlockRule> blocks;
  std::vector<IdleRule> idle;
  std::vector<ThrottleRule> throttles;
  std::vector<ResetRule> resets;
  std::vector<NatRule> nat;         // one for each family at most
  std::vector<Duration> rebind_at;  // since the first packet: all flows get other ports then
  std::vector<Match> bypass;        // tcp-state-bypass: no device, block, reset or throttle looks at it
  std::uint64_t seed = 1;
};

/// "KEY=VALUE,…" with loss, burst, lose, duplicate, corrupt, reorder, reorder-by, delay, jitter, rate, queue, mtu,
/// no-icmp. Chances as "3%" or "0.03", times as "20ms" or "1.5s", rates as "10M" (bit per second).
[[nodiscard]] Result<ImpairmentRules, UserError> parse_impairment(std::string_view text);
/// "NAME[:MATCH]" into devices, and so "edit=isn,strip=sack/ts/wscale,mss=1200", "proxy=700", "proxy-coalesce=20ms",
/// "lose-outward=3/17", "lose-inward="; "block", "block-icmp", "block-rst", "block-syn", "idle=60s", "idle-rst=350s",
/// "throttle=1M", "rst=100", "rst-block=100" with ":MATCH" into their lists; "nat=ADDRESS[/60s][/at=30s]"; the names of
/// network_profiles().
[[nodiscard]] Result<void, UserError> add_profile(BoxRules& rules, std::string_view text);

}  // namespace switchback::middlebox
