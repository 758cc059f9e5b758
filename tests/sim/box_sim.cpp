#include "tests/sim/box_sim.h"

#include <algorithm>

#include "common/packet/checksum.h"
#include "tests/support/seeded_random.h"
#include "transports/ctcp/syn_cookie.h"
#include "transports/ctcp/tcp_engine.h"

namespace switchback::test {

namespace ctcp = transports::ctcp;
namespace stream = transports::stream;
using middlebox::Direction;
using middlebox::FlowKey;
using packet::IpProtocol;

namespace {

enum class Role : std::uint8_t { client, headend };
constexpr std::uint32_t kSpiToHeadend = 0xC0FFEE01, kSpiToClient = 0xDEADBE02;
constexpr std::size_t kIpv4Bytes = 20, kUdpBytes = 8;

constexpr std::uint16_t port_of(Carrier carrier) noexcept {
  switch (carrier) {
    case Carrier::esp: return 0;
    case Carrier::ctcp: return 10000;
    case Carrier::tls: return 443;
    case Carrier::udp:
    case Carrier::tcp: return 4500;
  }
  return 0;
}

constexpr IpProtocol protocol_of(Carrier carrier) noexcept {
  if (carrier == Carrier::udp) return IpProtocol::udp;
  return carrier == Carrier::esp ? IpProtocol::esp : IpProtocol::tcp;
}

FlowKey flow_of(Carrier carrier) {
  const std::uint16_t port = port_of(carrier);
  const std::uint16_t own = carrier == Carrier::esp ? 0 : 40000;
  return {static_cast<std::uint8_t>(protocol_of(carrier)),
          {IpAddress::v4(0x0A000002), own},
          {IpAddress::v4(0xC0000201), port}};
}

/// `udp` and `esp`. The headend answers where the last packet came from, as the programs do for authentic ones.
class DatagramEnd final : public WireEnd {
 public:
  DatagramEnd(Carrier carrier, Role role, const FlowKey& flow)
      : protocol_{protocol_of(carrier)},
        follows_{role == Role::headend},
        own_{follows_ ? flow.outer : flow.inner},
        peer_{follows_ ? flow.inner : flow.outer} {}

  [[nodiscard]] bool connected() const override { return true; }
  bool send(ByteView esp, Instant) override {
    const auto front = kIpv4Bytes + (protocol_ == IpProtocol::udp ? kUdpBytes : 0);
    Bytes out(front);
    out[0] = 0x45;
    store_be(out.data() + 2, static_cast<std::uint16_t>(front + esp.size()));
    out[8] = 64;
    out[9] = static_cast<std::uint8_t>(protocol_);
    std::copy_n(own_.address.bytes().data(), 4, out.begin() + 12);
    std::copy_n(peer_.address.bytes().data(), 4, out.begin() + 16);
    store_be(out.data() + 10, packet::checksum(ByteView{out}.first(kIpv4Bytes)));
    if (protocol_ == IpProtocol::udp) {  // without checksum, RFC 3948 §2.1
      store_be(out.data() + kIpv4Bytes, own_.port);
      store_be(out.data() + kIpv4Bytes + 2, peer_.port);
      store_be(out.data() + kIpv4Bytes + 4, static_cast<std::uint16_t>(kUdpBytes + esp.size()));
    }
    append(out, esp);
    due_.push_back(std::move(out));
    return true;
  }
  void handle(ByteView packet, const packet::IpView& ip, Instant) override {
    if (!ip.is(protocol_)) return;
    const auto front = kIpv4Bytes + (protocol_ == IpProtocol::udp ? kUdpBytes : 0);
    if (packet.size() <= front) return;
    if (follows_) {
      const auto flow = middlebox::flow_of(Direction::outward, packet, ip);
      peer_ = flow.inner;
    }
    received_.push_back(to_bytes(packet.subspan(front)));
  }
  std::vector<Bytes> poll(Instant) override { return std::exchange(due_, {}); }

 private:
  IpProtocol protocol_;
  bool follows_;
  Endpoint own_, peer_;
  std::vector<Bytes> due_;
};

/// What the ends of TCP-like transports have in common: segments in IP packets.
class SegmentEnd : public WireEnd {
 public:
  SegmentEnd(Role role, FlowKey flow)
      : role_{role}, direction_{role == Role::client ? Direction::outward : Direction::inward}, flow_{flow} {}

