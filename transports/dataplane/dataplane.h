// The packet threads: TUN ↔ ESP ↔ transports, run to completion. Everything here is called by the control thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/strong.h"
#include "common/base/time.h"
#include "common/esp/sa.h"
#include "common/io/tun_device.h"
#include "transports/registry.h"
#include "transports/transport.h"

namespace switchback::transports {

/// The caller's own tag of a session; comes back in events. The data plane only compares it.
using SessionTag = Strong<std::uint64_t, struct SessionTagTag>;

/// What a Child SA did beyond what its two SAs count. The packet thread writes, anyone reads; each member is right by
/// itself, the set of them is not one instant's.
struct ChildActivity {
  std::atomic<std::uint64_t> too_big{0};  // inner packets beyond inner_mtu, answered by ICMP
  /// Last authentic packet in and last packet out: nanoseconds of Instant's clock since its epoch, 0 for never.
  std::atomic<std::int64_t> last_in{0}, last_out{0};

  [[nodiscard]] Instant last_inbound() const noexcept {
    return Instant{Duration{last_in.load(std::memory_order_relaxed)}};
  }
  [[nodiscard]] Instant last_outbound() const noexcept {
    return Instant{Duration{last_out.load(std::memory_order_relaxed)}};
  }
};

/// Paths that a session may have. One more pushes out the oldest that carries nothing.
inline constexpr std::size_t kMaxPaths = 16;

/// What went over one path of one session. The packet thread writes, anyone reads; it outlives the path.
struct PathActivity {
  std::atomic<std::uint64_t> sent_data{0};  // ESP packets with an inner packet, twins included
  /// All ESP packets that the transport took: data and control messages. Falls by what it had no room for after all.
  std::atomic<std::uint64_t> sent_packets{0};
  /// Authentic ESP packets, control messages included. While there is a twin, also those that the replay window
  /// refuses: copies of what came by the other path, which would look like loss.
  std::atomic<std::uint64_t> received_packets{0};
  std::atomic<std::uint64_t> received_octets{0};  // their inner octets
  std::atomic<std::int64_t> last_in{0};           // of the last authentic packet; as ChildActivity::last_in
};

/// Counters of an installed Child SA; they outlive it.
struct ChildCounters {
  std::shared_ptr<const esp::SaCounters> inbound, outbound;
  std::shared_ptr<const ChildActivity> activity;
};

/// When the outbound half of a Child SA starts to be used.
enum class Activation : std::uint8_t {
  now,        // the initiator of an exchange, and the responder of one that replaces nothing
  on_command  // the responder of a rekey: by switch_outbound(), when the session says so after FirstInbound or a delete
};

/// A pair of ESP SAs with everything needed to carry packets. Identified from now on by the inbound SPI, which is ours
/// and unique within the data plane.
struct ChildSa {
  SessionTag session;
  esp::SaParams inbound;   // with the selectors, which are the same in both
  esp::SaParams outbound;  // inner packets to its remote selectors go by this SA
  /// Used for sending if the session has no path in use yet; after that use_paths() decides.
  AddressPair path;
  Activation activation = Activation::now;
  /// Inbound SPI of the Child SA that this one rekeys. Once this one sends, that one and those before it only receive.
  std::optional<Spi> replaces;
  /// Largest inner packet for this path; 0: whatever the TUN gives. Beyond it: ICMP, and TCP's MSS is clamped to it.
  std::uint16_t inner_mtu = 0;
  /// Send a NAT keepalive when nothing was sent on the path in use for so long, if that is of `udp`; zero: never.
  /// RFC 3948 §4 says 20 s.
  Duration nat_keepalive{0};
};

// --- what the packet threads tell the control thread ---

/// An IKE message off the wire, without its marker. Nothing about it is proven.
struct IkeReceived {
  AddressPair path;
  Bytes message;
};
/// A lifetime of one half of a Child SA. Soft comes once, early enough to rekey; at hard the half stops.
struct LifetimeReached {
  SessionTag session;
  Spi child;  // inbound SPI
  bool outbound = false;
  bool hard = false;
};
/// Authentic data came by a path that the session does not have: add_path(), then perhaps use_paths(), is the answer,
/// if any. Comes at most once a second for each Child SA.
struct PeerMoved {
  SessionTag session;
  Spi child;
  AddressPair path;
};
/// An authentic control message (common/path/control.h), as it came, by whatever path. A path that the session did not
/// have is not counted on until add_path(). At most kControlBurst of a session wait; more are dropped and counted.
struct ControlReceived {
  SessionTag session;
  Spi child;
  AddressPair path;
  Bytes body;
  Instant at{};
  std::uint64_t received_packets = 0;  // on the path, this one included
};
inline constexpr std::size_t kControlBurst = 64;
/// PathReport opened, failed or closed.
struct PathOpened {
  std::uint64_t request = 0;
  AddressPair path;
};
struct PathFailed {
  std::uint64_t request = 0;
  TransportId transport = 0;
  std::string detail;
};
struct PathClosed {
  AddressPair path;
  std::string detail;
};
/// PathReport signal: something seen in the transport's own headers. Nobody signed it.
struct PathSignal {
  AddressPair path;
  path::Signal signal = path::Signal::reset;
  std::uint32_t count = 0;
};
/// The first authentic packet on an inbound SA: the peer uses it. Which outbound half to use is the session's decision,
/// which knows of colliding rekeys; until it comes the old one goes on.
struct FirstInbound {
  SessionTag session;
  Spi child;
};
/// ESP for an SPI that nobody has: after a restart of ours the peer does not know yet. At most a few a second.
struct UnknownSpi {
  AddressPair path;
  Spi spi;
  std::size_t octets = 0;  // of the ESP packet: an answer must not be longer
};
/// What became of send_limited(). Its ICMP error may have come before this word of it.
struct LimitedSent {
  SessionTag session;
  AddressPair path;
  std::uint64_t token = 0;
  std::uint8_t hop_limit = 0;
  std::optional<packet::LimitedPacket> packet;  // nothing: it did not leave
  bool possible = false;                        // false: the path cannot send any
  Instant at{};
};
/// A hint by ICMP. At most a few a second.
struct PathHint {
  PathReport report;
};
/// An offload is not used any more, or again.
struct OffloadChanged {
  TransportId transport = 0;
  OffloadStatus offload;
};
/// The TUN or a transport failed for good. Other transports go on; the paths of the failed one are told by PathClosed.
struct DataPlaneFailed {
  std::string what;
  std::error_code error;
  std::optional<TransportId> transport{};  // nothing: the TUN, without which nothing goes
};
using DataPlaneEvent =
    std::variant<IkeReceived, LifetimeReached, PeerMoved, ControlReceived, FirstInbound, UnknownSpi, LimitedSent,
                 PathHint, PathOpened, PathFailed, PathClosed, PathSignal, OffloadChanged, DataPlaneFailed>;

/// Counts over all SAs and workers.
struct DataPlaneCounters {
  std::uint64_t tun_read_packets = 0, tun_read_octets = 0;  // super-packets as read, inner octets
  std::uint64_t tun_written_packets = 0, tun_written_octets = 0;
  std::uint64_t tun_write_failed = 0;
  std::uint64_t inner_sent = 0, inner_received = 0;  // single inner packets
  std::uint64_t no_outbound = 0;                     // inner packets that no SA is for
  std::uint64_t inner_malformed = 0;                 // from the TUN: not IP, or a header that cannot be cut
  std::uint64_t too_big = 0;                         // answered by ICMP
  std::uint64_t unknown_spi = 0;
  std::uint64_t esp_malformed = 0, esp_replayed = 0, esp_forged = 0, esp_refused = 0, esp_dummy = 0;
  std::uint64_t ike_received = 0, ike_sent = 0, ike_dropped = 0;  // dropped: the control thread is behind
  std::uint64_t keepalives_received = 0, keepalives_sent = 0;
  std::uint64_t pool_empty = 0;  // packets dropped for want of memory
  std::uint64_t loop_turns = 0;
  std::uint64_t no_path = 0;          // packets and orders for a path or transport that is not there, or has failed
  std::uint64_t twins_sent = 0;       // copies for a second path
  std::uint64_t control_dropped = 0;  // control messages in: the control thread is behind
  // To another worker: (super-)packets from the TUN, ESP packets that arrived, sealed ones for its transport.
  std::uint64_t handed_inner = 0, handed_arrived = 0, handed_sealed = 0;
  std::uint64_t handover_full = 0;  // dropped, because the other worker is behind
  std::array<std::optional<TransportCounters>, kTransportIds> transports;  // by TransportId, summed over workers

