// One client of many: an IKE session with its ESP SAs, echo requests, keepalives, and coming back when it is lost.
// Pure: datagrams, commands and `now` in; what it wants goes to the Context that it is given.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/random.h"
#include "common/esp/sa.h"
#include "common/ike/session.h"
#include "common/packet/pool.h"
#include "tools/load/latency.h"

namespace switchback::load {

/// What happened since a phase began.
struct Tally {
  std::uint64_t attempts = 0, handshakes = 0;
  std::map<std::string, std::uint64_t> failures;  // attempts that failed, by reason
  std::map<std::string, std::uint64_t> losses;    // sessions that were up and are not, by reason
  std::uint64_t echo_sent = 0, echo_received = 0;
  std::uint64_t esp_refused = 0;  // came, but were not authentic, or fresh, or for us
  std::uint64_t keepalives = 0, hints = 0;
  Latencies handshake, echo;
};

/// What all clients share.
class Context {
 public:
  Context(RandomSource& random_source, packet::PacketPool& packet_pool) : random{random_source}, pool{packet_pool} {}
  virtual ~Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  virtual void send_ike(const AddressPair& path, ByteView message) = 0;
  /// ESP, or a keepalive.
  virtual void send_packet(const AddressPair& path, ByteView packet) = 0;
  virtual void add_ike(IkeSpi own, std::size_t client) = 0;
  virtual void remove_ike(IkeSpi own) = 0;
  virtual void add_esp(Spi inbound, std::size_t client) = 0;
  virtual void remove_esp(Spi inbound) = 0;
  virtual void came_up(std::size_t client, Instant now) = 0;
  virtual void went_down(std::size_t client, Instant now) = 0;

  RandomSource& random;
  packet::PacketPool& pool;
  ike::SpiRegistry spis;
  Tally tally;
};

class Client {
 public:
  /// @param context  outlives it. @param path  from its own address to the headend's IKE port
  Client(std::size_t index, const AddressPair& path, std::shared_ptr<const ike::SessionConfig> config, Context& context)
      : index_{index}, path_{path}, config_{std::move(config)}, context_{&context} {}

  void connect(Instant now, WallTime wall);
  /// Ends the session with a DELETE, or without a word, and connects anew at once.
  void reconnect(bool politely, Instant now, WallTime wall);
  /// Ends it for good, with a DELETE that nobody waits for.
  void leave(Instant now);
  void handle_ike(ByteView message, const AddressPair& path, Instant now, WallTime wall);
  void handle_esp(ByteView packet, const AddressPair& path, Instant now);
  void handle_deadline(Instant now, WallTime wall);
  /// An ICMP echo request through the tunnel. Nothing is sent while there is no tunnel.
  void send_echo(const IpAddress& to, std::size_t payload, Instant now);

  [[nodiscard]] std::optional<Instant> next_deadline() const;
  [[nodiscard]] bool up() const noexcept { return up_since_.has_value(); }
  [[nodiscard]] bool started() const noexcept { return session_.has_value() || retry_at_.has_value(); }
  /// When the present session came up.
  [[nodiscard]] std::optional<Instant> up_since() const noexcept { return up_since_; }
  /// Echo requests and answers of this client since reset_echoes().
  [[nodiscard]] std::uint64_t echoes_sent() const noexcept { return echoes_sent_; }
  [[nodiscard]] std::uint64_t echoes_received() const noexcept { return echoes_received_; }
  void reset_echoes() noexcept { echoes_sent_ = echoes_received_ = 0; }

 private:
  struct Child {
    esp::InboundSa inbound;
    esp::OutboundSa outbound;
    bool sends = false;
    bool received = false;
  };

  void pump(Instant now);
  void on(ike::Event& event, Instant now);
  void on_closed(const ike::Closed& closed, Instant now);
  /// Forgets the session, told or not.
  void drop(Instant now);
  void retry_later(Instant now);
  [[nodiscard]] Child* sending() noexcept;
  void take_echo(ByteView inner, Instant now);
  void look_for_silence(Instant now);

  std::size_t index_;
  AddressPair path_;
  std::shared_ptr<const ike::SessionConfig> config_;
  Context* context_;
  std::optional<ike::Session> session_;
  std::map<Spi, std::unique_ptr<Child>> children_;
  std::vector<IpAddress> inner_;
  std::vector<IkeSpi> ike_spis_;
  std::optional<ike::Closed> closed_;
  std::optional<std::string> refusal_;  // no tunnel: why
  Instant started_{};
  std::optional<Instant> up_since_, retry_at_;
  Instant last_sent_{}, last_echo_in_{}, last_told_{}, last_hint_{};
  unsigned failures_ = 0;   // in a row
  unsigned strangers_ = 0;  // unprotected answers that say that the headend does not know us
  std::uint16_t sequence_ = 0;
  std::uint64_t echoes_sent_ = 0, echoes_received_ = 0;
};

}  // namespace switchback::load
