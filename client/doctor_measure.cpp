// The Prober's measurements, in-band: reach, loss each way, round trips, sizes, bursts, holes, and what the headend
// saw.
#include <algorithm>
#include <set>
#include <utility>

#include "client/doctor_prober.h"
#include "client/paths.h"
#include "common/io/netlink.h"
#include "common/path/answerer.h"
#include "common/path/control.h"

namespace switchback::client::doctor {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// The headend answers 40 probes a second on a path.
constexpr Duration kProbeEvery = milliseconds{33};
constexpr std::uint32_t kProbes = 200;
/// A device may wait some seconds for what is missing before it gives a flow up; what is asked after that counts.
constexpr Duration kHoleVerdict = milliseconds{4500};
/// Then, beyond what any window of the classic format allows: devices that track windows drop all that follows.
constexpr Duration kJumpAt = milliseconds{5600}, kJumpVerdict = milliseconds{5800};
constexpr int kJumpHoles = 160;
constexpr std::uint32_t kReachProbes = 8;
constexpr Duration kReachEvery = milliseconds{150};
constexpr std::uint32_t kBurstPackets = 160;
constexpr std::uint32_t kBurstTogether = 4;
constexpr Duration kBurstEvery = milliseconds{5};
constexpr std::uint16_t kBurstOctets = 1200;
constexpr std::uint32_t kLargeBack = 6;
constexpr std::uint16_t kUsualMtu = 1500;

Duration median(std::vector<Duration> of) {
  const auto middle = of.begin() + static_cast<std::ptrdiff_t>(of.size() / 2);
  std::nth_element(of.begin(), middle, of.end());
  return *middle;
}

/// From the smallest to the largest that the link takes; IPv6 carries 1280 everywhere.
std::vector<std::uint16_t> sizes_to_try(bool v6, std::uint16_t link) {
  constexpr std::array<std::uint16_t, 18> kSizes{576,  800,  1000, 1200, 1280, 1320, 1360, 1400, 1412,
                                                 1420, 1432, 1440, 1452, 1460, 1472, 1480, 1492, 1500};
  std::vector<std::uint16_t> sizes;
  for (const auto size : kSizes) {
    if (size < link && (!v6 || size >= 1280)) sizes.push_back(size);
  }
  sizes.push_back(link);
  return sizes;
}

}  // namespace

unsigned Prober::overhead(const Way& way) const {
  const auto& traits = data_->traits(way.data.transport);
  return way.data.remote.address.is_v6() ? traits.overhead_v6 : traits.overhead_v4;
}

/// How long answers of these ways may take.
Duration Prober::patience(const std::vector<std::size_t>& ways) const {
  Duration longest = milliseconds{150};
  for (const auto way : ways) {
    const auto& rtts = ways_[way].rtts;
    if (!rtts.empty()) longest = std::max(longest, *std::max_element(rtts.begin(), rtts.end()));
  }
  return std::min<Duration>(longest * 2 + milliseconds{100}, seconds{3});
}

void Prober::send(std::size_t index, const path::ControlMessage& message, bool dont_fragment) {
  Bytes body;
  path::build_control(message, body);
  ++ways_[index].sent;
  data_->send_control(tag_, ways_[index].data, std::move(body), dont_fragment);
}

void Prober::send_probe(std::size_t index) {
  auto& way = ways_[index];
  const auto now = monotonic_now();
  path::Probe probe;
  probe.id = next_id_++;
  probe.sent_at_us = path::to_microseconds(now);
  probe.sent_count = way.sent;
  sent_[probe.id] = {index, now, way.sent + 1};
  way.last_probe = way.sent + 1;
  send(index, probe);
}

void Prober::send_size(std::size_t index, std::uint16_t outer_octets) {
  const auto id = next_id_++;
  sent_[id] = {index, monotonic_now(), ways_[index].sent + 1};
  send(index, path::PmtuProbe{id, outer_octets, pmtu_body_octets(outer_octets, overhead(ways_[index]))}, true);
}

