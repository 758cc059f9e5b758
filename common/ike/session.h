// One IKEv2 session, either role, sans I/O: the IKE SA and its successors, with all Child SAs (RFC 7296).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/secret.h"
#include "common/base/strong.h"
#include "common/base/time.h"
#include "common/crypto/aead.h"
#include "common/ike/session_config.h"
#include "common/ike/states.h"

namespace switchback::ike {

/// A datagram to send, without the non-ESP marker: the transport adds it where the path calls for one.
struct Transmit {
  AddressPair path;
  Bytes datagram;
};

/// Why a session ended, for reconnect decisions; Closed::detail says it in words.
enum class CloseReason : std::uint8_t {
  requested,              // close() was called
  peer_deleted,           // the peer deleted the IKE SA
  timeout,                // no answer to a request
  authentication_failed,  // ours was refused, or the peer's did not verify
  no_proposal_chosen,     // no common suite
  refused,                // the peer answered with another error
  protocol_error,         // the peer broke the protocol inside the protected channel
  expired,                // hard lifetime, message IDs used up, half-open too long
  replaced,               // the peer made a new session (INITIAL_CONTACT), as the shell decided
};
[[nodiscard]] std::string_view to_string(CloseReason reason) noexcept;

// --- Events: what the shell has to do or may want to tell --------------------------------------------------------

/// Responder only: the peer proved its identity; answer with handle_authorization within timers.authorization.
struct AuthorizationNeeded {
  crypto::IkeIdentity peer;
  std::optional<crypto::IkeIdentity> wanted;  // the IDr that the peer asked for
  Bytes certificate;                          // end-entity certificate in DER; empty with a pre-shared key
  Bytes certificate_sha256;                   // its fingerprint, 32 octets; empty with a pre-shared key
  std::optional<NetworkRequest> request;      // absent: the peer asked for no addresses
  bool initial_contact = false;               // the peer says that it has no other session (RFC 7296 §2.4)
  std::vector<PrivateNotify> notifies;
  AddressPair path;
};

/// The answer to AuthorizationNeeded. Refused: the peer gets AUTHENTICATION_FAILED and the session closes.
struct Authorization {
  bool granted = false;
  /// What the peer may use as its own addresses. Empty: host selectors of network.addresses, or the configured
  /// remote_selectors if there are no addresses either.
  TrafficSelectors remote_selectors;
  std::optional<TrafficSelectors> local_selectors;  // what it may reach; absent: configured local_selectors
  NetworkConfig network;
  /// The user is welcome but gets no tunnel now, e.g. the pool is empty: the IKE SA stays without Child SA
  /// (RFC 7296 §3.15.4).
  bool address_failure = false;
  std::vector<PrivateNotify> notifies;
};

/// Initiator with wait_before_auth: IKE_SA_INIT was answered and keys are agreed, with nobody knows whom as yet.
/// IKE_AUTH goes on `path` at handle_proceed(); without it the session closes after timers.half_open.
struct InitAnswered {
  AddressPair path;
  bool local_behind_nat = false;  // the peer sees us at another address; unauthenticated
  bool peer_behind_nat = false;
};

/// The IKE SA is up. A Child SA follows as ChildInstalled, or ChildFailed says why there is none.
struct Established {
  crypto::IkeIdentity local, peer;
  AddressPair path;
  NetworkConfig network;  // initiator: what CFG_REPLY gave; responder: what it granted
  bool local_behind_nat = false;
  bool peer_behind_nat = false;  // or the peer says so to have ESP encapsulated
  bool mobike = false;
  bool fragmentation = false;
  std::string suite;  // "aes128gcm16-prfsha256-x25519"
  std::vector<PrivateNotify> notifies;
};

/// Install both directions. Keys are moved to the packet thread and wiped here.
struct ChildInstalled {
  Spi inbound, outbound;
  crypto::AeadKey inbound_key, outbound_key;
  bool esn = false;
  TrafficSelectors local, remote;
  AddressPair path;
  bool use_outbound = true;     // false: keep sending on the SA it replaces until OutboundSwitched
  std::optional<Spi> replaces;  // inbound SPI of the Child SA that this one rekeys
  std::string suite;            // "aes128gcm16-esn"
};
/// Send with this Child SA from now on; its predecessor only receives.
struct OutboundSwitched {
  Spi inbound, outbound;
};
/// Forget both directions.
struct ChildRemoved {
  Spi inbound, outbound;
  bool replaced = false;  // a rekeyed successor carries on
};
/// A Child SA was refused, by us or by the peer; the IKE SA lives on. `error` is an error NotifyType.
struct ChildFailed {
  NotifyType error;
  bool by_peer = false;
};
/// Route IKE messages with these SPIs to this session: `initiator`/`responder` as they stand in the header (§3.1).
struct IkeSpisAdded {
  IkeSpi initiator, responder;
  bool we_are_original_initiator = false;  // `initiator` is ours, else `responder` is
};
struct IkeSpisRemoved {
  IkeSpi initiator, responder;
  bool we_are_original_initiator = false;
};
struct IkeRekeyed {
  std::string suite;
};
/// Move all ESP of this session to another path.
struct PathChanged {
  AddressPair from, to;
  bool rebound = false;  // a NAT gave the peer another mapping, rather than MOBIKE
};
/// The last event. Every ChildRemoved and IkeSpisRemoved has come before it.
struct Closed {
  CloseReason reason = CloseReason::requested;
  std::string detail;  // for people; bounded, printable
};
/// Keys of one IKE SA for a protocol analyser; only if config.keylog.
struct IkeKeylog {
  IkeSpi initiator, responder;
  crypto::AeadAlgorithm algorithm;
  Secret sk_ei, sk_er;  // key followed by the 4-octet salt
};

using Event =
    std::variant<AuthorizationNeeded, InitAnswered, Established, ChildInstalled, OutboundSwitched, ChildRemoved,
                 ChildFailed, IkeSpisAdded, IkeSpisRemoved, IkeRekeyed, PathChanged, Closed, IkeKeylog>;

/// A Child SA as the status shows it.
struct ChildStatus {
  Spi inbound, outbound;
  ChildState state;
  std::string suite;
  TrafficSelectors local, remote;
  Instant installed_at;
};

class SessionCore;

/// After every handle_* call: drain poll_transmit() and poll_event(), then arm a timer for next_deadline().
/// Inputs that make no sense in the present state are ignored. One thread; no locks, clocks, or I/O inside.
class Session {
 public:
  Session(Role role, std::shared_ptr<const SessionConfig> config, Environment environment);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Initiator: sends IKE_SA_INIT. `path.remote` carries the IKE port (500 unless configured).
  void start(const AddressPair& path, Instant now, WallTime wall);
  /// One IKE message as it came, without non-ESP marker. A responder session gets its first IKE_SA_INIT this way.
  void handle_message(ByteView datagram, const AddressPair& path, Instant now, WallTime wall);
  void handle_deadline(Instant now, WallTime wall);
  /// Initiator: the answer to InitAnswered; sends IKE_AUTH.
  void handle_proceed(Instant now, WallTime wall);
  /// Responder: the answer to AuthorizationNeeded.
  void handle_authorization(Authorization answer, Instant now);
  /// An authenticated ESP packet came from the peer: it is alive. Call at most about once a second.
  void handle_authenticated_traffic(Instant now);
  /// The first packet on a new inbound SA: the peer uses it, so the outbound side may be switched.
  void handle_first_inbound_packet(Spi inbound, Instant now);
  /// An authenticated ESP packet, the newest so far, came from another remote address (RFC 7296 §2.23). Followed only
  /// within one transport and towards the same local endpoint: all else is the client's decision (MOBIKE), or a path
  /// beside the one in use.
  void handle_esp_from(const AddressPair& path, Instant now);
  /// Byte or packet count of a Child SA: `hard` means that it must not carry another packet.
  void handle_child_expiring(Spi inbound, bool hard, Instant now);
  /// Initiator: our address changed, or another path shall be used (RFC 4555 §3.5), of whatever transport. What is
  /// outstanding is sent again there at once. ESP moves at once on this side.
  void handle_path_change(const AddressPair& path, Instant now);
  /// Something unauthenticated says that the peer lost this session (INVALID_SPI, ICMP …): check liveness soon.
  void handle_hint(Instant now);