  DataPlaneCounters& operator+=(const DataPlaneCounters& more) noexcept;
};

struct DataPlaneConfig {
  /// Opened by every worker; by name, each at most once.
  std::vector<TransportConfig> transports;
  /// One worker for each, at most kMaxWorkers; made by io::TunDevice::take_queues().
  std::vector<io::TunQueue> tun;
  /// False where the kernel would not take super-packets: see io::TunOffloads.
  io::TunOffloads tun_offloads;
  /// Slabs of each worker's pool.
  std::size_t pool_slabs = 256;
  /// Inner packets are also written here, as pcap with LINKTYPE_RAW; empty: not. Created 0600. Each worker
  /// beyond the first has a file of its own, with its number behind the name.
  std::string pcap_file;
};

/// Owns the packet threads and all they touch. All members are for one control thread; none waits for a packet thread
/// except local_endpoints(), observe(), make_hole(), rebind(), counters() of transports, and stop(). Commands take
/// effect in the order given: install() before send_ike() means that the answer finds its SA.
class DataPlane {
 public:
  /// Opens transports and memory; no thread yet. Errors: an address or port that cannot be opened, no memory.
  [[nodiscard]] static Result<std::unique_ptr<DataPlane>, UserError> create(
      DataPlaneConfig config, const TransportRegistry& registry = builtin_transports());
  ~DataPlane();
  DataPlane(const DataPlane&) = delete;
  DataPlane& operator=(const DataPlane&) = delete;

