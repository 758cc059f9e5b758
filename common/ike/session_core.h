// Inside of Session: the data that the exchanges share. Each exchange_*.cpp builds and processes one exchange.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/rate_limit.h"
#include "common/crypto/key_exchange.h"
#include "common/ike/keys.h"
#include "common/ike/message.h"
#include "common/ike/nat_detection.h"
#include "common/ike/payload_notify.h"
#include "common/ike/session.h"
#include "common/ike/sk_payload.h"
#include "common/ike/states.h"
#include "common/ike/window.h"

namespace switchback::ike {

/// Owns an inbound ESP SPI while a negotiation is under way; a Child SA takes it over.
class SpiLease {
 public:
  SpiLease() = default;
  SpiLease(SpiRegistry& registry, Spi spi) : registry_{&registry}, spi_{spi} {}
  SpiLease(SpiLease&& other) noexcept : registry_{std::exchange(other.registry_, nullptr)}, spi_{other.spi_} {}
  SpiLease& operator=(SpiLease&& other) noexcept {
    if (this != &other) {
      reset();
      registry_ = std::exchange(other.registry_, nullptr);
      spi_ = other.spi_;
    }
    return *this;
  }
  SpiLease(const SpiLease&) = delete;
  SpiLease& operator=(const SpiLease&) = delete;
  ~SpiLease() { reset(); }
  [[nodiscard]] Spi get() const noexcept { return spi_; }

 private:
  void reset() noexcept {
    if (registry_ != nullptr) registry_->release_esp(spi_);
    registry_ = nullptr;
  }
  SpiRegistry* registry_ = nullptr;
  Spi spi_;
};

/// As SpiLease, for our SPI of an IKE SA.
class IkeSpiLease {
 public:
  IkeSpiLease() = default;
  IkeSpiLease(SpiRegistry& registry, IkeSpi spi) : registry_{&registry}, spi_{spi} {}
  IkeSpiLease(IkeSpiLease&& other) noexcept : registry_{std::exchange(other.registry_, nullptr)}, spi_{other.spi_} {}
  IkeSpiLease& operator=(IkeSpiLease&& other) noexcept {
    if (this != &other) {
      reset();
      registry_ = std::exchange(other.registry_, nullptr);
      spi_ = other.spi_;
    }
    return *this;
  }
  IkeSpiLease(const IkeSpiLease&) = delete;
  IkeSpiLease& operator=(const IkeSpiLease&) = delete;
  ~IkeSpiLease() { reset(); }
  [[nodiscard]] IkeSpi get() const noexcept { return spi_; }

