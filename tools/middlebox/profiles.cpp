// The devices by name, each with where its behaviour is documented or was measured.
#include "tools/middlebox/rules.h"
#include "tools/middlebox/tracker.h"

namespace switchback::middlebox {
namespace {

using std::chrono::seconds;
using PastGap = InspectorRules::PastGap;
using Expiry = InspectorRules::Expiry;
using Unseen = InspectorRules::Unseen;

std::unique_ptr<Device> inspector(InspectorRules rules) { return std::make_unique<Inspector>(rules); }

InspectorRules queue_of(std::size_t segments, Duration timeout, Expiry expiry, bool duplicate_acks) {
  InspectorRules rules;
  rules.past_gap = PastGap::hold;
  rules.queue_segments = segments;
  rules.gap_timeout = timeout;
  rules.expiry = expiry;
  rules.duplicate_acks = duplicate_acks;
  return rules;
}

InspectorRules prevention(PastGap past_gap, Expiry expiry, bool duplicate_acks) {
  InspectorRules rules;
  rules.past_gap = past_gap;
  rules.queue_octets = std::size_t{256} << 10U;
  rules.gap_timeout = seconds{4};
  rules.expiry = expiry;
  rules.duplicate_acks = duplicate_acks;
  return rules;
}

}  // namespace

const std::vector<DeviceProfile>& device_profiles() {
  static const std::vector<DeviceProfile> all{
      {"plain", "forwards", "-",
       [](std::mt19937_64&) {
         return inspector({.gap_timeout = std::chrono::hours{24 * 365}, .ack_of_unseen = Unseen::pass});
       }},
      {"conntrack", "connection tracking of Linux 6.1 and later that drops what is invalid",
       "measured with crafted segments against kernel 6.18, be_liberal=0, loose=0",
       [](std::mt19937_64&) -> std::unique_ptr<Device> { return std::make_unique<Tracker>(false); }},
      {"conntrack-old", "connection tracking before Linux 6.1: old and late segments are invalid, too",
       "torvalds/linux 6e250dcbff1d",
       [](std::mt19937_64&) -> std::unique_ptr<Device> { return std::make_unique<Tracker>(true); }},
      {"inspect", "inspection with a queue of 3 segments, 4 s, then the queue is dropped; silent",
       "Cisco ASA tcp-map: queue limit 3 and timeout 4 s on inspected connections",
       [](std::mt19937_64&) { return inspector(queue_of(3, seconds{4}, Expiry::drop_queue, false)); }},
      {"inspect-dupack", "the same, asking for what is missing by duplicate ACKs", "Cisco document 113578",
       [](std::mt19937_64&) { return inspector(queue_of(3, seconds{4}, Expiry::drop_queue, true)); }},
      {"ios", "a queue of 16 segments, 5 s, then the session is reset",
       "Cisco IOS: ip inspect tcp reassembly queue length 16 timeout 5",
       [](std::mt19937_64&) { return inspector(queue_of(16, seconds{5}, Expiry::reset, false)); }},
      {"panos", "a queue of 64 segments; what exceeds it is dropped", "PAN-OS: TCP out-of-order queue, 64 per session",
       [](std::mt19937_64&) { return inspector(queue_of(64, seconds{30}, Expiry::drop_queue, false)); }},
      {"discard", "discards everything past a hole and asks for what is missing", "a firewall without a queue",
       [](std::mt19937_64&) {
         return inspector(
             {.past_gap = PastGap::discard, .gap_timeout = std::chrono::hours{24}, .duplicate_acks = true});
       }},
      {"ips", "watches: each hole must be filled within 4 s and 256 KiB, else the flow is dropped in silence",
       "intrusion prevention in pass-through, limits as commonly configured",
       [](std::mt19937_64&) { return inspector(prevention(PastGap::pass, Expiry::silence, false)); }},
      {"ips-rst", "the same with duplicate ACKs, and RSTs at the end", "intrusion prevention in pass-through",
       [](std::mt19937_64&) { return inspector(prevention(PastGap::pass, Expiry::reset, true)); }},
      {"ips-hold", "holds everything past a hole and asks for it; 4 s or 256 KiB, then RSTs", "in-line stream engines",
       [](std::mt19937_64&) { return inspector(prevention(PastGap::hold, Expiry::reset, true)); }},
      {"ips-skip", "watches; an ACK past a hole is believed, and an unfilled hole is skipped", "Suricata: stream gaps",
       [](std::mt19937_64&) {
         auto rules = prevention(PastGap::pass, Expiry::skip, false);
         rules.ack_of_unseen = Unseen::skip;
         return inspector(rules);
       }},
      {"normalizer", "holds past a hole, drops what it has seen, compares retransmissions with the first copy",
       "Cisco ASA check-retransmission; Snort 3 in-line keeps the first copy",
       [](std::mt19937_64&) {
         auto rules = prevention(PastGap::hold, Expiry::drop_queue, false);
         rules.queue_octets = std::size_t{64} << 10U;
         rules.discard_old = rules.compare = true;
         return inspector(rules);
       }},
      {"proxy", "ends the connection and makes its own; segments of 1448 octets", "a full TCP proxy",
       [](std::mt19937_64& random) -> std::unique_ptr<Device> {
         return std::make_unique<Proxy>(ProxyRules{}, static_cast<std::uint32_t>(random()),
                                        static_cast<std::uint32_t>(random()));
       }},
      {"proxy-chunk", "the same with segments of 700 octets", "a full TCP proxy that cuts small",
       [](std::mt19937_64& random) -> std::unique_ptr<Device> {
         return std::make_unique<Proxy>(ProxyRules{700, true}, static_cast<std::uint32_t>(random()),
                                        static_cast<std::uint32_t>(random()));
       }},
  };
  return all;
}

const DeviceProfile* find_profile(std::string_view name) noexcept {
  for (const auto& profile : device_profiles()) {
    if (profile.name == name) return &profile;
  }
  return nullptr;
}

}  // namespace switchback::middlebox
