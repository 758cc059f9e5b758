// Packets to a pcapng file in which what came in and what went out are told apart.
#pragma once

#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/time.h"

namespace switchback::middlebox {

/// Two interfaces with their names, inner and outer; each packet has the direction flag "inbound" (it came by that
/// interface) or "outbound" (it left by it), from draft-ietf-opsawg-pcapng §4.3.1. LINKTYPE_RAW, nanoseconds.
class Capture {
 public:
  /// Creates or empties the file. @param wall_now, now  the same moment by both clocks
  [[nodiscard]] static Result<Capture, UserError> create(const std::string& file,
                                                         const std::array<std::string, 2>& interfaces,
                                                         WallTime wall_now, Instant now);
  /// @param interface  0 inner, 1 outer
  void write(std::size_t interface, bool inbound, ByteView packet, Instant now);
  /// Whether everything was written so far; a full disk ends the capture and nothing else.
  [[nodiscard]] bool finish() noexcept;

 private:
  struct Close {
    void operator()(std::FILE* file) const noexcept { (void)std::fclose(file); }
  };
  void put(ByteView block) noexcept;

  std::unique_ptr<std::FILE, Close> file_;
  Bytes block_;
  Duration epoch_offset_{};  // calendar time less monotonic time
  bool failed_ = false;
};

}  // namespace switchback::middlebox