  void rekey_ike(Instant now);
  void rekey_child(Spi inbound, Instant now);
  /// A further Child SA with the configured selectors.
  void create_child(Instant now);
  void delete_child(Spi inbound, Instant now);
  /// Sends DELETE for the IKE SA and ends within timers.closing; `reason` is reported in Closed.
  void close(Instant now, CloseReason reason = CloseReason::requested);
  /// Ends at once, sending one DELETE without waiting for its answer: for a process that stops.
  void abandon(Instant now);

  [[nodiscard]] std::optional<Transmit> poll_transmit();
  [[nodiscard]] std::optional<Event> poll_event();
  [[nodiscard]] std::optional<Instant> next_deadline() const;

  [[nodiscard]] Role role() const noexcept;
  [[nodiscard]] SessionState state() const noexcept;
  [[nodiscard]] const AddressPair& path() const noexcept;
  /// SPIs of the current IKE SA as in the header; the responder's is zero before IKE_SA_INIT is answered.
  [[nodiscard]] IkeSpi initiator_spi() const noexcept;
  [[nodiscard]] IkeSpi responder_spi() const noexcept;
  [[nodiscard]] std::vector<ChildStatus> children() const;
  /// IKE SAs alive, with those being replaced. At rest: 1.
  [[nodiscard]] std::size_t ike_sa_count() const noexcept;
  /// Nothing is outstanding and nothing waits to be asked.
  [[nodiscard]] bool quiescent() const noexcept;
  /// When an authenticated packet last came from the peer.
  [[nodiscard]] Instant last_heard() const noexcept;

 private:
  std::unique_ptr<SessionCore> core_;
};

}  // namespace switchback::ike
