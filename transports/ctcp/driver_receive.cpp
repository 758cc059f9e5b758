// Receiving: messages of the packet sockets into segments, connections and frames.
#include <sys/epoll.h>

#include <algorithm>

#include "transports/ctcp/ctcp_driver.h"

namespace switchback::transports::ctcp {
namespace {

using packet::Packet;
using packet::PacketKind;
using packet::PacketPool;

/// Messages taken in one receive(), so that a flood which yields nothing lets others have their turn.
constexpr std::size_t kMaxFetches = 64;
/// Frames of smaller messages are copied: a slab of 64 KiB for each would soon be all slabs.
constexpr std::size_t kCopyBelow = 8192;
/// How long the first payload after a handshake may be missing while later ones come.
constexpr std::chrono::seconds kAwaitFirst{10};

}  // namespace

void Driver::poll_sockets(Instant now) {
  std::array<epoll_event, 8> events{};
  const auto count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const auto which = events[static_cast<std::size_t>(i)].data.u64;
    if (which < taps_.size()) {
      taps_[which].readable = true;
    } else if (which == ~std::uint64_t{0}) {
      hops_.handle_change();
    } else {
      static_cast<void>(may_send(now));
    }
  }
}

Packet Driver::copy_of(ByteView octets) {
  if (!slab_ || slab_used_ + octets.size() > slab_.size()) {
    slab_ = pool_.allocate(0);
    if (!slab_) return {};
    slab_.resize(slab_.tailroom());
    slab_used_ = 0;
  }
  if (octets.size() > slab_.size()) return {};
  auto copy = slab_.slice(slab_used_, octets.size());
  std::copy(octets.begin(), octets.end(), copy.data().begin());
  slab_used_ += octets.size();
  return copy;
}

void Driver::deliver(Connection& connection, const stream::Frame& frame) {
  if (frame.content == stream::Content::keepalive) return;
  if (frame.content == stream::Content::malformed) {
    ++counters_.receive_malformed;
    return;
  }
  Packet packet;
  const auto whole = buffer_.data();
  const auto* begin = frame.payload.data();
  const bool inside = begin >= whole.data() && begin + frame.payload.size() <= whole.data() + whole.size();
  if (inside && whole.size() >= kCopyBelow) {
    packet = buffer_.slice(static_cast<std::size_t>(begin - whole.data()), frame.payload.size());
    buffer_shared_ = true;
  } else {
    packet = copy_of(frame.payload);
  }
  if (!packet) return;  // the pool is exhausted: a loss as any other
  if (frame.content == stream::Content::ike) note_ike(connection, frame.payload);
  packet.kind = frame.content == stream::Content::ike ? PacketKind::ike : PacketKind::esp;
  packet.path = connection.path;
  ++counters_.received_packets;
  counters_.received_octets += frame.payload.size();
  if (produced_ < out_.size()) {
    out_[produced_++] = std::move(packet);
  } else {
    ready_.push_back(std::move(packet));
  }
}

void Driver::handle_segment(Connection& connection, const TcpSegmentView& segment, Instant now) {
  if (connection.classic) {
    const auto frame = connection.classic->handle_segment(segment, now);
    if (frame && !connection.closing) deliver(connection, *frame);
    return;
  }
  connection.engine->handle_segment(segment, now);
  while (const auto frame = connection.engine->poll_frame()) {
    if (!connection.closing) deliver(connection, *frame);
  }
}

