// What the Connector tells by its control socket.
#include "client/connect.h"

namespace switchback::client {

void Connector::on_control(std::string_view request, io::ControlServer::Reply reply) {
  switch (parse_control_request(request)) {
    case ControlCommand::status: reply.send(to_json(status())); return;
    case ControlCommand::disconnect:
      reply.send(control_ok());
      // Once the answer is on its way.
      loop_.post([this] {
        if (state_ != State::closing) begin_close("disconnect");
      });
      return;
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
  view.transport = "udp";
  view.headend = config_.profile.headend.identity;
  if (session_) view.path = session_->path();
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