 private:
  void reset() noexcept {
    if (registry_ != nullptr) registry_->release_ike(spi_);
    registry_ = nullptr;
  }
  SpiRegistry* registry_ = nullptr;
  IkeSpi spi_;
};

// --- What waits to be asked -------------------------------------------------------------------------------------

enum class TaskKind : std::uint8_t { rekey_ike, rekey_child, create_child, delete_child, liveness, update_addresses };
struct Task {
  TaskKind kind;
  Spi child;                                                   // inbound, for rekey_child and delete_child
  std::optional<crypto::KeyExchangeMethod> key_exchange = {};  // after INVALID_KE_PAYLOAD
  unsigned refusals = 0;                                       // INVALID_KE_PAYLOAD so far
  bool suspicious = false;                                     // liveness with the quick schedule
  std::optional<Instant> not_before = {};
};

// --- What was asked: one per IKE SA at a time (window 1) ---------------------------------------------------------

/// A new SA that the peer made in the same moment, RFC 7296 §2.8.1, §2.8.2.
struct ChildCollision {
  Spi inbound;         // of the Child SA that the peer's request made
  Bytes lowest_nonce;  // of its two
};
struct InitRequest {};
struct AuthRequest {
  std::optional<SpiLease> inbound;  // absent: childless
  Bytes id_body;                    // ours
  std::vector<Proposal> offered;
  AddressPair path;  // that it was first sent on
};
struct ChildRequest {
  std::optional<Spi> rekeys;  // inbound SPI of the predecessor
  std::uint32_t family = 0;
  SpiLease inbound;
  Bytes nonce;
  std::optional<crypto::KeyExchange> key_exchange;
  std::vector<Proposal> offered;
  TrafficSelectors local, remote;
  unsigned refusals = 0;
  std::optional<ChildCollision> collision;
  std::vector<Spi> deleted_early;  // SPIs that the peer deleted before its answer arrived: one may be this SA's
};
struct RekeyIkeRequest {
  IkeSpiLease spi;
  Bytes nonce;
  crypto::KeyExchange key_exchange;
  std::vector<Proposal> offered;
  unsigned refusals = 0;
  std::optional<IkeSpi> rival;  // our SPI of the IKE SA that the peer's request made meanwhile
  Bytes rival_nonce;            // the lower of its two
};
struct DeleteChildRequest {
  std::vector<Spi> inbound;
};
struct DeleteIkeRequest {};
struct LivenessRequest {};
struct UpdateAddressesRequest {
  AddressPair path;
  Bytes cookie2;
};
/// An INFORMATIONAL on a path that the peer seems to have moved to: its answer from there proves the path.
struct PathCheckRequest {
  AddressPair candidate;
  Bytes cookie2;  // empty without MOBIKE
  bool rebound = false;
  bool redirected = false;  // the candidate changed while the answer was under way
};
using Request =
    std::variant<std::monostate, InitRequest, AuthRequest, ChildRequest, RekeyIkeRequest, DeleteChildRequest,
                 DeleteIkeRequest, LivenessRequest, UpdateAddressesRequest, PathCheckRequest>;

struct IkeSa {
  IkeSpi initiator, responder;
  IkeSpiLease lease;  // ours of the two
  bool we_are_initiator = false;
  Tracked<IkeSaState> state{IkeSaState::negotiating};
  IkeSuite suite;
  IkeKeys keys;
  std::optional<SkSealer> sealer;
  std::optional<SkOpener> opener;
  SendWindow send;
  ReceiveWindow receive;
  Request request;
  ExchangeType asked = ExchangeType::informational;  // of `request`
  DatagramHash first_fragment{};                     // of the request being put together
  std::optional<Instant> rekey_at, expires_at, stale_at;
  /// Deleted by the peer; until then it only repeats its last answer, should the peer not have heard it.
  std::optional<Instant> remove_at;
  bool announced = false;  // IkeSpisAdded was emitted

  [[nodiscard]] IkeSpi local_spi() const noexcept { return we_are_initiator ? initiator : responder; }
};

struct Child {
  Tracked<ChildState> state{ChildState::installed};
  SpiLease inbound;
  Spi outbound;
  EspSuite suite;
  TrafficSelectors local, remote;
  std::uint32_t family = 0;  // the same for a Child SA and all that replace it
  bool sends = false;        // its outbound side is the one in use for its family
  Instant installed_at{};
  std::optional<Instant> rekey_at, expires_at, stale_at, linger_until;
  Duration retry{};  // next wait after TEMPORARY_FAILURE
  unsigned generation = 0;
};

/// Kept from IKE_SA_INIT for AUTH (RFC 7296 §2.15), then dropped.
struct InitState {
  std::optional<crypto::KeyExchange> key_exchange;
  std::vector<Proposal> offered;
  Bytes nonce_i, nonce_r;
  Bytes first_request, first_response;  // RealMessage1, RealMessage2
  Bytes cookie;
  unsigned retries = 0;                            // COOKIE and INVALID_KE_PAYLOAD together
  std::vector<crypto::HashAlgorithm> peer_hashes;  // of its SIGNATURE_HASH_ALGORITHMS; empty: none came
  bool peer_childless = false;
  std::string refusal;  // unauthenticated error seen, reported if nothing better comes
  CloseReason refusal_reason = CloseReason::timeout;
};

/// What the responder holds while the shell decides.
struct HeldAuth {
  crypto::IkeIdentity peer;
  const PeerKey* peer_key = nullptr;  // if it used one; borrowed from the configuration
  std::vector<Proposal> offered;
  TrafficSelectors initiator_selectors, responder_selectors;
  bool wants_child = false;
  AddressPair path;
  bool asked_network = false;
  std::vector<PrivateNotify> notifies;
  Instant deadline{};
};

/// Current, replaced, and one of each collision.
inline constexpr std::size_t kMaxIkeSas = 6;

class SessionCore {
 public:
  SessionCore(Role role, std::shared_ptr<const SessionConfig> config, Environment environment);

