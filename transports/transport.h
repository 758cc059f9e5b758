// A way to carry IKE messages and ESP packets between two addresses: the interface that every transport implements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/base/strong.h"
#include "common/base/time.h"
#include "common/packet/icmp_quote.h"
#include "common/packet/packet.h"
#include "common/path/stall.h"
#include "transports/offload_status.h"
#include "transports/own_drops.h"

namespace switchback::packet {
class PacketPool;
}

namespace switchback::transports {

/// Which transport: AddressPair::transport of every path that runs over it. Both programs number them alike.
using TransportId = std::uint8_t;
inline constexpr TransportId kUdpTransport = 0, kEspTransport = 1, kCtcpTransport = 2, kTlsTransport = 3,
                             kTcpTransport = 4;
inline constexpr std::size_t kTransportIds = 5;
/// The id of a name; nothing for an unknown one.
[[nodiscard]] std::optional<TransportId> transport_id(std::string_view name) noexcept;
[[nodiscard]] std::string_view transport_name(TransportId id) noexcept;

struct TransportTraits {
  std::string_view name;
  /// Octets of outer IP header, transport header and framing in front of and behind one ESP packet.
  std::uint16_t overhead_v4 = 0;
  std::uint16_t overhead_v6 = 0;
  /// Most packets that one send() can turn into system calls at a time; batches beyond it are fine but bring nothing.
  std::size_t max_batch = 0;
};

/// Something learnt about a path outside its own packets: a hint (nobody signed it), never a reason to end a session.
struct PathReport {
  enum class Kind : std::uint8_t {
    unreachable,  // ICMP: no listener, host or network at `path.remote`
    mtu,          // the path takes outer IP packets of at most `mtu` octets
    opened,       // open_path() `request` succeeded; `path` has the local port that was chosen
    failed,       // open_path() `request` did not succeed; `detail` says why
    closed,       // the path is gone and was not closed from here; `detail` says why
    signal        // `signal` was noticed `count` times since the last report of it
  };
  Kind kind = Kind::unreachable;
  AddressPair path;
  std::uint32_t mtu = 0;
  std::uint64_t request = 0;
  path::Signal signal = path::Signal::reset;
  std::uint32_t count = 0;
  std::string detail{};
};

/// How a TCP-like path looks from this end, for people who look for what is wrong with it.
struct PathObservation {
  bool numbers_known = false;  // the two that follow
  std::uint32_t local_isn = 0, remote_isn = 0;
  std::uint16_t mss = 0;                     // as the other end's SYN said; 0: not known
  std::optional<std::uint8_t> window_scale;  // the same
  std::optional<std::uint8_t> own_window_scale;
  bool sack = false, timestamps = false;           // agreed on
  bool engine = false;                             // the other end's SYN was built by an engine as ours
  std::uint32_t resegmented = 0;                   // segments that did not begin at a frame boundary
  std::uint32_t resets = 0;                        // RSTs that came
  std::uint64_t segments = 0;                      // that came and were acceptable, ACKs included; 0: not counted
  std::uint64_t data_sent = 0, data_received = 0;  // segments with payload, those sent again too; 0: not counted
  Duration rtt{};                                  // by TCP's own acknowledgements; zero: not known
};

/// What a path's packets with a hop limit of their own are, see Transport::send_limited().
enum class LimitedKind : std::uint8_t {
  none,         // it cannot send any
  esp,          // the ESP packet that was given
  bare_segment  // a TCP segment without payload, whatever was given
};

/// A path to be opened by the client.
struct PathRequest {
  std::uint64_t id = 0;  // comes back in the report
  IpAddress local;       // to send from
  Endpoint remote;
  bool classic = false;  // ctcp: the original's format rather than the resilient stream
};

/// Plain counts since the start; read by the owning thread only.
struct TransportCounters {
  std::uint64_t sent_packets = 0;  // datagrams on the wire
  std::uint64_t sent_octets = 0;   // of their payload
  std::uint64_t send_calls = 0;    // messages handed to the kernel; a GSO run is one
  std::uint64_t send_dropped = 0;  // refused by the kernel or without a socket for their path
  std::uint64_t send_blocked = 0;  // times the socket was full
  std::uint64_t received_packets = 0;
  std::uint64_t received_octets = 0;
  std::uint64_t receive_calls = 0;      // messages taken from the kernel; a GRO buffer is one
  std::uint64_t receive_malformed = 0;  // neither IKE, ESP nor a keepalive, or cut off
  std::uint64_t path_reports = 0;       // ICMP errors taken from the kernel
};

/// One instance for each packet thread, serving any number of remote addresses: every packet carries its `path`.
class Transport {
 public:
  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  [[nodiscard]] virtual const TransportTraits& traits() const noexcept = 0;
  [[nodiscard]] virtual const TransportCounters& counters() const noexcept = 0;