 protected:
  [[nodiscard]] Bytes packet(const ctcp::TcpHeader& header, ByteView payload) const {
    middlebox::Segment segment;
    segment.direction = direction_;
    segment.header = header;
    segment.payload = to_bytes(payload);
    return middlebox::packet_of(flow_, std::move(segment));
  }
  /// Of a packet for this end; nothing if it is none of TCP.
  [[nodiscard]] std::optional<middlebox::Segment> segment(ByteView packet, const packet::IpView& ip) {
    auto found = ip.is(IpProtocol::tcp) ? middlebox::segment_of(opposite(direction_), packet, ip) : std::nullopt;
    if (!found || role_ == Role::client) return found;
    const auto flow = middlebox::flow_of(Direction::outward, packet, ip);
    if (!connected() && found->header.has(ctcp::kSyn)) flow_ = flow;
    // A NAT may have given the client another port since: that is another connection, of which nothing is known.
    return flow == flow_ ? found : std::nullopt;
  }
  [[nodiscard]] const FlowKey& flow() const { return flow_; }

 private:
  Role role_;
  Direction direction_;
  FlowKey flow_;
};

/// `ctcp`, resilient; and `tcp` and `tls` by the same engine as a reliable stream in order, which an RST ends.
class EngineEnd final : public SegmentEnd {
 public:
  EngineEnd(Carrier carrier, Role role, const FlowKey& flow, Instant now)
      : SegmentEnd{role, flow}, cookies_{Secret{32}, 1448} {
    config_.reliable = carrier != Carrier::ctcp;
    config_.local_port = role == Role::client ? flow.inner.port : flow.outer.port;
    config_.remote_port = role == Role::client ? flow.outer.port : flow.inner.port;
    if (role == Role::headend) return;
    engine_.emplace(ctcp::TcpEngine::connect(config_, random_, now));
    engine_->marks().add(Spi{kSpiToClient});
  }
  [[nodiscard]] bool connected() const override {
    return engine_ && !reset_ && engine_->state() == ctcp::EngineState::established;
  }
  bool send(ByteView esp, Instant) override {
    return connected() && engine_->send_frame(stream::Content::esp, esp) == ctcp::SendVerdict::taken;
  }
  void handle(ByteView packet, const packet::IpView& ip, Instant now) override {
    const auto in = segment(packet, ip);
    if (!in || reset_) return;
    reset_ = config_.reliable && in->header.has(ctcp::kRst);
    if (!engine_ && !accept(*in, now)) return;
    engine_->handle_segment(in->view(), now);
    while (const auto frame = engine_->poll_frame()) {
      if (frame->content == stream::Content::esp) received_.push_back(to_bytes(frame->payload));
    }
  }
  void handle_deadline(Instant now) override {
    if (engine_) engine_->handle_deadline(now);
  }
  std::optional<Instant> next_deadline() const override {
    return engine_ && !reset_ ? engine_->next_deadline() : std::nullopt;
  }
  std::vector<Bytes> poll(Instant now) override {
    auto out = std::exchange(answers_, {});
    if (!engine_ || reset_) return out;
    while (const auto segment = engine_->poll_segment(now)) out.push_back(packet(segment->header, segment->payload));
    return out;
  }
  Sent sent() const override {
    if (!engine_ || engine_->sender() == nullptr) return {};
    return {engine_->sender()->counters().sent, engine_->sender()->counters().resent};
  }

 private:
  bool accept(const middlebox::Segment& in, Instant now) {
    const AddressPair path{flow().outer, flow().inner};
    if (const auto answer = cookies_.answer(in.view(), path, now)) {
      answers_.push_back(packet(answer->header, {}));
      return false;
    }
    const auto agreed = cookies_.accept(in.view(), path, now);
    if (!agreed) return false;
    config_.remote_port = flow().inner.port;
    engine_.emplace(ctcp::TcpEngine::accept(config_, *agreed, now));
    engine_->marks().add(Spi{kSpiToHeadend});
    return true;
  }