  // --- session.cpp: inputs and dispatch
  void start(const AddressPair& path, Instant now, WallTime wall);
  void handle_message(ByteView datagram, const AddressPair& path, Instant now, WallTime wall);
  void handle_deadline(Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const;
  void handle_init(const Header& header, ByteView datagram, const AddressPair& path, Instant now, WallTime wall);
  void handle_unprotected(IkeSa& sa, ByteView datagram, Instant now);
  void handle_request(IkeSa& sa, const Header& header, ByteView datagram, const AddressPair& path, Instant now,
                      WallTime wall);
  void handle_response(IkeSa& sa, const Header& header, ByteView datagram, const AddressPair& path, Instant now,
                       WallTime wall);
  void process_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now, WallTime wall);
  void process_response(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now, WallTime wall);

  // --- session_core.cpp: sending, state, closing
  [[nodiscard]] Header header(const IkeSa& sa, ExchangeType exchange, bool response, MessageId id) const;
  [[nodiscard]] std::vector<Bytes> protect(IkeSa& sa, ExchangeType exchange, bool response, MessageId id,
                                           const ChainBuilder& chain);
  void transmit(const std::vector<Bytes>& datagrams, const AddressPair& path);
  void ask(IkeSa& sa, ExchangeType exchange, const ChainBuilder& chain, Request request, const RetransmitPolicy& policy,
           Instant now);
  void respond(IkeSa& sa, ExchangeType exchange, const ChainBuilder& chain, const AddressPair& path);
  void respond_error(IkeSa& sa, ExchangeType exchange, NotifyType error, const AddressPair& path, ByteView data = {});
  [[nodiscard]] AddressPair request_path(const IkeSa& sa) const;
  void emit(Event event) { events_.push_back(std::move(event)); }
  void finish(CloseReason reason, std::string detail);
  void announce(IkeSa& sa);
  void install_keys(IkeSa& sa, IkeKeys keys);
  void schedule_ike(IkeSa& sa, Instant now);
  void remove_ike(IkeSa& sa);
  void sweep();
  [[nodiscard]] IkeSa* find_ike(IkeSpi initiator, IkeSpi responder) noexcept;
  [[nodiscard]] IkeSa* find_local_ike(IkeSpi local) noexcept;
  [[nodiscard]] IkeSa* active() noexcept;
  [[nodiscard]] Child* find_child(Spi inbound) noexcept;
  [[nodiscard]] Child* find_child_by_outbound(Spi outbound) noexcept;
  [[nodiscard]] Duration jittered(Duration full);
  [[nodiscard]] Bytes make_nonce();

  // --- tasks.cpp
  void queue(Task task);
  /// After every input: asks what can be asked now and forgets what is gone.
  void settle(Instant now);
  void run_tasks(Instant now);
  void give_back(IkeSa& sa, Instant now);
  void child_timers(Instant now);
  void request_died(IkeSa& sa, Instant now);

  // --- exchange_init.cpp
  void send_init(Instant now);
  void post_init(Instant now);
  void read_init_extensions(const MessageView& message, const AddressPair& path);
  void process_init_response(const MessageView& message, ByteView datagram, const AddressPair& path, Instant now,
                             WallTime wall);
  void process_init_request(const MessageView& message, ByteView datagram, const AddressPair& path, Instant now);

  // --- exchange_auth_initiator.cpp, exchange_auth_responder.cpp
  void send_auth(Instant now, WallTime wall);
  void proceed(Instant now, WallTime wall);
  void process_auth_response(IkeSa& sa, AuthRequest request, OpenedMessage& message, Instant now, WallTime wall);
  void process_auth_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now, WallTime wall);
  void answer_auth(Authorization answer, Instant now);
  void refuse_auth(IkeSa& sa, NotifyType error, CloseReason reason, std::string detail, const AddressPair& path);
  void established(IkeSa& sa, crypto::IkeIdentity peer, NetworkConfig network, std::vector<PrivateNotify> notifies,
                   Instant now);
  /// Initiator: the peer's IKE_AUTH answer does not prove it; tells the peer (§2.21.2) and ends.
  void reject_peer(IkeSa& sa, NotifyType notify, CloseReason reason, std::string detail);
  void record_refusal(CloseReason reason, std::string detail);

