// What a middlebox is told: which traffic meets what. Read from text, for the command line and for tests.
#pragma once

#include <array>
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

/// Traffic by protocol and by the port of its outer end: "any", "tcp", "tcp/10000", "udp/4500", "esp", "icmp".
struct Match {
  std::optional<std::uint8_t> protocol;
  std::optional<std::uint16_t> port;
  [[nodiscard]] static Result<Match, UserError> parse(std::string_view text);
  [[nodiscard]] bool matches(const FlowKey& flow) const noexcept {
    return (!protocol || *protocol == flow.protocol) && (!port || *port == flow.outer.port);
  }
};

/// A device that looks at TCP flows.
struct DeviceProfile {
  std::string_view name, summary, source;
  std::unique_ptr<Device> (*make)(std::mt19937_64& random);
};
/// All that there are, in the order of the manual.
[[nodiscard]] const std::vector<DeviceProfile>& device_profiles();
[[nodiscard]] const DeviceProfile* find_profile(std::string_view name) noexcept;

struct DeviceRule {
  const DeviceProfile* profile = nullptr;
  Match match;
};
struct BlockRule {
  enum class How : std::uint8_t { silent, icmp, reset } how = How::silent;
  Match match;
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
  std::vector<DeviceRule> devices;  // the first that matches is met
  std::vector<BlockRule> blocks;
  std::vector<IdleRule> idle;
  std::vector<ThrottleRule> throttles;
  std::vector<ResetRule> resets;
  std::vector<NatRule> nat;   // one for each family at most
  std::vector<Match> bypass;  // tcp-state-bypass: no device, block, reset or throttle looks at it
  std::uint64_t seed = 1;
};

/// "KEY=VALUE,…" with loss, burst, lose, duplicate, corrupt, reorder, reorder-by, delay, jitter, rate, queue, mtu,
/// no-icmp. Chances as "3%" or "0.03", times as "20ms" or "1.5s", rates as "10M" (bit per second).
[[nodiscard]] Result<ImpairmentRules, UserError> parse_impairment(std::string_view text);
/// "NAME[:MATCH]" into devices; "block", "block-icmp", "block-rst", "idle=60s", "idle-rst=350s", "throttle=1M",
/// "rst=100", "rst-block=100" with ":MATCH" into their lists; "nat=ADDRESS[/SECONDS]".
[[nodiscard]] Result<void, UserError> add_profile(BoxRules& rules, std::string_view text);

}  // namespace switchback::middlebox
