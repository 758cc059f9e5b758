// Keeps a session with the headend: connects, follows the network, reconnects for ever, and takes everything down.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/backoff.h"
#include "client/config.h"
#include "client/paths.h"
#include "client/resolver.h"
#include "client/status.h"
#include "client/tunnel.h"
#include "common/crypto/random.h"
#include "common/ike/session.h"
#include "common/io/control_socket.h"
#include "common/io/event_loop.h"
#include "common/io/netlink.h"
#include "common/keylog/keylog.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::client {

/// Runs the core (ike::Session) between the data plane, the paths and the event loop: everything here is on the loop's
/// thread. Until one path is authenticated every path that is tried has a session of its own.
class Connector final : private PathsHost {
 public:
  Connector(io::EventLoop& loop, const Config& config, Tunnel& tunnel, std::optional<keylog::Keylog> keylog);
  ~Connector();
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;

  /// Until the tunnel is taken down or cannot be brought up. Prints "up: …" and one line per event on standard output;
  /// the reason of a failure is in error() then.
  [[nodiscard]] ExitStatus run();
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

 private:
  enum class State : std::uint8_t { connecting, up, waiting, closing };
  struct Child {
    transports::ChildCounters counters;
    std::string suite;
  };

  /// A session before anybody has been authenticated: one of several that race, or one that asks whether IKE gets
  /// through beside `esp`.
  struct Attempt {
    ike::Session session;
    path::TransportKind transport = path::TransportKind::udp;
  };

  // A round: addresses are looked up and raced; it ends with a session, or with the end (first time) or a pause.
  void begin_round();
  void on_resolved(Resolver::Answer answer);
  void begin_race(const std::vector<IpAddress>& addresses);
  void race_failed();
  void round_failed(const std::string& why);
  void retry_later(const std::string& why, bool soon);
  void fail_with(ExitStatus status, std::string message);

  // Attempts, and what the paths ask for.
  void begin_ike(path::PathId id, path::TransportKind transport, const AddressPair& ike) override;
  void drop_ike(path::PathId id) override;
  void authenticate(path::PathId id) override;
  void data_moved(path::TransportKind transport, const AddressPair& ike) override;
  void path_event(const path::Event& event) override;
  void pump_attempt(path::PathId id, Instant now);
  void handle(path::PathId id, ike::Event event, Instant now);
  void promote(path::PathId id, ike::Established established, Instant now);
  void attempt_closed(path::PathId id, const ike::Closed& closed, Instant now);
  void arm_attempts();
  void on_attempt_timer(Instant now);

  // The session and its surroundings.
  void drop_session();
  void pump(Instant now);
  void handle(ike::Event event, Instant now);
  void on_child(ike::ChildInstalled& child, Instant now);
  void came_up(path::TransportKind transport, Instant now);
  void on_closed(const ike::Closed& closed);
  void give_up_session(const std::string& why);
  void on_ike_message(const transports::IkeReceived& received, Instant now);
  /// See denial.h. Pre: there is a session.
  [[nodiscard]] bool denied(ByteView message) const;
  void bring_up(const ike::ChildInstalled& child);
  void on_data(Instant now);
  void handle(transports::DataPlaneEvent& event, Instant now);

  // The world around.
  void on_network_change(Instant now);
  void follow_standard_peer(Instant now);
  void on_tick(Instant now);
  void on_signal(int signal);
  void begin_close(const std::string& why);
  void finish();
  void on_control(std::string_view request, io::ControlServer::Reply reply);
  [[nodiscard]] StatusView status() const;
  [[nodiscard]] Instant last_heard() const;
  void announce(const std::string& line);

  io::EventLoop& loop_;
  const Config& config_;
  Tunnel& tunnel_;
  std::optional<keylog::Keylog> keylog_;
  crypto::SystemRandom random_;
  ike::SpiRegistry spis_;
  Resolver resolver_;
  Backoff backoff_;

  State state_ = State::connecting;
  std::vector<IpAddress> resolved_;  // the last that were found, for when names cannot be looked up
  std::string lookup_failure_;       // why this round has no address, or not all
  bool was_up_ = false;
  PreferredAddresses preferred_;

  Paths paths_;
  std::map<path::PathId, Attempt> attempts_;
  std::optional<ike::Session> session_;
  path::PathId session_path_;  // where it was authenticated
  transports::SessionTag tag_;
  std::optional<ike::Established> established_;
  std::optional<ike::Closed> closed_;
  std::optional<WallTime> since_;
  std::map<Spi, Child> children_;               // by inbound SPI, of the present session
  std::optional<ike::NotifyType> child_error_;  // why the first Child SA was not made
  std::uint64_t sessions_ = 0;

  /// Traffic of the present session, for telling a silent path from an idle one.
  Instant last_in_{}, last_hint_{};
  Duration hint_interval_{};
  Instant last_busy_{};  // traffic of any kind
  std::uint32_t strangers_ =
      0;  // times that the headend said since it was last heard that it does not know the session
  bool waiting_for_route_ = false;
  bool network_missed_ = false;  // the network changed during the race

  io::EventLoop::Watch data_watch_, signal_watch_, network_watch_;
  io::EventLoop::Timer session_timer_, attempt_timer_, retry_timer_, network_timer_, tick_timer_;
  std::optional<io::NetlinkMonitor> monitor_;
  std::optional<io::ControlServer> control_;
  std::vector<transports::DataPlaneEvent> data_events_;
  bool pumping_ = false;

  ExitStatus exit_ = ExitStatus::success;
  std::string error_, last_event_;
};

/// One sentence about why a first attempt ended, with a remedy.
[[nodiscard]] std::string explain(const ike::Closed& closed, const Endpoint& remote);
/// The line that says that the tunnel is up.
[[nodiscard]] std::string up_line(path::TransportKind transport, const std::vector<IpPrefix>& addresses,
                                  const std::string& tun, const AddressPair& path, unsigned mtu);
/// "192.0.2.1:4500", or the address alone where there is no port.
[[nodiscard]] std::string place(const Endpoint& endpoint);

}  // namespace switchback::client
