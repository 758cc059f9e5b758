// The Prober's search for where packets get lost. On one way it counts what arrives in each direction, end to end and
// exactly; beside that it has packets of the very same flow expire at one router after another, there and (by order,
// sent by the headend) back. locate_trail and locate_estimate decide how often, and what it all means.
#include "client/doctor_locate.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "client/doctor_prober.h"
#include "common/base/random.h"

namespace switchback::client::doctor {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// In all about 250 packets a second from here: probes (of which the headend answers 40), orders of packets that go all
/// the way back, and what both trails ask for.
constexpr Duration kProbeEvery = milliseconds{40}, kWholeEvery = milliseconds{25};
/// Where the headend knows no traces: it answers 20 such questions a second.
constexpr Duration kObserveEvery = milliseconds{80};
constexpr Duration kJudgeEvery = seconds{1};
constexpr Duration kSweepEvery = milliseconds{12};
constexpr int kSweeps = 3;
/// A measurement shorter than this is none.
constexpr Duration kAtLeast = seconds{10};
/// Until nothing that was sent before can still come.
constexpr Duration kQuiet = milliseconds{300};
/// Resilient cTCP sends again what is missing, for a while.
constexpr Duration kQuietOfSegments = milliseconds{1500};
/// Beyond the last router that answers: others may be silent.
constexpr int kLookBeyond = 6;
constexpr std::uint16_t kReportOnlyOctets =
    path::kTraceReportOctets + path::kMaxTraceHops * path::kTraceHopOctets;  // as long as any report

bool repairs_by_itself(WayKind kind) noexcept { return is_kernel_tcp(kind); }

/// The first hop limit that was enough, if any was; and the last at which a router answered.
template <std::size_t N>
std::optional<std::uint8_t> first_of(const std::array<bool, N>& reached) noexcept {
  for (std::size_t i = 1; i < N; ++i) {
    if (reached[i]) return static_cast<std::uint8_t>(i);
  }
  return std::nullopt;
}
template <std::size_t N>
std::uint8_t last_of(const std::array<bool, N>& answered, std::size_t below = N) noexcept {
  std::uint8_t last = 0;
  for (std::size_t i = 1; i < std::min(below, N); ++i) {
    if (answered[i]) last = static_cast<std::uint8_t>(i);
  }
  return last;
}

std::string percent(double share, int digits = 2) {
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%.*f %%", digits, share * 100);
  return text.data();
}

}  // namespace

LocateResult Prober::locate(Facts& facts, const LocateRequest& request) {
  LocateResult result;
  plan(facts);
  say("opening transports");
  open_paths();
  ask_ike();
  say("authenticating");
  authenticate(facts);
  std::optional<std::size_t> chosen;
  if (facts.auth == AuthResult::ok && !facts.standard_peer) chosen = choose(request);
  if (facts.auth != AuthResult::ok) {
    result.failure = "there is no session with the headend" +
                     (facts.auth_detail.empty() ? std::string{} : " (" + facts.auth_detail + ")") +
                     ": run the doctor without --locate-loss, which says why";
  } else if (facts.standard_peer) {
    result.failure = "the headend is not one of ours and does not tell what arrives: loss cannot be told by direction";
  } else if (!chosen) {
    const bool repaired = std::all_of(request.ways.begin(), request.ways.end(), repairs_by_itself);
    result.failure =
        repaired ? "over tls and tcp the kernel's TCP sends again what is lost before anybody can count it, and "
                   "packets that expire on the way cannot be put into its stream safely: use --transport udp, "
                   "esp or ctcp"
                 : "no transport that losses can be counted on carries packets both ways: run the doctor "
                   "without --locate-loss, which says why";
  } else {
    locating_.emplace();
    locating_->way = *chosen;
    auto& way = ways_[*chosen];
    result.way = way.facts.kind;
    result.local = way.data.local;
    result.remote = way.data.remote;
    if (auto icmp = io::IcmpSocket::open(way.data.remote.address.family())) locating_->icmp = std::move(*icmp);
    say("looking for the routers on the way");
    find_length(result);
    survey(request, result);
  }
  finish();
  locating_.reset();
  facts.full = true;
  for (auto& way : ways_) facts.ways.push_back(std::move(way.facts));
  return result;
}

