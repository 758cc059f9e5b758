// Sending: frames into engines or around packets, and runs of segments out of them.
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "transports/ctcp/ctcp_driver.h"

namespace switchback::transports::ctcp {
namespace {

using packet::Packet;
using packet::PacketKind;

stream::Content content_of(PacketKind kind) noexcept {
  return kind == PacketKind::ike ? stream::Content::ike : stream::Content::esp;
}

/// Whether `next` may be in one super-segment with `first`: nothing but the sequence number and PSH differs.
bool same_run(const TcpHeader& first, const TcpHeader& next) noexcept {
  return first.acknowledgement == next.acknowledgement && first.window == next.window &&
         first.options == next.options && ((first.flags ^ next.flags) & ~kPsh) == 0;
}

}  // namespace

bool Driver::may_send(Instant now) {
  if (!blocked()) return true;
  pollfd entry{watched_for_write_, POLLOUT, 0};
  if (::poll(&entry, 1, 0) == 0) return false;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watched_for_write_, nullptr);
  watched_for_write_ = -1;
  if (held_.header_bytes > 0) {
    payloads_.clear();
    for (std::size_t at = 0; at < held_.payload.size(); at += held_.each) {
      payloads_.push_back({held_.payload.data() + at, std::min(held_.each, held_.payload.size() - at)});
    }
    const auto header_bytes = std::exchange(held_.header_bytes, 0);
    emit_run(held_.path, ByteView{held_.header}.first(header_bytes), payloads_, held_.payload.size(), now);
    if (blocked()) {
      held_.header_bytes = header_bytes;
      return false;
    }
    held_.payload.clear();
  }
  flush_touched(now);
  return !blocked();
}

void Driver::touch(Connection& connection) {
  if (connection.touched) return;
  connection.touched = true;
  touched_.push_back(&connection);
}

void Driver::emit(const AddressPair& path, const TcpHeader& header, std::span<const iovec> payloads, std::size_t bytes,
                  Instant now) {
  std::array<std::uint8_t, kTcpMaximumHeaderBytes> octets{};
  const auto header_bytes = write_header(header, octets);
  if (blocked()) {  // the second of two runs that were due at once; resilient connections send theirs again
    counters_.send_dropped += std::max<std::size_t>(1, payloads.size());
    return;
  }
  emit_run(path, ByteView{octets}.first(header_bytes), payloads, bytes, now);
  if (!blocked()) return;
  // It counts as sent in its connection, and so it is kept: the one run that was under way when the socket was full.
  held_.path = path;
  held_.header = octets;
  held_.header_bytes = header_bytes;
  held_.each = payloads.empty() ? 1 : payloads.front().iov_len;
  held_.payload.clear();
  for (const auto& part : payloads) {
    append(held_.payload, ByteView{static_cast<const std::uint8_t*>(part.iov_base), part.iov_len});
  }
}

/// Pre: not blocked(). Afterwards it may be, and then nothing of the run was sent.
void Driver::emit_run(const AddressPair& path, ByteView header, std::span<const iovec> payloads, std::size_t bytes,
                      Instant now) {
  const auto segments = std::max<std::size_t>(1, payloads.size());
  const auto hop = hops_.find(path.remote.address, now);
  if (!hop) {
    counters_.send_dropped += segments;
    return;
  }
  io::TcpEmitter::Run run;
  run.source = path.local.address;
  run.destination = path.remote.address;
  run.header = header;
  run.payloads = payloads;
  run.segment_bytes = payloads.empty() ? 0 : payloads.front().iov_len;
  run.payload_bytes = bytes;
  const auto calls = emitter_.calls();
  const auto outcome = emitter_.send(run, *hop);
  counters_.send_calls += emitter_.calls() - calls;
  if (outcome == io::TcpEmitter::Outcome::blocked) {
    ++counters_.send_blocked;
    watched_for_write_ = emitter_.blocked_fd();
    epoll_event event{};
    event.events = EPOLLOUT;
    event.data.u64 = ~std::uint64_t{1};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watched_for_write_, &event);
  } else if (outcome == io::TcpEmitter::Outcome::sent) {
    counters_.sent_packets += segments;
    counters_.sent_octets += bytes;
  } else {
    counters_.send_dropped += segments;
  }
}

void Driver::emit_single(const AddressPair& path, const OutSegment& segment, Instant now) {
  const iovec payload{const_cast<std::uint8_t*>(segment.payload.data()), segment.payload.size()};
  emit(path, segment.header, {&payload, segment.payload.empty() ? std::size_t{0} : std::size_t{1}},
       segment.payload.size(), now);
}

/// Without a connection: by the IP layer, since a look at routes and neighbours for every address that somebody
/// pretends to have would cost the packet thread more than all else, and fill what is remembered of them.
void Driver::answer_stranger(const AddressPair& path, const OutSegment& segment) {
  std::array<std::uint8_t, kTcpMaximumHeaderBytes> octets{};
  io::TcpEmitter::Run run;
  run.source = path.local.address;
  run.destination = path.remote.address;
  run.header = ByteView{octets}.first(write_header(segment.header, octets));
  const auto calls = emitter_.calls();
  const bool sent = emitter_.send(run, io::NextHop{}) == io::TcpEmitter::Outcome::sent;
  counters_.send_calls += emitter_.calls() - calls;
  ++(sent ? counters_.sent_packets : counters_.send_dropped);
}

void Driver::flush(Connection& connection, Instant now) {
  flush_until_blocked(connection, now);
  if (blocked()) touch(connection);  // it goes on when the socket takes something again
}

