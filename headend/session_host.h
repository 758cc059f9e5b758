// All sessions of the running headend: IKE messages and data plane events in, data plane commands out.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/deadline_queue.h"
#include "common/base/random.h"
#include "common/base/rate_limit.h"
#include "common/base/time.h"
#include "common/ike/session.h"
#include "common/keylog/keylog.h"
#include "common/path/limited_probes.h"
#include "common/path/offer.h"
#include "headend/acceptor.h"
#include "headend/authorizer.h"
#include "headend/control_api.h"
#include "headend/session_paths.h"
#include "headend/session_table.h"
#include "headend/tracer.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::headend {

/// What one session is besides its IKE state machine.
struct LiveSession {
  LiveSession(SessionTag t, std::shared_ptr<const ike::SessionConfig> config, ike::Environment environment,
              const PathRules& rules)
      : tag{t},
        worker{environment.share.number},
        session{ike::Role::responder, std::move(config), environment},
        paths{rules, environment.random} {}

  struct Child {
    Spi outbound;
    transports::ChildCounters counters;
  };

  SessionTag tag;
  unsigned worker;  // packet thread of its Child SAs
  ike::Session session;
  SessionPaths paths;
  AddressPair first_path;  // where its IKE_SA_INIT came from
  std::string user;        // empty until authorized
  std::string identity;    // what the peer calls itself
  std::vector<IpAddress> leases;
  std::optional<WallTime> since;  // established
  bool local_behind_nat = false;
  std::string ike_suite, esp_suite;
  std::unordered_map<Spi, Child> children;                                       // by inbound SPI
  std::uint64_t in_packets = 0, in_octets = 0, out_packets = 0, out_octets = 0;  // of children that are gone
  Instant traffic_told{};  // last inbound traffic that the session was told of
  std::string end_note;    // why we ended it, for the log
  TokenBucket observations{20, 40};
  std::unique_ptr<Tracer> tracer;  // once its client has asked where packets get lost
  TokenBucket logs{1, 20};         // lines that its user can cause as often as they like
};

/// What the host knows of the transports, besides what the data plane does.
struct HostPaths {
  PathRules rules;
  std::uint16_t ike_port = 500;
  bool native_esp = false;  // the transport esp is on
  path::Offer offer;        // for clients that speak in-band control
  /// Largest outer packet of the way to a path's remote address, as the kernel knows it: asked when a path is new.
  std::function<std::uint16_t(const AddressPair&)> link_mtu;
};

struct HostLimits {
  std::size_t max_sessions = 10000;
  std::size_t max_sessions_per_user = 4;
};

/// Control thread. The data plane, the authorizer and the random source outlive it.
class SessionHost {
 public:
  SessionHost(transports::DataPlane& data_plane, Authorizer& authorizer, RandomSource& random,
              ike::GateLimits gate_limits, HostLimits limits, HostPaths paths, Instant now);

  /// For sessions that begin from now on.
  void set_session_config(std::shared_ptr<const ike::SessionConfig> config) { config_ = std::move(config); }
  void set_limits(HostLimits limits) { limits_ = limits; }
  void set_keylog(keylog::Keylog* keylog) { keylog_ = keylog; }

  void handle(transports::DataPlaneEvent& event, Instant now, WallTime wall);
  void handle_deadlines(Instant now, WallTime wall);
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;
  /// Tells sessions and their paths of traffic, which counts as a sign of life. Call about once a second.
  void notice_traffic(Instant now);

  /// Routers' errors are of interest at present: somebody has ordered packets that expire on their way.
  [[nodiscard]] bool wants_icmp(Instant now) const noexcept { return now < icmp_until_; }
  /// Whether they can be heard.
  void set_hears_icmp(bool hears) noexcept { hears_icmp_ = hears; }
  /// One that came to this host, from its ICMP header on; anybody's, about anything.
  void handle_icmp(IpFamily family, ByteView message, const IpAddress& from, Instant now);

  /// Ends the matching sessions with a DELETE; nothing of theirs is carried from now on. Returns how many.
  std::size_t end(const KickTarget& target, std::string_view note, Instant now);
  std::size_t end_user(UserId user, std::string_view note, Instant now);
  /// Lets nobody in any more and ends all, before the process stops.
  void close_all(Instant now);
  /// Users with sessions, for checking whether they are still welcome.
  [[nodiscard]] bool user_online(UserId user) const { return !table_.of_user(user).empty(); }