/// The first of the wanted ways that carries probes both ways.
std::optional<std::size_t> Prober::choose(const LocateRequest& request) {
  for (const auto kind : request.ways) {
    if (repairs_by_itself(kind)) continue;
    for (const bool v6 : {true, false}) {
      for (std::size_t i = 0; i < ways_.size(); ++i) {
        auto& way = ways_[i];
        if (way.facts.kind != kind || way.facts.remote.address.is_v6() != v6) continue;
        if (!way.has_path || !way.facts.closed.empty() || !way.facts.offered) continue;
        if (looks_like_tcp(kind) && way.facts.ike != IkeAnswer::answered) continue;
        way.activity = data_->add_path(tag_, way.data);
        way.facts.probed = true;
        way.facts.local = way.data.local;
        reach({i});
        if (!way.answers.empty()) return i;
      }
    }
  }
  return std::nullopt;
}

// ------------------------------------------------------------------------------------------------- single packets

/// One that expires. @param reach  a probe, which the headend answers should it arrive; else a packet that it passes
/// over
void Prober::send_limited(std::uint8_t limit, bool reach) {
  auto& run = *locating_;
  Bytes body;
  if (reach) {
    path::Probe probe;
    probe.id = next_id_++;
    run.reaching[probe.id] = limit;
    path::build_control(probe, body);
  } else {
    path::build_control(path::TracePacket{run.trace, limit}, body);
  }
  const auto token = run.next_token++;
  run.pending[token] = {limit, std::nullopt};
  ++run.limited_sent;
  data_->send_limited(tag_, ways_[run.way].data, std::move(body), limit, token);
}

void Prober::order(std::uint8_t limit, std::uint16_t octets) {
  send(locating_->way, path::TraceOrder{locating_->trace, limit, octets});
}

void Prober::hear_icmp() {
  constexpr int kAtOnce = 64;
  auto& run = *locating_;
  std::array<std::uint8_t, io::IcmpSocket::kBufferBytes> buffer{};
  const auto now = monotonic_now();
  for (int i = 0; i < kAtOnce; ++i) {
    const auto received = run.icmp->receive(buffer);
    if (!received) return;
    const auto quote = packet::parse_icmp_error(received->message, run.icmp->family());
    if (!quote) continue;
    if (const auto answer = run.probes.handle_quote(*quote, received->from, now)) handle_answer(*answer);
  }
}

void Prober::handle_limited(const transports::LimitedSent& sent) {
  if (!locating_) return;
  auto& run = *locating_;
  if (!sent.possible) run.possible = false;
  const auto pending = run.pending.find(sent.token);
  if (pending == run.pending.end()) return;
  if (!sent.packet) {
    run.pending.erase(pending);
    return;
  }
  pending->second.sent = sent.at;
  if (const auto answer = run.probes.handle_sent(sent.token, sent.hop_limit, *sent.packet, sent.at)) {
    handle_answer(*answer);
  }
}

void Prober::handle_answer(const path::LimitedAnswer& answer) {
  if (answer.trouble != packet::IcmpTrouble::time_exceeded) return;
  auto& run = *locating_;
  if (answer.hop_limit < run.out_answered.size()) run.out_answered[answer.hop_limit] = true;
  const auto pending = run.pending.find(answer.token);
  if (pending == run.pending.end()) return;  // given up
  run.pending.erase(pending);
  if (!run.out) return;
  run.out->handle_identity(answer.hop_limit, answer.from, answer.round_trip);
  run.out->handle_outcome(answer.hop_limit, 1, 1, answer.sent_at, monotonic_now());
}

/// How long a router's answer may take.
Duration Prober::answer_patience() const {
  return std::clamp<Duration>(patience({locating_->way}), milliseconds{500}, path::LimitedProbes::kPatience);
}

void Prober::settle_pending(Instant now) {
  auto& run = *locating_;
  const auto most = answer_patience();
  for (auto entry = run.pending.begin(); entry != run.pending.end();) {
    const auto& [token, one] = *entry;
    if (one.sent && now - *one.sent > most) {
      if (run.out) run.out->handle_outcome(one.limit, 1, 0, *one.sent, now);
      entry = run.pending.erase(entry);
    } else {
      ++entry;
    }
  }
}

