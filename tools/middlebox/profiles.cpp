// The devices by name, each with where its behaviour is documented or was measured.
#include "tools/middlebox/chain.h"
#include "tools/middlebox/editor.h"
#include "tools/middlebox/rules.h"
#include "tools/middlebox/syn_proxy.h"
#include "tools/middlebox/tracker.h"

namespace switchback::middlebox {
namespace {

using std::chrono::seconds;
using PastGap = InspectorRules::PastGap;
using Expiry = InspectorRules::Expiry;
using Unseen = InspectorRules::Unseen;

std::uint32_t number(std::mt19937_64& random) { return static_cast<std::uint32_t>(random()); }

std::unique_ptr<Device> inspector(InspectorRules rules) { return std::make_unique<Inspector>(rules); }

template <typename... Devices>
std::unique_ptr<Device> row(Devices... devices) {
  auto chain = std::make_unique<Chain>();
  (chain->add(std::move(devices)), ...);
  return chain;
}

std::unique_ptr<Device> tracker(TrackerRules rules) { return std::make_unique<Tracker>(rules); }

std::unique_ptr<Device> proxy(ProxyRules rules, std::mt19937_64& random) {
  const auto to_client = number(random);
  return std::make_unique<Proxy>(rules, to_client, number(random));
}

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

/// What an ASA changes in every connection: initial sequence numbers in both directions, and the MSS of SYNs ("sysopt
/// connection tcpmss", 1380 unless set).
std::unique_ptr<Device> asa_edits(std::mt19937_64& random) {
  EditRules rules;
  rules.randomize_isn = true;
  rules.mss = 1380;
  const auto outward = number(random);
  return std::make_unique<Editor>(rules, std::array{outward, number(random)});
}

/// "queue-limit" 3 packets and 4 s on inspected connections, "invalid-ack" and "seq-past-window" drop: tcp-map's
/// defaults.
InspectorRules asa_inspection(bool duplicate_acks) {
  auto rules = queue_of(3, seconds{4}, Expiry::drop_queue, duplicate_acks);
  rules.discard_past_window = true;
  return rules;
}

/// Holds, compares, believes in 64 KiB only: what kills the most.
InspectorRules paranoia(Expiry expiry, bool duplicate_acks) {
  auto rules = prevention(PastGap::hold, expiry, duplicate_acks);
  rules.inconsistent = InspectorRules::Inconsistent::discard;
  return rules;
}

constexpr auto kForever = std::chrono::hours{24 * 365};

}  // namespace

const std::vector<DeviceProfile>& device_profiles() {
  static const std::vector<DeviceProfile> all{
      {"plain", "", "forwards", "-",
       [](std::mt19937_64&) -> std::unique_ptr<Device> { return std::make_unique<Chain>(); }},
      {"conntrack", "strict-conntrack", "connection tracking of Linux 6.1 and later that drops what is invalid",
       "measured with crafted segments against kernel 6.18, be_liberal=0, loose=0; nf_conntrack_proto_tcp.c",
       [](std::mt19937_64&) { return tracker(TrackerRules::linux_now); }},
      {"conntrack-old", "old-conntrack", "connection tracking before Linux 6.1: old and late segments are invalid, too",
       "torvalds/linux 6e250dcbff1d took these bounds away",
       [](std::mt19937_64&) { return tracker(TrackerRules::linux_old); }},
      {"strict-window", "", "nothing passes that ends past the receiver's window, or is old or late",
       "Juniper SRX: sequence check on by default, no-sequence-check turns it off; OpenBSD pf_test_state_tcp()",
       [](std::mt19937_64&) { return tracker(TrackerRules::exact); }},
      {"synproxy", "", "answers SYNs itself, first with window 0, then joins the two ends; and connection tracking",
       "Linux nf_synproxy_core.c; nft synproxy with mss 1460, wscale 7, timestamp, sack-perm",
       [](std::mt19937_64& random) {
         const auto isn = number(random);
         return row(std::make_unique<SynProxy>(isn, number(random)), tracker(TrackerRules::linux_now));
       }},
      {"inspect", "", "inspection with a queue of 3 segments, 4 s, then the queue is dropped; silent",
       "Cisco ASA tcp-map: queue limit 3 and timeout 4 s on inspected connections",
       [](std::mt19937_64&) { return inspector(queue_of(3, seconds{4}, Expiry::drop_queue, false)); }},
      {"inspect-dupack", "", "the same, asking for what is missing by duplicate ACKs", "Cisco document 113578",
       [](std::mt19937_64&) { return inspector(queue_of(3, seconds{4}, Expiry::drop_queue, true)); }},
      {"asa-default", "",
       "an ASA without inspection: other initial sequence numbers and MSS, checks ACKs and the window",
       "Cisco ASA: ISN randomization, sysopt connection tcpmss 1380, tcp-map defaults; out of order passes untouched",
       [](std::mt19937_64& random) { return row(asa_edits(random), tracker(TrackerRules::asa)); }},
      {"asa-inspect", "", "an ASA with inspection: the same changes and checks, and a queue of 3 segments, 4 s; silent",
       "Cisco ASA: as asa-default; queue limit 3 and timeout 4 s on inspected connections",
       [](std::mt19937_64& random) { return row(asa_edits(random), inspector(asa_inspection(false))); }},
      {"asa-proxyish", "", "the same, and it acknowledges on behalf of the receiver, and asks by duplicate ACKs",
       "Cisco document 113578: the ASA acts as a full proxy and acknowledges on behalf",
       [](std::mt19937_64& random) {
         auto rules = asa_inspection(true);
         rules.ack_on_behalf = true;
         return row(asa_edits(random), inspector(rules));
       }},
      {"ios", "ios-inspect", "a queue of 16 segments, 5 s, then the session is reset",
       "Cisco IOS: ip inspect tcp reassembly queue length 16 timeout 5",
       [](std::mt19937_64&) { return inspector(queue_of(16, seconds{5}, Expiry::reset, false)); }},
      {"panos", "", "a queue of 64 segments; what exceeds it is dropped",
       "PAN-OS: TCP out-of-order queue, 64 per session (tcp_exceed_flow_seg_limit)",
       [](std::mt19937_64&) { return inspector(queue_of(64, seconds{30}, Expiry::drop_queue, false)); }},
      {"discard", "", "discards everything past a hole and asks for what is missing", "a firewall without a queue",
       [](std::mt19937_64&) {
         return inspector({.past_gap = PastGap::discard, .gap_timeout = kForever, .duplicate_acks = true});
       }},
      {"drop-ooo", "", "the same; a hole that stays for 6 s ends the session with RSTs",
       "Cisco IOS before 12.4(11)T with IPS or zone firewall: out-of-order packets are dropped",
       [](std::mt19937_64&) {
         return inspector({.past_gap = PastGap::discard,
                           .gap_timeout = seconds{6},
                           .expiry = Expiry::reset,
                           .duplicate_acks = true});
       }},
      {"ips", "ips-watch-silent",
       "watches: each hole must be filled within 4 s and 256 KiB, else the flow is dropped in silence",
       "AWS Network Firewall: stream exception policy drop; limits as commonly configured",
       [](std::mt19937_64&) { return inspector(prevention(PastGap::pass, Expiry::silence, false)); }},
      {"ips-rst", "ips-watch", "the same with duplicate ACKs, and RSTs at the end",
       "AWS Network Firewall: stream exception policy reject",
       [](std::mt19937_64&) { return inspector(prevention(PastGap::pass, Expiry::reset, true)); }},
      {"ips-hold", "", "holds everything past a hole and asks for it; 4 s or 256 KiB, then RSTs",
       "in-line stream engines; Cisco document 113578, ASA with IPS",
       [](std::mt19937_64&) { return inspector(prevention(PastGap::hold, Expiry::reset, true)); }},
      {"ips-skip", "", "watches; an ACK past a hole is believed, and an unfilled hole is skipped",
       "Suricata: a gap is data that was acknowledged and not seen, and is skipped",
       [](std::mt19937_64&) {
         auto rules = prevention(PastGap::pass, Expiry::skip, false);
         rules.ack_of_unseen = Unseen::skip;
         return inspector(rules);
       }},
      {"snort-inline", "", "watches, skips holes, and writes the first copy over a retransmission that differs",
       "Snort 3 stream_tcp: in-line, overlaps are always resolved to the first copy seen",
       [](std::mt19937_64&) {
         auto rules = prevention(PastGap::pass, Expiry::skip, false);
         rules.ack_of_unseen = Unseen::skip;
         rules.inconsistent = InspectorRules::Inconsistent::first_copy;
         return inspector(rules);
       }},
      {"normalizer", "", "holds past a hole, drops what it has seen, compares retransmissions with the first copy",
       "Cisco ASA tcp-map check-retransmission",
       [](std::mt19937_64&) {
         auto rules = prevention(PastGap::hold, Expiry::drop_queue, false);
         rules.queue_octets = std::size_t{64} << 10U;
         rules.discard_old = true;
         rules.inconsistent = InspectorRules::Inconsistent::discard;
         return inspector(rules);
       }},
      {"paranoid", "", "all of it: holds and asks, drops what is old, differs or is 64 KiB ahead; 4 s, then RSTs",
       "everything at once that the manuals of the others have",
       [](std::mt19937_64&) {
         auto rules = paranoia(Expiry::reset, true);
         rules.discard_old = rules.discard_past_window = true;
         rules.window_most = 65535;
         return inspector(rules);
       }},
      {"paranoid-silent", "", "holds without asking, compares; 4 s or 256 KiB, then the flow is dropped in silence",
       "everything at once that the manuals of the others have",
       [](std::mt19937_64&) { return inspector(paranoia(Expiry::silence, false)); }},
      {"proxy", "full-proxy", "ends the connection and makes its own; segments of 1448 octets",
       "a full TCP proxy, as haproxy by TPROXY", [](std::mt19937_64& random) { return proxy({}, random); }},
      {"proxy-chunk", "full-proxy-split", "the same with segments of 700 octets", "a full TCP proxy that cuts small",
       [](std::mt19937_64& random) { return proxy({.segment_octets = 700}, random); }},
      {"proxy-coalesce", "", "the same with whole segments: less than 1448 octets wait for 10 ms",
       "a full TCP proxy with Nagle's algorithm or delays of its own",
       [](std::mt19937_64& random) { return proxy({.coalesce_wait = std::chrono::milliseconds{10}}, random); }},
      {"proxy-random", "", "the same with segments of random lengths", "a full TCP proxy that cuts anywhere",
       [](std::mt19937_64& random) { return proxy({.random_cuts = random() | 1U}, random); }},
  };
  return all;
}

const DeviceProfile* find_profile(std::string_view name) noexcept {
  for (const auto& profile : device_profiles()) {
    if (profile.name == name || (!profile.alias.empty() && profile.alias == name)) return &profile;
  }
  return nullptr;
}

const std::vector<NetworkProfile>& network_profiles() {
  static const std::vector<NetworkProfile> all{
      {"nat-350s-rst",
       "forgets flows after 350 s, and answers what comes then by RST",
       "AWS NAT gateway",
       {"idle-rst=350s"}},
      {"nat-240s-rst",
       "the same after 4 minutes",
       "Azure load balancer and NAT gateway: 4 minutes unless set, then RST",
       {"idle-rst=240s"}},
      {"nat-1200s-silent",
       "forgets TCP after 1200 s and UDP after 30 s, in silence",
       "Google Cloud NAT",
       {"idle=1200s:tcp", "idle=30s:udp"}},
      {"udp-blocked", "no UDP passes", "networks that carry TCP only", {"block:udp"}},
      {"esp-blocked", "no ESP passes", "NATs and firewalls that know TCP and UDP only", {"block:esp"}},
      {"tcp-only-443", "nothing but TCP port 443 passes", "guest networks and hotels", {"block:!tcp/443"}},
  };
  return all;
}

}  // namespace switchback::middlebox
