// The signals that a path has stalled, and the one table of what it takes for each to be believed.
// docs/path-selector.md has the same table with its reasons; a test compares the two.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/base/time.h"
#include "common/path/measure.h"

namespace switchback::path {

/// What can be noticed about a path. All but the first three come from outside its cryptography: anybody on the way can
/// make them up, so none does more than raise a suspicion that authenticated probes then settle.
enum class Signal : std::uint8_t {
  probe_missing,     // a probe was not answered in time
  report_missing,    // data was sent, and nothing authentic says that it arrived
  loss,              // the peer's reports show that most of what is sent does not arrive
  duplicate_acks,    // TCP-like paths: equal ACKs without data while something is outstanding
  ack_behind,        // TCP-like paths: the ACK number stands still while data is sent
  zero_window,       // TCP-like paths: the peer, or something in its place, closed its window
  reset,             // RST
  fin,               // FIN
  unreachable,       // ICMP: no listener, host or network
  transport_failed,  // the system refuses to send, or a connection is closed
  resegmented,       // TCP-like paths: a proxy re-cut the stream
  network_changed,   // addresses or the link of this host changed
};
inline constexpr std::size_t kSignals = 12;

[[nodiscard]] std::string_view to_string(Signal signal) noexcept;

/// What follows when a threshold is reached.
enum class Verdict : std::uint8_t {
  note,     // an event for people, nothing else
  suspect,  // the path is probed, others are opened beside it
  stalled,  // believed at once: this end itself cannot send on the path
};
[[nodiscard]] std::string_view to_string(Verdict verdict) noexcept;

struct Threshold {
  Signal signal;
  std::uint32_t count;  // so many …
  Duration within;      // … within this time; zero: however far apart
  Verdict verdict;
  std::uint32_t answers;  // probes that must be answered for the suspicion to be dropped
};

/// Indexed by Signal. Change it together with docs/path-selector.md and the test that pins it.
inline constexpr std::array<Threshold, kSignals> kThresholds{{
    {Signal::probe_missing, 2, Duration::zero(), Verdict::suspect, 1},  // in a row
    {Signal::report_missing, 1, Duration::zero(), Verdict::suspect, 1},
    {Signal::loss, 30, std::chrono::seconds{5}, Verdict::suspect, 3},  // per cent, of at least kLossPackets
    {Signal::duplicate_acks, 3, std::chrono::seconds{1}, Verdict::suspect, 1},
    {Signal::ack_behind, 1, Duration::zero(), Verdict::suspect, 1},
    {Signal::zero_window, 2, std::chrono::seconds{1}, Verdict::suspect, 1},
    {Signal::reset, 1, Duration::zero(), Verdict::suspect, 2},
    {Signal::fin, 1, Duration::zero(), Verdict::suspect, 2},
    {Signal::unreachable, 1, Duration::zero(), Verdict::suspect, 2},
    {Signal::transport_failed, 1, Duration::zero(), Verdict::stalled, 0},
    {Signal::resegmented, 1, Duration::zero(), Verdict::note, 0},
    {Signal::network_changed, 1, Duration::zero(), Verdict::suspect, 1},
}};

[[nodiscard]] constexpr const Threshold& threshold(Signal signal) noexcept {
  return kThresholds[static_cast<std::size_t>(signal)];
}

/// Loss is judged on no fewer packets than this within its window.
inline constexpr std::uint64_t kLossPackets = 50;

/// So many lost packets within the window of loss, if they are such a share of all, make the path MTU be checked: large
/// packets may be swallowed where small ones pass. Few, since a TCP that gets nothing through sends few; and a share
/// that most lines do not reach. A check costs one packet.
inline constexpr std::uint64_t kMtuDoubtLost = 3;
inline constexpr double kMtuDoubtShare = 0.25;
[[nodiscard]] inline bool doubts_mtu(const LossMeter& loss) noexcept {
  return loss.lost() >= kMtuDoubtLost && loss.ratio().value_or(0) >= kMtuDoubtShare;
}
inline constexpr Duration kMtuDoubtEvery = std::chrono::seconds{5};

/// The times of the selector. Tests and labs may change them; these are what users get.
struct Timings {
  // Start (RFC 8305 §8: 150 to 250 ms between attempts is sensible).
  Duration transport_stagger = std::chrono::milliseconds{200};
  Duration family_stagger = std::chrono::milliseconds{50};  // head start of v6 within one transport
  Duration open_timeout = std::chrono::seconds{3};          // from opening to the transport's own "open"
  Duration authenticate_timeout = std::chrono::seconds{4};  // for IKE_AUTH on the path chosen for it …
  Duration authenticate_hurry = std::chrono::seconds{2};    // … and where another path waits for its turn …
  Duration authenticate_least = std::chrono::seconds{1};    // … down to this by 8 times what opening took
  Duration validate_timeout = std::chrono::seconds{3};      // from open to the first answered probe …
  Duration validate_hurry = std::chrono::seconds{2};        // … where it opened within open_quick
  Duration open_quick = std::chrono::milliseconds{300};
  Duration head_start = std::chrono::milliseconds{250};  // of an open better path over one that is validated first

  // Watching the path in use.
  Duration probe_every = std::chrono::seconds{1};         // while data is sent
  Duration probe_idle_every = std::chrono::seconds{15};   // otherwise; also keeps NATs awake
  Duration idle_after = std::chrono::seconds{3};          // without data
  Duration probe_again = std::chrono::milliseconds{150};  // while an answer decides something
  Duration probe_patience_floor = std::chrono::milliseconds{300};
  Duration report_every = std::chrono::milliseconds{250};  // what the peer does while data arrives
  Duration quiet_usual = std::chrono::milliseconds{100};   // a peer that heard us so lately hears us still
  Duration silence_floor = std::chrono::milliseconds{500};
  Duration patience_ceiling = std::chrono::seconds{3};  // no RTT estimate stretches a wait beyond this

  // From suspicion to verdict.
  Duration verify_floor = std::chrono::milliseconds{600};
  Duration stall_stagger = std::chrono::milliseconds{100};  // between the transports opened beside a suspect path …
  Duration hard_stagger = std::chrono::milliseconds{50};    // … that says itself that it is cut
  Duration stalled_probe_every = std::chrono::seconds{1};
  Duration outage_retry_first = std::chrono::seconds{1};  // pause after a candidate's failure; doubles …
  Duration outage_retry_busy = std::chrono::seconds{1};   // … up to this while data is to be sent
  Duration outage_retry_last = std::chrono::seconds{4};   // … and this otherwise
  Duration outage_patient = std::chrono::minutes{2};      // without a session, so long counts as data to be sent

  // After a move.
  Duration grace = std::chrono::seconds{10};
  Duration leave_alone = std::chrono::seconds{30};       // a transport that stalled; doubles with each stall …
  Duration leave_alone_last = std::chrono::minutes{16};  // … up to this
  Duration forgive_after = std::chrono::minutes{10};     // of carrying data well: the doubling begins anew

  // Back to a better transport.
  Duration retry_first = std::chrono::seconds{10};  // doubles with each failure …
  Duration retry_busy = std::chrono::seconds{20};   // … up to this while data is sent …
  Duration retry_last = std::chrono::minutes{5};    // … and this otherwise
  Duration stable_before_up = std::chrono::seconds{10};
  Duration dwell_before_up = std::chrono::seconds{15};  // since the last move

  // The bound: no more moves than this within the period, whatever happens. Where it bites, data goes on both paths.
  std::uint32_t moves_most = 10;
  Duration moves_period = std::chrono::seconds{60};
};

}  // namespace switchback::path