void Prober::take_report(path::TraceReport report, Instant at) {
  auto& run = *locating_;
  ++run.reports;
  const auto before = std::exchange(run.told_at, at);
  for (const auto& hop : report.hops) {
    if (hop.answered > 0) run.back_answered.at(hop.hop_limit) = true;
    if (!run.back) continue;
    auto& told = run.told[hop.hop_limit];
    if (hop.sent < told.sent || hop.answered < told.answered) continue;  // overtaken by a newer one
    // What was ordered since the last report, an answer's time before it, is of the pace of then.
    run.back->handle_outcome(hop.hop_limit, hop.sent - told.sent, hop.answered - told.answered, before, at);
    if (!hop.from.empty()) {
      run.back->handle_identity(hop.hop_limit, hop.from, std::chrono::microseconds{hop.least_rtt_us});
    }
    told = hop;
  }
  run.report = std::move(report);
  run.reported = at;
}

// ------------------------------------------------------------------------------------------------- how far it is

/// Both trails ask routers only, once it is known how many there are: what arrives would be counted.
void Prober::find_length(LocateResult& result) {
  auto& run = *locating_;
  run.trace = public_random<std::uint64_t>(random_);
  const bool segments = ways_[run.way].facts.kind == WayKind::ctcp_resilient;
  const bool bare = looks_like_tcp(ways_[run.way].facts.kind);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    const auto out_end = first_of(run.out_reached).value_or(path::kMaxTraceHops);
    const auto back_end = first_of(run.back_reached).value_or(path::kMaxTraceHops);
    for (std::uint8_t limit = 1; limit <= path::kMaxTraceHops; ++limit) {
      if (run.icmp && run.possible && limit <= out_end && (!run.out_answered[limit] || sweep == 0)) {
        send_limited(limit, !bare);
      }
      if (limit <= back_end && (!run.back_answered[limit] || sweep == 0)) order(limit);
      (void)wait(kSweepEvery);
    }
    order(path::kTraceReportOnly, kReportOnlyOctets);
    (void)wait(answer_patience());
  }
  order(path::kTraceReportOnly, kReportOnlyOctets);
  (void)wait(answer_patience());
  if (segments && run.icmp && run.possible) find_length_by_segments(last_of(run.out_answered) + std::size_t{1});

  const auto length = [&](const auto& reached, const auto& answered, LocatedDirection& direction) -> std::uint8_t {
    if (const auto first = first_of(reached)) {
      direction.evidence.complete = true;
      return static_cast<std::uint8_t>(*first - 1);
    }
    return last_of(answered);  // silent ones may follow
  };
  const auto out_routers = length(run.out_reached, run.out_answered, result.out);
  const auto back_routers = length(run.back_reached, run.back_answered, result.back);
  // A bare segment that comes shows nobody that it came; as far as one way, if the last router answers, is far enough.
  if (bare && result.out.evidence.complete && back_routers == out_routers) result.back.evidence.complete = true;
  if (!run.icmp) {
    result.out.no_hops = "this process may not listen for ICMP (it needs CAP_NET_RAW)";
  } else if (!run.possible) {
    result.out.no_hops = "packets that expire on the way cannot be told apart on this transport";
  } else if (out_routers == 0 && !result.out.evidence.complete) {
    result.out.no_hops = "no router answers to packets that expire there";
  }
  if (run.reports == 0) {
    result.back.no_hops = "the headend does not report on traces: it is of an older version, or too busy";
  } else if (!run.report->hops_available) {
    result.back.no_hops = "the headend cannot send packets that expire on this transport, or cannot hear of them";
  } else if (back_routers == 0 && !result.back.evidence.complete) {
    result.back.no_hops = "no router answers the headend";
  }
  const auto now = monotonic_now();
  if (result.out.no_hops.empty()) run.out.emplace(out_routers, locate::TrailConfig{}, now);
  if (result.back.no_hops.empty()) run.back.emplace(back_routers, locate::TrailConfig{}, now);
  run.pending.clear();
  run.trace = public_random<std::uint64_t>(random_);  // the headend counts anew
  run.report.reset();
}

