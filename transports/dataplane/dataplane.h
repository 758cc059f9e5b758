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
  TransportId transport = 0;
  AddressPair path;
  Activation activation = Activation::now;
  /// Inbound SPI of the Child SA that this one rekeys. Once this one sends, that one and those before it only receive.
  std::optional<Spi> replaces;
  /// Largest inner packet for this path; 0: whatever the TUN gives. Beyond it: ICMP, and TCP's MSS is clamped to it.
  std::uint16_t inner_mtu = 0;
  /// Send a NAT keepalive when nothing was sent on the path for so long; zero: never. RFC 3948 §4 says 20 s.
  Duration nat_keepalive{0};
};

// --- what the packet threads tell the control thread ---

/// An IKE message off the wire, without its marker. Nothing about it is proven.
struct IkeReceived {
  TransportId transport = 0;
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
/// Authentic ESP came from another address than the path's. Nothing was moved: move_path() is the answer, if any.
/// Comes at most once a second for each Child SA.
struct PeerMoved {
  SessionTag session;
  Spi child;
  TransportId transport = 0;
  AddressPair path;
};
/// The first authentic packet on an inbound SA: the peer uses it. Which outbound half to use is the session's decision,
/// which knows of colliding rekeys; until it comes the old one goes on.
struct FirstInbound {
  SessionTag session;
  Spi child;
};
/// ESP for an SPI that nobody has: after a restart of ours the peer does not know yet. At most a few a second.
struct UnknownSpi {
  TransportId transport = 0;
  AddressPair path;
  Spi spi;
  std::size_t octets = 0;  // of the ESP packet: an answer must not be longer
};
/// A hint by ICMP. At most a few a second.
struct PathHint {
  TransportId transport = 0;
  PathReport report;
};
/// The TUN or a transport failed for good; its direction stands still.
struct DataPlaneFailed {
  std::string what;
  std::error_code error;
};
using DataPlaneEvent =
    std::variant<IkeReceived, LifetimeReached, PeerMoved, FirstInbound, UnknownSpi, PathHint, DataPlaneFailed>;

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
  std::vector<TransportCounters> transports;  // by TransportId, summed over workers
};

struct DataPlaneConfig {
  /// Opened by every worker; TransportId is the index.
  std::vector<TransportConfig> transports;
  /// One worker for each; made by io::TunDevice::take_queues().
  std::vector<io::TunQueue> tun;
  /// False where the kernel would not take super-packets: see io::TunOffloads.
  io::TunOffloads tun_offloads;
  /// Slabs of each worker's pool.
  std::size_t pool_slabs = 256;
  /// Inner packets are also written here, as pcap with LINKTYPE_RAW; empty: not. Created 0600.
  std::string pcap_file;
};

/// Owns the packet threads and all they touch. All members are for one control thread; none waits for a packet thread
/// except local_endpoints(), rebind(), counters() of transports, and stop(). Commands take effect in the order given:
/// install() before send_ike() means that the answer finds its SA.
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

  /// Where transport `id` listens, with the ports that the kernel chose.
  [[nodiscard]] std::vector<Endpoint> local_endpoints(TransportId id) const;
  [[nodiscard]] const TransportTraits& traits(TransportId id) const;
  /// New local sockets for a transport (the client's address changed). Waits for the packet thread: milliseconds.
  [[nodiscard]] Result<void, UserError> rebind(TransportId id, std::vector<Endpoint> local);

  /// Replaces a Child SA with the same inbound SPI. The keys are expanded here, so that the packet thread does not
  /// wait.
  ChildCounters install(ChildSa child);
  /// Uses this Child SA's outbound half from now on, before any other with the same selectors; those that it replaces
  /// only receive.
  void switch_outbound(Spi inbound);
  void remove(Spi inbound);
  void remove_session(SessionTag session);
  /// All Child SAs of the session send along `path` from now on.
  void move_path(SessionTag session, TransportId transport, AddressPair path);
  void set_inner_mtu(SessionTag session, std::uint16_t inner_mtu);
  void send_ike(TransportId transport, AddressPair path, Bytes message);
  /// An ESP dummy packet (next header 59, RFC 4303 §2.6) with this body on the session's path.
  void send_dummy(Spi inbound, Bytes body);

  /// Readable when there are events. Borrowed.
  [[nodiscard]] int events_fd() const noexcept;
  /// Appends all events so far.
  void drain_events(std::vector<DataPlaneEvent>& out);

  [[nodiscard]] DataPlaneCounters counters() const;

 private:
  struct Impl;
  explicit DataPlane(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchback::transports
