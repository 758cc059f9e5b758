// What the Connector tells by its control socket.
#include "client/connect.h"

namespace switchback::client {

namespace {

std::string name_of(const path::Candidate& candidate) {
  return std::string{path::to_string(candidate.transport)} + ' ' + std::string{path::to_string(candidate.family)};
}

PathView view_of(const Paths::View& from, bool standard_peer) {
  PathView path;
  const auto& status = from.status;
  path.id = status.path.value;
  path.transport = path::to_string(status.candidate.transport);
  path.family = path::to_string(status.candidate.family);
  path.state = path::to_string(status.state);
  path.role = from.in_use ? "in_use" : status.twin ? "twin" : "standby";
  if (!from.data.remote.address.empty()) {
    path.local = place(from.data.local);
    path.remote = place(from.data.remote);
  }
  const auto milliseconds = [](Duration time) { return std::chrono::duration<double, std::milli>(time).count(); };
  path.measured = !standard_peer;
  if (status.srtt) path.rtt_ms = milliseconds(*status.srtt);
  path.rtt_variation_ms = milliseconds(status.rtt_variation);
  path.loss_out = status.loss_out;
  path.loss_in = status.loss_in;
  path.goodput_in = status.goodput_in;
  path.goodput_out = from.goodput_out;
  path.outer_mtu = from.outer_mtu;
  path.pmtu_state = from.pmtu_state;
  path.probes = status.probes;
  path.answers = status.answers;
  path.sent_packets = from.sent_packets;
  path.received_packets = from.received_packets;
  path.received_octets = from.received_octets;
  for (std::size_t i = 0; i < path::kSignals; ++i) {
    path.signals.emplace_back(path::to_string(static_cast<path::Signal>(i)), status.signals[i]);
  }
  return path;
}

PathEventView view_of(const DatedEvent& from) {
  using path::EventKind;
  PathEventView view;
  const auto& event = from.event;
  view.at = from.at;
  view.kind = path::to_string(event.kind);
  if (event.kind != EventKind::outage && event.kind != EventKind::network) {
    view.transport = path::to_string(event.candidate.transport);
    view.family = path::to_string(event.candidate.family);
  }
  if (event.from) view.from = name_of(*event.from);
  if (event.signal) view.signal = path::to_string(*event.signal);
  if (event.reason != path::Reason::none) view.reason = path::to_string(event.reason);
  view.text = path::describe(event);
  return view;
}

}  // namespace

void Connector::on_control(std::string_view line, io::ControlServer::Reply reply) {
  const auto request = parse_control_request(line);
  switch (request.command) {
    case ControlCommand::status: reply.send(to_json(status())); return;
    case ControlCommand::disconnect:
      reply.send(control_ok());
      // Once the answer is on its way.
      loop_.post([this] {
        if (state_ != State::closing) begin_close("disconnect");
      });
      return;
    case ControlCommand::use: {
      const auto transport = path::transport_from(request.transport);
      if (!transport) {
        reply.send(
            control_refusal("there is no transport \"" + request.transport + "\": use udp, esp, ctcp, tcp or tls"));
        return;
      }
      if (state_ != State::up) {
        reply.send(control_refusal("cannot move: the tunnel is not up"));
        return;
      }
      const auto accepted = paths_.request(*transport, monotonic_now());
      reply.send(accepted ? control_ok() : control_refusal(accepted.error().message));
      return;
    }
    case ControlCommand::unknown: reply.send(control_refusal("unknown command")); return;
  }
}

StatusView Connector::status() const {
  StatusView view;
  view.version = SB_VERSION;
  view.profile = config_.profile.name;
  view.tun = tunnel_.name();
  switch (state_) {
    case State::connecting:
    case State::waiting: view.state = was_up_ ? "reconnecting" : "connecting"; break;
    case State::up: view.state = "up"; break;
    case State::closing: view.state = "closing"; break;
  }
  if (const auto transport = paths_.transport_in_use()) view.transport = path::to_string(*transport);
  view.headend = config_.profile.headend.identity;
  if (const auto path = paths_.in_use()) view.path = *path;
  view.path_state = path::to_string(paths_.state());
  for (const auto transport : config_.order) view.order.emplace_back(path::to_string(transport));
  if (config_.forced) view.forced = path::to_string(*config_.forced);
  for (const auto& one : tunnel_.left_out()) view.left_out.emplace_back(path::to_string(one.transport), one.why);
  view.standard_peer = established_ && state_ == State::up && !paths_.peer_takes_part();
  view.moves = paths_.moves();
  for (const auto& path : paths_.views()) view.paths.push_back(view_of(path, view.standard_peer));
  for (const auto& event : paths_.events()) view.events.push_back(view_of(event));
  const auto& applied = tunnel_.routes().applied();
  view.addresses = applied.addresses;
  for (const auto& route : applied.routes) {
    if (route.kind == io::RouteKind::unicast) view.routes.push_back(route.destination);
  }
  view.blocked_v4 = applied.blocked_v4;
  view.blocked_v6 = applied.blocked_v6;
  view.dns = tunnel_.dns().applied().servers;
  view.dns_method = tunnel_.dns().method();
  view.mtu = tunnel_.mtu();
  view.offloads = tunnel_.data().offloads();
  if (established_) {
    view.ike_suite = established_->suite;
    view.behind_nat = established_->local_behind_nat;
    view.mobike = established_->mobike;
  }
  view.since = since_;
  view.sessions = sessions_;
  view.last_event = last_event_;
  const auto counters = tunnel_.data().counters();
  view.in_packets = counters.inner_received;
  view.in_bytes = counters.tun_written_octets;
  view.out_packets = counters.inner_sent;
  view.out_bytes = counters.tun_read_octets;
  view.no_outbound = counters.no_outbound;
  view.esp_replayed = counters.esp_replayed;
  view.esp_forged = counters.esp_forged;
  view.too_big = counters.too_big;
  if (!session_) return view;
  for (const auto& child : session_->children()) {
    ChildView one;
    one.inbound = child.inbound.value;
    one.outbound = child.outbound.value;
    one.suite = child.suite;
    one.state = to_string(child.state);
    one.local = packet::to_string(child.local);
    one.remote = packet::to_string(child.remote);
    if (const auto found = children_.find(child.inbound); found != children_.end()) {
      const auto& in = *found->second.counters.inbound;
      const auto& out = *found->second.counters.outbound;
      one.in_packets = in.packets.load(std::memory_order_relaxed);
      one.in_bytes = in.bytes.load(std::memory_order_relaxed);
      one.out_packets = out.packets.load(std::memory_order_relaxed);
      one.out_bytes = out.bytes.load(std::memory_order_relaxed);
      one.replayed = in.replayed.load(std::memory_order_relaxed);
      one.forged = in.forged.load(std::memory_order_relaxed);
      one.wrong_selector = in.wrong_selector.load(std::memory_order_relaxed);
      one.too_big = found->second.counters.activity->too_big.load(std::memory_order_relaxed);
    }
    view.children.push_back(std::move(one));
  }
  return view;
}

}  // namespace switchback::client