void Prober::control(const transports::ControlReceived& received) {
  if (received.session != tag_ || !path::is_control(received.body)) return;
  auto message = path::parse_control(received.body);
  if (!message) return;
  const auto asked = [&](std::uint64_t id) { return sent_.find(id); };
  if (const auto* answer = std::get_if<path::ProbeAnswer>(&*message)) {
    if (locating_) {
      if (const auto limited = locating_->reaching.find(answer->id); limited != locating_->reaching.end()) {
        locating_->out_reached.at(limited->second) = true;
        return;
      }
    }
    const auto sent = asked(answer->id);
    if (sent == sent_.end()) return;
    auto& way = ways_[sent->second.way];
    way.rtts.push_back(received.at - sent->second.at);
    way.answers.push_back({sent->second.number, answer->received_count});
    sent_.erase(sent);
  } else if (const auto* size = std::get_if<path::PmtuAnswer>(&*message)) {
    const auto sent = asked(size->id);
    if (sent == sent_.end()) return;
    ways_[sent->second.way].sizes_answered.push_back(size->packet_octets);
    sent_.erase(sent);
  } else if (const auto* seen = std::get_if<path::Observation>(&*message)) {
    const auto sent = asked(seen->id);
    if (sent == sent_.end()) return;
    auto& way = ways_[sent->second.way];
    sent_.erase(sent);
    if (locating_) way.returned.push_back({seen->sent_count, received.received_packets});
    if (seen->body_octets > path::kObservationOctets) {
      ++way.large_back;
      return;
    }
    ++way.observations;
    headend_clock_ = seen->clock_s;
    Seen facts;
    facts.client = seen->remote;
    facts.headend = seen->local;
    if (seen->tcp) {
      TcpEnd end;
      end.numbers_known = seen->tcp->numbers_known;
      end.local_isn = seen->tcp->local_isn;
      end.remote_isn = seen->tcp->remote_isn;
      end.mss = seen->tcp->mss;
      end.window_scale = seen->tcp->window_scale;
      end.sack = seen->tcp->sack;
      end.timestamps = seen->tcp->timestamps;
      end.engine = seen->tcp->engine;
      end.resegmented = seen->tcp->resegmented;
      end.resets = seen->tcp->resets;
      if (seen->tcp->rtt_us != 0) end.rtt = std::chrono::microseconds{seen->tcp->rtt_us};
      facts.tcp = end;
    }
    way.facts.seen = facts;
  } else if (const auto* packet = std::get_if<path::TracePacket>(&*message)) {
    if (locating_ && packet->id == locating_->trace) locating_->back_reached.at(packet->hop_limit) = true;
  } else if (auto* report = std::get_if<path::TraceReport>(&*message)) {
    if (!locating_ || report->id != locating_->trace || received.path != ways_[locating_->way].data) return;
    ways_[locating_->way].returned.push_back({report->sent_count, received.received_packets});
    take_report(*report, received.at);
  } else if (const auto* probe = std::get_if<path::Probe>(&*message)) {
    const auto way = std::find_if(ways_.begin(), ways_.end(),
                                  [&](const Way& one) { return one.activity && one.data == received.path; });
    if (way == ways_.end()) return;
    path::ProbeAnswer reply;
    reply.id = probe->id;
    reply.probe_sent_at_us = probe->sent_at_us;
    reply.received_at_us = reply.answered_at_us = path::to_microseconds(received.at);
    reply.received_count = received.received_packets;
    send(static_cast<std::size_t>(way - ways_.begin()), reply);
  }
}

void Prober::probe_family(IpFamily family, Facts& facts) {
  std::vector<std::size_t> ways;
  auto netlink = io::Netlink::open();
  for (std::size_t i = 0; i < ways_.size(); ++i) {
    auto& way = ways_[i];
    if (way.facts.remote.address.family() != family || !way.has_path || !way.facts.closed.empty()) continue;
    if (way.facts.kind == WayKind::udp_500) continue;  // IKE only
    if (!way.facts.offered) continue;
    if (looks_like_tcp(way.facts.kind) && way.facts.ike != IkeAnswer::answered) continue;
    const auto route = netlink ? netlink->lookup(way.facts.remote.address, options_.mark) : fail(netlink.error());
    way.facts.mtu.link =
        static_cast<std::uint16_t>(std::min(route && route->mtu != 0 ? route->mtu : unsigned{kUsualMtu}, 9000U));
    way.activity = data_->add_path(tag_, way.data);
    way.facts.probed = true;
    way.facts.local = way.data.local;
    ways.push_back(i);
  }
  if (ways.empty()) return;
  say(family == IpFamily::v4 ? "probing every path over IPv4" : "probing every path over IPv6");
  reach(ways);
  std::erase_if(ways, [&](std::size_t way) { return ways_[way].answers.empty(); });
  observe(ways);
  say("measuring loss");
  measure(ways);
  say("measuring sizes");
  find_mtu(ways);
  say("measuring throughput");
  for (const auto way : ways) {
    if (ways_[way].facts.kind != WayKind::ctcp_classic && ways_[way].facts.unanswered_at_end < 8) burst(way);
  }
  observe(ways);
  if (options_.idle) idle(ways);
  for (const auto index : ways) {
    auto& way = ways_[index];
    if (!way.rtts.empty()) way.facts.rtt = median(way.rtts);
    way.facts.answered = static_cast<std::uint32_t>(way.answers.size());
  }
  // The headend keeps eight paths of a session: room for the other family's.
  for (auto& way : ways_) {
    if (!way.activity || way.facts.remote.address.family() != family) continue;
    const bool in_use = session_way_ && &way == &ways_[*session_way_];
    if (!in_use &&
        !(session_way_ && ways_[*session_way_].facts.kind == WayKind::udp_500 && way.facts.kind == WayKind::esp)) {
      data_->remove_path(tag_, way.data);
      if (looks_like_tcp(way.facts.kind)) way.has_path = false;
    }
    way.activity.reset();
  }
  (void)facts;
}

