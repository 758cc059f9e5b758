// Packetization-layer path MTU discovery by authenticated probes, as RFC 8899 describes for datagrams: it needs no
// ICMP, and believes ICMP only as a hint of what to probe. Pure; one instance for each path.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/base/ip_address.h"
#include "common/base/time.h"

namespace switchback::path {

/// RFC 8899 §5.2. All sizes here are of the outer IP packet, in octets.
enum class PmtuState : std::uint8_t {
  disabled,   // not started
  base,       // is a packet of the base size carried at all?
  searching,  // larger ones are tried
  complete,   // found; tried again when the raise timer fires
  error,      // not even the base size is carried: smaller ones are searched
};
inline constexpr std::size_t kPmtuStates = 5;
[[nodiscard]] std::string_view to_string(PmtuState state) noexcept;

struct PmtuTransition {
  PmtuState from, to;
};
inline constexpr std::array<PmtuTransition, 9> kPmtuTransitions{{
    {PmtuState::disabled, PmtuState::base},
    {PmtuState::base, PmtuState::searching},
    {PmtuState::base, PmtuState::error},
    {PmtuState::searching, PmtuState::complete},
    {PmtuState::searching, PmtuState::base},
    {PmtuState::complete, PmtuState::searching},
    {PmtuState::complete, PmtuState::base},
    {PmtuState::error, PmtuState::searching},
    {PmtuState::error, PmtuState::complete},
}};

struct PmtuConfig {
  std::uint16_t minimum = 576;   // sent whatever the probes say: RFC 791, and 1280 for IPv6 (RFC 8200 §5)
  std::uint16_t base = 1200;     // RFC 8899 §5.1.2: BASE_PLPMTU
  std::uint16_t maximum = 1500;  // of the interface that the path leaves by; at most 9000
  Duration probe_timer = std::chrono::seconds{1};     // RFC 8899 §5.1.1: no less than 1 s
  std::uint32_t max_probes = 3;                       // RFC 8899 §5.1.2: MAX_PROBES
  Duration raise_timer = std::chrono::seconds{600};   // RFC 8899 §5.1.1: PMTU_RAISE_TIMER
  Duration confirm_every = std::chrono::seconds{30};  // the size found is asked for again: a black hole may appear
  std::uint16_t precision = 4;                        // the search ends when so few octets are left open

  /// For a path of the family over an interface of that MTU.
  [[nodiscard]] static PmtuConfig for_path(IpFamily family, std::uint16_t interface_mtu) noexcept;
};
inline constexpr std::uint16_t kLargestPmtu = 9000;

class PmtuSearch {
 public:
  struct ProbeOut {
    std::uint64_t id = 0;
    std::uint16_t packet_octets = 0;  // with don't-fragment set
  };

  /// @param first_id  of its probes, which count up from there
  PmtuSearch(PmtuConfig config, std::uint64_t first_id) noexcept;

  void handle_start(Instant now);
  /// The peer received the probe. Sizes that were not probed with that id are ignored.
  void handle_answer(std::uint64_t id, std::uint16_t packet_octets, Instant now);
  /// ICMP said that only so much fits. It is not authentic: it makes the probe under way the last of its size, or the
  /// size in use be confirmed at once, and no more (RFC 8899 §4.6.1). An answer disproves it.
  void handle_hint(std::uint16_t packet_octets, Instant now);
  /// Small packets arrive and large ones do not, say the peer's reports: the size in use is asked for at once.
  void handle_large_lost(Instant now);
  /// The path moved to other hops: what was found says nothing any more.
  void handle_path_changed(Instant now);
  void handle_deadline(Instant now);

  [[nodiscard]] std::optional<ProbeOut> poll_probe();
  /// The new size, once for each change.
  [[nodiscard]] std::optional<std::uint16_t> poll_changed();
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept { return deadline_; }

  [[nodiscard]] PmtuState state() const noexcept { return state_; }
  /// What may be sent now; never less than the minimum.
  [[nodiscard]] std::uint16_t mtu() const noexcept { return mtu_; }
  [[nodiscard]] std::uint32_t black_holes() const noexcept { return black_holes_; }

 private:
  void enter(PmtuState next) noexcept;
  void probe(std::uint16_t size, Instant now);
  void carried(std::uint16_t size, Instant now);
  void not_carried(Instant now);
  void search_on(Instant now);
  void complete(Instant now);
  void restart(Instant now);
  void use(std::uint16_t size) noexcept;
  [[nodiscard]] std::uint16_t next_size() const noexcept;

  PmtuConfig config_;
  PmtuState state_ = PmtuState::disabled;
  std::uint16_t mtu_;
  std::uint16_t ceiling_;  // the least size known not to be carried, or one more than the maximum
  bool ceiling_known_ = false;
  std::uint16_t probed_ = 0;  // size under way; 0 if none
  std::uint32_t tries_ = 0;   // of that size
  std::uint64_t first_try_id_ = 0, next_id_;
  std::optional<ProbeOut> out_;
  bool changed_ = false;
  std::optional<Instant> deadline_, raise_at_;
  std::uint32_t black_holes_ = 0;
};

}  // namespace switchback::path
