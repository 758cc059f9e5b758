// Message IDs and retransmission of one IKE SA, window size 1 both ways (RFC 7296 §2.1–2.3).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/random.h"
#include "common/base/strong.h"
#include "common/base/time.h"
#include "common/ike/session_config.h"

namespace switchback::ike {

using DatagramHash = std::array<std::uint8_t, 20>;
[[nodiscard]] DatagramHash hash_datagram(ByteView datagram);

/// Our requests: at most one is outstanding.
class SendWindow {
 public:
  /// No ID may be used twice; rekey or close when they run out (§2.2).
  static constexpr std::uint32_t kLastMessageId = 0xFFFFFFF0U;

  [[nodiscard]] bool busy() const noexcept { return !datagrams_.empty(); }
  [[nodiscard]] bool exhausted() const noexcept { return next_ >= kLastMessageId; }
  [[nodiscard]] MessageId next_id() const noexcept { return MessageId{next_}; }
  /// Test of exhaustion only: as if so many requests had been made.
  void skip_to(MessageId id) noexcept { next_ = id.value; }

  /// Takes the request with next_id(), already fragmented, for sending and repeating. Pre: !busy().
  void open(std::vector<Bytes> datagrams, const RetransmitPolicy& policy, RandomSource& random, Instant now);
  [[nodiscard]] bool awaits(MessageId id) const noexcept { return busy() && id.value == next_; }
  /// The answer came: forget the request and move on.
  void settle() noexcept;
  /// Replaces the request under the same ID 0: the retries of IKE_SA_INIT (§2.6, §1.2).
  void replace(std::vector<Bytes> datagrams, const RetransmitPolicy& policy, RandomSource& random, Instant now);

  [[nodiscard]] std::optional<Instant> deadline() const noexcept {
    return busy() ? std::optional{deadline_} : std::nullopt;
  }
  enum class Due : std::uint8_t { nothing, resend, dead };
  [[nodiscard]] Due handle_deadline(RandomSource& random, Instant now);
  /// Start over with the schedule, e.g. on a new path; the next handle_deadline sends at once.
  void restart(const RetransmitPolicy& policy, Instant now) noexcept;
  /// At most so many sends more: the peer seems to have refused, but nothing proves that it was the peer.
  void hurry(unsigned more) noexcept { policy_.sends = std::min(policy_.sends, sends_ + more); }
  [[nodiscard]] const std::vector<Bytes>& datagrams() const noexcept { return datagrams_; }
  [[nodiscard]] unsigned sends() const noexcept { return sends_; }

 private:
  void arm(RandomSource& random, Instant now);

  std::uint32_t next_ = 0;
  std::vector<Bytes> datagrams_;
  RetransmitPolicy policy_;
  Duration interval_{};
  unsigned sends_ = 0;
  Instant deadline_{};
};

/// The peer's requests: the next one is processed, the last one is answered again from the cache, others are ignored.
class ReceiveWindow {
 public:
  enum class Verdict : std::uint8_t { fresh, repeated, outside };
  [[nodiscard]] Verdict judge(MessageId id) const noexcept {
    if (id.value == expected_) return Verdict::fresh;
    return expected_ != 0 && id.value == expected_ - 1 ? Verdict::repeated : Verdict::outside;
  }
  [[nodiscard]] MessageId expected() const noexcept { return MessageId{expected_}; }
  void skip_to(MessageId id) noexcept { expected_ = id.value; }

  /// The request (or the first fragment of it) that is now being processed; its answer may come later.
  void accept(const DatagramHash& request) noexcept;
  void answer(std::vector<Bytes> datagrams) { response_ = std::move(datagrams); }
  /// Bitwise repetition of the accepted request or of its first fragment: send response() again.
  [[nodiscard]] bool is_repetition(ByteView datagram) const;
  /// Empty while the answer is still being made.
  [[nodiscard]] const std::vector<Bytes>& response() const noexcept { return response_; }
  [[nodiscard]] bool answered() const noexcept { return !response_.empty(); }

 private:
  std::uint32_t expected_ = 0;
  DatagramHash last_request_{};
  std::vector<Bytes> response_;
};

}  // namespace switchback::ike
