#include "tools/load/client.h"

#include <algorithm>
#include <array>

#include "common/esp/codec.h"
#include "common/ike/registry.h"
#include "common/packet/checksum.h"
#include "transports/dataplane/child_from_ike.h"
#include "transports/udp/framing.h"

namespace switchback::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// As switchback-client does it, so that the headend sees what it will see of real ones.
constexpr Duration kKeepalive = seconds{20};  // RFC 3948 §4
constexpr Duration kSilence = milliseconds{1500};
constexpr Duration kHintInterval = seconds{5};
constexpr unsigned kStrangersBelieved = 2;
constexpr std::size_t kFirstPayload = 16;  // of an IKE message, RFC 7296 §3.1
constexpr Duration kFirstRetry = milliseconds{400}, kRetryCap = seconds{30};

constexpr std::size_t kIcmpHeader = 8, kIpv4Header = 20, kIpv6Header = 40;
constexpr std::uint8_t kIcmp = 1, kIcmpV6 = 58, kEchoHops = 64;
constexpr std::uint8_t kEchoRequest = 8, kEchoReply = 0, kEchoRequestV6 = 128, kEchoReplyV6 = 129;

void count(std::map<std::string, std::uint64_t>& by_reason, std::string_view reason) {
  // Reasons are few: names of CloseReason and NotifyType.
  ++by_reason[std::string{reason}];
}

IkeSpi own_spi(IkeSpi initiator, IkeSpi responder, bool we_are_original_initiator) noexcept {
  return we_are_original_initiator ? initiator : responder;
}

}  // namespace

void Client::connect(Instant now, WallTime wall) {
  drop(now);
  retry_at_.reset();
  started_ = now;
  strangers_ = 0;
  refusal_.reset();
  ++context_->tally.attempts;
  session_.emplace(ike::Role::initiator, config_, ike::Environment{context_->random, context_->spis});
  session_->start(path_, now, wall);
  pump(now);
}

void Client::reconnect(bool politely, Instant now, WallTime wall) {
  if (politely && session_ && up()) {
    session_->abandon(now);
    while (const auto message = session_->poll_transmit()) context_->send_ike(message->path, message->datagram);
  }
  connect(now, wall);
}

void Client::leave(Instant now) {
  if (session_ && up()) {
    session_->abandon(now);
    while (const auto message = session_->poll_transmit()) context_->send_ike(message->path, message->datagram);
  }
  drop(now);
  retry_at_.reset();
}

void Client::drop(Instant now) {
  for (const auto& [spi, child] : children_) context_->remove_esp(spi);
  children_.clear();
  for (const auto spi : ike_spis_) context_->remove_ike(spi);
  ike_spis_.clear();
  session_.reset();
  closed_.reset();
  if (std::exchange(up_since_, std::nullopt)) context_->went_down(index_, now);
}

void Client::retry_later(Instant now) {
  // Doubling, each wait a random share between half and all of it.
  const auto doubled = std::min<Duration>(kRetryCap, kFirstRetry * (1U << std::min(failures_, 7U)));
  const auto share = static_cast<double>(public_random<std::uint32_t>(context_->random)) / 4294967296.0;
  ++failures_;
  retry_at_ = now + doubled / 2 +
              std::chrono::duration_cast<Duration>(
                  std::chrono::duration<double, std::nano>(static_cast<double>((doubled / 2).count()) * share));
}

void Client::handle_ike(ByteView message, const AddressPair& path, Instant now, WallTime wall) {
  if (!session_) return;
  const auto heard = session_->last_heard();
  session_->handle_message(message, path, now, wall);
  if (session_->last_heard() != heard) strangers_ = 0;
  const bool unprotected = up() && message.size() > kFirstPayload && session_->last_heard() == heard &&
                           message[kFirstPayload] == static_cast<std::uint8_t>(ike::PayloadType::notify);
  if (unprotected && ++strangers_ >= kStrangersBelieved &&
      now - std::max(session_->last_heard(), last_echo_in_) > kSilence) {
    count(context_->tally.losses, "not known to the headend any more");
    drop(now);
    retry_later(now);
    return;
  }
  pump(now);
}

