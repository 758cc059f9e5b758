// Two IKE sessions, their shells in a few lines, and a network between them, all in virtual time.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/ike/session.h"
#include "tests/support/seeded_random.h"
#include "tests/support/sim_network.h"
#include "tests/support/virtual_clock.h"

namespace switchback::test {

/// What a packet thread would hold of a Child SA.
struct InstalledChild {
  Spi inbound, outbound;
  Bytes inbound_key, outbound_key;
  ike::TrafficSelectors local, remote;
  bool esn = false;
  std::string suite;
};

/// One end: a session and what its events have said so far.
struct End {
  std::unique_ptr<ike::Session> session;
  std::map<Spi, InstalledChild> installed;  // by inbound SPI
  std::optional<Spi> sending_on;            // outbound SPI in use
  AddressPair esp_path;
  std::optional<ike::InitAnswered> init_answered;
  std::optional<ike::Established> established;
  std::optional<ike::AuthorizationNeeded> asked;
  std::optional<ike::Closed> closed;
  std::vector<ike::NotifyType> child_failures;
  std::vector<ike::PathChanged> moves;
  std::deque<ike::IkeKeylog> keylog;  // whose elements stay where they are
  std::set<Spi> first_seen;           // inbound SAs that have carried a packet
  std::set<IkeSpi> ike_spis;
  unsigned ike_rekeys = 0;
  unsigned installs = 0;
  // Model of ESP: packets that came, and those on an SPI that is not installed.
  unsigned esp_received = 0, esp_unknown = 0, esp_sent = 0;
};

/// Configurations that fit each other; tests change what they are about.
struct PairConfig {
  ike::SessionConfig client, headend;
  /// Pre-shared key both ways, quick to compute.
  [[nodiscard]] static PairConfig with_psk();
  /// Certificates of a test authority both ways, made once for each key type.
  [[nodiscard]] static PairConfig with_certificates(crypto::KeyType type = crypto::KeyType::ecdsa_p256);
};

class SessionPair {
 public:
  explicit SessionPair(PairConfig config, std::uint64_t seed = 1, LinkConditions conditions = {});

  /// Sends the client's IKE_SA_INIT.
  void start();
  /// One event of the world: the earliest delivery or deadline. False if nothing is to come before `until`.
  bool step(Instant until);
  void run_for(Duration time);
  /// Until `done`, at most `limit` of virtual time; returns whether it came.
  bool run_until(const std::function<bool()>& done, Duration limit);
  bool establish(Duration limit = std::chrono::seconds{60});

  /// After commands given to a session directly: sends what it wants to send, reads its events.
  void flush();
  /// A model of an ESP packet on the SA that the end uses.
  void send_esp(End& from);
  [[nodiscard]] bool both_established() const;
  [[nodiscard]] bool both_closed() const;
  /// Nothing is under way on the wire or in the sessions.
  [[nodiscard]] bool quiet() const;
  /// Both ends hold the same Child SAs with the same keys, and each sends on one that the other receives on. Says what
  /// differs, empty if nothing.
  [[nodiscard]] std::string disagreement() const;

  VirtualClock clock;
  SeededRandom random;
  SimNetwork network;
  ike::SpiRegistry client_spis, headend_spis;
  End client, headend;
  PairConfig config;
  /// What the headend's shell answers; replace to refuse or to change addresses.
  std::function<std::optional<ike::Authorization>(const ike::AuthorizationNeeded&)> authorize;
  /// Datagrams in the order in which they were sent, if recording.
  bool record = false;
  std::vector<Datagram> recorded;

  static inline const Endpoint kClient{IpAddress::v4(0x0A000002), 40000};
  static inline const Endpoint kHeadendIke{IpAddress::v4(0xC0000201), 500};
  static inline const Endpoint kHeadendNatT{IpAddress::v4(0xC0000201), 4500};

 private:
  void drain(End& end);
  void take(End& end, ike::Event& event);
  void deliver(const Datagram& datagram);
  std::shared_ptr<const ike::SessionConfig> client_config_, headend_config_;
};

}  // namespace switchback::test
