// /etc/resolv.conf: replaced while the tunnel is up, and put back exactly as it was.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"

namespace switchback::client {

/// Name servers and domains of a tunnel.
struct DnsSettings {
  std::vector<IpAddress> servers;
  std::vector<std::string> search_domains;
  /// Every name is asked for through the tunnel; else only those of the search domains, where the resolver can do that.
  bool all_names = true;
  friend bool operator==(const DnsSettings&, const DnsSettings&) = default;
};

/// How the file was before, and how it comes back.
struct ResolvConfBackup {
  enum class Kind : std::uint8_t {
    absent,  // there was none: removed again
    aside,   // the very file (or symbolic link) keeps its inode under another name beside it and is renamed back
    copied,  // it is a mount point or its folder takes no new files: content, mode and times are restored in place
  };
  Kind kind = Kind::absent;
  std::string path;
  std::string aside_path;        // aside
  std::string tun;               // whose it is meanwhile
  std::string content;           // copied
  std::uint32_t mode = 0;        // copied
  std::int64_t modified_ns = 0;  // copied: nanoseconds since 1970
  friend bool operator==(const ResolvConfBackup&, const ResolvConfBackup&) = default;
};

/// The text while the tunnel `tun` is up. At most three name servers, as the C library reads; domains that are no host
/// names are left out; "options" lines of the original are kept.
[[nodiscard]] std::string render_resolv_conf(const DnsSettings& settings, std::string_view tun,
                                             std::string_view original);
/// The TUN name of the client that wrote this text; empty if none did. A beginning of such a text, as a crash in the
/// middle of writing leaves it, counts for `tun` as well.
[[nodiscard]] std::string_view resolv_conf_owner(std::string_view text);
[[nodiscard]] bool is_torn_resolv_conf(std::string_view text, std::string_view tun);

/// Secures the present file, without changing what resolvers see. Errors: unreadable; another client's.
[[nodiscard]] Result<ResolvConfBackup, UserError> back_up_resolv_conf(const std::string& path, const std::string& tun);
/// Puts `text` in the file's place, atomically where that is possible.
[[nodiscard]] Result<void, UserError> replace_resolv_conf(const ResolvConfBackup& backup, std::string_view text);
/// Brings the file back, unless somebody else has written it meanwhile: then theirs stays, and false is returned.
[[nodiscard]] Result<bool, UserError> restore_resolv_conf(const ResolvConfBackup& backup);
/// After a crash that also took the journal (a reboot): puts a file back that lies aside. True if there was one.
[[nodiscard]] bool recover_resolv_conf(const std::string& path, const std::string& tun);

}  // namespace switchback::client