  /// Frames into headroom and sends in order along each packet's `path` as its `kind` (ike, esp, keepalive) demands;
  /// returns how many packets were taken and resets those. Fewer than batch.size(): the socket is full; keep the rest,
  /// which are untouched, until wait_fd() is readable and try again. A packet that can never be sent is taken, dropped
  /// and counted. Errors: the transport is dead as a whole; a stall of a path is the selector's find.
  /// Pre: every packet has packet::kSendHeadroom and kSendTailroom less what ESP took of them.
  [[nodiscard]] virtual Result<std::size_t> send(std::span<packet::Packet> batch, Instant now) = 0;

  /// Fills up to out.size() packets, framing removed, `kind` telling IKE from ESP, `path` seen from here; returns their
  /// number, 0 if drained. All of out.size(): call again before waiting, there may be more that wait_fd() does not
  /// show. Bounded work, whatever arrives. Pre: the entries of `out` are empty.
  [[nodiscard]] virtual Result<std::size_t> receive(std::span<packet::Packet> out, Instant now) = 0;
  /// A turn of the loop is over: what the receive() calls in it called for and no send() took along leaves now.
  virtual void end_turn(Instant /*now*/) {}
  /// The next thing learnt about a path, until there is none. Bounded inside.
  [[nodiscard]] virtual std::optional<PathReport> poll_report() = 0;
  /// After each send(), until there is none: packets of a path that had no room for them, since the last call.
  [[nodiscard]] virtual std::optional<OwnDrops> poll_own_drops() noexcept { return std::nullopt; }

  /// Starts to open a path; `opened` or `failed` is reported, never from within this call's caller's receive(). A
  /// datagram transport has nothing to do but to choose its socket.
  virtual void open_path(const PathRequest& request, Instant now) = 0;
  /// Lets go of a path from either end, after what was sent on it; unknown paths are ignored. Nothing is reported.
  virtual void close_path(const AddressPair& path, Instant now) = 0;
  /// A session that has proven itself receives on these SPIs by `path`; none: not any more. Connections without such a
  /// session live only some seconds, and the SPIs are what a stream's framing is found again by.
  virtual void set_inbound_spis(const AddressPair& path, std::span<const Spi> spis) = 0;

  [[nodiscard]] virtual std::optional<Instant> next_deadline() const = 0;
  virtual void handle_deadline(Instant now) = 0;

  /// Readable when receive() has something to do or a send() that was cut short may go on. Borrowed, for readiness
  /// only; the same for the transport's whole life.
  [[nodiscard]] virtual int wait_fd() const noexcept = 0;

  /// What can be said of a path's TCP headers; nothing where there are none, or for a path that is not there.
  [[nodiscard]] virtual std::optional<PathObservation> observe(const AddressPair& /*path*/) const {
    return std::nullopt;
  }
  /// For tests of devices on the way: the path goes on as if a segment had left and got lost, never to be sent again.
  /// False where that would break the transport's own rules.
  [[nodiscard]] virtual bool make_hole(const AddressPair& /*path*/, Instant /*now*/) { return false; }

