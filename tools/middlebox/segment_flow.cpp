#include "tools/middlebox/segment_flow.h"

namespace switchback::middlebox {

using namespace transports::ctcp;

Segment reset_onward(const Segment& seen) {
  Segment reset;
  reset.direction = seen.direction;
  reset.header.source_port = seen.header.source_port;
  reset.header.destination_port = seen.header.destination_port;
  reset.header.sequence = seen.header.sequence;
  reset.header.acknowledgement = seen.header.acknowledgement;
  reset.header.flags = seen.header.has(kAck) ? kRst | kAck : kRst;
  return reset;
}

Segment reset_back(const Segment& seen) {
  Segment reset;
  reset.direction = opposite(seen.direction);
  reset.header.source_port = seen.header.destination_port;
  reset.header.destination_port = seen.header.source_port;
  // RFC 9293 §3.5.2: what the sender expects next, as its own acknowledgement says.
  reset.header.sequence = seen.header.has(kAck) ? seen.header.acknowledgement : 0;
  reset.header.acknowledgement = seen.header.sequence + sequence_octets(seen);
  reset.header.flags = kRst | kAck;
  return reset;
}

}  // namespace switchback::middlebox
