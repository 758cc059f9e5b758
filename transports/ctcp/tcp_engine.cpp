#include "transports/ctcp/tcp_engine.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace switchback::transports::ctcp {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Positions start one turn of the wire's numbers above zero, so that nothing below them underflows.
constexpr std::uint64_t kTurn = std::uint64_t{1} << 32U;
constexpr std::size_t kTimestampOptionBytes = 12;
constexpr unsigned kSynTries = 6;
constexpr Duration kSynTimeout = seconds{1};  // RFC 6298 §2.1, doubled each time
constexpr Duration kFinInterval = milliseconds{500};
constexpr Duration kFinPatience = seconds{4};
// A peer echoes what it saw last; keepalives bound how old that is on a path that works.
constexpr std::uint32_t kOldestEcho = 10 * 60 * 1000;
// Segments may be as much older than the newest one before they count as of an earlier connection; RFC 7323 §5 would
// refuse all that is reordered past a hole given up.
constexpr std::int32_t kOldestValue = -10 * 1000;

}  // namespace

std::string_view to_string(EngineState state) noexcept {
  switch (state) {
    case EngineState::syn_sent: return "syn_sent";
    case EngineState::established: return "established";
    case EngineState::closing: return "closing";
    case EngineState::closed: return "closed";
  }
  return "unknown";
}

TcpEngine::TcpEngine(const EngineConfig& config, Instant now) : config_{config}, last_sent_{now} {}

TcpEngine TcpEngine::connect(const EngineConfig& config, RandomSource& random, Instant now) {
  TcpEngine engine{config, now};
  engine.agreed_.local_isn = public_random<std::uint32_t>(random);
  engine.agreed_.timestamp_offset = public_random<std::uint32_t>(random);
  engine.first_timestamp_ = engine.last_timestamp_ = timestamp_at(now, engine.agreed_.timestamp_offset);
  engine.syn_at_ = now;
  return engine;
}

TcpEngine TcpEngine::accept(const EngineConfig& config, const Handshake& agreed, Instant now) {
  TcpEngine engine{config, now};
  // The SYN-ACK's timestamp was rounded down by less than 128 ms, and may be two cookie lifetimes old.
  engine.last_timestamp_ = timestamp_at(now, agreed.timestamp_offset);
  engine.first_timestamp_ = engine.last_timestamp_ - 130'000;
  engine.establish(agreed, false);
  return engine;
}

void TcpEngine::establish(const Handshake& agreed, bool initiator) {
  agreed_ = agreed;
  state_ = EngineState::established;
  syn_at_.reset();
  const auto options = agreed.timestamps ? kTimestampOptionBytes : 0;
  const auto mss = std::max<std::size_t>(std::min(agreed.peer_mss, config_.mss), 128);
  segment_bytes_ = static_cast<std::uint16_t>(mss - options);
  if (!agreed.peer_window_scale) config_.window = std::min<std::uint32_t>(config_.window, 0xFFFF);
  config_.window = std::min<std::uint32_t>(config_.window, 0xFFFFU << kOurWindowScale);
  peer_window_ = largest_peer_window_ = agreed.peer_window;
  prefix_due_ = initiator;

  SenderLimits limits;
  limits.bytes = config_.ring_bytes;
  limits.reliable = config_.reliable;
  sender_ = std::make_unique<SenderRing>(kTurn + agreed.local_isn + 1, limits);
  ReceiverConfig receiving;
  receiving.expect_prefix = !initiator;
  receiving.complete = config_.reliable;
  receiving.in_order = config_.reliable && config_.in_order;
  receiving.window = config_.window;
  receiving.uncut_bytes = std::min<std::size_t>(config_.mss - options, stream::kMaximumFrameBytes);
  receiver_ = std::make_unique<StreamReceiver>(kTurn + agreed.remote_isn + 1, receiving);
  if (!agreed.peer_is_engine) {
    // Our programs always have this engine at both ends, so another's SYN is a proxy's, which has a congestion control
    // and discards nothing past a gap. It may also be of a standard peer on a kernel's TCP: then holes that it would
    // have filled are passed too, and their frames are lost as datagrams are; IKE and inner flows send theirs again.
    signals_.proxy_proven = true;
    receiver_->prove_proxy();
    sender_->forbid_rewind();
  }
}

