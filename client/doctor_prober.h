// The doctor's instrument: opens every transport, talks IKE on each, makes one session of them, and measures its paths
// by in-band probes. It has no TUN, changes nothing on the host, and lives beside a running client.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/config.h"
#include "client/doctor_facts.h"
#include "client/doctor_locate.h"
#include "client/targets.h"
#include "client/transport_setup.h"
#include "common/crypto/random.h"
#include "common/ike/session.h"
#include "common/path/offer.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::client::doctor {

struct ProberOptions {
  Duration limit = std::chrono::seconds{60};  // of all that is done
  std::uint32_t mark = 0;      // of outer packets: that of a running client, whose tunnel they must avoid
  bool idle = false;           // also pauses of minutes
  std::vector<WayKind> kinds;  // only these; none: all
  std::function<void(const std::string&)> progress;
};

/// One thread besides the packet thread; blocks while it runs.
class Prober {
 public:
  /// Errors: no transport at all can be opened on this host.
  [[nodiscard]] static Result<std::unique_ptr<Prober>, UserError> create(const Config& config, ProberOptions options);
  ~Prober();
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  /// Fills `facts.ways` for the addresses, at most one of each family, and what the session brings.
  void run(Facts& facts);
  /// In its place: looks where on the first of `request.ways` that works packets get lost. Also fills `facts`, without
  /// measurements.
  [[nodiscard]] LocateResult locate(Facts& facts, const LocateRequest& request);

 private:
  struct Sent {
    std::size_t way = 0;
    Instant at{};
    std::uint32_t number = 0;  // packets sent on the way so far, this one included
  };
  struct Answered {
    std::uint32_t number = 0;
    std::uint64_t received = 0;  // by the headend, by then
  };
  /// What the headend had sent when it sent something, and what had come of it when that came.
  struct Returned {
    std::uint64_t sent = 0, received = 0;
  };
  struct Way {
    WayFacts facts;
    IpAddress local;
    std::uint64_t request = 0;  // of opening, under way
    AddressPair ike, data;      // data: of ESP
    bool has_path = false;
    std::optional<ike::Session> session;
    bool init_answered = false;
    std::shared_ptr<const transports::PathActivity> activity;
    std::uint32_t sent = 0;  // ESP packets
    std::vector<Answered> answers;
    std::vector<Returned> returned;
    std::vector<Duration> rtts;
    std::vector<std::uint16_t> sizes_answered;
    std::uint32_t observations = 0, large_back = 0;
    std::uint32_t last_probe = 0;  // number of the last that was sent …
  };

  Prober(const Config& config, ProberOptions options) : config_{config}, options_{std::move(options)} {}
  [[nodiscard]] Result<void, UserError> open();

  // --- stages ---
  void plan(const Facts& facts);
  void open_paths();
  void ask_ike();
  void authenticate(Facts& facts);
  void probe_family(IpFamily family, Facts& facts);
  void reach(const std::vector<std::size_t>& ways);
  void observe(const std::vector<std::size_t>& ways);
  void measure(const std::vector<std::size_t>& ways);
  void find_mtu(const std::vector<std::size_t>& ways);
  void burst(std::size_t way);
  void idle(const std::vector<std::size_t>& ways);
  void finish();

  // --- looking for where packets get lost: doctor_locate.cpp ---
  /// What both ends have counted of a path: packets, or of a TCP of our own segments.
  struct Counts {
    std::uint64_t sent = 0, arrived = 0, back_sent = 0, back_arrived = 0;
  };
  [[nodiscard]] std::optional<std::size_t> choose(const LocateRequest& request);
  void find_length(LocateResult& result);
  void find_length_by_segments(std::size_t from);
  void survey(const LocateRequest& request, LocateResult& result);
  [[nodiscard]] std::optional<Counts> settled_counts();
  [[nodiscard]] std::optional<Counts> counts();
  void send_limited(std::uint8_t limit, bool reach);
  void order(std::uint8_t limit, std::uint16_t octets = 0);
  void hear_icmp();
  void handle_limited(const transports::LimitedSent& sent);
  void handle_answer(const path::LimitedAnswer& answer);
  void take_report(path::TraceReport report, Instant at);
  void settle_pending(Instant now);
  [[nodiscard]] Duration answer_patience() const;

  // --- what stages are made of ---
  void begin_ike(std::size_t index);
  void pump(std::size_t index, Instant now);
  void handle(std::size_t index, ike::Event event, Instant now);
  void handle(transports::DataPlaneEvent& event, Instant now);
  void control(const transports::ControlReceived& received);
  void send(std::size_t way, const path::ControlMessage& message, bool dont_fragment = false);
  void send_probe(std::size_t way);
  void send_size(std::size_t way, std::uint16_t outer_octets);
  void settle_counts(Way& way, std::size_t first_answer, std::uint32_t first_number);
  [[nodiscard]] bool alive(std::size_t way) const { return ways_[way].activity && ways_[way].facts.closed.empty(); }
  [[nodiscard]] unsigned overhead(const Way& way) const;
  [[nodiscard]] Duration patience(const std::vector<std::size_t>& ways) const;
  /// Until `done` or the time is over; in any case what has come is handled. @return done()
  bool wait(
      Duration most, const std::function<bool()>& done = [] { return false; });
  void turn(Instant until);
  void say(const std::string& text) const;

  const Config& config_;
  ProberOptions options_;
  Instant end_{};
  crypto::SystemRandom random_;
  ike::SpiRegistry spis_;
  TransportPorts ports_;
  std::vector<LeftOut> left_out_;
  std::unique_ptr<transports::DataPlane> data_;
  std::vector<transports::DataPlaneEvent> events_;
  std::vector<Way> ways_;
  std::uint64_t next_request_ = 1, next_id_ = 1;
  std::map<std::uint64_t, Sent> sent_;  // by id; bounded by the stages
  std::map<std::uint64_t, Answered> answered_;
  transports::SessionTag tag_{1};
  std::optional<std::size_t> session_way_;  // where IKE_AUTH is tried or was done
  std::optional<ike::Established> established_;
  std::optional<ike::Closed> closed_;
  bool child_ = false, child_failed_ = false, finishing_ = false;
  std::optional<std::uint64_t> headend_clock_;
  std::optional<Locating> locating_;
  int sink_ = -1;  // the other end of what stands for a TUN
};

}  // namespace switchback::client::doctor
