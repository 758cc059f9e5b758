// Key logs for protocol analysers: Wireshark's tables of IKEv2 and ESP keys. For debugging; off unless asked for.
#pragma once

#include <string>

#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/base/unique_fd.h"
#include "common/ike/session.h"

namespace switchback::keylog {

/// Appends to DIR/ikev2_decryption_table and DIR/esp_sa, both 0600. Put them into a Wireshark profile's directory, or
/// read a capture with `tshark -o esp.enable_encryption_decode:TRUE` and that profile.
class Keylog {
 public:
  /// Makes `directory` (0700) if need be. Errors: it cannot be made, or others may read it.
  [[nodiscard]] static Result<Keylog, UserError> open(const std::string& directory);

  void write(const ike::IkeKeylog& keys);
  void write(const ike::ChildInstalled& child);

 private:
  Keylog(UniqueFd ike, UniqueFd esp) noexcept : ike_{std::move(ike)}, esp_{std::move(esp)} {}
  UniqueFd ike_, esp_;
};

/// Lines of the two tables, with line breaks. Pure.
[[nodiscard]] Secret keylog_line(const ike::IkeKeylog& keys);
[[nodiscard]] Secret keylog_lines(const ike::ChildInstalled& child);

}  // namespace switchback::keylog