/// A segment without connection: a SYN is answered, a first payload makes the connection, the rest gets an RST.
Connection* Driver::admit(const TcpSegmentView& segment, const AddressPair& path, Instant now) {
  const auto& in = segment.header;
  const auto refuse = [&]() -> Connection* {
    ++counters_.receive_malformed;
    const auto reset = reset_for(segment);
    if (reset && resets_.allow(now)) answer_stranger(path, *reset);
    return nullptr;
  };
  const Guard* guard = nullptr;
  for (const auto& candidate : guards_) {
    const auto& local = candidate.io.local;
    if (local.port != path.local.port || local.address.family() != path.local.address.family()) continue;
    // The packet socket also sees what this host only forwards, to others' ports of that number.
    const bool ours =
        local.address == path.local.address || (local.address.is_unspecified() && hops_.is_local(path.local.address));
    if (ours) guard = &candidate;
  }
  if (guard == nullptr) return nullptr;  // of a port given up, or another address's: not ours to answer
  const auto& cookies = path.local.address.is_v6() ? *guard->cookies_v6 : *guard->cookies_v4;
  if (in.has(kSyn)) {
    const auto answer = cookies.answer(segment, path, now);
    if (answer && answers_.allow(now)) answer_stranger(path, *answer);
    return nullptr;
  }
  if (in.has(kRst)) return nullptr;
  auto& awaited = awaited_[std::hash<AddressPair>{}(path) % awaited_.size()];
  if (segment.payload.empty()) {
    // The handshake's last ACK, whose connection begins with the payload after it; else of an earlier life of ours.
    constexpr std::array<std::uint8_t, 1> kAny{0};
    auto with_payload = segment;
    with_payload.payload = kAny;
    if (!cookies.accept(with_payload, path, now))
      return awaited.path == path && now < awaited.since + kAwaitFirst ? nullptr : refuse();
    awaited = {path, now};
    return nullptr;
  }
  const auto agreed = cookies.accept(segment, path, now);
  if (!agreed) return awaited.path == path && now < awaited.since + kAwaitFirst ? nullptr : refuse();
  awaited = {};
  const auto mode = detect_mode(segment.payload);
  if (!mode) return refuse();
  if (*mode == CtcpMode::resilient ? !config_.ctcp_resilient : !config_.ctcp_classic) return refuse();
  if (table_.size() >= config_.max_connections ||
      table_.held_by(path.remote.address) >= config_.max_connections_per_address) {
    return refuse();
  }
  auto connection = std::make_unique<Connection>();
  connection->path = path;
  if (*mode == CtcpMode::classic) {
    connection->classic = ClassicConnection::accept(path.local.port, path.remote.port, *agreed, now);
  } else {
    EngineConfig engine;
    engine.local_port = path.local.port;
    engine.remote_port = path.remote.port;
    const auto hop = hops_.find(path.remote.address, now);
    const std::size_t headers = path.local.address.is_v6() ? 60 : 40;
    const std::size_t mtu = hop ? hop->mtu : 1500;
    engine.mss = static_cast<std::uint16_t>(
        std::clamp<std::size_t>(mtu > headers ? mtu - headers : 0, kDefaultMss, kMaximumMss));
    connection->engine = TcpEngine::accept(engine, *agreed, now);
  }
  auto& added = table_.add(std::move(connection));
  note_unproven(added, now);
  return &added;
}

void Driver::handle_message(const io::ReceivedTcp& message, Instant now) {
  const auto octets = ByteView{buffer_.data()}.subspan(message.offset, message.bytes);
  const auto parsed = parse_segment(octets);
  if (!parsed) {
    ++counters_.receive_malformed;
    return;
  }
  const auto header_octets = octets.size() - parsed->payload.size();
  if (!message.checked &&
      tcp_checksum(octets.first(header_octets), parsed->payload, message.source, message.destination) != 0) {
    ++counters_.receive_malformed;
    return;
  }
  const AddressPair path{{message.destination, parsed->header.destination_port},
                         {message.source, parsed->header.source_port},
                         kCtcpTransport};
  auto* connection = table_.find(path);
  // Joined segments are given one by one, as they were sent: a frame's loss is no other's.
  const auto each =
      message.segment_bytes > 0 ? message.segment_bytes : std::max<std::size_t>(1, parsed->payload.size());
  std::size_t at = 0;
  do {
    auto segment = *parsed;
    const auto size = std::min(each, parsed->payload.size() - at);
    segment.payload = parsed->payload.subspan(at, size);
    segment.header.sequence += static_cast<std::uint32_t>(at);
    at += size;
    if (at < parsed->payload.size()) segment.header.flags &= static_cast<std::uint8_t>(~(kFin | kPsh));
    if (connection == nullptr) connection = admit(segment, path, now);
    if (connection == nullptr) return;
    handle_segment(*connection, segment, now);
  } while (at < parsed->payload.size());
  touch(*connection);
}

Result<std::size_t> Driver::receive(std::span<Packet> out, Instant now) {
  latest_ = std::max(latest_, now);
  out_ = out;
  produced_ = 0;
  while (produced_ < out.size() && !ready_.empty()) {
    out[produced_++] = std::move(ready_.front());
    ready_.pop_front();
  }
  bool polled = false;
  for (std::size_t fetches = 0; fetches < kMaxFetches && produced_ < out.size();) {
    Tap* ready = nullptr;
    for (std::size_t i = 0; i < taps_.size() && ready == nullptr; ++i) {
      auto& candidate = taps_[(next_tap_ + i) % taps_.size()];
      if (!candidate.readable) continue;
      ready = &candidate;
      next_tap_ = (next_tap_ + i + 1) % taps_.size();
    }
    if (ready == nullptr) {
      if (polled) break;
      polled = true;
      poll_sockets(now);
      continue;
    }
    ++fetches;
    if (!buffer_ || buffer_shared_) {
      buffer_ = pool_.allocate(0);
      buffer_shared_ = false;
      if (!buffer_) break;
    }
    buffer_.resize(io::TcpTap::kBufferBytes);
    io::ReceivedTcp message;
    const auto outcome = ready->io.receive(buffer_.data(), message);
    if (outcome == io::TcpTap::Outcome::drained) {
      ready->readable = false;
      continue;
    }
    ++counters_.receive_calls;
    if (outcome == io::TcpTap::Outcome::useless) {
      ++counters_.receive_malformed;
      continue;
    }
    buffer_.resize(message.offset + message.bytes);
    handle_message(message, now);
  }
  out_ = {};
  return produced_;
}

}  // namespace switchback::transports::ctcp
