// What the headend changes in the kernel's forwarding: sysctls, and NAT in an nftables table of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"

namespace switchback::headend {

/// Whether the kernel ties the NAT table to this process.
enum class TableOwnership : std::uint8_t {
  process,  // nftables "flags owner": gone with the process, whatever ends it
  plain     // this kernel or library lacks it: deleted at the end, and at the next start after a kill -9
};

/// Masquerading for the pools, as long as this object lives.
class NatTable {
 public:
  /// Replaces what an earlier instance for the same interface left behind.
  /// Errors: no nftables in this kernel, no CAP_NET_ADMIN; the remedy includes nat = false.
  [[nodiscard]] static Result<NatTable, UserError> install(const std::string& tun, const std::vector<IpPrefix>& pools);
  NatTable(NatTable&&) noexcept;
  NatTable& operator=(NatTable&&) noexcept;
  ~NatTable();
  [[nodiscard]] TableOwnership ownership() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;

 private:
  struct Impl;
  explicit NatTable(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// The table as nft reads it. Pure.
[[nodiscard]] std::string nat_ruleset(std::string_view table, std::string_view tun, const std::vector<IpPrefix>& pools,
                                      TableOwnership ownership);

/// A sysctl that was changed, with what it was before.
struct ChangedSysctl {
  std::string path;   // below /proc/sys
  std::string value;  // before
  friend bool operator==(const ChangedSysctl&, const ChangedSysctl&) = default;
};

/// Turns forwarding on for the families asked for. Interfaces that take their IPv6 address from router advertisements
/// would stop doing so with forwarding on, so their accept_ra becomes 2. Returns what was changed and how to put it
/// back, in the order of changing. Errors: /proc/sys is not writable (a container); the remedy is in the message.
/// @param root  "/proc/sys" but for tests
[[nodiscard]] Result<std::vector<ChangedSysctl>, UserError> enable_forwarding(bool v4, bool v6,
                                                                              const std::string& root = "/proc/sys");
/// Undoes in reverse order, but leaves alone what somebody else has changed meanwhile.
void restore_sysctls(const std::vector<ChangedSysctl>& changed, const std::string& root = "/proc/sys");

/// As one line for the store, and back; a damaged line gives what of it makes sense.
[[nodiscard]] std::string to_line(const std::vector<ChangedSysctl>& changed);
[[nodiscard]] std::vector<ChangedSysctl> sysctls_from_line(std::string_view line);

}  // namespace switchback::headend
