#include "transports/ctcp/classic.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace switchback::transports::ctcp {
namespace {

// Octets of the trailer.
constexpr std::size_t kAtSequence = 4, kAtDirection = 6, kAtCookie = 8, kAtLength = 12, kAtProtocol = 13, kAtEnd = 14;
constexpr std::uint8_t kProtocolUdp = 17, kProtocolEsp = 50;
constexpr std::uint16_t kClientIke = 0x4000;
constexpr std::uint16_t kVersion = 0x0100;

constexpr std::uint64_t kTurn = std::uint64_t{1} << 32U;
// How far numbers may be from what is expected: losses are never repaired, so a peer's numbers jump. Off-path guesses
// have to meet both this and an acknowledgement number as narrow.
constexpr std::uint64_t kFarAhead = std::uint64_t{1} << 26U;
// More than that: what a forged segment led us ahead of must still be seen as the peer's.
constexpr std::uint64_t kFarBehind = std::uint64_t{1} << 27U;
/// Nothing is late by so much on a path; and so many segments in a row show that it is the peer that goes on there.
constexpr std::uint64_t kNeverLate = std::uint64_t{1} << 20U;
constexpr unsigned kGoesOnThere = 16;

}  // namespace

void write_classic_header(std::size_t ike_bytes, ByteSpan out) noexcept {
  assert(ike_bytes + kUdpHeaderBytes <= std::numeric_limits<std::uint16_t>::max() && out.size() >= kUdpHeaderBytes);
  store_be(out.data(), kIkePort);
  store_be(out.data() + 2, kIkePort);
  store_be(out.data() + 4, static_cast<std::uint16_t>(ike_bytes + kUdpHeaderBytes));
  store_be(out.data() + 6, std::uint16_t{0});  // receivers do not check it, and a NAT would make it wrong
}

void write_trailer(stream::Content content, ClassicRole from, std::uint16_t sequence, ByteSpan out) noexcept {
  assert(out.size() >= kTrailerBytes);
  const bool ike = content == stream::Content::ike;
  store_be(out.data(), std::uint32_t{0});
  store_be(out.data() + kAtSequence, ike ? sequence : std::uint16_t{0});
  store_be(out.data() + kAtDirection, ike && from == ClassicRole::client ? kClientIke : std::uint16_t{0});
  std::copy(kTrailerCookie.begin(), kTrailerCookie.end(), out.begin() + kAtCookie);
  out[kAtLength] = kTrailerBytes;
  out[kAtProtocol] = ike ? kProtocolUdp : kProtocolEsp;
  store_be(out.data() + kAtEnd, kVersion);
}

Result<stream::Frame, ParseError> parse_classic(ByteView payload) noexcept {
  if (payload.size() < kTrailerBytes) return fail(ParseErrc::truncated, 0);
  const auto body = payload.first(payload.size() - kTrailerBytes);
  const auto trailer = payload.last(kTrailerBytes);
  if (!same_bytes(trailer.subspan(kAtCookie, kTrailerCookie.size()), kTrailerCookie) ||
      trailer[kAtLength] != kTrailerBytes) {
    return fail(ParseErrc::bad_value, body.size() + kAtCookie);
  }
  if (trailer[kAtProtocol] == kProtocolEsp) {
    if (body.size() < stream::kMinimumEspBytes) return fail(ParseErrc::truncated, 0);
    return stream::Frame{stream::Content::esp, body};
  }
  if (trailer[kAtProtocol] != kProtocolUdp) return fail(ParseErrc::bad_value, body.size() + kAtProtocol);
  if (body.size() < kUdpHeaderBytes + stream::kIkeHeaderBytes) return fail(ParseErrc::truncated, 0);
  if (load_be<std::uint16_t>(body.data() + 4) != body.size()) return fail(ParseErrc::bad_length, 4);
  auto ike = body.subspan(kUdpHeaderBytes);
  // A peer that uses port 4500 inside puts the marker of RFC 3948 §2.2 there.
  if (load_be<std::uint32_t>(ike.data()) == 0 && ike.size() >= stream::kMarkerBytes + stream::kIkeHeaderBytes) {
    ike = ike.subspan(stream::kMarkerBytes);
  }
  return stream::Frame{stream::Content::ike, ike};
}

std::optional<CtcpMode> detect_mode(ByteView first_payload) noexcept {
  const auto prefix = std::min(first_payload.size(), stream::kPrefix.size());
  // A re-segmenting device may cut even the prefix.
  if (prefix > 0 && same_bytes(first_payload.first(prefix), ByteView{stream::kPrefix}.first(prefix))) {
    return CtcpMode::resilient;
  }
  return parse_classic(first_payload) ? std::optional{CtcpMode::classic} : std::nullopt;
}

ClassicConnection ClassicConnection::connect(std::uint16_t local_port, std::uint16_t remote_port, RandomSource& random,
                                             Instant now) {
  ClassicConnection connection;
  connection.local_port_ = local_port;
  connection.remote_port_ = remote_port;
  connection.next_ = kTurn + public_random<std::uint32_t>(random);
  connection.syn_at_ = now;
  connection.started_ = now;
  return connection;
}

ClassicConnection ClassicConnection::accept(std::uint16_t local_port, std::uint16_t remote_port,
                                            const Handshake& agreed, Instant now) {
  ClassicConnection connection;
  connection.local_port_ = local_port;
  connection.remote_port_ = remote_port;
  connection.state_ = ClassicState::established;
  connection.next_ = connection.last_ack_ = kTurn + agreed.local_isn + 1;
  connection.highest_ = kTurn + agreed.remote_isn + 1;
  connection.local_isn_ = agreed.local_isn;
  connection.remote_isn_ = agreed.remote_isn;
  connection.last_sent_ = now;
  return connection;
}

