// The connections of a cTCP driver: found by path, bounded by address, and ordered by deadline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/strong.h"
#include "common/base/time.h"
#include "common/io/guarded_listener.h"
#include "transports/ctcp/classic.h"
#include "transports/ctcp/tcp_engine.h"

namespace switchback::transports::ctcp {

/// One connection of either mode and role.
struct Connection {
  AddressPair path;
  std::optional<TcpEngine> engine;           // resilient …
  std::optional<ClassicConnection> classic;  // … or classic
  ClassicRole role = ClassicRole::headend;
  std::optional<std::uint64_t> request;      // client: to be answered by `opened` or `failed`
  std::optional<io::GuardedListener> guard;  // client: its port
  bool closing = false;                      // from here: nothing is reported
  bool touched = false;                      // has segments to be polled
  std::vector<Spi> spis;                     // of the proven session
  std::optional<Instant> unproven_since;     // headend: closed when this is too long ago
  std::optional<IkeSpi> ike_spi;             // the mark of the IKE SA seen last

  // What was reported so far.
  EngineSignals reported;
  std::uint64_t reported_duplicates = 0;
  bool stuck_reported = false;
  std::optional<std::uint32_t> limited_timestamp;  // of the last bare segment with a hop limit of its own …
  std::uint16_t limited_since = 0;                 // … and how many have had the same

  /// RST with the right number, since anything else of the peer's was last seen.
  struct Resets {
    std::uint64_t counted = 0;  // of the engine
    std::uint64_t heard = 0;    // what the peer has sent or acknowledged by then
    std::uint64_t count = 0;
    Instant since{};
  };
  Resets resets;

  [[nodiscard]] bool established() const noexcept;
  [[nodiscard]] bool closed() const noexcept;
  /// Of the engine, without what the driver itself waits for.
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;

 private:
  friend class ConnectionTable;
  static constexpr std::size_t kNotScheduled = ~std::size_t{0};
  std::size_t heap_index = kNotScheduled;
  Instant heap_at{};
};

/// Who is counted as one: an IPv4 address, an IPv6 /64.
[[nodiscard]] IpAddress holder_of(const IpAddress& remote) noexcept;

class ConnectionTable {
 public:
  [[nodiscard]] Connection* find(const AddressPair& path) noexcept;
  [[nodiscard]] const Connection* find(const AddressPair& path) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return by_path_.size(); }
  [[nodiscard]] std::size_t held_by(const IpAddress& remote) const noexcept;
  /// Pre: there is none with its path.
  Connection& add(std::unique_ptr<Connection> connection);
  void remove(Connection& connection);
  template <class Visit>
  void for_each(const Visit& visit) {
    for (auto& [path, connection] : by_path_) visit(*connection);
  }

  /// Has pop_due() give the connection no later than `at`. Cheap where an earlier time stands already.
  void schedule(Connection& connection, Instant at);
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;
  /// One whose time has come, not scheduled any more; null if there is none.
  [[nodiscard]] Connection* pop_due(Instant now);

 private:
  void place(std::size_t index, Connection* connection) noexcept;
  void sift_up(std::size_t index) noexcept;
  void sift_down(std::size_t index) noexcept;
  void unschedule(Connection& connection) noexcept;

  std::unordered_map<AddressPair, std::unique_ptr<Connection>> by_path_;
  std::unordered_map<IpAddress, std::size_t> held_;
  std::vector<Connection*> heap_;  // the earliest first
};

}  // namespace switchback::transports::ctcp