/// A keepalive that arrives is answered by an ACK, which shows while nothing else goes on.
void Prober::find_length_by_segments(std::size_t from) {
  auto& run = *locating_;
  const auto& data = ways_[run.way].data;
  (void)wait(kQuietOfSegments);
  for (std::size_t limit = from; limit < from + kLookBeyond && limit <= path::kMaxTraceHops; ++limit) {
    const auto before = data_->observe(data);
    for (int i = 0; i < 3; ++i) {
      send_limited(static_cast<std::uint8_t>(limit), false);
      (void)wait(milliseconds{30});
    }
    (void)wait(answer_patience());
    const auto after = data_->observe(data);
    if (!before || !after) return;
    if (after->segments != before->segments) {
      run.out_reached[limit] = true;
      return;
    }
  }
}

// ------------------------------------------------------------------------------------------------- the measurement

/// As of the newest answers: exact where nothing is on its way.
std::optional<Prober::Counts> Prober::counts() {
  auto& run = *locating_;
  const auto& way = ways_[run.way];
  if (way.facts.kind == WayKind::ctcp_resilient) {
    const auto seen = data_->observe(way.data);
    if (!seen || !run.report) return std::nullopt;
    return Counts{seen->data_sent, run.report->data_segments_received, run.report->data_segments_sent,
                  seen->data_received};
  }
  if (way.answers.empty() || way.returned.empty()) return std::nullopt;
  Counts now;
  now.sent = way.answers.back().number;
  now.arrived = way.answers.back().received;
  now.back_sent = way.returned.back().sent;
  now.back_arrived = way.returned.back().received;
  return now;
}

/// With nothing on its way, so that what both ends say belongs together.
std::optional<Prober::Counts> Prober::settled_counts() {
  auto& run = *locating_;
  auto& way = ways_[run.way];
  const bool segments = way.facts.kind == WayKind::ctcp_resilient;
  (void)wait(std::max<Duration>(segments ? kQuietOfSegments : kQuiet, answer_patience()));
  for (int attempt = 0; attempt < 10 && alive(run.way); ++attempt) {
    const auto answers = way.answers.size(), returned = way.returned.size();
    const auto reports = run.reports;
    if (segments) {
      order(path::kTraceReportOnly, kReportOnlyOctets);
      if (!wait(answer_patience(), [&] { return run.reports != reports; })) continue;
      (void)wait(milliseconds{100});  // its ACK
      return counts();
    }
    send_probe(run.way);
    if (!wait(answer_patience(), [&] { return way.answers.size() != answers; })) continue;
    if (run.back) {
      order(path::kTraceReportOnly, kReportOnlyOctets);
    } else {
      path::Observe question;
      question.id = next_id_++;
      sent_[question.id] = {run.way, monotonic_now(), way.sent + 1};
      send(run.way, question);
    }
    if (!wait(answer_patience(), [&] { return way.returned.size() != returned; })) continue;
    return counts();
  }
  return std::nullopt;
}

