#include "transports/stream/framing.h"

#include <algorithm>
#include <cassert>

namespace switchback::transports::stream {

std::size_t write_header(Content content, std::size_t payload_bytes, ByteSpan out) noexcept {
  const auto header = header_bytes(content);
  assert(fits(content, payload_bytes) && out.size() >= header);
  store_be(out.data(), static_cast<std::uint16_t>(header + payload_bytes));
  if (content == Content::ike) store_be(out.data() + kLengthBytes, std::uint32_t{0});
  return header;
}

void append_frame(Content content, ByteView payload, Bytes& out) {
  const auto at = out.size();
  out.resize(at + header_bytes(content));
  write_header(content, payload.size(), ByteSpan{out}.subspan(at));
  append(out, payload);
}

ByteView StreamParser::take(std::size_t count) noexcept {
  const auto taken = input_.first(count);
  input_ = input_.subspan(count);
  consumed_ += count;
  return taken;
}

tl::unexpected<ParseError> StreamParser::fail_at(ParseErrc code) noexcept {
  error_ = ParseError{code, consumed_};
  input_ = {};
  held_.clear();
  return tl::unexpected<ParseError>(*error_);
}

Result<std::optional<Frame>, ParseError> StreamParser::next() {
  if (error_) return tl::unexpected<ParseError>(*error_);
  if (held_done_) {
    held_.clear();
    held_done_ = false;
  }
  if (prefix_missing_ > 0) {
    const auto expected = ByteView{kPrefix}.last(prefix_missing_);
    const auto count = std::min(expected.size(), input_.size());
    if (!same_bytes(input_.first(count), expected.first(count))) return fail_at(ParseErrc::bad_value);
    take(count);
    prefix_missing_ -= count;
    if (prefix_missing_ > 0) return std::optional<Frame>{};
  }
  // A frame whole within the piece is handed out where it lies.
  if (held_.empty()) {
    if (input_.empty()) return std::optional<Frame>{};
    if (input_.size() >= kLengthBytes) {
      const std::size_t length = load_be<std::uint16_t>(input_.data());
      // RFC 9329 §3: 0 and 1 are impossible, since the length counts itself.
      if (length < kLengthBytes || length > maximum_) return fail_at(ParseErrc::bad_length);
      if (input_.size() >= length) return std::optional{classify(take(length).subspan(kLengthBytes))};
    }
  }
  while (held_.size() < kLengthBytes && !input_.empty()) held_.push_back(take(1)[0]);
  if (held_.size() < kLengthBytes) return std::optional<Frame>{};
  const std::size_t length = load_be<std::uint16_t>(held_.data());
  if (length < kLengthBytes || length > maximum_) return fail_at(ParseErrc::bad_length);
  append(held_, take(std::min(length - held_.size(), input_.size())));
  if (held_.size() < length) return std::optional<Frame>{};
  held_done_ = true;
  return std::optional{classify(ByteView{held_}.subspan(kLengthBytes))};
}

}  // namespace switchback::transports::stream
