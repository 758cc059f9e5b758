// The driver of every stream transport: connections of either role, RFC 9329 framing, bounds, and their reports.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/packet/pool.h"
#include "transports/datagram/report_queue.h"
#include "transports/tcp/byte_stream.h"
#include "transports/tcp/connection.h"
#include "transports/transport.h"

namespace switchback::transports::tcp {

/// What a connection may take before it has to be there, and how often connections are looked at.
inline constexpr Duration kEstablishTimeout = std::chrono::seconds{10};
inline constexpr Duration kFirstOctetsTimeout = std::chrono::seconds{10};
inline constexpr Duration kCloseTimeout = std::chrono::seconds{2};
inline constexpr Duration kTick = std::chrono::milliseconds{200};

class StreamDriver final : public Transport {
 public:
  StreamDriver(TransportConfig config, packet::PacketPool& pool, TransportTraits traits, TransportId id,
               std::unique_ptr<Flavour> flavour);
  ~StreamDriver() override;

  /// Opens the listeners of a headend; of a client it only notes the addresses. To be called before anything else.
  [[nodiscard]] Result<void, UserError> open_all(std::span<const Endpoint> local);

  [[nodiscard]] const TransportTraits& traits() const noexcept override { return traits_; }
  [[nodiscard]] const TransportCounters& counters() const noexcept override { return counters_; }
  /// Always takes the whole batch: other sessions share the thread with one whose connection is full.
  [[nodiscard]] Result<std::size_t> send(std::span<packet::Packet> batch, Instant now) override;
  [[nodiscard]] Result<std::size_t> receive(std::span<packet::Packet> out, Instant now) override;
  [[nodiscard]] std::optional<PathReport> poll_report() override { return reports_.next(); }
  [[nodiscard]] std::optional<OwnDrops> poll_own_drops() noexcept override { return own_drops_.next(); }
  void open_path(const PathRequest& request, Instant now) override;
  void close_path(const AddressPair& path, Instant now) override;
  void set_inbound_spis(const AddressPair& path, std::span<const Spi> spis) override;
  [[nodiscard]] std::optional<PathObservation> observe(const AddressPair& path) const override;
  [[nodiscard]] std::optional<Instant> next_deadline() const override { return next_tick_; }
  void handle_deadline(Instant now) override;
  [[nodiscard]] int wait_fd() const noexcept override { return epoll_.get(); }
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const override;
  [[nodiscard]] Result<void, UserError> rebind(std::span<const Endpoint> local) override { return open_all(local); }

 private:
  struct Listener {
    UniqueFd fd;
    Endpoint local;
  };

  // --- readiness ---
  void kick() noexcept;
  void poll_events(Instant now);
  void watch(Connection& connection) noexcept;
  void enqueue(Connection& connection);
  [[nodiscard]] Connection* find(std::uint64_t id) noexcept;
  [[nodiscard]] Connection* find(const AddressPair& path) noexcept;

  // --- life of a connection ---
  void accept_some(std::size_t listener, Instant now);
  void admit(UniqueFd fd, Instant now);
  Connection& add(UniqueFd fd);
  void note_unproven(Connection& connection, Instant now);
  void handle_event(Connection& connection, std::uint32_t events, Instant now);
  void establish(Connection& connection, Instant now);
  void established(Connection& connection, Instant now);
  void read_first(Connection& connection, Instant now);
  void become_foreign(Connection& connection, Instant now);
  void run_foreign(Connection& connection, Instant now);
  void linger(Connection& connection, Instant now);
  void discard(Connection& connection);
  void flush(Connection& connection);
  void report_end(Connection& connection, IoStatus why, std::string detail);
  void lose(Connection& connection, IoStatus why, std::string detail);
  void remove(Connection& connection);
  void look_after(Connection& connection, Instant now);
  void check_health(Connection& connection, Instant now);
  void need_tick(Instant now) noexcept { next_tick_ = earliest(next_tick_, now + kTick); }

  // --- receiving ---
  [[nodiscard]] bool has_room() noexcept;
  void read_piece(Connection& connection);
  [[nodiscard]] std::size_t deliver(std::span<packet::Packet> out);
  [[nodiscard]] packet::Packet packet_of(ByteView payload);

  TransportConfig config_;
  packet::PacketPool& pool_;
  TransportTraits traits_;
  TransportId id_;
  std::unique_ptr<Flavour> flavour_;
  TransportCounters counters_;
  UniqueFd epoll_, kick_;
  bool kicked_ = false;
  std::vector<Listener> listeners_;
  std::vector<Endpoint> client_local_;
  bool listeners_paused_ = false;  // out of descriptors

  std::unordered_map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::unordered_map<AddressPair, Connection*> paths_;
  std::unordered_map<IpAddress, std::size_t> held_;  // accepted connections by holder_of()
  std::size_t unproven_ = 0;                         // accepted connections that are not proven
  std::deque<std::uint64_t> unproven_order_;         // the oldest first, with some that are gone or proven
  std::uint64_t next_id_ = 1;
  std::optional<Instant> next_tick_;
  Instant latest_{};
  datagram::ReportQueue reports_{counters_};
  OwnDropsLog own_drops_;

  std::deque<std::uint64_t> ready_;
  packet::Packet slab_;         // all of a slab …
  std::size_t slab_used_ = 0;   // … and how much of it was given away
  std::uint64_t draining_ = 0;  // whose piece is being taken apart
  ByteView piece_;              // for finding where a frame lies

  std::vector<std::uint64_t> touched_;  // by the send() that is under way
};

}  // namespace switchback::transports::tcp