/// A few probes on each, for what works at all.
void Prober::reach(const std::vector<std::size_t>& ways) {
  for (std::uint32_t i = 0; i < kReachProbes; ++i) {
    bool missing = false;
    for (const auto way : ways) {
      if (ways_[way].answers.empty() && alive(way)) {
        send_probe(way);
        missing = true;
      }
    }
    if (!missing) return;
    const auto all = [&] {
      return std::all_of(ways.begin(), ways.end(), [&](std::size_t way) { return !ways_[way].answers.empty(); });
    };
    if (wait(i == 0 ? milliseconds{400} : kReachEvery, all)) break;
  }
  for (const auto way : ways) {
    if (!ways_[way].answers.empty()) continue;
    ways_[way].facts.there.sent = ways_[way].sent;  // nobody knows how many came
    ways_[way].facts.back = {};
  }
}

void Prober::observe(const std::vector<std::size_t>& ways) {
  std::vector<std::uint32_t> before;
  for (const auto way : ways) before.push_back(ways_[way].observations);
  const auto missing = [&](std::size_t i) { return ways_[ways[i]].observations == before[i]; };
  for (int attempt = 0; attempt < 3; ++attempt) {
    bool any = false;
    for (std::size_t i = 0; i < ways.size(); ++i) {
      if (!missing(i) || !alive(ways[i])) continue;
      any = true;
      path::Observe question;
      question.id = next_id_++;
      sent_[question.id] = {ways[i], monotonic_now(), ways_[ways[i]].sent + 1};
      send(ways[i], question);
    }
    if (!any) break;
    const auto all = [&] {
      for (std::size_t i = 0; i < ways.size(); ++i) {
        if (missing(i) && alive(ways[i])) return false;
      }
      return true;
    };
    if (wait(patience(ways), all)) break;
  }
  for (const auto way : ways) {
    const auto seen = data_->observe(ways_[way].data);
    if (!seen) continue;
    TcpEnd here;
    here.numbers_known = seen->numbers_known;
    here.local_isn = seen->local_isn;
    here.remote_isn = seen->remote_isn;
    here.mss = seen->mss;
    here.window_scale = seen->window_scale;
    here.own_window_scale = seen->own_window_scale;
    here.sack = seen->sack;
    here.timestamps = seen->timestamps;
    here.engine = seen->engine;
    here.resegmented = seen->resegmented;
    here.resets = seen->resets;
    if (seen->rtt > Duration::zero()) here.rtt = seen->rtt;
    ways_[way].facts.here = here;
  }
}

/// What was lost of the probes after `first_number` up to the last that was answered.
void Prober::settle_counts(Way& way, std::size_t first_answer, std::uint32_t first_number) {
  if (way.answers.size() <= first_answer) {
    way.facts.unanswered_at_end = way.last_probe - first_number;
    return;
  }
  const auto base = way.answers[first_answer - 1];
  const auto last =
      *std::max_element(way.answers.begin() + static_cast<std::ptrdiff_t>(first_answer), way.answers.end(),
                        [](const Answered& a, const Answered& b) { return a.number < b.number; });
  way.facts.there.sent = last.number - base.number;
  way.facts.there.arrived =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(last.received - base.received, way.facts.there.sent));
  way.facts.back.sent = way.facts.there.arrived;
  way.facts.back.arrived = std::min(static_cast<std::uint32_t>(way.answers.size() - first_answer), way.facts.back.sent);
  way.facts.unanswered_at_end = way.last_probe - last.number;
}