void Prober::survey(const LocateRequest& request, LocateResult& result) {
  auto& run = *locating_;
  auto& way = ways_[run.way];
  const auto base = settled_counts();
  if (!base) {
    result.failure = "the headend has stopped answering over " + std::string{to_string(way.facts.kind)};
    return;
  }
  const bool traces = run.reports != 0;
  const auto begin = monotonic_now();
  const auto end = begin + request.length;
  auto& out = result.out.evidence;
  auto& back = result.back.evidence;
  std::vector<locate::Block> out_blocks, back_blocks;
  Counts last = *base;
  const auto passage = [](std::uint64_t sent, std::uint64_t arrived, double inflation) {
    return locate::Passage{sent, sent > arrived ? sent - arrived : 0, inflation};
  };
  const auto take = [&](const Counts& now) {
    out.whole = passage(now.sent - base->sent, now.arrived - base->arrived, locate::inflation(out_blocks));
    back.whole =
        passage(now.back_sent - base->back_sent, now.back_arrived - base->back_arrived, locate::inflation(back_blocks));
  };
  const auto find = [&](bool thorough) {
    if (run.out) out.hops = run.out->hops();
    if (run.back) back.hops = run.back->hops();
    result.out.findings = locate::find_loss(out, back.whole, thorough);
    result.back.findings = locate::find_loss(back, out.whole, thorough);
  };
  auto next_probe = begin, next_whole = begin + kWholeEvery / 2, next_judge = begin + kJudgeEvery;
  for (auto now = begin; now < end && alive(run.way); now = monotonic_now()) {
    if (request.interrupted()) {
      result.interrupted = true;
      break;
    }
    if (now >= next_probe) {
      next_probe = std::max(next_probe + kProbeEvery, now);
      send_probe(run.way);
    }
    if (now >= next_whole) {
      next_whole = std::max(next_whole + (traces ? kWholeEvery : kObserveEvery), now);
      if (traces) {
        order(0);
      } else {
        path::Observe question;
        question.id = next_id_++;
        sent_[question.id] = {run.way, now, way.sent + 1};
        send(run.way, question);
      }
    }
    while (const auto limit = run.out ? run.out->poll(now) : std::nullopt) send_limited(*limit, false);
    while (const auto limit = run.back ? run.back->poll(now) : std::nullopt) order(*limit);
    if (now >= next_judge) {
      next_judge += kJudgeEvery;
      settle_pending(now);
      if (const auto seen = counts(); seen && seen->sent >= last.sent && seen->back_sent >= last.back_sent) {
        const auto block = [](std::uint64_t sent, std::uint64_t arrived) {
          return locate::Block{static_cast<double>(sent), static_cast<double>(sent > arrived ? sent - arrived : 0)};
        };
        // Segments of both ends are counted at different moments: that would look like bursts.
        if (way.facts.kind != WayKind::ctcp_resilient) {
          out_blocks.push_back(block(seen->sent - last.sent, seen->arrived - last.arrived));
          back_blocks.push_back(block(seen->back_sent - last.back_sent, seen->back_arrived - last.back_arrived));
        }
        last = *seen;
        take(*seen);
      }
      const double survival = (1 - out.whole.interval(locate::k99).high) * (1 - back.whole.interval(locate::k99).high);
      if (run.out) run.out->judge(survival, now);
      if (run.back) run.back->judge(survival, now);
      find(false);
      std::array<char, 160> line{};
      const auto answering = [](const locate::Evidence& one) {
        return std::count_if(one.hops.begin(), one.hops.end(), [](const auto& hop) { return hop.usable(); });
      };
      (void)std::snprintf(
          line.data(), line.size(),
          "%3lld s, %llu packets: out %s (95 %%: to %s), back %s (to %s), routers %lld/%zu and %lld/%zu",
          static_cast<long long>(std::chrono::duration_cast<seconds>(now - begin).count()),
          static_cast<unsigned long long>(way.sent + run.limited_sent), percent(out.whole.share()).c_str(),
          percent(out.whole.interval().high).c_str(), percent(back.whole.share()).c_str(),
          percent(back.whole.interval().high).c_str(), static_cast<long long>(answering(out)), out.hops.size(),
          static_cast<long long>(answering(back)), back.hops.size());
      request.progress(line.data());
      const bool enough =
          locate::precise(result.out.findings, out.whole) && locate::precise(result.back.findings, back.whole);
      if (now - begin >= kAtLeast && enough) break;
    }
    auto next = std::min({next_probe, next_whole, next_judge, end});
    if (run.out) next = std::min(next, run.out->next_deadline().value_or(next));
    if (run.back) next = std::min(next, run.back->next_deadline().value_or(next));
    (void)wait(std::max<Duration>(next - monotonic_now(), milliseconds{1}));
  }
  result.took = monotonic_now() - begin;
  result.packets = way.sent + run.limited_sent;
  const auto final_counts = settled_counts();
  settle_pending(monotonic_now() + path::LimitedProbes::kPatience);
  if (final_counts) {
    take(*final_counts);
  } else if (!alive(run.way)) {
    result.interrupted = true;  // what there is so far
  }
  find(true);
}

}  // namespace switchback::client::doctor
