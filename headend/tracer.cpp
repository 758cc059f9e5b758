#include "headend/tracer.h"

#include <algorithm>
#include <limits>

namespace switchback::headend {

std::optional<path::TraceOrder> parse_order(ByteView body) {
  constexpr std::size_t kTypeAt = 5;
  if (!path::is_control(body) || body[kTypeAt] != static_cast<std::uint8_t>(path::ControlType::trace_order)) {
    return std::nullopt;
  }
  const auto message = path::parse_control(body);
  if (!message) return std::nullopt;
  const auto* order = std::get_if<path::TraceOrder>(&*message);
  return order == nullptr ? std::nullopt : std::optional{*order};
}

std::optional<path::TracePacket> Tracer::handle_order(const path::TraceOrder& order, const AddressPair& path,
                                                      Instant now) {
  if (id_ != order.id || path_ != path) {
    id_ = order.id;
    path_ = path;
    ++generation_;
    hops_ = {};
    for (std::size_t i = 0; i < hops_.size(); ++i) hops_[i].hop_limit = static_cast<std::uint8_t>(i + 1);
    available_ = true;
    earned_octets_ = 0;
  }
  last_order_ = now;
  constexpr std::size_t kEnough = 2 * path::kMaxControlOctets;
  earned_octets_ = std::min(kEnough, earned_octets_ + std::max<std::size_t>(order.body_octets, path::kTraceOctets));
  if (order.hop_limit == path::kTraceReportOnly || !orders_.allow(now)) return std::nullopt;
  return path::TracePacket{order.id, order.hop_limit};
}

void Tracer::handle_sent(const transports::LimitedSent& sent) {
  if (!sent.possible) available_ = false;
  if (!sent.packet || sent.hop_limit == 0 || sent.hop_limit > hops_.size()) return;
  ++hops_[sent.hop_limit - 1U].sent;
}

void Tracer::handle_answer(const path::LimitedAnswer& answer) {
  if (answer.trouble != packet::IcmpTrouble::time_exceeded) return;
  if (answer.hop_limit == 0 || answer.hop_limit > hops_.size()) return;
  auto& hop = hops_[answer.hop_limit - 1U];
  if (hop.answered >= hop.sent) return;
  ++hop.answered;
  hop.from = answer.from;
  const auto rtt = std::chrono::duration_cast<std::chrono::microseconds>(answer.round_trip).count();
  const auto bounded =
      static_cast<std::uint32_t>(std::clamp<std::int64_t>(rtt, 1, std::numeric_limits<std::uint32_t>::max()));
  hop.least_rtt_us = hop.least_rtt_us == 0 ? bounded : std::min(hop.least_rtt_us, bounded);
}

std::size_t Tracer::report_octets() const noexcept {
  const auto hops = std::count_if(hops_.begin(), hops_.end(), [](const auto& hop) { return hop.sent != 0; });
  return path::kTraceReportOctets + static_cast<std::size_t>(hops) * path::kTraceHopOctets;
}

std::optional<path::TraceReport> Tracer::poll_report(std::uint64_t sent_count, Instant now) {
  if (!id_ || (reported_ && now - *reported_ < kReportEvery) || earned_octets_ < report_octets()) return std::nullopt;
  reported_ = now;
  earned_octets_ = 0;
  path::TraceReport report;
  report.id = *id_;
  report.sent_count = sent_count;
  report.hops_available = available_;
  for (const auto& hop : hops_) {
    if (hop.sent != 0) report.hops.push_back(hop);
  }
  return report;
}

}  // namespace switchback::headend
