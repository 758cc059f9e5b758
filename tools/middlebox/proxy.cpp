#include "tools/middlebox/proxy.h"

#include <algorithm>

namespace switchback::middlebox {

using namespace transports::ctcp;

void Proxy::handle(Segment segment, Instant now, Output& out) {
  if (!front_) {
    if (!segment.header.has(kSyn) || segment.header.has(kAck)) {
      out.decisions.push_back({"drop", "no connection", segment.direction, segment.header.sequence, 0});
      return;
    }
    of_client_ = segment.direction;
    SmallTcpConfig config;
    config.segment_octets = rules_.segment_octets;
    config.congestion_control = rules_.congestion_control;
    config.coalesce_wait = rules_.coalesce_wait;
    config.random_cuts = rules_.random_cuts;
    config.listening = true;
    config.isn = isn_to_client_;
    config.local_port = segment.header.destination_port;
    config.remote_port = segment.header.source_port;
    front_.emplace(config);
    config.listening = false;
    config.isn = isn_to_server_;
    std::swap(config.local_port, config.remote_port);
    back_.emplace(config);
    out.decisions.push_back(
        {"terminate", "a connection of its own to each end", segment.direction, segment.header.sequence, 0});
  }
  (segment.direction == of_client_ ? *front_ : *back_).handle(segment.view(), now);
  relay(now, out);
}

void Proxy::relay(Instant now, Output& out) {
  const auto copy = [](SmallTcp& from, SmallTcp& to) {
    const auto count = std::min(from.readable().size(), to.room());
    to.write(from.readable().first(count));
    from.consume(count);
    if (from.peer_finished() && from.readable().empty()) to.finish();
  };
  copy(*front_, *back_);
  copy(*back_, *front_);
  emit(*back_, of_client_, now, out);
  emit(*front_, opposite(of_client_), now, out);
  if (!dead_ && (front_->reset() || back_->reset())) {
    dead_ = true;
    auto& living = front_->reset() ? *back_ : *front_;
    const auto direction = front_->reset() ? of_client_ : opposite(of_client_);
    living.finish();
    emit(living, direction, now, out);
    out.decisions.push_back({"end", "one end reset the connection", direction, 0, 0});
  }
}

void Proxy::emit(SmallTcp& from, Direction direction, Instant now, Output& out) {
  made_.clear();
  from.poll(now, made_);
  for (auto& made : made_) out.forward.push_back({direction, made.header, std::move(made.payload), {}});
}

std::optional<Instant> Proxy::next_deadline() const {
  if (!front_ || dead_) return std::nullopt;
  return earliest(front_->next_deadline(), back_->next_deadline());
}

void Proxy::handle_deadline(Instant now, Output& out) {
  if (!front_ || dead_) return;
  front_->handle_deadline(now);
  back_->handle_deadline(now);
  relay(now, out);
}

}  // namespace switchback::middlebox
