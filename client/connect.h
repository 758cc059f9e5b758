// Keeps a session with the headend: connects, follows the network, reconnects for ever, and takes everything down.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/backoff.h"
#include "client/config.h"
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

/// Runs the core (ike::Session) between the data plane and the event loop: everything here is on the loop's thread.
class Connector {
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

  // Attempts: every candidate once, then either the end (first time) or a pause and all over.
  void begin_round();
  void on_resolved(Resolver::Answer answer);
  void try_next();
  void round_failed();
  void retry_later(const std::string& why, bool soon);
  void fail_with(ExitStatus status, std::string message);

  // The session and its surroundings.
  void open_session(const AddressPair& path, bool last_candidate);
  void drop_session();
  void pump(Instant now);
  void handle(ike::Event event, Instant now);
  void on_child(ike::ChildInstalled& child, Instant now);
  void on_closed(const ike::Closed& closed);
  void bring_up(const ike::ChildInstalled& child);
  void on_data(Instant now);
  void handle(transports::DataPlaneEvent& event, Instant now);

  // The world around.
  void on_network_change(Instant now);
  void on_tick(Instant now);
  void on_signal(int signal);
  void begin_close(const std::string& why);
  void finish();
  void on_control(std::string_view request, io::ControlServer::Reply reply);
  [[nodiscard]] StatusView status() const;
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
  std::vector<IpAddress> candidates_;  // of this round, in order
  std::vector<IpAddress> resolved_;    // the last that were found, for when names cannot be looked up
  std::size_t next_candidate_ = 0;
  std::string attempt_failures_;  // why each candidate of this round failed
  bool was_up_ = false;
  PreferredAddresses preferred_;

  std::optional<ike::Session> session_;
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
  bool waiting_for_route_ = false;

  io::EventLoop::Watch data_watch_, signal_watch_, network_watch_;
  io::EventLoop::Timer session_timer_, retry_timer_, network_timer_, tick_timer_;
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
[[nodiscard]] std::string up_line(const std::vector<IpPrefix>& addresses, const std::string& tun,
                                  const AddressPair& path, unsigned mtu);

}  // namespace switchback::client