void Driver::flush_until_blocked(Connection& connection, Instant now) {
  if (connection.classic) {
    while (!blocked()) {
      const auto segment = connection.classic->poll_segment(now);
      if (!segment) return;
      emit_single(connection.path, *segment, now);
    }
    return;
  }
  if (blocked()) return;
  payloads_.clear();
  TcpHeader header;
  std::size_t bytes = 0, each = 0;
  bool ended = false;  // by a segment shorter than the others
  const auto send_run = [&](bool more) {
    if (payloads_.empty()) return;
    // PSH would keep receivers' GRO from joining what follows.
    if (more) header.flags = static_cast<std::uint8_t>(header.flags & ~kPsh);
    emit(connection.path, header, payloads_, bytes, now);
    payloads_.clear();
    bytes = 0;
    ended = false;
  };
  while (const auto segment = connection.engine->poll_segment(now)) {
    const auto size = segment->payload.size();
    if (size == 0) {
      send_run(true);
      emit_single(connection.path, *segment, now);
      if (blocked()) return;
      continue;
    }
    const bool fits = !payloads_.empty() && !ended && size <= each && same_run(header, segment->header) &&
                      segment->header.sequence == header.sequence + static_cast<std::uint32_t>(bytes) &&
                      payloads_.size() < io::TcpEmitter::kMaximumSegments &&
                      bytes + size <= io::TcpEmitter::kMaximumRunBytes;
    if (!fits) {
      send_run(true);
      if (blocked()) {
        counters_.send_dropped += 1;  // the segment just polled; the engine sends it again
        return;
      }
      header = segment->header;
      each = size;
    }
    payloads_.push_back({const_cast<std::uint8_t*>(segment->payload.data()), size});
    bytes += size;
    ended = size < each;
  }
  send_run(false);
}

void Driver::flush_touched(Instant now) {
  // look_after() may remove the connection, and itself from the list. While the socket is full they wait: may_send().
  while (!touched_.empty() && !blocked()) {
    auto& connection = *touched_.front();
    touched_.pop_front();
    connection.touched = false;
    flush(connection, now);
    look_after(connection, now);
  }
}

void Driver::note_ike(Connection& connection, ByteView message) {
  if (!connection.engine || message.size() < stream::kIkeHeaderBytes) return;
  const IkeSpi spi{load_be<std::uint64_t>(message.data())};
  if (connection.ike_spi == spi) return;
  if (connection.ike_spi) connection.engine->marks().remove(*connection.ike_spi);
  connection.ike_spi = spi;
  connection.engine->marks().add(spi);
}

/// Sends as many of `packets`, all of one connection, as make one run; each is a segment of its own.
bool Driver::send_classic(Connection& connection, std::span<Packet> packets, std::size_t& taken, Instant now) {
  payloads_.clear();
  TcpHeader header;
  std::size_t bytes = 0;
  taken = 0;
  for (auto& packet : packets) {
    const auto content = content_of(packet.kind);
    const auto front = classic_header_bytes(content);
    const auto size = front + packet.size() + kTrailerBytes;
    if (packet.path != packets.front().path || packet.kind == PacketKind::keepalive) break;
    if (!payloads_.empty() &&
        (size != payloads_.front().iov_len || payloads_.size() == io::TcpEmitter::kMaximumSegments ||
         bytes + size > io::TcpEmitter::kMaximumRunBytes)) {
      break;
    }
    if (size > io::TcpEmitter::kMaximumRunBytes || packet.headroom() < front || packet.tailroom() < kTrailerBytes) {
      break;
    }
    const auto next = connection.classic->next_header(size, now);
    if (!next) break;
    if (payloads_.empty()) header = *next;
    if (front > 0) {
      const auto ike_bytes = packet.size();
      write_classic_header(ike_bytes, packet.prepend(front));
    }
    const auto sequence = content == stream::Content::ike ? connection.classic->next_ike_sequence() : std::uint16_t{0};
    write_trailer(content, connection.role, sequence, packet.append(kTrailerBytes));
    payloads_.push_back({packet.data().data(), packet.size()});
    bytes += size;
    ++taken;
  }
  if (taken == 0) return false;
  emit(connection.path, header, payloads_, bytes, now);
  for (auto& packet : packets.first(taken)) packet.reset();
  return true;
}

Result<std::size_t> Driver::send(std::span<Packet> batch, Instant now) {
  latest_ = std::max(latest_, now);
  if (!may_send(now)) return std::size_t{0};
  Connection* connection = nullptr;
  const AddressPair* known = nullptr;
  std::size_t done = 0;
  AddressPair last;
  while (done < batch.size()) {
    if (blocked()) break;
    auto& packet = batch[done];
    if (known == nullptr || packet.path != last) {
      last = packet.path;
      known = &last;
      connection = table_.find(packet.path);
    }
    // Connections keep NATs awake themselves.
    if (packet.kind == PacketKind::keepalive && connection != nullptr) {
      packet.reset();
      ++done;
      continue;
    }
    bool taken = false;
    if (connection != nullptr && !connection->closing && packet.kind != PacketKind::inner) {
      if (connection->classic) {
        std::size_t count = 0;
        if (send_classic(*connection, batch.subspan(done), count, now)) {
          touch(*connection);
          done += count;
          continue;
        }
      } else {
        if (packet.kind == PacketKind::ike) note_ike(*connection, packet.data());
        taken = connection->engine->send_frame(content_of(packet.kind), packet.data()) == SendVerdict::taken;
        touch(*connection);
      }
    }
    if (!taken) {
      ++counters_.send_dropped;
      if (packet.kind == PacketKind::esp) own_drops_.add(packet.path, 1);
    }
    packet.reset();
    ++done;
  }
  flush_touched(now);
  return done;
}

}  // namespace switchback::transports::ctcp
