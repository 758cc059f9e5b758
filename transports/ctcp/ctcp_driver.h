// The driver behind driver.h; its parts are in driver.cpp (life of connections), driver_send.cpp, driver_receive.cpp.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/rate_limit.h"
#include "common/crypto/random.h"
#include "common/io/hop_limited.h"
#include "common/io/packet_socket.h"
#include "common/packet/pool.h"
#include "transports/ctcp/connection_table.h"
#include "transports/ctcp/syn_cookie.h"
#include "transports/datagram/report_queue.h"
#include "transports/transport.h"

namespace switchback::transports::ctcp {

/// Payload of our largest segments: links of 9000 octets, whose inner MTU the path MTU search leaves to the tunnel; the
/// loopback's 64 KiB would only make frames that no one else takes.
inline constexpr std::size_t kMaximumMss = 8960;

/// Of a headend's connections without a proven session, each of which holds some hundred KiB at most: so many at a
/// time, and no more than half of all.
inline constexpr std::size_t kMaximumUnproven = 1024;

class Driver final : public Transport {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Driver>, UserError> make(const TransportConfig& config,
                                                                       packet::PacketPool& pool);
  ~Driver() override;

  [[nodiscard]] const TransportTraits& traits() const noexcept override { return traits_; }
  [[nodiscard]] const TransportCounters& counters() const noexcept override { return counters_; }
  [[nodiscard]] std::vector<OffloadStatus> offloads() const override;
  [[nodiscard]] Result<std::size_t> send(std::span<packet::Packet> batch, Instant now) override;
  [[nodiscard]] Result<std::size_t> receive(std::span<packet::Packet> out, Instant now) override;
  void end_turn(Instant now) override { flush_touched(now); }
  [[nodiscard]] std::optional<PathReport> poll_report() override { return reports_.next(); }
  [[nodiscard]] std::optional<OwnDrops> poll_own_drops() noexcept override { return own_drops_.next(); }
  void open_path(const PathRequest& request, Instant now) override;
  void close_path(const AddressPair& path, Instant now) override;
  void set_inbound_spis(const AddressPair& path, std::span<const Spi> spis) override;
  [[nodiscard]] std::optional<PathObservation> observe(const AddressPair& path) const override;
  [[nodiscard]] bool make_hole(const AddressPair& path, Instant now) override;
  [[nodiscard]] LimitedKind limited_kind(const AddressPair& path) const override;
  [[nodiscard]] std::optional<packet::LimitedPacket> send_limited(packet::Packet packet, std::uint8_t hop_limit,
                                                                  Instant now) override;
  [[nodiscard]] std::optional<Instant> next_deadline() const override { return table_.next_deadline(); }
  void handle_deadline(Instant now) override;
  [[nodiscard]] int wait_fd() const noexcept override { return epoll_.get(); }
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const override;
  [[nodiscard]] Result<void, UserError> rebind(std::span<const Endpoint> local) override;

 private:
  Driver(const TransportConfig& config, packet::PacketPool& pool, io::NextHops hops, io::TcpEmitter emitter);

  struct Tap {
    io::TcpTap io;
    IpFamily family;
    bool readable = true;
  };
  struct Guard {
    io::GuardedListener io;
    std::unique_ptr<SynCookies> cookies_v4, cookies_v6;
  };

  // --- life of connections: driver.cpp ---
  [[nodiscard]] Result<void, UserError> open_listeners(std::span<const Endpoint> local);
  [[nodiscard]] Result<void, UserError> open_tap(IpFamily family);
  [[nodiscard]] Result<void> set_ports();
  void fail_request(std::uint64_t request, const AddressPair& path, std::string why);
  void note_unproven(Connection& connection, Instant now);
  void close_unproven(Connection& connection, std::string why);
  [[nodiscard]] static bool peer_is_gone(Connection& connection, Instant now);
  void look_after(Connection& connection, Instant now);
  void report_signals(Connection& connection, Instant now);
  void signal(Connection& connection, path::Signal signal, std::uint64_t count);
  void reschedule(Connection& connection, Instant now);
  void remove(Connection& connection);
  [[nodiscard]] static std::string why_closed(const Connection& connection);

