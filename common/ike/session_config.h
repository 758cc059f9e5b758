// What a session is told before it starts: identities, credentials, proposals, policy, timers and bounds.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/random.h"
#include "common/base/secret.h"
#include "common/base/strong.h"
#include "common/base/time.h"
#include "common/crypto/identity.h"
#include "common/ike/proposal.h"
#include "common/ike/registry.h"
#include "common/packet/traffic_selector.h"

namespace switchback::ike {

using packet::TrafficSelector;
using packet::TrafficSelectors;

enum class Role : std::uint8_t { initiator, responder };

/// The SPIs that a session draws from: those whose remainder modulo `of` is `number`, so that an SPI tells which of
/// several packet threads has its Child SA.
struct SpiShare {
  std::uint32_t of = 1, number = 0;
};

/// SPIs in use in this process, so that no two sessions share one. Control thread only.
class SpiRegistry {
 public:
  /// A random SPI of ESP, at least 256 (RFC 4303 §2.1), that is of this share and not in use.
  [[nodiscard]] Spi allocate_esp(RandomSource& random, const SpiShare& share = {});
  void release_esp(Spi spi) noexcept { esp_.erase(spi); }
  /// A random nonzero SPI of an IKE SA that is not in use.
  [[nodiscard]] IkeSpi allocate_ike(RandomSource& random);
  void release_ike(IkeSpi spi) noexcept { ike_.erase(spi); }

 private:
  std::unordered_set<Spi> esp_;
  std::unordered_set<IkeSpi> ike_;
};

/// What a core needs from outside; both outlive every session that was given them.
struct Environment {
  RandomSource& random;
  SpiRegistry& spis;
  SpiShare share{};
};

/// When an unanswered request is sent again: first, first * factor, … up to cap, each ± jitter (RFC 7296 §2.4).
struct RetransmitPolicy {
  Duration first = std::chrono::milliseconds{1000};
  double factor = 1.8;
  Duration cap = std::chrono::seconds{20};
  unsigned sends = 7;    // including the first; after the last one's wait the peer counts as dead
  double jitter = 0.15;  // share of each wait
};

struct SessionTimers {
  RetransmitPolicy retransmit;
  /// Used while connecting (IKE_SA_INIT, IKE_AUTH), so that a person does not wait for minutes.
  RetransmitPolicy connect{std::chrono::milliseconds{500}, 1.6, std::chrono::seconds{5}, 7, 0.15};
  /// Used for the liveness check that an unprotected hint or a failing path calls for: answers in a few seconds.
  RetransmitPolicy suspicion{std::chrono::milliseconds{500}, 1.5, std::chrono::seconds{2}, 4, 0.1};
  /// No authenticated packet from the peer for so long: ask whether it is alive. Zero: never.
  Duration liveness_idle = std::chrono::seconds{30};
  Duration ike_rekey = std::chrono::hours{4};
  Duration ike_lifetime = std::chrono::hours{5};  // hard: closed if the rekey did not succeed by then
  Duration child_rekey = std::chrono::hours{1};
  Duration child_lifetime = std::chrono::minutes{75};  // hard
  double rekey_jitter = 0.15;                          // rekeys happen up to this share earlier
  Duration rekey_retry = std::chrono::seconds{10};     // after TEMPORARY_FAILURE; doubles up to rekey_retry_cap
  Duration rekey_retry_cap = std::chrono::minutes{5};
  /// How long a replaced inbound ESP SA still receives packets that were under way.
  Duration inbound_grace = std::chrono::seconds{5};
  /// A peer that loses a rekey collision or was rekeyed should delete its SA; after this we do it ourselves.
  Duration stale_sa = std::chrono::seconds{30};
  /// From IKE_SA_INIT to established, for the responder; half-open SAs live no longer.
  Duration half_open = std::chrono::seconds{30};
  /// How long the responder waits for handle_authorization before it refuses.
  Duration authorization = std::chrono::seconds{10};
  /// At least this long between two path changes that a NAT rebinding causes (RFC 7296 §2.23).
  Duration rebinding_interval = std::chrono::seconds{2};
  /// How long close() waits for the peer's answer to the DELETE.
  Duration closing = std::chrono::seconds{3};
};

/// What the initiator asks for in CFG_REQUEST (RFC 7296 §3.15). Preferred addresses are asked for by value.
struct NetworkRequest {
  bool ipv4 = true;
  bool ipv6 = true;
  bool dns = true;
  bool subnets = true;
  bool search_domains = true;
  IpAddress preferred_v4, preferred_v6;  // empty: any
  friend bool operator==(const NetworkRequest&, const NetworkRequest&) = default;
};

/// What the responder hands out in CFG_REPLY.
struct NetworkConfig {
  std::vector<IpPrefix> addresses;  // at most one of each family; IPv4 as a host prefix or with its netmask
  std::vector<IpAddress> dns;
  std::vector<IpPrefix> subnets;  // what is reached through the tunnel; empty: everything the selectors allow
  std::vector<std::string> search_domains;
  friend bool operator==(const NetworkConfig&, const NetworkConfig&) = default;
};

/// A status notify of the private-use range (40960 and up), carried in the encrypted IKE_AUTH.
struct PrivateNotify {
  std::uint16_t type = 0;
  Bytes data;
  friend bool operator==(const PrivateNotify&, const PrivateNotify&) = default;
};

/// A pre-shared key of a peer, found by the identity that the peer sends.
struct PeerKey {
  crypto::IkeIdentity identity;
  Secret key;
};

/// One configuration serves many sessions (the headend's), so sessions hold it by shared_ptr<const SessionConfig>.
struct SessionConfig {
  // Who we are and how we prove it. The two directions are independent (RFC 7296 §2.15).
  crypto::IkeIdentity local_identity;
  std::shared_ptr<const crypto::Credentials> credentials;  // certificate chain and key, or the pre-shared key