  void start();
  /// Ends the threads after the commands given so far (so that a last IKE delete leaves), and joins them. Idempotent.
  void stop();

  [[nodiscard]] unsigned workers() const noexcept;
  /// Returns once every worker has obeyed the commands so far, with those that they gave each other. For tests.
  void settle() const;
  [[nodiscard]] bool has(TransportId id) const noexcept;
  /// Where transport `id` listens, with the ports that the kernel chose; empty if it is not there.
  [[nodiscard]] std::vector<Endpoint> local_endpoints(TransportId id) const;
  /// Pre: has(id).
  [[nodiscard]] const TransportTraits& traits(TransportId id) const;
  /// Transport::observe() and make_hole() of the path's transport. Both wait for the packet thread: milliseconds.
  [[nodiscard]] std::optional<PathObservation> observe(const AddressPair& path) const;
  [[nodiscard]] bool make_hole(const AddressPair& path);
  /// New local sockets for a transport (the client's address changed). Waits for the packet thread: milliseconds.
  [[nodiscard]] Result<void, UserError> rebind(TransportId id, std::vector<Endpoint> local);

  /// Replaces a Child SA with the same inbound SPI. The keys are expanded here, so that the packet thread does not
  /// wait. Pre: the inbound SPIs of all Child SAs of a session are equal modulo workers(): they share a worker.
  ChildCounters install(ChildSa child);
  /// Uses this Child SA's outbound half from now on, before any other with the same selectors; those that it replaces
  /// only receive.
  void switch_outbound(Spi inbound);
  void remove(Spi inbound);
  /// With its Child SAs and paths, which are closed after what was sent on them. A session is remembered from its first
  /// install() until this.
  void remove_session(SessionTag session);
  void set_inner_mtu(SessionTag session, std::uint16_t inner_mtu);

  // Paths. A path's transport is AddressPair::transport; what names one that is not there is dropped and counted.
  /// Starts to open a path: PathOpened or PathFailed follows. It belongs to no session yet.
  void open_path(TransportId transport, PathRequest request);
  /// Lets the transport forget it, after what was sent on it.
  void close_path(const AddressPair& path);
  /// The session may be reached by this path too: counts from now on, expects its packets there, and tells the
  /// transport the session's SPIs. Adding a path twice gives the same counters. Pre: a Child SA of the session is
  /// installed.
  [[nodiscard]] std::shared_ptr<const PathActivity> add_path(SessionTag session, const AddressPair& path);
  /// Undoes add_path() and closes it. Pre: it is neither in use nor the twin, or the session has no other.
  void remove_path(SessionTag session, const AddressPair& path);
  /// The session's data goes along `in_use` from now on, and copies of it along `twin`; both are added if they are not
  /// there. Pre: they differ.
  void use_paths(SessionTag session, const AddressPair& in_use, const std::optional<AddressPair>& twin = {});
  /// An ESP dummy packet (next header 59, RFC 4303 §2.6) with this body on that path, by the Child SA that sends.
  /// @param dont_fragment  for PMTU probes: larger than what the path takes, it is lost rather than cut
  void send_control(SessionTag session, const AddressPair& path, Bytes body, bool dont_fragment = false);
  /// Transport::send_limited() with such a dummy packet, which is not counted as sent. LimitedSent follows, with
  /// `token`.
  void send_limited(SessionTag session, const AddressPair& path, Bytes body, std::uint8_t hop_limit,
                    std::uint64_t token);
  void send_ike(const AddressPair& path, Bytes message);

  /// Readable when there are events. Borrowed.
  [[nodiscard]] int events_fd() const noexcept;
  /// Appends all events so far.
  void drain_events(std::vector<DataPlaneEvent>& out);

  /// Every offload of the transports; where workers differ, the one whose state changed last. Waits for the packet
  /// threads: milliseconds.
  [[nodiscard]] std::vector<OffloadView> offloads() const;

  [[nodiscard]] DataPlaneCounters counters() const;
  /// The same of each worker; what only one of them runs stands there alone.
  [[nodiscard]] std::vector<DataPlaneCounters> worker_counters() const;

 private:
  struct Impl;
  explicit DataPlane(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchback::transports
