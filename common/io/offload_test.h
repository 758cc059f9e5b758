// Whether the kernel's UDP offloads do what they say: tried out on the loopback before anything relies on them.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"

namespace switchback::io {

/// Empty: it works, or could not be tried, which is no reason to do without. Otherwise what it did, for people.
struct OffloadTest {
  std::string segmentation;  // UDP_SEGMENT
  std::string receive;       // UDP_GRO
};

/// A message as the test receives it.
struct OffloadTestMessage {
  Bytes octets;
  std::size_t segment_bytes = 0;  // as the kernel says; 0: one datagram
};
/// Changes what the kernel gave: how tests make it lie. `joining`: the socket has UDP_GRO.
using OffloadTamper = std::function<void(OffloadTestMessage& message, bool joining)>;

/// Sends runs of datagrams of odd sizes, the last one shorter, from `loopback` to itself as one message each, and
/// compares what arrives, without and with UDP_GRO. Takes a millisecond, or half a second if something is wrong.
[[nodiscard]] OffloadTest test_udp_offloads(const IpAddress& loopback, const OffloadTamper& tamper = {});

/// The result of both families, tried once for the process.
[[nodiscard]] const OffloadTest& tested_udp_offloads();

}  // namespace switchback::io
