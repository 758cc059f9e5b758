#include "tools/middlebox/syn_proxy.h"

#include <utility>

namespace switchback::middlebox {

using namespace transports::ctcp;

void SynProxy::handle(Segment segment, Instant /*now*/, Output& out) {
  const auto& header = segment.header;
  if (header.has(kSyn) && !header.has(kAck) && state_ != State::joined) {
    if (state_ == State::idle) of_client_ = segment.direction;
    if (segment.direction != of_client_) return;
    if (state_ == State::idle) {
      out.decisions.push_back(
          {"greet", "answers for the server, with window 0", segment.direction, header.sequence, 0});
    }
    client_ = header;
    state_ = State::greeted;
    auto answer = made(opposite(of_client_), kSyn | kAck);
    answer.header.sequence = isn_;
    answer.header.acknowledgement = client_.sequence + 1;
    answer.header.options.mss = kMss;
    if (client_.options.window_scale) answer.header.options.window_scale = kScale;
    answer.header.options.sack_permitted = client_.options.sack_permitted;
    if (client_.options.timestamps) {
      answer.header.options.timestamps = Timestamps{timestamp_, client_.options.timestamps->value};
    }
    out.forward.push_back(std::move(answer));
    return;
  }
  if (state_ == State::idle) {
    out.decisions.push_back({"drop", "no handshake seen", segment.direction, header.sequence, segment.payload.size()});
  } else if (segment.direction == of_client_) {
    from_client(std::move(segment), out);
  } else {
    from_server(std::move(segment), out);
  }
}

Segment SynProxy::made(Direction direction, std::uint8_t flags) const {
  const bool to_server = direction == of_client_;
  Segment segment;
  segment.direction = direction;
  segment.header.source_port = to_server ? client_.source_port : client_.destination_port;
  segment.header.destination_port = to_server ? client_.destination_port : client_.source_port;
  segment.header.flags = flags;
  return segment;
}

void SynProxy::from_client(Segment segment, Output& out) {
  auto& header = segment.header;
  if (state_ == State::joined) {
    if (header.has(kAck)) header.acknowledgement += offset_;
    for (std::size_t i = 0; i < header.options.sack_count; ++i) {
      header.options.sack[i].left += offset_;
      header.options.sack[i].right += offset_;
    }
    if (header.options.timestamps) header.options.timestamps->echo += timestamp_offset_;
    segment.changed = true;
    out.forward.push_back(std::move(segment));
    return;
  }
  if (header.has(kRst) || !header.has(kAck) || header.acknowledgement != isn_ + 1) {
    out.decisions.push_back(
        {"drop", "not the answer to its SYN-ACK", segment.direction, header.sequence, segment.payload.size()});
    return;
  }
  // Each ACK while the server is silent asks it again; there is no timer.
  client_.window = header.window;
  if (header.options.timestamps) client_.options.timestamps = header.options.timestamps;
  state_ = State::asking;
  auto syn = made(of_client_, kSyn);
  syn.header.sequence = client_.sequence;
  syn.header.window = client_.window;
  syn.header.options = client_.options;
  if (syn.header.options.timestamps) syn.header.options.timestamps->echo = 0;
  out.forward.push_back(std::move(syn));
}

void SynProxy::from_server(Segment segment, Output& out) {
  auto& header = segment.header;
  if (state_ == State::asking && header.has(kSyn) && header.has(kAck)) {
    state_ = State::joined;
    offset_ = header.sequence - isn_;
    const auto theirs = header.options.timestamps;
    if (theirs) timestamp_offset_ = theirs->value - timestamp_;
    auto to_server = made(of_client_, kAck);
    to_server.header.sequence = client_.sequence + 1;
    to_server.header.acknowledgement = header.sequence + 1;
    to_server.header.window = client_.window;
    auto to_client = made(opposite(of_client_), kAck);
    to_client.header.sequence = isn_ + 1;
    to_client.header.acknowledgement = client_.sequence + 1;
    // RFC 7323 §2.2: the window of a SYN-ACK is not scaled, that of an ACK is.
    to_client.header.window = static_cast<std::uint16_t>(header.window >> (client_.options.window_scale ? kScale : 0U));
    if (theirs && client_.options.timestamps) {
      to_server.header.options.timestamps = Timestamps{client_.options.timestamps->value, theirs->value};
      to_client.header.options.timestamps = Timestamps{timestamp_, client_.options.timestamps->value};
    }
    out.decisions.push_back({"join", "the server has answered", segment.direction, header.sequence, header.window});
    out.forward.push_back(std::move(to_server));
    out.forward.push_back(std::move(to_client));
    return;
  }
  if (state_ == State::joined || (state_ == State::asking && header.has(kRst))) {
    header.sequence -= offset_;
    if (state_ == State::asking) header.sequence = isn_ + 1;  // the client knows our numbers only
    if (header.options.timestamps) header.options.timestamps->value -= timestamp_offset_;
    segment.changed = true;
    out.forward.push_back(std::move(segment));
    return;
  }
  out.decisions.push_back(
      {"drop", "the client has not answered yet", segment.direction, header.sequence, segment.payload.size()});
}

}  // namespace switchback::middlebox