  // Whom we accept. Certificates need `trust`; pre-shared keys are looked up in `peer_keys`.
  std::optional<crypto::IkeIdentity> remote_identity;  // initiator: sent as IDr, and what IDr must be in the answer
  std::shared_ptr<const crypto::TrustStore> trust;
  std::vector<PeerKey> peer_keys;
  /// Where an identity stands in peer_keys, for thousands of them: index_peer_keys() makes it. Without it, and for
  /// distinguished names, they are gone through one by one.
  std::unordered_map<std::string, std::size_t> peer_key_index;
  /// Proofs that the peer may use. Empty `peer_keys` or null `trust` forbid that method whatever stands here.
  bool accept_certificates = true;
  bool accept_pre_shared_keys = true;
  /// Responder: a peer that proves itself by its pre-shared key is answered with that key, even if `credentials` hold a
  /// certificate, because that is what peers configured for one key expect.
  bool answer_in_kind = true;
  /// Responder: ask the shell (AuthorizationNeeded) before answering IKE_AUTH. If false, everyone authenticated is
  /// granted `local_selectors` × the selectors it asks for, and no addresses.
  bool ask_authorization = true;

  std::vector<IkeProposal> ike_proposals = default_ike_proposals();  // in order of preference
  std::vector<EspProposal> esp_proposals =
      default_esp_proposals();        // with a key exchange method: PFS at rekeys; IKE_AUTH leaves it out
  TrafficSelectors local_selectors;   // initiator: TSi as offered; responder: TSr policy
  TrafficSelectors remote_selectors;  // initiator: TSr as offered; responder: TSi policy if not authorized otherwise
  std::optional<NetworkRequest> request_network;  // initiator: sends CP(CFG_REQUEST)
  std::vector<PrivateNotify> auth_notifies;       // sent in our IKE_AUTH message
  bool initial_contact = true;                    // initiator: N(INITIAL_CONTACT)
  bool childless = false;                         // initiator: IKE_AUTH without a Child SA if the peer can (RFC 6023)

  /// Initiator: where to go after IKE_SA_INIT; 0: stay, as on streams and where ESP is not in UDP.
  std::uint16_t nat_t_port = 4500;
  /// Initiator: stop after IKE_SA_INIT was answered (InitAnswered) until handle_proceed(): several paths may be tried
  /// side by side, and one of them carries IKE_AUTH.
  bool wait_before_auth = false;
  /// Send a NAT_DETECTION_SOURCE_IP that never matches, so that the peer encapsulates ESP in UDP whatever the path.
  bool force_udp_encapsulation = true;
  bool mobike = true;
  bool fragmentation = true;
  /// Largest IP packet that carries one IKE fragment; 1280 fits every IPv6 path (RFC 7383 §2.5.1).
  std::size_t fragment_ip_octets = 1280;
  bool keylog = false;  // emit IkeKeylog events

  SessionTimers timers;

  // Bounds. What exceeds them is refused with NO_ADDITIONAL_SAS or dropped.
  std::size_t max_children = 16;
  std::size_t max_message_octets = 65535;
};

/// Call when peer_keys is complete.
void index_peer_keys(SessionConfig& config);
/// The entry that matches(), the first if there are several; null if there is none.
[[nodiscard]] const PeerKey* find_peer_key(const SessionConfig& config, const crypto::IkeIdentity& identity);

}  // namespace switchback::ike