  [[nodiscard]] std::size_t size() const noexcept { return sessions_.size(); }
  [[nodiscard]] std::size_t established() const noexcept { return established_; }
  /// By packet thread.
  [[nodiscard]] const std::vector<std::size_t>& per_worker() const noexcept { return per_worker_; }
  [[nodiscard]] std::size_t half_open() const noexcept { return acceptor_.half_open(); }
  [[nodiscard]] std::size_t users() const noexcept { return table_.users(); }
  [[nodiscard]] const AcceptorCounters& door() const noexcept { return acceptor_.counters(); }
  /// Established sessions whose data goes by the transport.
  [[nodiscard]] std::size_t sessions_on(transports::TransportId transport) const noexcept;
  [[nodiscard]] std::vector<SessionView> views(Instant now, WallTime wall) const;

 private:
  void ike_message(transports::IkeReceived& received, Instant now, WallTime wall);
  void control_message(const transports::ControlReceived& received, Instant now);
  /// To a client's doctor.
  void answer_observe(LiveSession& live, const path::Observe& question, const transports::ControlReceived& received,
                      Instant now);
  /// To the same, when it looks for where packets get lost.
  void trace(LiveSession& live, const path::TraceOrder& order, const transports::ControlReceived& received,
             Instant now);
  void trace_sent(const transports::LimitedSent& sent);
  void trace_answer(const path::LimitedAnswer& answer);
  void path_closed(const transports::PathClosed& closed, Instant now);
  void path_hint(const transports::PathHint& hint, Instant now);
  /// Where the data of a session goes whose IKE messages go along `ike_path`.
  [[nodiscard]] AddressPair data_path(const AddressPair& ike_path) const noexcept;
  /// Does what the session's paths have decided, until they are silent.
  void pump_paths(LiveSession& live, Instant now);
  [[nodiscard]] std::uint16_t link_mtu(const AddressPair& path) const;
  void log_move(LiveSession& live, const Move& move, Instant now);
  [[nodiscard]] std::vector<SessionTag> on_path(const AddressPair& path) const;
  void remember_path(SessionTag tag, const AddressPair& path);
  void forget_path(SessionTag tag, const AddressPair& path);
  /// Hands out what the session has to say, until it is silent; the session may be gone afterwards.
  void pump(LiveSession& live, Instant now);
  void on(LiveSession& live, ike::AuthorizationNeeded& event, Instant now);
  void on(LiveSession&, ike::InitAnswered&, Instant) {}  // for initiators
  void on(LiveSession& live, ike::Established& event, Instant now);
  void on(LiveSession& live, ike::ChildInstalled& event, Instant now);
  void on(LiveSession& live, ike::OutboundSwitched& event, Instant now);
  void on(LiveSession& live, ike::ChildRemoved& event, Instant now);
  void on(LiveSession& live, ike::ChildFailed& event, Instant now);
  void on(LiveSession& live, ike::IkeSpisAdded& event, Instant now);
  void on(LiveSession& live, ike::IkeSpisRemoved& event, Instant now);
  void on(LiveSession& live, ike::IkeRekeyed& event, Instant now);
  void on(LiveSession& live, ike::PathChanged& event, Instant now);
  void on(LiveSession& live, ike::Closed& event, Instant now);
  void on(LiveSession& live, ike::IkeKeylog& event, Instant now);
  void make_room(UserId user, SessionTag newcomer, bool alone, Instant now);
  /// Stops carrying its packets, frees its addresses, and tells the peer.
  void end(LiveSession& live, std::string_view note, Instant now);
  /// Nothing of its packets is carried any more, and its addresses are free; IKE messages still come and go.
  void stop_carrying(LiveSession& live);
  void forget(SessionTag tag);
  [[nodiscard]] LiveSession* find(SessionTag tag) noexcept;
  /// For a new session: those of the packet thread that has the fewest.
  [[nodiscard]] ike::SpiShare choose_share() const noexcept;
  [[nodiscard]] SessionView view(const LiveSession& live, Instant now, WallTime wall) const;

  transports::DataPlane& data_plane_;
  Authorizer& authorizer_;
  RandomSource& random_;
  ike::SpiRegistry spis_;
  std::vector<std::size_t> per_worker_;  // sessions
  HostLimits limits_;
  Acceptor acceptor_;
  std::shared_ptr<const ike::SessionConfig> config_;
  keylog::Keylog* keylog_ = nullptr;
  HostPaths paths_;
  SessionTable table_;
  std::unordered_multimap<AddressPair, SessionTag> by_path_;  // those of LiveSession::paths, and first_path
  std::unordered_map<SessionTag, std::unique_ptr<LiveSession>> sessions_;
  DeadlineQueue<SessionTag> deadlines_, path_deadlines_;
  std::uint64_t control_malformed_ = 0;  // of sessions that are gone
  std::size_t established_ = 0;
  bool closing_ = false;
  TokenBucket observations_{200, 200};
  TokenBucket traces_{500, 500};
  path::LimitedProbes limited_;
  Instant icmp_until_{};
  bool hears_icmp_ = true;
  TokenBucket peer_logs_{5, 50};  // lines that an unauthenticated peer can cause
};

}  // namespace switchback::headend
