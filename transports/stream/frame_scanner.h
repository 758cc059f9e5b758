// Frames out of a stream whose pieces come in any order: each complete one at once, whatever is missing before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/strong.h"
#include "common/base/time.h"
#include "transports/stream/framing.h"

namespace switchback::transports::stream {

/// What marks a frame as one of this session: SPIs that the peer sends to us. The values on the wire are what the
/// scanner looks for after it lost the framing; the AEAD tag decides later. Few of them: rekeys hold two or three.
class SessionMarks {
 public:
  static constexpr std::size_t kLimit = 64;

  /// Inbound ESP SPI. The oldest of kLimit makes room.
  void add(Spi spi);
  void remove(Spi spi) noexcept;
  /// The initiator's SPI of an IKE SA, which stands first in every message of both directions (RFC 7296 §3.1).
  void add(IkeSpi initiator);
  void remove(IkeSpi initiator) noexcept;

  [[nodiscard]] bool empty() const noexcept { return esp_.empty() && ike_.empty(); }
  /// A session that has proven itself receives here.
  [[nodiscard]] bool proven() const noexcept { return !esp_.empty(); }
  /// @param body  what follows a length field, at least 12 octets of it (4 suffice for ESP)
  [[nodiscard]] bool matches(ByteView body) const noexcept;

 private:
  std::vector<std::uint32_t> esp_;
  std::vector<std::uint64_t> ike_;
};

struct ScannerLimits {
  std::size_t bytes = 256 * 1024;          // held of frames that are not complete …
  std::size_t unproven_bytes = 32 * 1024;  // … as long as anybody may be the peer; one frame has room
  std::size_t fragments = 1024;
  Duration age = std::chrono::seconds{2};  // what nothing joined for so long is forgotten
  std::size_t maximum_frame_bytes = 16 * 1024;
  /// Nothing is guessed: frames come only from the start of the stream on, without a gap, so in order. What is after a
  /// gap is held, within `bytes`, for as long as it takes.
  bool in_order = false;
};

/// Plain counts, for the owner's thread.
struct ScannerCounters {
  std::uint64_t frames = 0;
  std::uint64_t resynchronised = 0;    // framing found again by an SPI within a run
  std::uint64_t desynchronised = 0;    // a length or SPI that cannot be
  std::uint64_t forgotten_octets = 0;  // held too long or too many
  std::uint64_t lengths_added = 0;     // to see whether octets of which nothing is known may be frames
  std::uint64_t cut_frames = 0;        // segments that ended inside a frame which their sender would not have cut
};

/// Offsets count octets from the start of the stream (the prefix is octet 0 where there is one), so they never wrap.
/// The caller gives every octet once: what it has received before it cuts off first.
class FrameScanner {
 public:
  /// @param expect_prefix  whether the stream starts with kPrefix
  explicit FrameScanner(bool expect_prefix, ScannerLimits limits = {});

  /// Drops the frames handed out so far and what they point into.
  void start() noexcept;
  /// Takes octets of one segment at an offset. Frames that become complete are ready afterwards.
  /// @param whole  the segment starts and ends here as it came: nothing was cut off as received before
  /// @param uncut_bytes  longest frame that a peer of ours sends in one segment; evidence of a device that re-segments
  ///     is a shorter one that a whole segment ends within
  /// @param octets  borrowed: frames may be views of it until the next start()
  void give(std::uint64_t offset, ByteView octets, bool whole, std::size_t uncut_bytes, const SessionMarks& marks,
            Instant now);
  /// The next complete frame; its payload is borrowed from octets given or from this scanner, until the next
  /// start().
  [[nodiscard]] std::optional<Frame> poll_frame() noexcept;

  /// False once the stream cannot be ours: it lacks the prefix, or, in order, lost its framing. For good.
  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::size_t held_bytes() const noexcept { return held_; }
  [[nodiscard]] const ScannerCounters& counters() const noexcept { return counters_; }

 private:
  enum class Anchor : std::uint8_t {
    none,     // nothing known of where frames start
    guessed,  // a frame starts here, by the look of it
    certain   // a frame starts here: all before it was parsed from the start of the stream
  };
  /// A run of octets that belongs to frames not complete yet; an empty one remembers that a frame starts there.
  struct Fragment {
    std::uint64_t begin = 0;
    Bytes octets;
    Anchor anchor = Anchor::none;
    std::size_t scanned = 0;  // octets from begin at which no frame starts
    Instant since{};
    [[nodiscard]] std::uint64_t end() const noexcept { return begin + octets.size(); }
  };

  [[nodiscard]] std::size_t find_from(std::uint64_t offset) const noexcept;
  void insert(Fragment fragment);
  void erase(std::size_t index) noexcept;
  /// Whether a frame may start in octets that follow a fragment of which nothing is known.
  [[nodiscard]] bool continues_with_mark(const Fragment& fragment, ByteView octets, const SessionMarks& marks) const;
  /// Offsets within a run at which no frame starts.
  struct Known {
    std::size_t from = 0, to = 0;
  };
  /// @param scanned  as Fragment::scanned
  void parse(std::uint64_t begin, ByteView run, Anchor anchor, std::size_t scanned, Known barren, bool one_segment,
             std::optional<std::size_t> uncut_bytes, const SessionMarks& marks, Instant now);
  [[nodiscard]] bool looks_like_frames(ByteView run, bool one_segment, const SessionMarks& marks) noexcept;
  [[nodiscard]] std::optional<std::size_t> find_mark(ByteView run, std::size_t from,
                                                     const SessionMarks& marks) const noexcept;
  void prune(std::size_t most_bytes, Instant now) noexcept;

  ScannerLimits limits_;
  std::vector<Fragment> fragments_;  // by offset, never overlapping
  std::size_t held_ = 0;
  std::deque<Bytes> assembled_;  // what frames of this give() point into
  std::vector<Frame> ready_;
  std::size_t next_ready_ = 0;
  bool expect_prefix_;
  bool ok_ = true;
  Instant next_prune_{};
  ScannerCounters counters_;
};

}  // namespace switchback::transports::stream