void TcpEngine::finish(CloseReason reason) noexcept {
  if (state_ == EngineState::closed) return;
  state_ = EngineState::closed;
  reason_ = reason;
  syn_at_.reset();
  fin_at_.reset();
  give_up_at_.reset();
}

void TcpEngine::handle_syn_sent(const TcpSegmentView& segment, Instant now) {
  const auto& in = segment.header;
  // Whoever cannot see our SYN has to guess its number: all else is ignored, RST too (RFC 9293 §3.10.7.3).
  if (!in.has(kAck) || in.acknowledgement != agreed_.local_isn + 1) {
    ++signals_.forged;
    return;
  }
  if (in.has(kRst)) return finish(CloseReason::refused);
  if (!in.has(kSyn)) return;
  auto agreed = agreed_;
  agreed.remote_isn = in.sequence;
  agreed.peer_mss = in.options.mss.value_or(kDefaultMss);
  agreed.peer_window_scale = in.options.window_scale;
  agreed.sack = in.options.sack_permitted;
  agreed.timestamps = in.options.timestamps.has_value();
  if (in.options.timestamps) agreed.peer_timestamp = in.options.timestamps->value;
  agreed.peer_window = in.window;  // never scaled in a SYN, RFC 7323 §2.2
  agreed.peer_is_engine = in.window == kOurSynWindow && in.options.window_scale == kOurWindowScale;
  const bool measurable = syns_sent_ == 1;
  establish(agreed, true);
  if (measurable) sender_->sample_rtt(now - syn_sent_at_);
  receiver_->want_ack();
}

bool TcpEngine::timestamps_plausible(const TcpHeader& header) const noexcept {
  if (!agreed_.timestamps) return true;
  if (!header.options.timestamps) return false;  // RFC 7323 §3.2: once agreed, in every segment but RST
  const auto& got = *header.options.timestamps;
  const auto behind = last_timestamp_ - got.echo;  // huge if it is ahead of all we sent
  const auto oldest = std::min(kOldestEcho, last_timestamp_ - first_timestamp_);
  return behind <= oldest && static_cast<std::int32_t>(got.value - agreed_.peer_timestamp) > kOldestValue;
}

std::uint64_t TcpEngine::end_of_sent() const noexcept {
  return std::max(sender_->highest_sent(), fin_ ? *fin_ + 1 : 0);
}

void TcpEngine::challenge(Instant now) {
  if (!challenges_.allow(now)) return;
  ++challenges_due_;
  ++signals_.challenge_acks;
}

void TcpEngine::handle_reset(const TcpHeader& header, Instant now) {
  const auto position = unwrap(header.sequence, receiver_->highest());
  // RFC 5961 §3.2: only the exact number counts, one within the window is asked about, the rest is nothing.
  if (position == receiver_->ack_point() || position == receiver_->highest()) {
    ++signals_.resets;
    return;
  }
  ++signals_.out_of_window;
  if (position > receiver_->ack_point() && position < receiver_->ack_point() + config_.window) challenge(now);
}

bool TcpEngine::acceptable(const TcpSegmentView& segment, std::uint64_t position, Instant now) {
  const auto& in = segment.header;
  if (in.has(kSyn)) {  // RFC 5961 §4.2: also the SYN-ACK of a peer that lost our ACK
    ++signals_.out_of_window;
    challenge(now);
    return false;
  }
  if (!in.has(kAck)) return false;
  if (!timestamps_plausible(in)) {
    ++signals_.forged;
    return false;
  }
  // RFC 5961 §5.2: an acknowledgement must be of something that the peer can have.
  const auto ack = unwrap(in.acknowledgement, sender_->una());
  if (ack > end_of_sent() || ack + std::max<std::uint64_t>(largest_peer_window_, 0xFFFF) < sender_->una()) {
    ++signals_.forged;
    challenge(now);
    return false;
  }
  const auto low = receiver_->ack_point() - std::min<std::uint64_t>(receiver_->ack_point(), config_.window);
  if (position < low || position > receiver_->ack_point() + config_.window) {
    ++signals_.out_of_window;
    challenge(now);
    return false;
  }
  return true;
}

