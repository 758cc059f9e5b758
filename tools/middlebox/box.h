// The device in the middle: a layer-3 forwarder between two interfaces, with impairments and devices. Pure: packets and
// the time go in, packets and decisions come out.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <utility>

#include "tools/middlebox/chain.h"
#include "tools/middlebox/rules.h"

namespace switchback::middlebox {

struct BoxCounters {
  std::array<std::uint64_t, 2> received{}, sent{}, dropped{};  // packets, by direction
  std::uint64_t flows = 0, killed = 0;
};

class Box {
 public:
  /// @param own  addresses to send ICMP errors from, by family; empty ones: none are sent
  Box(BoxRules rules, IpAddress own_v4, IpAddress own_v6);

  /// Whether a packet of this flow would leave at once and unchanged but for its TTL, so that super-packets may pass
  /// whole. Such flows are neither counted nor kept.
  [[nodiscard]] bool transparent(const FlowKey& flow) const noexcept;
  /// @param packet  one IP packet as on the wire, checksums complete. `direction`: where it goes.
  void handle(Direction direction, ByteView packet, Instant now);
  void handle_deadline(Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const;

  struct Sent {
    Direction direction;
    Bytes packet;
  };
  [[nodiscard]] std::optional<Sent> poll_packet();
  struct Note {
    Instant at;
    FlowKey flow;
    Decision decision;
    Duration age{};  // of the flow, since its first packet
  };
  [[nodiscard]] std::optional<Note> poll_note();

  /// Gives every flow another port of the translated address from now on, as a NAT that was restarted.
  void rebind_all(Instant now);
  [[nodiscard]] const BoxCounters& counters() const noexcept { return counters_; }
  /// Of packets, in all its devices.
  [[nodiscard]] std::size_t kept_octets() const noexcept { return kept_; }

 private:
  /// Bounds of what a flood may make it keep. What was quiet for longest goes first.
  static constexpr std::size_t kFlowsMost = 65536, kNotesMost = 65536, kPendingMost = std::size_t{1} << 18U;
  static constexpr std::size_t kKeptMost = std::size_t{256} << 20U;  // octets in devices

  /// Keys by when they were used last.
  using Order = std::list<FlowKey>;
  struct Flow {
    std::unique_ptr<Chain> devices;  // none: nothing looks at it
    bool bypassed = false;
    Instant first{}, last{};
    bool forgotten = false;  // by an idle rule
    std::uint64_t packets = 0;
    std::optional<std::uint32_t> isn;  // of the SYN that it began with
    bool reset_done = false;
    std::array<double, 2> tokens{};
    Instant refilled{};
    std::optional<Instant> due;  // of its devices; it stands in due_
    std::size_t kept = 0;        // octets in its devices, counted in kept_
    Order::iterator place;
  };
  struct Mapping {
    FlowKey outside;  // as the outer network sees the flow
    Instant last{};
    Order::iterator place;
  };
  enum class Stage : std::uint8_t { devices, out };
  struct Pending {
    Stage stage;
    Direction direction;
    Bytes packet;
  };

  void impaired(std::size_t place, Direction direction, Bytes packet, Stage next, Instant now);
  void enter(Stage stage, Direction direction, Bytes packet, Instant now);
  void devices(Direction direction, Bytes packet, Instant now);
  void emit(const FlowKey& flow, Output& output, Instant now);
  void answer(Direction towards, Bytes packet);
  void leave(Direction direction, Bytes packet, Instant now);
  [[nodiscard]] bool policies(Flow& flow, const FlowKey& key, Direction direction, ByteView packet,
                              const packet::IpView& ip, const Segment* segment, Instant now);
  [[nodiscard]] Flow& flow_at(const FlowKey& key, Instant now);
  void equip(Flow& flow, const FlowKey& key);
  void settle(Flow& flow, const FlowKey& key);
  void forget_oldest();
  void note(const FlowKey& flow, const Decision& decision, Instant now);
  void drop(const FlowKey& flow, std::string_view why, Direction direction, std::size_t octets, Instant now);
  [[nodiscard]] const IpAddress& own(IpFamily family) const noexcept {
    return family == IpFamily::v4 ? own_v4_ : own_v6_;
  }
  [[nodiscard]] const NatRule* nat_of(IpFamily family) const noexcept;
  [[nodiscard]] std::optional<FlowKey> free_mapping(const FlowKey& inside, const IpAddress& address);
  void erase_mapping(std::map<FlowKey, Mapping>::iterator at);
  [[nodiscard]] bool translate_outward(Bytes& packet, packet::IpView& ip, Instant now);
  [[nodiscard]] bool translate_inward(Bytes& packet, packet::IpView& ip, Instant now);

  BoxRules rules_;
  IpAddress own_v4_, own_v6_;
  std::array<std::array<Impairment, 2>, 2> impairments_;
  std::mt19937_64 random_;
  std::map<FlowKey, Flow> flows_;
  Order flow_order_, mapping_order_;
  std::set<std::pair<Instant, FlowKey>> due_;
  std::size_t kept_ = 0;
  std::map<FlowKey, Mapping> mappings_;  // by the flow as it is inside
  std::map<FlowKey, FlowKey> back_;      // from outside to inside
  std::uint16_t next_port_ = 20000;
  std::multimap<Instant, Pending> pending_;
  std::deque<Sent> sent_;
  std::deque<Note> notes_;
  BoxCounters counters_;
  std::optional<Instant> started_;
  std::size_t rebound_ = 0;  // of rules_.rebind_at
};

}  // namespace switchback::middlebox