  /// For those who look for the router where packets get lost: sends one packet in the very flow that the path's data
  /// takes, so that routers and policers treat it alike, but with this hop limit; what arrives all the same must do no
  /// harm. It leaves at once or not at all, and nothing counts it.
  [[nodiscard]] virtual LimitedKind limited_kind(const AddressPair& /*path*/) const { return LimitedKind::none; }
  /// @param packet  with LimitedKind::esp: sealed, never sent otherwise; else empty, with its path
  /// @return  what routers will quote of it; nothing if it did not leave
  [[nodiscard]] virtual std::optional<packet::LimitedPacket> send_limited(packet::Packet /*packet*/,
                                                                          std::uint8_t /*hop_limit*/, Instant /*now*/) {
    return std::nullopt;
  }

  /// What became of packets whose `arrival` has an interface.
  virtual void handle_evidence(const ArrivalEvidence& /*evidence*/, Instant /*now*/) {}
  /// The next change of an offload, until there is none; those that are off from the start come first.
  [[nodiscard]] virtual std::optional<OffloadStatus> poll_offload_change() { return std::nullopt; }
  /// All that it has, in use or not.
  [[nodiscard]] virtual std::vector<OffloadStatus> offloads() const { return {}; }

  /// Where it listens, with the ports that the kernel chose: what a path's `local` may be.
  [[nodiscard]] virtual std::vector<Endpoint> local_endpoints() const = 0;
  /// Opens other local sockets in place of the present ones, which go away if that succeeds: the client's address
  /// changed, or it wants fresh NAT mappings. Errors: the old ones remain.
  [[nodiscard]] virtual Result<void, UserError> rebind(std::span<const Endpoint> local) = 0;

 protected:
  Transport() = default;
};

/// What a peer sees that does not speak our protocol inside TLS. With neither: a plain "It works" page.
struct Decoy {
  std::string page_file;             // served as text/html for /
  std::optional<Endpoint> upstream;  // an HTTP server that gets the decrypted stream instead
};

/// Of `tls`. A headend needs chain and key; the client takes what it is shown, since IKE inside proves the headend.
struct TlsConfig {
  std::string certificate_chain;  // PEM
  Secret private_key;             // PEM
  std::string server_name;        // client: SNI; empty or an address: none is sent
  Decoy decoy;
};

/// What a transport is made from; the fields that a transport has no use for are ignored.
struct TransportConfig {
  std::string name = "udp";
  /// Local endpoints to open. Headend: every listen address with each port (`udp`: the IKE and the NAT-T port; `esp`:
  /// port 0). Client: one for each family with port 0 and the unspecified address (or the one of --local).
  std::vector<Endpoint> local;
  /// True for the headend. It decides whose port of a path is compared with `ike_port`.
  bool headend = false;
  /// On this port of the headend IKE travels without the non-ESP marker and ESP does not travel at all, RFC 7296 §2.23.
  std::uint16_t ike_port = 500;
  /// SO_MARK of everything sent, by which policy routing keeps outer packets out of the tunnel; 0 sets none.
  std::uint32_t mark = 0;
  /// `udp` and `esp`: so many packet threads have sockets at the same endpoints, this one being number `worker`, and
  /// ESP goes to that whose number is its SPI modulo `workers`; other packets come to the first. The first is opened
  /// before the others. Sockets can miss that rule for moments, while they are opened.
  unsigned workers = 1, worker = 0;
  /// Segmentation and receive offloads, where the kernel has them. Off only for tests and for kernels that lie.
  bool offload = true;
  /// Socket buffers in octets.
  std::size_t socket_buffer = std::size_t{4} << 20U;

  /// Connections of a headend: of all peers, of one address (IPv6: one /64), and how long one may stay without a proven
  /// session.
  std::size_t max_connections = 16384, max_connections_per_address = 256;
  Duration unproven_lifetime = std::chrono::seconds{30};
  /// `ctcp` of a headend: which of its modes are served.
  bool ctcp_resilient = true, ctcp_classic = true;
  std::shared_ptr<const TlsConfig> tls;
};

}  // namespace switchback::transports