void TcpEngine::handle_acknowledgement(const TcpSegmentView& segment, std::uint64_t position, Instant now) {
  const auto& in = segment.header;
  auto to = unwrap(in.acknowledgement, sender_->una());
  if (fin_ && to == *fin_ + 1) {
    fin_acked_ = true;
    fin_at_.reset();
    to = *fin_;
  }
  const std::uint64_t window = std::uint64_t{in.window} << agreed_.peer_window_scale.value_or(0);
  const bool same_window = window == peer_window_;
  if (to >= sender_->una()) {
    if (window == 0 && peer_window_ != 0) ++signals_.zero_windows;
    peer_window_ = window;
    largest_peer_window_ = std::max(largest_peer_window_, window);
  }
  std::array<Acknowledgement::Block, 4> blocks{};
  std::size_t count = 0;
  for (std::size_t i = 0; agreed_.sack && i < in.options.sack_count; ++i) {
    blocks[count++] = {unwrap(in.options.sack[i].left, sender_->una()),
                       unwrap(in.options.sack[i].right, sender_->una())};
  }
  // A keepalive, one before what is expected, is no duplicate ACK.
  const bool pure = segment.payload.empty() && !in.has(kFin) && same_window && position + 1 != receiver_->ack_point();
  std::optional<Duration> echo_age;  // RFC 7323 §4.1
  if (agreed_.timestamps) {
    echo_age = milliseconds{timestamp_at(now, agreed_.timestamp_offset) - in.options.timestamps->echo};
  }
  sender_->handle_ack({to, {blocks.data(), count}, pure, echo_age}, now);
}

void TcpEngine::handle_segment(const TcpSegmentView& segment, Instant now) {
  if (receiver_) receiver_->start();
  if (state_ == EngineState::closed) return;
  if (state_ == EngineState::syn_sent) return handle_syn_sent(segment, now);
  const auto& in = segment.header;
  if (in.has(kRst)) return handle_reset(in, now);
  const auto position = unwrap(in.sequence, receiver_->highest());
  if (!acceptable(segment, position, now)) return;
  ++signals_.segments;
  probes_ = 0;
  // RFC 7323 §4.3: the echo is of the segment that the next ACK answers.
  if (agreed_.timestamps && position <= receiver_->ack_point() &&
      static_cast<std::int32_t>(in.options.timestamps->value - agreed_.peer_timestamp) > 0) {
    agreed_.peer_timestamp = in.options.timestamps->value;
  }
  handle_acknowledgement(segment, position, now);
  if (!segment.payload.empty()) {
    receiver_->handle_data(position, segment.payload, marks_, sender_->srtt(), now);
    if (!receiver_->stream_ok()) {  // RFC 9329 §3 and §4: this is no stream of ours, and cannot become one
      reset_due_ = true;
      return finish(CloseReason::not_our_stream);
    }
    if (!signals_.proxy_proven && receiver_->resegmented()) {
      signals_.proxy_proven = true;
      receiver_->prove_proxy();
      sender_->forbid_rewind();
    }
  } else if (position + 1 == receiver_->ack_point() || position + 1 == receiver_->highest()) {
    receiver_->want_ack();  // a keepalive, RFC 9293 §3.8.4
  }
  if (in.has(kFin) && receiver_->handle_fin(position + segment.payload.size())) {
    remote_fin_ = true;
    ++signals_.remote_fins;
  }
  if (state_ == EngineState::closing && fin_acked_ && remote_fin_ && give_up_at_) {
    give_up_at_ = std::min(*give_up_at_, now + kFinInterval);  // long enough for the ACK of the peer's FIN
  }
}

Duration TcpEngine::probe_interval() const noexcept {
  // A closed window is asked about soon, RFC 9293 §3.8.6.1; its opening may have been lost.
  if (peer_window_ == 0) return std::min<Duration>(seconds{5}, milliseconds{250} * (1U << std::min(probes_, 5U)));
  return config_.keepalive;
}

std::optional<Instant> TcpEngine::next_deadline() const noexcept {
  if (state_ == EngineState::closed) return std::nullopt;
  if (state_ == EngineState::syn_sent) return syn_at_;
  auto deadline = earliest(sender_->next_deadline(), receiver_->next_deadline());
  deadline = earliest(deadline, fin_at_);
  deadline = earliest(deadline, give_up_at_);
  return earliest(deadline, last_sent_ + probe_interval());
}

