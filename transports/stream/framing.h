// IKE and ESP in a byte stream, RFC 9329: prefix, 16-bit lengths, non-ESP marker, and the parser of an ordered stream.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/wire_reader.h"

namespace switchback::transports::stream {

/// RFC 9329 §4: what the TCP originator, and only it, sends first.
inline constexpr std::array<std::uint8_t, 6> kPrefix{'I', 'K', 'E', 'T', 'C', 'P'};
/// RFC 9329 §3: the length counts itself.
inline constexpr std::size_t kLengthBytes = 2;
/// RFC 9329 §3.1: four zero octets where ESP has its SPI, which is never zero.
inline constexpr std::size_t kMarkerBytes = 4;
/// Most octets of a frame with its length field.
inline constexpr std::size_t kMaximumFrameBytes = 65535;
/// Shortest IKE message: a header and nothing else, RFC 7296 §3.1.
inline constexpr std::size_t kIkeHeaderBytes = 28;
/// Shortest ESP packet that could be ours: SPI, sequence number, IV, trailer of two, tag; RFC 4303 §2, RFC 4106.
inline constexpr std::size_t kMinimumEspBytes = 4 + 4 + 8 + 2 + 16;

enum class Content : std::uint8_t { ike, esp, keepalive, malformed };

/// What one frame holds.
struct Frame {
  Content content = Content::malformed;
  ByteView payload;  // IKE without marker, or ESP; borrowed as its source says
};

/// @param body  a frame after its length field. Never fails: what is neither IKE nor ESP is `malformed`, to be skipped.
[[nodiscard]] constexpr Frame classify(ByteView body) noexcept {
  if (body.size() == 1 && body[0] == 0xFF) return {Content::keepalive, body};  // RFC 3948 §2.3, ignored on streams
  if (body.size() < kMarkerBytes) return {Content::malformed, body};
  if (load_be<std::uint32_t>(body.data()) == 0) {
    if (body.size() < kMarkerBytes + kIkeHeaderBytes) return {Content::malformed, body};
    return {Content::ike, body.subspan(kMarkerBytes)};
  }
  return {body.size() >= kMinimumEspBytes ? Content::esp : Content::malformed, body};
}

/// Octets in front of a payload on the stream: 2 for ESP, 6 for IKE.
[[nodiscard]] constexpr std::size_t header_bytes(Content content) noexcept {
  return content == Content::ike ? kLengthBytes + kMarkerBytes : kLengthBytes;
}
/// Whether a payload of so many octets fits a frame.
[[nodiscard]] constexpr bool fits(Content content, std::size_t payload_bytes) noexcept {
  return payload_bytes <= kMaximumFrameBytes - header_bytes(content);
}
/// Writes length and marker; returns how many octets. Pre: fits(), out.size() >= header_bytes(content).
std::size_t write_header(Content content, std::size_t payload_bytes, ByteSpan out) noexcept;
/// Appends a whole frame. Pre: fits().
void append_frame(Content content, ByteView payload, Bytes& out);

/// Parses a stream in order, as a kernel's TCP or TLS hands it over, in pieces of any size. Frames that lie whole
/// within one piece are views of it; only one that is spread over pieces is copied, so memory is bounded by one frame.
/// Once failed it stays failed: RFC 9329 §3 wants the connection closed, since framing cannot be found again.
class StreamParser {
 public:
  /// @param expect_prefix  true at the end that was connected to
  /// @param maximum_frame_bytes  longest frame that is accepted, length field included
  explicit StreamParser(bool expect_prefix, std::size_t maximum_frame_bytes = kMaximumFrameBytes) noexcept
      : prefix_missing_{expect_prefix ? kPrefix.size() : 0}, maximum_{maximum_frame_bytes} {}

  /// Pre: the piece before has been drained. @param piece  borrowed until drained
  void give(ByteView piece) noexcept { input_ = piece; }
  /// The next frame, or nothing if more octets are needed. The payload is borrowed from the piece or from this parser,
  /// until the next call. Errors: bad_value (the prefix), bad_length; the offset counts from the start of the stream.
  [[nodiscard]] Result<std::optional<Frame>, ParseError> next();

  [[nodiscard]] bool failed() const noexcept { return error_.has_value(); }
  /// Octets of a frame that is not complete yet.
  [[nodiscard]] std::size_t buffered_bytes() const noexcept { return held_done_ ? 0 : held_.size(); }

 private:
  ByteView take(std::size_t count) noexcept;
  tl::unexpected<ParseError> fail_at(ParseErrc code) noexcept;

  ByteView input_;
  Bytes held_;              // start of a frame, length field included
  bool held_done_ = false;  // held_ was handed out and is to be dropped
  std::size_t prefix_missing_;
  std::size_t maximum_;
  std::size_t consumed_ = 0;
  std::optional<ParseError> error_;
};

}  // namespace switchback::transports::stream
