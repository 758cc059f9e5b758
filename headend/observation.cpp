#include "headend/observation.h"

#include <algorithm>

namespace switchback::headend {

std::optional<path::Observe> parse_question(ByteView body) {
  // Others are parsed where they are meant for; this one is short.
  if (body.size() != path::kObserveOctets || !path::is_control(body)) return std::nullopt;
  const auto message = path::parse_control(body);
  if (!message) return std::nullopt;
  const auto* question = std::get_if<path::Observe>(&*message);
  return question == nullptr ? std::nullopt : std::optional{*question};
}

path::Observation make_observation(const path::Observe& question, const AddressPair& arrived,
                                   const std::optional<transports::PathObservation>& tcp, std::uint64_t received,
                                   std::uint64_t sent, WallTime wall) {
  path::Observation seen;
  seen.id = question.id;
  seen.remote = arrived.remote;
  seen.local = arrived.local;
  seen.received_count = received;
  seen.sent_count = sent;
  seen.clock_s = static_cast<std::uint64_t>(std::max<std::int64_t>(0, wall.time_since_epoch().count()));
  if (question.answer_octets > path::kObservationOctets) {
    seen.body_octets = std::min<std::uint16_t>(question.answer_octets, path::kMaxControlOctets);
  }
  if (!tcp) return seen;
  path::TcpObservation view;
  view.numbers_known = tcp->numbers_known;
  view.local_isn = tcp->local_isn;
  view.remote_isn = tcp->remote_isn;
  view.mss = tcp->mss;
  view.window_scale = tcp->window_scale;
  view.sack = tcp->sack;
  view.timestamps = tcp->timestamps;
  view.engine = tcp->engine;
  view.resegmented = tcp->resegmented;
  view.resets = tcp->resets;
  const auto rtt = std::chrono::duration_cast<std::chrono::microseconds>(tcp->rtt).count();
  view.rtt_us = static_cast<std::uint32_t>(std::clamp<std::int64_t>(rtt, 0, UINT32_MAX));
  seen.tcp = view;
  return seen;
}

}  // namespace switchback::headend