void Client::handle_esp(ByteView packet, const AddressPair&, Instant now) {
  const auto spi = esp::peek_spi(packet);
  const auto found = spi ? children_.find(*spi) : children_.end();
  if (found == children_.end()) {
    ++context_->tally.esp_refused;
    return;
  }
  auto& child = *found->second;
  std::array<packet::Packet, 1> batch{context_->pool.allocate(packet::kSendHeadroom)};
  if (!batch[0]) return;
  const auto room = batch[0].append(packet.size());
  std::copy(packet.begin(), packet.end(), room.begin());
  std::array<esp::Verdict, 1> verdict{};
  esp::open(child.inbound, batch, verdict);
  if (verdict[0] != esp::Verdict::opened && verdict[0] != esp::Verdict::dummy) {
    ++context_->tally.esp_refused;
    return;
  }
  last_echo_in_ = now;
  bool told = false;
  if (!std::exchange(child.received, true)) {
    session_->handle_first_inbound_packet(*spi, now);
    told = true;
  }
  if (now - last_told_ >= seconds{1}) {
    last_told_ = now;
    session_->handle_authenticated_traffic(now);
    told = true;
  }
  if (verdict[0] == esp::Verdict::opened) take_echo(batch[0].data(), now);
  if (told) pump(now);
}

void Client::handle_deadline(Instant now, WallTime wall) {
  if (retry_at_ && *retry_at_ <= now) return connect(now, wall);
  if (!session_) return;
  session_->handle_deadline(now, wall);
  pump(now);
  if (up() && now - last_sent_ >= kKeepalive) {
    const std::array octet{transports::udp::kKeepalive};
    context_->send_packet(session_->path(), octet);
    ++context_->tally.keepalives;
    last_sent_ = now;
  }
}

std::optional<Instant> Client::next_deadline() const {
  if (!session_) return retry_at_;
  const auto due = session_->next_deadline();
  return up() ? earliest(due, last_sent_ + kKeepalive) : due;
}

void Client::pump(Instant now) {
  for (bool more = true; more;) {
    more = false;
    while (auto event = session_->poll_event()) {
      more = true;
      on(*event, now);
    }
    while (const auto message = session_->poll_transmit()) {
      more = true;
      context_->send_ike(message->path, message->datagram);
    }
  }
  if (const auto closed = std::exchange(closed_, std::nullopt)) on_closed(*closed, now);
}

void Client::on(ike::Event& event, Instant now) {
  if (auto* added = std::get_if<ike::IkeSpisAdded>(&event)) {
    const auto own = own_spi(added->initiator, added->responder, added->we_are_original_initiator);
    ike_spis_.push_back(own);
    context_->add_ike(own, index_);
  } else if (auto* removed = std::get_if<ike::IkeSpisRemoved>(&event)) {
    const auto own = own_spi(removed->initiator, removed->responder, removed->we_are_original_initiator);
    context_->remove_ike(own);
    std::erase(ike_spis_, own);
  } else if (auto* established = std::get_if<ike::Established>(&event)) {
    inner_.clear();
    for (const auto& prefix : established->network.addresses) inner_.push_back(prefix.address);
  } else if (auto* installed = std::get_if<ike::ChildInstalled>(&event)) {
    const bool use = installed->use_outbound;
    auto made = transports::child_from_ike(*installed, transports::SessionTag{index_}, false, now);
    const auto spi = made.inbound.spi;
    if (use) {
      for (auto& [other, child] : children_) child->sends = false;
    }
    children_[spi] = std::make_unique<Child>(
        Child{esp::InboundSa{std::move(made.inbound)}, esp::OutboundSa{std::move(made.outbound)}, use});
    context_->add_esp(spi, index_);
    if (up()) return;
    up_since_ = last_sent_ = last_echo_in_ = now;
    failures_ = 0;
    ++context_->tally.handshakes;
    context_->tally.handshake.add(now - started_);
    context_->came_up(index_, now);
  } else if (auto* switched = std::get_if<ike::OutboundSwitched>(&event)) {
    for (auto& [spi, child] : children_) child->sends = spi == switched->inbound;
  } else if (auto* gone = std::get_if<ike::ChildRemoved>(&event)) {
    if (children_.erase(gone->inbound) != 0) context_->remove_esp(gone->inbound);
    if (children_.empty() && session_->state() == ike::SessionState::established) {
      session_->close(now, ike::CloseReason::peer_deleted);
    }
  } else if (auto* failed = std::get_if<ike::ChildFailed>(&event)) {
    if (up()) return;
    refusal_ = ike::to_string(failed->error);
    session_->close(now, ike::CloseReason::refused);
  } else if (auto* closed = std::get_if<ike::Closed>(&event)) {
    closed_ = std::move(*closed);
  }
}