  ctcp::SynCookies cookies_;
  ctcp::EngineConfig config_;
  SeededRandom random_{1};
  std::optional<ctcp::TcpEngine> engine_;
  std::vector<Bytes> answers_;
  bool reset_ = false;
};

std::unique_ptr<WireEnd> make_end(Carrier carrier, Role role, Instant now) {
  const auto flow = flow_of(carrier);
  switch (carrier) {
    case Carrier::udp:
    case Carrier::esp: return std::make_unique<DatagramEnd>(carrier, role, flow);
    case Carrier::ctcp:
    case Carrier::tcp:
    case Carrier::tls: return std::make_unique<EngineEnd>(carrier, role, flow, now);
  }
  return nullptr;
}

/// The line between client and middlebox: in front of the devices on the way out, behind them on the way back.
middlebox::BoxRules with_line(middlebox::BoxRules rules, double loss) {
  auto& out = rules.impair[index(Direction::outward)][0];
  auto& back = rules.impair[index(Direction::inward)][1];
  for (auto* one : {&out, &back}) {
    one->loss = loss;
    one->delay = BoxSim::kDelay;
  }
  return rules;
}

}  // namespace

std::string_view to_string(Carrier carrier) noexcept {
  switch (carrier) {
    case Carrier::udp: return "udp";
    case Carrier::esp: return "esp";
    case Carrier::ctcp: return "ctcp";
    case Carrier::tcp: return "tcp";
    case Carrier::tls: return "tls";
  }
  return "";
}

BoxSim::BoxSim(Carrier carrier, middlebox::BoxRules rules, double loss)
    : box_{with_line(std::move(rules), loss), IpAddress::v4(0x0A000001), IpAddress{}} {
  client_.wire = make_end(carrier, Role::client, clock_.now());
  headend_.wire = make_end(carrier, Role::headend, clock_.now());
  client_.last_delivery = headend_.last_delivery = begun_ = ended_ = clock_.now();
}

/// Until nothing is due now.
void BoxSim::exchange() {
  const auto now = clock_.now();
  for (bool moved = true; moved;) {
    moved = false;
    for (auto* end : {&client_, &headend_}) {
      for (const auto& packet : end->wire->poll(now)) {
        box_.handle(end == &client_ ? Direction::outward : Direction::inward, packet, now);
        moved = true;
      }
    }
    while (const auto sent = box_.poll_packet()) {
      auto& to = sent->direction == Direction::outward ? headend_ : client_;
      const auto ip = packet::parse_ip(sent->packet);
      if (ip) to.wire->handle(sent->packet, *ip, now);
      deliver(to);
      moved = true;
    }
    while (box_.poll_note()) {
    }
  }
}

void BoxSim::deliver(End& end) {
  auto& from = &end == &client_ ? headend_ : client_;
  for (const auto& esp : end.wire->take()) {
    if (esp.size() != kPacketBytes) continue;
    const auto number = load_be<std::uint32_t>(esp.data() + 4);
    const auto sent = from.sent_at.find(number);
    if (sent == from.sent_at.end() || !end.delivered.insert(number).second) continue;
    end.added.push_back(clock_.now() - sent->second - kDelay);
    end.last_delivery = clock_.now();
  }
}

void BoxSim::settle(Instant until) {
  for (;;) {
    auto next = earliest(box_.next_deadline(), earliest(client_.wire->next_deadline(), headend_.wire->next_deadline()));
    if (!next || *next > until) break;
    clock_.advance_to(std::max(*next, clock_.now()));
    box_.handle_deadline(clock_.now());
    for (auto* end : {&client_, &headend_}) {
      const auto due = end->wire->next_deadline();
      if (due && *due <= clock_.now()) end->wire->handle_deadline(clock_.now());
    }
    exchange();
  }
  clock_.advance_to(until);
}

void BoxSim::offer(End& end) {
  const auto number = end.offered++;
  Bytes esp(kPacketBytes);
  store_be(esp.data(), &end == &client_ ? kSpiToHeadend : kSpiToClient);
  store_be(esp.data() + 4, number);
  end.sent_at[number] = clock_.now();
  static_cast<void>(end.wire->send(esp, clock_.now()));
}

void BoxSim::run(Duration time, Duration interval) {
  exchange();
  // Some seconds to connect, as the programs have; the time runs from then on.
  const auto give_up = clock_.now() + std::chrono::seconds{5};
  while (!client_.wire->connected() && clock_.now() < give_up) settle(clock_.now() + interval);
  begun_ = client_.last_delivery = headend_.last_delivery = clock_.now();
  ended_ = begun_ + time;
  while (clock_.now() < ended_) {
    offer(client_);
    // A headend's connection begins with the client's first data.
    if (headend_.wire->connected()) offer(headend_);
    exchange();
    settle(clock_.now() + interval);
  }
  settle(ended_ + std::chrono::seconds{2});
}

Duration BoxSim::lived() const { return std::min(client_.last_delivery, headend_.last_delivery) - begun_; }
bool BoxSim::lives() const { return begun_ + lived() > ended_ - std::chrono::seconds{2}; }

Duration BoxSim::added_at(double quantile) const {
  auto all = client_.added;
  all.insert(all.end(), headend_.added.begin(), headend_.added.end());
  if (all.empty()) return Duration{};
  const auto at = all.begin() + static_cast<std::ptrdiff_t>(quantile * static_cast<double>(all.size() - 1));
  std::nth_element(all.begin(), at, all.end());
  return *at;
}

double BoxSim::resent_share() const {
  const auto a = client_.wire->sent(), b = headend_.wire->sent();
  const auto all = a.all + b.all;
  return all == 0 ? 0 : static_cast<double>(a.again + b.again) / static_cast<double>(all);
}

}  // namespace switchback::test