void ClassicConnection::finish(ClassicClose reason, bool answer) noexcept {
  if (state_ == ClassicState::closed) return;
  state_ = ClassicState::closed;
  reason_ = reason;
  reset_due_ = answer;
  ack_due_ = false;
  syn_at_.reset();
}

TcpHeader ClassicConnection::header(std::uint8_t flags) const noexcept {
  TcpHeader out;
  out.source_port = local_port_;
  out.destination_port = remote_port_;
  out.sequence = static_cast<std::uint32_t>(next_);
  out.acknowledgement = (flags & kAck) != 0 ? static_cast<std::uint32_t>(highest_) : 0;
  out.flags = flags;
  out.window = kWindow;
  return out;
}

std::optional<stream::Frame> ClassicConnection::handle_segment(const TcpSegmentView& segment, Instant now) {
  const auto& in = segment.header;
  if (state_ == ClassicState::closed) return std::nullopt;
  if (state_ == ClassicState::syn_sent) {
    if (!in.has(kAck) || in.acknowledgement != static_cast<std::uint32_t>(next_ + 1)) {
      ++counters_.ignored;
      return std::nullopt;
    }
    if (in.has(kRst)) {
      finish(ClassicClose::refused, false);
    } else if (in.has(kSyn)) {
      state_ = ClassicState::established;
      local_isn_ = static_cast<std::uint32_t>(next_);
      remote_isn_ = in.sequence;
      last_ack_ = ++next_;
      highest_ = kTurn + in.sequence + 1;
      syn_at_.reset();
      ack_due_ = true;
      last_sent_ = now;
    }
    return std::nullopt;
  }
  const auto position = unwrap(in.sequence, highest_);
  if (in.has(kRst)) {
    // The original does not check this number, and anybody could end its connections.
    if (position == highest_) {
      finish(ClassicClose::reset, false);
    } else {
      ++counters_.ignored;
    }
    return std::nullopt;
  }
  if (in.has(kSyn)) {
    if (in.has(kAck) && position + 1 <= highest_) ack_due_ = true;  // our ACK of its SYN-ACK was lost
    ++counters_.ignored;
    return std::nullopt;
  }
  const auto ack = unwrap(in.acknowledgement, next_);
  if (!in.has(kAck) || ack > next_ || ack + kFarAhead < next_ || position > highest_ + kFarAhead ||
      position + kFarBehind < highest_) {
    ++counters_.ignored;
    return std::nullopt;
  }
  if (in.has(kFin)) {
    if (position == highest_) {
      finish(ClassicClose::finished, true);
    } else {
      ++counters_.ignored;
    }
    return std::nullopt;
  }
  if (ack > last_ack_) {
    last_ack_ = ack;
    counters_.stale_acks = 0;
  } else if (segment.payload.empty() && ack == last_ack_ && ack < next_) {
    ++counters_.duplicate_acks;
    ++counters_.stale_acks;
  }
  if (segment.payload.empty()) return std::nullopt;  // a keepalive, or an ACK that the original would not send
  const auto frame = parse_classic(segment.payload);
  if (!frame) {
    ++counters_.malformed;
    return std::nullopt;
  }
  const auto end = position + segment.payload.size();
  if (end > highest_) {
    highest_ = end;
    behind_ = 0;
  } else if (highest_ - end < kNeverLate) {
    behind_ = 0;
  } else if (++behind_ == kGoesOnThere) {
    // Somebody had us acknowledge what the peer never sent, and it ignores all our segments until that is undone.
    highest_ = end;
    behind_ = 0;
  }
  ++counters_.received;
  return *frame;
}

std::optional<Instant> ClassicConnection::next_deadline() const noexcept {
  if (state_ == ClassicState::closed) return std::nullopt;
  if (state_ == ClassicState::syn_sent) return std::min(*syn_at_, started_ + kHandshakeTimeout);
  return last_sent_ + kKeepalive;
}

void ClassicConnection::handle_deadline(Instant now) {
  if (state_ == ClassicState::syn_sent && now >= started_ + kHandshakeTimeout) {
    finish(ClassicClose::timed_out, false);
  } else if (state_ == ClassicState::established && now >= last_sent_ + kKeepalive) {
    ack_due_ = true;
  }
}

std::optional<TcpHeader> ClassicConnection::next_header(std::size_t payload_bytes, Instant now) {
  if (state_ != ClassicState::established) return std::nullopt;
  const auto out = header(kAck);
  next_ += payload_bytes;
  ack_due_ = false;
  last_sent_ = now;
  ++counters_.sent;
  return out;
}

std::optional<OutSegment> ClassicConnection::poll_segment(Instant now) {
  if (state_ == ClassicState::syn_sent && now >= *syn_at_) {
    const OutSegment out{header(kSyn), {}, syns_ > 0};
    syn_at_ = now + std::chrono::seconds{1} * (1U << std::min(syns_, 5U));
    ++syns_;
    return out;
  }
  if (reset_due_) {
    reset_due_ = false;
    return OutSegment{header(kRst), {}, false};
  }
  if (state_ != ClassicState::established || !ack_due_) return std::nullopt;
  ack_due_ = false;
  last_sent_ = now;
  return OutSegment{header(kAck), {}, false};
}

std::optional<TcpHeader> ClassicConnection::bare_header() const noexcept {
  if (state_ != ClassicState::established) return std::nullopt;
  return header(kAck);
}

void ClassicConnection::close() noexcept { finish(ClassicClose::local, state_ == ClassicState::established); }

}  // namespace switchback::transports::ctcp
