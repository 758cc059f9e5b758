// Transports without sockets between two data planes: what one sends comes out at the other, if the test lets it.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>

#include "common/packet/pool.h"
#include "tests/unit/dataplane/ends.h"
#include "transports/dataplane/mailbox.h"

namespace switchback::testing {

/// One transport of one end. The packet thread and the test both come here.
class FakePort {
 public:
  struct Frame {
    packet::PacketKind kind = packet::PacketKind::esp;
    packet::OuterSize outer = packet::OuterSize::fits;
    AddressPair path;
    Bytes octets;
    std::uint8_t hop_limit = 0;  // of its own
    packet::Arrival arrival{};
  };
  using Guard = std::lock_guard<std::mutex>;

  /// Everything taken so far.
  [[nodiscard]] std::vector<Frame> sent() const {
    const Guard guard{mutex_};
    return sent_;
  }
  [[nodiscard]] std::vector<AddressPair> closed() const {
    const Guard guard{mutex_};
    return closed_;
  }
  [[nodiscard]] std::vector<Spi> spis(const AddressPair& path) const {
    const Guard guard{mutex_};
    const auto found = spis_.find(path);
    return found == spis_.end() ? std::vector<Spi>{} : found->second;
  }
  /// As if it came off the wire.
  void arrive(Frame frame) {
    {
      const Guard guard{mutex_};
      inbox_.push_back(std::move(frame));
    }
    wake_.post(0);
  }
  /// All at once.
  void arrive_together(const std::vector<Frame>& frames) {
    {
      const Guard guard{mutex_};
      inbox_.insert(inbox_.end(), frames.begin(), frames.end());
    }
    wake_.post(0);
  }
  /// Everything told of what arrived.
  [[nodiscard]] std::vector<transports::ArrivalEvidence> evidence() const {
    const Guard guard{mutex_};
    return evidence_;
  }
  void report(transports::PathReport what) {
    {
      const Guard guard{mutex_};
      reports_.push_back(std::move(what));
    }
    wake_.post(0);
  }
  void poke() { wake_.post(0); }
  /// Looked after at this time and then never again.
  void set_deadline(Instant at) {
    {
      const Guard guard{mutex_};
      deadline_ = at;
    }
    wake_.post(0);
  }

  std::atomic<std::size_t> room{1'000'000};
  std::atomic<std::size_t> leaks{0};  // so many of the next ones are taken and dropped
  std::atomic<bool> broken{false};    // for good
  std::atomic<transports::LimitedKind> limited{transports::LimitedKind::none};
  std::atomic<int> deadlines_met{0};
  FakePort* peer = nullptr;  // empty: a black hole

