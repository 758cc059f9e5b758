// The end that sends at a rate and asks what arrived.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "tools/benchmark/datagrams/rate_search.h"

namespace switchback::bench {

struct SenderConfig {
  Endpoint remote;
  std::size_t packet_bytes = 1400;  // IPv4 packets, headers included
  /// Packets handed to the kernel as one (UDP_SEGMENT), as QUIC programs do; 1: each by itself, in sendmmsg().
  unsigned segments = 1;
  unsigned step_ms = 300;
};

/// Blocking; for one thread.
class Sender {
 public:
  /// Errors: no socket, no route to the remote; a size without room for a header.
  [[nodiscard]] static Result<Sender, UserError> open(const SenderConfig& config);
  /// Sends for step_ms and counts. @param rate  packets per second; infinity: as fast as can be
  /// Errors: sending failed; the receiver did not answer.
  [[nodiscard]] Result<RateStep, UserError> step(double rate);

 private:
  Sender(const SenderConfig& config, UniqueFd load, UniqueFd ask);
  [[nodiscard]] Result<std::uint64_t, UserError> ask();

  SenderConfig config_;
  UniqueFd load_, ask_;  // two sockets, so that the kernel does not put a question together with load
  std::vector<std::uint8_t> memory_;
  std::uint32_t run_ = 0;
};

}  // namespace switchback::bench
