// The middlebox on two real interfaces: packet sockets in, the box, packet sockets out.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/packet/carver.h"
#include "common/packet/offload.h"
#include "common/packet/pool.h"
#include "tools/middlebox/box.h"

namespace switchback::middlebox {

struct WireConfig {
  std::string inner, outer;  // interfaces; both Ethernet
};

/// Forwards between the interfaces in place of the kernel, whose own forwarding must be off there: packets to this
/// host's own addresses stay the kernel's (ARP, neighbour discovery, ping), everything else is the box's. The
/// link-layer address of a host is learnt from what it sends; until then the kernel sends for us and resolves it. One
/// thread.
class Wire {
 public:
  /// Errors: no such interface, not Ethernet, no permission, forwarding is on.
  [[nodiscard]] static Result<std::unique_ptr<Wire>, UserError> open(const WireConfig& config, BoxRules rules);

  /// Shows every packet as it comes in by an interface (0 inner, 1 outer) or leaves by it. Nothing passes whole then.
  using Tap = std::function<void(std::size_t interface, bool inbound, ByteView packet, Instant now)>;
  void set_tap(Tap tap) { tap_ = std::move(tap); }

  /// Until stop() or a signal that `interrupted` tells of. `noted` gets every decision.
  [[nodiscard]] Result<void, UserError> run(const std::function<void(const Box::Note&)>& noted,
                                            const std::function<bool(Box&, Instant)>& interrupted,
                                            const sigset_t& waiting_mask);
  [[nodiscard]] const BoxCounters& counters() const noexcept { return box_->counters(); }
  [[nodiscard]] std::uint64_t passed_whole() const noexcept { return passed_whole_; }
  [[nodiscard]] std::uint64_t send_failed() const noexcept { return send_failed_; }

 private:
  static constexpr std::size_t kEthernetBytes = 14;
  static constexpr std::size_t kRound = 64;  // packets of one interface before the other has its turn
  using Mac = std::array<std::uint8_t, 6>;
  struct Port {
    std::string name;
    unsigned index = 0;
    unsigned mtu = 1500;
    Mac mac{};
    UniqueFd packets;         // AF_PACKET with virtio-net headers
    UniqueFd raw_v4, raw_v6;  // bound to the interface: for hosts whose link-layer address is not known yet
    std::unordered_map<IpAddress, Mac> hosts;
  };

  explicit Wire(BoxRules rules);
  [[nodiscard]] Result<void, UserError> open_port(Port& port, const std::string& name);
  void read_addresses();
  [[nodiscard]] std::size_t receive(Direction direction, Instant now);
  void forward(Direction direction, const packet::VirtioNetHeader& header, ByteSpan frame, Instant now);
  void send(Direction direction, const packet::VirtioNetHeader& header, ByteSpan packet);
  void flush(const std::function<void(const Box::Note&)>& noted);

  std::array<Port, 2> ports_;  // inner, outer
  std::unordered_map<IpAddress, bool> own_;
  IpAddress own_v4_, own_v6_;
  BoxRules rules_;
  std::optional<Box> box_;
  packet::PacketPool pool_{16};
  packet::PacketCarver carver_{pool_};
  std::vector<packet::Packet> cut_;
  Bytes buffer_;
  Tap tap_;
  Instant now_{};  // of this round
  std::uint64_t passed_whole_ = 0, send_failed_ = 0;
};

}  // namespace switchback::middlebox