void TcpEngine::handle_deadline(Instant now) {
  if (state_ == EngineState::closed) return;
  if (state_ == EngineState::syn_sent) {
    if (syn_at_ && now >= *syn_at_ && syns_sent_ >= kSynTries) finish(CloseReason::timed_out);
    return;
  }
  const auto stalls = sender_->counters().stalls;
  sender_->handle_deadline(now);
  // Perhaps the peer stalls as well, and all that both send is held or dropped as seen before, with the ACKs on it.
  if (sender_->counters().stalls != stalls) receiver_->want_ack();
  receiver_->handle_deadline(now);
  if (give_up_at_ && now >= *give_up_at_) return finish(CloseReason::local);
  if (now >= last_sent_ + probe_interval()) {
    keepalive_due_ = true;
    if (probes_ < 100) ++probes_;
    ++signals_.keepalives_sent;
    if (probes_ > 1) ++signals_.keepalives_unanswered;
  }
}

SendVerdict TcpEngine::send_frame(stream::Content content, ByteView payload) {
  if (state_ != EngineState::established) return SendVerdict::not_connected;
  if (!stream::fits(content, payload.size()) || payload.empty()) return SendVerdict::too_big;
  std::array<std::uint8_t, stream::kPrefix.size() + stream::kLengthBytes + stream::kMarkerBytes> head{};
  std::size_t start = 0;
  if (prefix_due_) start = stream::kPrefix.size();
  std::copy_n(stream::kPrefix.begin(), start, head.begin());
  const auto header = start + stream::write_header(content, payload.size(), ByteSpan{head}.subspan(start));
  auto total = header + payload.size();
  if (total > segment_bytes_ && content != stream::Content::ike) {
    if (total - start > segment_bytes_) return SendVerdict::too_big;
  }
  if (sender_->next() + total > sender_->una() + peer_window_) {
    ++signals_.window_drops;
    return SendVerdict::no_window;
  }
  const std::size_t pieces = (start > 0 ? 1U : 0U) + (total + segment_bytes_ - 1) / segment_bytes_;
  if (!sender_->has_room(total + 2 * std::size_t{segment_bytes_}, pieces)) {
    ++signals_.ring_drops;
    return SendVerdict::no_room;
  }
  ByteView front{head.data(), header};
  bool taken = true;
  if (total > segment_bytes_ && start > 0) {  // the prefix alone, so that the frame starts a segment
    taken = sender_->append(front.first(start), {});
    front = front.subspan(start);
    total -= start;
  }
  while (taken && total > 0) {
    const auto piece = std::min<std::size_t>(total, segment_bytes_) - front.size();
    taken = sender_->append(front, payload.first(piece));
    total -= front.size() + piece;
    payload = payload.subspan(piece);
    front = {};
  }
  assert(taken);
  prefix_due_ = false;
  ++signals_.frames_sent;
  return SendVerdict::taken;
}

std::size_t TcpEngine::maximum_esp_bytes() const noexcept {
  return segment_bytes_ > stream::kLengthBytes ? segment_bytes_ - stream::kLengthBytes : 0;
}

void TcpEngine::close(Instant now) {
  if (state_ == EngineState::syn_sent) return finish(CloseReason::local);
  if (state_ != EngineState::established) return;
  state_ = EngineState::closing;
  sender_->forbid_rewind();  // the FIN's position is final
  fin_at_ = now;
  give_up_at_ = now + kFinPatience;
}

void TcpEngine::abort() noexcept {
  if (state_ == EngineState::closed) return;
  reset_due_ = state_ != EngineState::syn_sent;
  finish(CloseReason::local);
}

Duration TcpEngine::stuck_for(Instant now) const noexcept {
  const auto since = sender_ ? sender_->waiting_since() : std::nullopt;
  return since && now > *since ? now - *since : Duration::zero();
}

std::uint16_t TcpEngine::window_field() const noexcept {
  return static_cast<std::uint16_t>(agreed_.peer_window_scale ? config_.window >> kOurWindowScale : config_.window);
}

/// For a segment that leaves now.
std::uint32_t TcpEngine::next_timestamp(Instant now) noexcept {
  last_timestamp_ = timestamp_at(now, agreed_.timestamp_offset);
  // The first one bounds what may be echoed: it must not seem new again when they wrap, after 50 days.
  if (last_timestamp_ - first_timestamp_ > kOldestEcho) first_timestamp_ = last_timestamp_ - kOldestEcho;
  return last_timestamp_;
}