  // --- driver_send.cpp ---
  /// The socket is full: nothing is sent until may_send().
  [[nodiscard]] bool blocked() const noexcept { return watched_for_write_ >= 0; }
  /// False while the socket is full; else what waited has been sent.
  [[nodiscard]] bool may_send(Instant now);
  void touch(Connection& connection);
  void flush_touched(Instant now);
  /// Sends what the connection has to send, data as super-segments; what the socket does not take stays there.
  void flush(Connection& connection, Instant now);
  void flush_until_blocked(Connection& connection, Instant now);
  [[nodiscard]] bool send_classic(Connection& connection, std::span<packet::Packet> packets, std::size_t& taken,
                                  Instant now);
  void emit(const AddressPair& path, const TcpHeader& header, std::span<const iovec> payloads, std::size_t bytes,
            Instant now);
  void emit_run(const AddressPair& path, ByteView header, std::span<const iovec> payloads, std::size_t bytes,
                Instant now);
  void emit_single(const AddressPair& path, const OutSegment& segment, Instant now);
  void answer_stranger(const AddressPair& path, const OutSegment& segment);
  void note_ike(Connection& connection, ByteView message);

  // --- driver_receive.cpp ---
  void poll_sockets(Instant now);
  void handle_message(const io::ReceivedTcp& message, Instant now);
  [[nodiscard]] Connection* admit(const TcpSegmentView& segment, const AddressPair& path, Instant now);
  void handle_segment(Connection& connection, const TcpSegmentView& segment, Instant now);
  void deliver(Connection& connection, const stream::Frame& frame);
  [[nodiscard]] packet::Packet copy_of(ByteView octets);

  TransportConfig config_;
  packet::PacketPool& pool_;
  TransportTraits traits_;
  TransportCounters counters_;
  crypto::SystemRandom random_;
  UniqueFd epoll_;
  io::NextHops hops_;
  io::TcpEmitter emitter_;
  std::vector<Tap> taps_;
  std::vector<Guard> guards_;
  std::vector<Endpoint> client_local_;
  ConnectionTable table_;
  std::size_t unproven_ = 0;                // connections with unproven_since
  std::deque<AddressPair> unproven_order_;  // the oldest first, with some that are gone or proven
  datagram::ReportQueue reports_{counters_};
  OwnDropsLog own_drops_;
  Instant latest_{};
  /// Handshakes completed of late, whose first payload may be lost or late: what follows it gets no RST.
  struct Awaited {
    AddressPair path;
    Instant since{};
  };
  std::array<Awaited, 256> awaited_{};
  TokenBucket resets_{100, 100}, answers_{20000, 20000};

  std::deque<Connection*> touched_;
  std::vector<iovec> payloads_;
  int watched_for_write_ = -1;
  /// The run that the full socket did not take.
  struct Held {
    AddressPair path;
    std::array<std::uint8_t, kTcpMaximumHeaderBytes> header{};
    std::size_t header_bytes = 0;  // 0: there is none
    std::size_t each = 0;
    Bytes payload;
  };
  Held held_;

  std::optional<io::HopLimitedSender> limited_v4_, limited_v6_;  // once somebody has asked for them
  std::uint16_t limited_id_ = 0;

  packet::Packet buffer_;             // what is being received into
  packet::Packet slab_;               // small frames are copied here …
  std::size_t slab_used_ = 0;         // … so far
  std::deque<packet::Packet> ready_;  // received beyond what receive() had room for
  std::span<packet::Packet> out_;     // of the receive() under way
  std::size_t produced_ = 0;
  std::size_t next_tap_ = 0;
  bool buffer_shared_ = false;  // packets handed out are slices of buffer_
};

}  // namespace switchback::transports::ctcp