void Prober::measure(const std::vector<std::size_t>& ways) {
  // One more, so that there is an answer which everything is counted from and nothing else is under way.
  for (const auto way : ways) {
    if (alive(way)) send_probe(way);
  }
  (void)wait(patience(ways));
  struct Start {
    std::size_t answers;
    std::uint32_t number;
  };
  std::vector<Start> starts;
  struct Classic {
    bool jumped = false;
    std::set<std::uint32_t> after_hole, after_jump;  // numbers of probes
  };
  std::map<std::size_t, Classic> classics;
  for (const auto index : ways) {
    auto& way = ways_[index];
    // The newest answer counts as the beginning.
    std::sort(way.answers.begin(), way.answers.end(),
              [](const Answered& a, const Answered& b) { return a.number < b.number; });
    // What was sent since and not answered is not this measurement's.
    starts.push_back({way.answers.size(), way.sent});
    if (way.facts.kind == WayKind::ctcp_classic && alive(index)) (void)data_->make_hole(way.data);
  }
  const auto begin = monotonic_now();
  for (std::uint32_t i = 0; i < kProbes && monotonic_now() < end_; ++i) {
    for (const auto index : ways) {
      if (!alive(index)) continue;
      auto& way = ways_[index];
      send_probe(index);
      if (way.facts.kind != WayKind::ctcp_classic) continue;
      const auto passed = monotonic_now() - begin;
      auto& classic = classics.try_emplace(index).first->second;
      if (passed >= kHoleVerdict && passed < kJumpAt) classic.after_hole.insert(way.sent);
      if (passed >= kJumpVerdict) classic.after_jump.insert(way.sent);
      if (passed >= kJumpAt && !std::exchange(classic.jumped, true)) {
        for (int hole = 0; hole < kJumpHoles; ++hole) (void)data_->make_hole(way.data);
      }
    }
    (void)wait(begin + kProbeEvery * (i + 1) - monotonic_now());
  }
  (void)wait(patience(ways));
  for (std::size_t i = 0; i < ways.size(); ++i) {
    auto& way = ways_[ways[i]];
    settle_counts(way, starts[i].answers, starts[i].number);
    const auto classic = classics.find(ways[i]);
    if (classic == classics.end()) continue;
    const auto count = [&](const std::set<std::uint32_t>& numbers) {
      const auto answered = std::count_if(way.answers.begin(), way.answers.end(),
                                          [&](const Answered& one) { return numbers.contains(one.number); });
      return Count{static_cast<std::uint32_t>(numbers.size()), static_cast<std::uint32_t>(answered)};
    };
    way.facts.after_hole = count(classic->second.after_hole);
    way.facts.after_jump = count(classic->second.after_jump);
  }
}

void Prober::find_mtu(const std::vector<std::size_t>& all) {
  std::vector<std::size_t> ways;
  for (const auto index : all) {
    const auto& way = ways_[index];
    if (is_kernel_tcp(way.facts.kind) || way.facts.kind == WayKind::ctcp_classic || !alive(index)) continue;
    if (way.facts.unanswered_at_end < 8) ways.push_back(index);
  }
  const auto answered = [&](std::size_t way, std::uint16_t size) {
    const auto& sizes = ways_[way].sizes_answered;
    return std::find(sizes.begin(), sizes.end(), size) != sizes.end();
  };
  std::map<std::size_t, std::vector<std::uint16_t>> tried;
  for (const auto way : ways) {
    tried[way] = sizes_to_try(ways_[way].data.remote.address.is_v6(), ways_[way].facts.mtu.link);
  }
  const auto round = [&] {
    std::size_t longest = 0;
    for (const auto& [way, sizes] : tried) longest = std::max(longest, sizes.size());
    for (std::size_t i = 0; i < longest; ++i) {
      bool any = false;
      for (const auto& [way, sizes] : tried) {
        if (i >= sizes.size() || answered(way, sizes[i])) continue;
        send_size(way, sizes[i]);
        any = true;
      }
      if (any) (void)wait(kProbeEvery);
    }
    (void)wait(patience(ways), [&] {
      return std::all_of(tried.begin(), tried.end(), [&](const auto& one) {
        return std::all_of(one.second.begin(), one.second.end(),
                           [&](std::uint16_t size) { return answered(one.first, size); });
      });
    });
  };
  for (int attempt = 0; attempt < 4 && !ways.empty(); ++attempt) round();
  // Between the largest that arrived and the smallest above it that did not.
  for (int attempt = 0; attempt < 2 && !ways.empty(); ++attempt) {
    for (auto& [way, sizes] : tried) {
      std::uint16_t works = 0, fails = 0;
      for (const auto size : ways_[way].sizes_answered) works = std::max(works, size);
      for (const auto size : sizes) {
        if (size > works && (fails == 0 || size < fails)) fails = size;
      }
      sizes.clear();
      if (works == 0 || fails == 0) continue;
      for (std::uint16_t k = 1; k <= 5; ++k) {
        const auto size = static_cast<std::uint16_t>((works + (fails - works) * k / 6) & ~3);
        if (size > works && size < fails) sizes.push_back(size);
      }
      sizes.push_back(fails);
    }
    if (std::all_of(tried.begin(), tried.end(), [](const auto& one) { return one.second.empty(); })) break;
    round();
    round();
  }
  for (const auto index : ways) {
    auto& way = ways_[index];
    for (const auto size : way.sizes_answered) way.facts.mtu.works = std::max(way.facts.mtu.works, size);
    way.facts.mtu.searched = monotonic_now() < end_;
    if (way.facts.mtu.works == 0) continue;
    const auto ask = [&] {
      path::Observe question;
      question.id = next_id_++;
      question.answer_octets = pmtu_body_octets(way.facts.mtu.works, overhead(way));
      sent_[question.id] = {index, monotonic_now(), way.sent + 1};
      send(index, question);
    };
    // The headend answers at length only where a probe of its own was answered, which the first question has it send.
    way.large_back = 0;
    const auto observations = way.observations;
    ask();
    (void)wait(patience({index}), [&] { return way.large_back > 0 || way.observations > observations; });
    way.large_back = 0;
    for (std::uint32_t i = 0; i < kLargeBack; ++i) {
      ask();
      (void)wait(milliseconds{60});
    }
    (void)wait(patience({index}), [&] { return way.large_back == kLargeBack; });
    way.facts.mtu.large_back = {kLargeBack, std::min(way.large_back, kLargeBack)};
  }
}