  // --- child_sa.cpp
  struct ChildSpec {
    SpiLease inbound;
    Spi outbound;
    EspSuite suite;
    TrafficSelectors local, remote;
    std::uint32_t family = 0;
    bool use_outbound = true;
    std::optional<Spi> replaces;
  };
  Child& install_child(ChildSpec spec, ChildKeys keys, bool we_initiated, Instant now);
  /// Emits ChildRemoved, at once or after the grace if a successor carries on.
  void retire_child(Child& child, Instant now);
  void switch_outbound(Child& to);
  void first_inbound_packet(Spi inbound);
  [[nodiscard]] Child* successor(const Child& child) noexcept;

  // --- exchange_child.cpp
  void send_child(IkeSa& sa, const Task& task, Instant now);
  void process_child_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now);
  void process_child_response(IkeSa& sa, ChildRequest request, OpenedMessage& message, Instant now);
  void child_refused(ChildRequest& request, NotifyView error, Instant now);

  // --- exchange_rekey_ike.cpp
  void send_rekey_ike(IkeSa& sa, const Task& task, Instant now);
  void process_rekey_ike_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now);
  void process_rekey_ike_response(IkeSa& sa, RekeyIkeRequest request, OpenedMessage& message, Instant now);
  void rekey_failed(IkeSa& sa, RekeyIkeRequest& request, Instant now);
  void adopt(IkeSa& next, IkeSa* previous, Instant now);

  // --- exchange_informational.cpp, mobike.cpp
  void process_informational_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now);
  void process_informational_response(IkeSa& sa, Request request, OpenedMessage& message, const AddressPair& path,
                                      Instant now);
  void send_delete_ike(IkeSa& sa, const RetransmitPolicy& policy, Instant now);
  void send_delete_children(IkeSa& sa, std::vector<Spi> inbound, Instant now);
  void send_liveness(IkeSa& sa, bool suspicious, Instant now);
  void send_update_addresses(IkeSa& sa, Instant now);
  [[nodiscard]] bool process_update_addresses(IkeSa& sa, OpenedMessage& message, const AddressPair& path,
                                              ChainBuilder& answer, Instant now);
  void consider_path(const AddressPair& path, bool rebound, Instant now);
  void send_path_check(IkeSa& sa, Instant now);
  void move_path(const AddressPair& to, bool rebound);
  void handle_path_change(const AddressPair& path, Instant now);
  void handle_hint(Instant now);
  void close(Instant now, CloseReason reason);
  void abandon(Instant now);

  // --- state
  const Role role_;
  const std::shared_ptr<const SessionConfig> config_;
  RandomSource& random_;
  SpiRegistry& spis_;
  SpiShare share_;
  Tracked<SessionState> state_{SessionState::idle};

  AddressPair path_;
  std::optional<AddressPair> candidate_;  // being checked
  bool candidate_rebound_ = false;
  bool candidate_queued_ = false;  // the check has not been sent yet
  std::vector<std::unique_ptr<IkeSa>> ikes_;
  std::vector<std::unique_ptr<Child>> children_;
  std::deque<Task> tasks_;
  std::deque<Transmit> out_;
  std::deque<Event> events_;

  std::unique_ptr<InitState> init_;  // until established
  std::optional<HeldAuth> held_;
  crypto::IkeIdentity peer_identity_;
  NatStatus nat_;
  bool peer_mobike_ = false;
  bool peer_fragmentation_ = false;
  TrafficSelectors local_policy_, remote_policy_;  // for further Child SAs
  std::vector<SpiLease> doomed_;                   // of Child SAs that lost a collision, until their DELETE is answered
  std::uint32_t next_family_ = 1;
  Instant last_heard_{};
  std::optional<Instant> last_move_;
  std::optional<Instant> connect_deadline_;  // half-open, waiting, and close()
  TokenBucket hints_{0.2, 2};
  TokenBucket resends_{20, 40};
  Duration ike_retry_{};
  CloseReason close_reason_ = CloseReason::requested;
  std::string close_detail_;
};

}  // namespace switchback::ike