 private:
  friend class FakeTransport;
  mutable std::mutex mutex_;
  std::deque<Frame> inbox_;
  std::deque<transports::PathReport> reports_;
  std::vector<Frame> sent_;
  std::vector<AddressPair> closed_;
  std::vector<transports::ArrivalEvidence> evidence_;
  std::unordered_map<AddressPair, std::vector<Spi>> spis_;
  std::optional<Instant> deadline_;
  transports::Mailbox<int> wake_;
};

class FakeTransport final : public transports::Transport {
 public:
  FakeTransport(FakePort& port, packet::PacketPool& pool) : port_{port}, pool_{pool} {}
  [[nodiscard]] const transports::TransportTraits& traits() const noexcept override { return traits_; }
  [[nodiscard]] const transports::TransportCounters& counters() const noexcept override { return counters_; }
  [[nodiscard]] Result<std::size_t> send(std::span<packet::Packet> batch, Instant) override {
    if (port_.broken) return tl::unexpected{std::make_error_code(std::errc::network_down)};
    const auto count = std::min(batch.size(), port_.room.load());
    port_.room -= count;
    for (auto& packet : batch.first(count)) {
      if (port_.leaks.load() > 0) {
        --port_.leaks;
        own_drops_.add(packet.path, 1);
        packet.reset();
        continue;
      }
      FakePort::Frame frame{packet.kind, packet.outer, packet.path, to_bytes(packet.data()), 0, {}};
      packet.reset();
      {  // before anybody can have received it
        const FakePort::Guard guard{port_.mutex_};
        port_.sent_.push_back(frame);
      }
      if (port_.peer == nullptr) continue;
      frame.path = {frame.path.remote, frame.path.local};
      port_.peer->arrive(std::move(frame));
    }
    return count;
  }
  [[nodiscard]] Result<std::size_t> receive(std::span<packet::Packet> out, Instant) override {
    std::vector<int> drained;
    port_.wake_.take(drained);
    if (port_.broken) return tl::unexpected{std::make_error_code(std::errc::network_down)};
    const FakePort::Guard guard{port_.mutex_};
    std::size_t count = 0;
    for (; count < out.size() && !port_.inbox_.empty(); ++count) {
      const auto& frame = port_.inbox_.front();
      out[count] = pool_.allocate(packet::kSendHeadroom);
      const auto octets = out[count].append(frame.octets.size());
      std::copy(frame.octets.begin(), frame.octets.end(), octets.begin());
      out[count].kind = frame.kind;
      out[count].path = frame.path;
      out[count].arrival = frame.arrival;
      port_.inbox_.pop_front();
    }
    return count;
  }
  [[nodiscard]] std::optional<transports::OwnDrops> poll_own_drops() noexcept override { return own_drops_.next(); }
  [[nodiscard]] std::optional<transports::PathReport> poll_report() override {
    const FakePort::Guard guard{port_.mutex_};
    if (port_.reports_.empty()) return std::nullopt;
    auto first = std::move(port_.reports_.front());
    port_.reports_.pop_front();
    return first;
  }
  void handle_evidence(const transports::ArrivalEvidence& evidence, Instant) override {
    const FakePort::Guard guard{port_.mutex_};
    port_.evidence_.push_back(evidence);
  }
  void open_path(const transports::PathRequest& request, Instant) override {
    transports::PathReport answer;
    answer.kind =
        request.remote.port == 0 ? transports::PathReport::Kind::failed : transports::PathReport::Kind::opened;
    answer.request = request.id;
    answer.path = {{request.local, 4321}, request.remote};
    answer.detail = "port 0 is nobody's";
    const FakePort::Guard guard{port_.mutex_};
    port_.reports_.push_back(std::move(answer));
  }
  void close_path(const AddressPair& path, Instant) override {
    const FakePort::Guard guard{port_.mutex_};
    port_.closed_.push_back(path);
  }
  void set_inbound_spis(const AddressPair& path, std::span<const Spi> spis) override {
    const FakePort::Guard guard{port_.mutex_};
    port_.spis_[path] = {spis.begin(), spis.end()};
  }
  [[nodiscard]] std::optional<Instant> next_deadline() const override {
    const FakePort::Guard guard{port_.mutex_};
    return port_.deadline_;
  }
  void handle_deadline(Instant) override {
    const FakePort::Guard guard{port_.mutex_};
    port_.deadline_.reset();
    ++port_.deadlines_met;
  }
  [[nodiscard]] int wait_fd() const noexcept override { return port_.wake_.fd(); }
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const override { return {*Endpoint::parse("127.0.0.1:1")}; }
  [[nodiscard]] transports::LimitedKind limited_kind(const AddressPair&) const override { return port_.limited; }
  [[nodiscard]] std::optional<packet::LimitedPacket> send_limited(packet::Packet packet, std::uint8_t hop_limit,
                                                                  Instant) override {
    FakePort::Frame frame{packet.kind, packet.outer, packet.path, packet ? to_bytes(packet.data()) : Bytes{},
                          hop_limit};
    packet::LimitedPacket sent;
    sent.destination = packet.path.remote.address;
    const FakePort::Guard guard{port_.mutex_};
    port_.sent_.push_back(std::move(frame));
    return sent;
  }
  [[nodiscard]] Result<void, UserError> rebind(std::span<const Endpoint>) override { return {}; }

 private:
  FakePort& port_;
  packet::PacketPool& pool_;
  transports::TransportTraits traits_{"fake", 28, 48, 64};
  transports::TransportCounters counters_;
  transports::OwnDropsLog own_drops_;
};

/// Both ends' ports by TransportId. One at a time: factories carry no state.
class FakeWire {
 public:
  FakeWire() {
    now_ = this;
    for (std::size_t i = 0; i < transports::kTransportIds; ++i) {
      client[i].peer = &headend[i];
      headend[i].peer = &client[i];
    }
    for (std::size_t i = 0; i < transports::kTransportIds; ++i) {
      registry.add(transports::transport_name(static_cast<transports::TransportId>(i)),
                   [](const transports::TransportConfig& config,
                      packet::PacketPool& pool) -> Result<std::unique_ptr<transports::Transport>, UserError> {
                     auto& ports = config.headend ? now_->headend : now_->client;
                     return std::make_unique<FakeTransport>(ports[*transports::transport_id(config.name)], pool);
                   });
    }
  }

  std::array<FakePort, transports::kTransportIds> client, headend;
  transports::TransportRegistry registry;

 private:
  static inline FakeWire* now_ = nullptr;
};

}  // namespace switchback::testing