void Client::on_closed(const ike::Closed& closed, Instant now) {
  count(up() ? context_->tally.losses : context_->tally.failures, refusal_ ? *refusal_ : to_string(closed.reason));
  drop(now);
  retry_later(now);
}

Client::Child* Client::sending() noexcept {
  for (auto& [spi, child] : children_) {
    if (child->sends) return child.get();
  }
  return nullptr;
}

void Client::send_echo(const IpAddress& to, std::size_t payload, Instant now) {
  auto* child = up() ? sending() : nullptr;
  const auto from = std::find_if(inner_.begin(), inner_.end(),
                                 [&](const IpAddress& address) { return address.family() == to.family(); });
  if (child == nullptr || from == inner_.end()) return;
  std::array<packet::Packet, 1> batch{context_->pool.allocate(packet::kSendHeadroom)};
  if (!batch[0]) return;
  const bool v4 = to.is_v4();
  const auto header = v4 ? kIpv4Header : kIpv6Header;
  const auto size = header + kIcmpHeader + payload;
  const auto octets = batch[0].append(size);
  std::fill(octets.begin(), octets.end(), std::uint8_t{0});
  auto* const ip = octets.data();
  const auto length = static_cast<std::uint16_t>(v4 ? size : size - header);
  if (v4) {
    ip[0] = 0x45;
    store_be(ip + 2, length);
    ip[6] = 0x40;  // Don't Fragment
    ip[8] = kEchoHops;
    ip[9] = kIcmp;
  } else {
    ip[0] = 0x60;
    store_be(ip + 4, length);
    ip[6] = kIcmpV6;
    ip[7] = kEchoHops;
  }
  const auto addresses = octets.subspan(v4 ? 12U : 8U, v4 ? 8U : 32U);
  std::copy(from->bytes().begin(), from->bytes().end(), addresses.begin());
  std::copy(to.bytes().begin(), to.bytes().end(), addresses.begin() + static_cast<std::ptrdiff_t>(to.size()));
  if (v4) store_be(ip + 10, packet::ChecksumSum{}.add(octets.first(header)).finish());
  auto* const icmp = ip + header;
  icmp[0] = v4 ? kEchoRequest : kEchoRequestV6;
  store_be(icmp + 4, static_cast<std::uint16_t>(index_));
  store_be(icmp + 6, ++sequence_);
  store_be(icmp + kIcmpHeader, static_cast<std::uint64_t>(now.time_since_epoch().count()));
  packet::ChecksumSum sum;
  if (!v4) sum.add_pseudo_header(addresses, kIcmpV6, length);
  store_be(icmp + 2, sum.add(octets.subspan(header)).finish());
  if (esp::seal(child->outbound, batch) != 1) return;
  context_->send_packet(session_->path(), batch[0].data());
  last_sent_ = now;
  ++echoes_sent_;
  ++context_->tally.echo_sent;
  look_for_silence(now);
}

void Client::take_echo(ByteView inner, Instant now) {
  const bool v4 = !inner.empty() && inner[0] >> 4U == 4;
  const auto header = v4 ? kIpv4Header : kIpv6Header;
  if (inner.size() < header + kIcmpHeader + sizeof(std::uint64_t)) return;
  const auto* const icmp = inner.data() + header;
  if (icmp[0] != (v4 ? kEchoReply : kEchoReplyV6) || inner[v4 ? 9U : 6U] != (v4 ? kIcmp : kIcmpV6)) return;
  const Instant sent{Duration{static_cast<Duration::rep>(load_be<std::uint64_t>(icmp + kIcmpHeader))}};
  if (sent > now) return;
  ++echoes_received_;
  ++context_->tally.echo_received;
  context_->tally.echo.add(now - sent);
}

/// We send and nothing comes back: ask the headend whether it is there.
void Client::look_for_silence(Instant now) {
  if (now - std::max(session_->last_heard(), last_echo_in_) < kSilence || now - last_hint_ < kHintInterval) return;
  last_hint_ = now;
  ++context_->tally.hints;
  session_->handle_hint(now);
  pump(now);
}

}  // namespace switchback::load
