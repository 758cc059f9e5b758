// Inner packets to a file that Wireshark reads: pcap with LINKTYPE_RAW.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"

namespace switchback::transports {

/// Buffers, and writes when the buffer is full or on flush(). Stops for good when the disk is full. One thread.
class PcapWriter {
 public:
  /// Creates or empties the file, readable by its owner alone: it holds what the tunnel protects.
  /// @param wall_now, now  the same moment by both clocks, so that packets need no clock of their own
  [[nodiscard]] static Result<PcapWriter, UserError> create(const std::string& file, WallTime wall_now, Instant now);

  void write(ByteView packet, Instant now);
  void flush() noexcept;

 private:
  PcapWriter() = default;
  UniqueFd fd_;
  Bytes buffer_;
  Duration epoch_offset_{};  // calendar time less monotonic time
};

}  // namespace switchback::transports
