#include "tools/middlebox/editor.h"

#include <utility>

namespace switchback::middlebox {

using namespace transports::ctcp;

void Editor::handle(Segment segment, Instant /*now*/, Output& out) {
  auto& header = segment.header;
  auto& options = header.options;
  const auto before = header;
  header.sequence += offsets_[index(segment.direction)];
  const auto others = offsets_[index(opposite(segment.direction))];
  if (header.has(kAck)) header.acknowledgement -= others;
  for (std::size_t i = 0; i < options.sack_count; ++i) {
    options.sack[i].left -= others;
    options.sack[i].right -= others;
  }
  if (rules_.strip_sack) {
    options.sack_permitted = false;
    options.sack = {};
    options.sack_count = 0;
  }
  if (rules_.strip_timestamps) options.timestamps.reset();
  if (rules_.strip_window_scale) options.window_scale.reset();
  if (rules_.mss != 0 && options.mss && *options.mss > rules_.mss) options.mss = rules_.mss;
  if (header != before) {
    segment.changed = true;
    if (header.has(kSyn)) {
      out.decisions.push_back({"edit", "sequence numbers or options of the SYN", segment.direction, header.sequence,
                               options.mss.value_or(0)});
    }
  }
  out.forward.push_back(std::move(segment));
}

void Loser::handle(Segment segment, Instant /*now*/, Output& out) {
  if (segment.direction == direction_ && !segment.payload.empty() && numbers_.contains(++seen_)) {
    out.decisions.push_back(
        {"drop", "by its number", segment.direction, segment.header.sequence, segment.payload.size()});
    return;
  }
  out.forward.push_back(std::move(segment));
}

}  // namespace switchback::middlebox
