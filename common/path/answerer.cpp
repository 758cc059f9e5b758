#include "common/path/answerer.h"

#include <algorithm>
#include <limits>

namespace switchback::path {

std::uint64_t to_microseconds(Instant at) noexcept {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(at.time_since_epoch()).count());
}

/// The pair that loss towards here is figured from. One that was overtaken says nothing new.
void Answerer::heard(std::uint64_t sent_count, const PathTotals& totals, Instant now) noexcept {
  if (peer_sent_ && sent_count < *peer_sent_) return;
  peer_sent_ = sent_count;
  received_then_ = totals.received_packets;
  loss_in_.totals(sent_count, totals.received_packets, now);
}

/// What the peer had received when a message of ours came, of what had been sent when it left.
void Answerer::arrived(std::uint64_t sent, std::uint64_t received, Instant now) noexcept {
  if (sent < loss_out_sent_) return;
  loss_out_sent_ = sent;
  loss_out_.totals(sent, received, now);
  if (!doubts_mtu(loss_out_)) return;
  if (mtu_doubted_ && now - *mtu_doubted_ < kMtuDoubtEvery) return;
  mtu_doubted_ = now;
  mtu_doubt_ = true;
}

std::optional<ControlMessage> Answerer::handle_message(const ControlMessage& message, const PathTotals& totals,
                                                       std::uint32_t decision, Instant at, Instant now) {
  // Whatever it is, the peer is awake: look soon whether data comes with it.
  if (!report_at_) report_at_ = totals.received_octets > reported_octets_ ? now : now + config_.report_every;
  if (const auto* probe = std::get_if<Probe>(&message)) {
    heard(probe->sent_count, totals, now);
    if (!allowance_.allow(now)) {
      ++refused_;
      return std::nullopt;
    }
    ++answered_;
    return ProbeAnswer{probe->id, probe->sent_at_us, to_microseconds(at), to_microseconds(now), totals.received_packets,
                       decision};
  }
  if (const auto* probe = std::get_if<PmtuProbe>(&message)) {
    if (!allowance_.allow(now)) {
      ++refused_;
      return std::nullopt;
    }
    ++answered_;
    return PmtuAnswer{probe->id, probe->packet_octets, probe->body_octets};
  }
  if (const auto* report = std::get_if<Report>(&message)) {
    heard(report->sent_count, totals, now);
    arrived(report->peer_sent_count, report->received_then, now);
    goodput_out_.total(report->received_octets, now);
  } else if (const auto* answer = std::get_if<ProbeAnswer>(&message)) {
    const auto sent = std::find_if(probes_.begin(), probes_.end(),
                                   [&](const SentProbe& one) { return one.waiting && one.id == answer->id; });
    if (sent != probes_.end()) {
      sent->waiting = false;
      rtt_.sample(at - sent->at);
      arrived(sent->sent_packets, answer->received_count, now);  // reports stop where no data arrives
    }
  }
  return std::nullopt;
}

Report Answerer::make_report(const PathTotals& totals, const Claim& claim, Instant now) noexcept {
  Report report;
  report.number = ++reports_;
  report.spi = totals.spi;
  report.highest = totals.highest;
  report.received_count = totals.received_packets;
  report.received_octets = totals.received_octets;
  report.peer_sent_count = peer_sent_.value_or(0);
  report.received_then = received_then_;
  report.sent_count = totals.sent_packets;
  const auto quiet = std::chrono::duration_cast<std::chrono::microseconds>(now - totals.last_in).count();
  report.quiet_us =
      static_cast<std::uint32_t>(std::clamp<std::int64_t>(quiet, 0, std::numeric_limits<std::uint32_t>::max()));
  report.claim = claim;
  return report;
}

std::optional<ControlMessage> Answerer::poll(const PathTotals& totals, const Claim& claim, Instant now) {
  goodput_in_.total(totals.received_octets, now);
  const bool grew = totals.received_octets > reported_octets_;
  if (grew && !report_at_) report_at_ = now;
  if (report_at_ && now >= *report_at_) {
    const bool last = !grew && flowing_;  // what came last is told again, should the report of it be lost
    flowing_ = grew;
    reported_octets_ = totals.received_octets;
    report_at_ = grew ? std::optional{now + config_.report_every} : std::nullopt;
    if (grew || last) return make_report(totals, claim, now);
  }
  if (config_.probe_every > Duration::zero() && flowing_ &&
      (!last_probe_ || now - *last_probe_ >= config_.probe_every)) {
    last_probe_ = now;
    auto& slot = probes_[next_slot_];
    next_slot_ = (next_slot_ + 1) % probes_.size();
    slot = {next_probe_id_++, now, true, totals.sent_packets};
    return Probe{slot.id, to_microseconds(now), totals.sent_packets, claim};
  }
  return std::nullopt;
}

PathQuality Answerer::quality() const noexcept {
  return {rtt_.srtt(),
          rtt_.variation(),
          loss_out_.ratio(),
          loss_in_.ratio(),
          goodput_out_.octets_per_second(),
          goodput_in_.octets_per_second()};
}

}  // namespace switchback::path