TcpHeader TcpEngine::make_header(std::uint8_t flags, std::uint64_t position, Instant now) {
  TcpHeader header;
  header.source_port = config_.local_port;
  header.destination_port = config_.remote_port;
  header.sequence = static_cast<std::uint32_t>(position);
  header.acknowledgement = static_cast<std::uint32_t>(receiver_->ack_point());
  header.flags = flags;
  header.window = window_field();
  if (agreed_.timestamps) {
    header.options.timestamps = Timestamps{next_timestamp(now), agreed_.peer_timestamp};
  }
  last_sent_ = now;
  return header;
}

OutSegment TcpEngine::make_syn(Instant now) {
  OutSegment out;
  auto& header = out.header;
  header.source_port = config_.local_port;
  header.destination_port = config_.remote_port;
  header.sequence = agreed_.local_isn;
  header.flags = kSyn;
  header.window = kOurSynWindow;
  header.options.mss = config_.mss;
  header.options.window_scale = kOurWindowScale;
  header.options.sack_permitted = true;
  header.options.timestamps = Timestamps{next_timestamp(now), 0};
  out.resent = syns_sent_ > 0;
  syn_sent_at_ = now;
  syn_at_ = now + kSynTimeout * (1U << syns_sent_);
  ++syns_sent_;
  return out;
}

OutSegment TcpEngine::make_ack(bool duplicate, Instant now) {
  OutSegment out;
  out.header = make_header(kAck, fin_ ? *fin_ + 1 : sender_->next(), now);
  if (agreed_.sack) {
    out.header.options.sack_count = receiver_->sack_blocks(out.header.options.sack, agreed_.timestamps ? 3 : 4);
  }
  receiver_->ack_sent(duplicate);
  return out;
}

std::optional<OutSegment> TcpEngine::poll_segment(Instant now) {
  if (reset_due_) {
    reset_due_ = false;
    OutSegment out;
    out.header = make_header(kRst | kAck, end_of_sent(), now);
    return out;
  }
  if (state_ == EngineState::closed) return std::nullopt;
  if (state_ == EngineState::syn_sent) {
    if (!syn_at_ || now < *syn_at_ || syns_sent_ >= kSynTries) return std::nullopt;
    return make_syn(now);
  }
  return poll_established(now);
}

std::optional<OutSegment> TcpEngine::poll_established(Instant now) {
  if (receiver_->ack_due() == StreamReceiver::AckDue::duplicate) return make_ack(true, now);
  if (challenges_due_ > 0) {
    --challenges_due_;
    return make_ack(false, now);
  }
  for (const bool resent : {true, false}) {
    const auto piece = resent ? sender_->poll_resend(now) : sender_->poll_new(now);
    if (!piece) continue;
    OutSegment out;
    out.header = make_header(kAck | kPsh, piece->begin, now);
    out.payload = piece->octets;
    out.resent = resent;
    // A device that holds or discards this segment does so with the ACK on it: then one of its own follows.
    if (!sender_->may_be_held()) receiver_->ack_sent(false);
    return out;
  }
  if (state_ == EngineState::closing && fin_at_ && now >= *fin_at_ && !fin_acked_) {
    if (!fin_) fin_ = sender_->next();
    fin_at_ = now + kFinInterval;
    OutSegment out;
    out.header = make_header(kFin | kAck, *fin_, now);
    receiver_->ack_sent(false);
    return out;
  }
  if (keepalive_due_) {
    keepalive_due_ = false;
    OutSegment out;
    out.header = make_header(kAck, sender_->next() - 1, now);  // RFC 9293 §3.8.4: asks for an ACK
    receiver_->ack_sent(false);
    return out;
  }
  if (receiver_->ack_due() == StreamReceiver::AckDue::plain) return make_ack(false, now);
  return std::nullopt;
}

std::optional<TcpHeader> TcpEngine::bare_header(Instant now) {
  if (state_ != EngineState::established) return std::nullopt;
  const auto last_sent = last_sent_;
  const auto header = make_header(kAck, sender_->next() - 1, now);
  last_sent_ = last_sent;  // the peer is not to see it, so it keeps nothing alive
  return header;
}

std::optional<stream::Frame> TcpEngine::poll_frame() noexcept {
  if (!receiver_) return std::nullopt;
  const auto frame = receiver_->poll_frame();
  if (frame) ++signals_.frames_received;
  return frame;
}

}  // namespace switchback::transports::ctcp