/// As fast as 8 Mbit/s for a moment: what limits one kind of traffic shows here.
void Prober::burst(std::size_t index) {
  auto& way = ways_[index];
  if (!alive(index)) return;
  const auto count = way.answers.size();
  send_probe(index);
  if (!wait(patience({index}), [&] { return way.answers.size() > count; })) return;
  const auto base = way.answers.back();
  const Bytes filler(pmtu_body_octets(kBurstOctets, overhead(way)), 0);
  const auto begin = monotonic_now();
  for (std::uint32_t i = 0; i < kBurstPackets; ++i) {
    ++way.sent;
    data_->send_control(tag_, way.data, filler);
    if ((i + 1) % kBurstTogether == 0) (void)wait(begin + kBurstEvery * ((i + 1) / kBurstTogether) - monotonic_now());
  }
  const auto before = way.answers.size();
  const auto last_of_burst = way.sent;
  for (int attempt = 0; attempt < 8; ++attempt) {
    send_probe(index);
    if (wait(std::max<Duration>(patience({index}), milliseconds{300}), [&] { return way.answers.size() > before; }))
      break;
  }
  if (way.answers.size() == before) return;
  const auto end = way.answers.back();
  way.facts.burst.octets_each = kBurstOctets;
  const auto extra = end.number - last_of_burst;  // probes after it
  const auto arrived = end.received - base.received;
  way.facts.burst.packets = {kBurstPackets, static_cast<std::uint32_t>(std::min<std::uint64_t>(
                                                arrived > extra ? arrived - extra : 0, kBurstPackets))};
  const auto least = *std::min_element(way.rtts.begin(), way.rtts.end());
  const auto took = std::max<Duration>(monotonic_now() - begin - least, milliseconds{1});
  way.facts.burst.octets_per_second =
      static_cast<double>(way.facts.burst.packets.arrived) * kBurstOctets / std::chrono::duration<double>(took).count();
  (void)wait(milliseconds{100});  // queues empty
}

/// Longer and longer silence on UDP: does the way back stay open?
void Prober::idle(const std::vector<std::size_t>& ways) {
  for (const auto index : ways) {
    auto& way = ways_[index];
    if (way.facts.kind != WayKind::udp_4500 || !alive(index) || !way.facts.seen) continue;
    for (const auto pause : {seconds{15}, seconds{30}, seconds{60}, seconds{120}, seconds{300}}) {
      say("waiting " + std::to_string(pause.count()) + " s without a packet");
      (void)wait(pause);
      if (monotonic_now() >= end_) return;
      const auto before = way.facts.seen->client;
      const auto answers = way.answers.size();
      observe({index});
      send_probe(index);
      const bool answered = wait(seconds{2}, [&] { return way.answers.size() > answers; });
      if (!answered || way.facts.seen->client != before) {
        way.facts.idle_died = pause;
        way.facts.rebound_after_idle = answered;
        break;
      }
      way.facts.idle_survived = pause;
    }
  }
}

}  // namespace switchback::client::doctor
