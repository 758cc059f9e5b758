// Name resolution while the tunnel is up: through systemd-resolved where that runs, else by /etc/resolv.conf.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/resolv_conf.h"
#include "client/undo_journal.h"
#include "common/base/result.h"

namespace switchback::client {

/// Where things are; tests point elsewhere.
struct DnsPaths {
  std::string resolv_conf = "/etc/resolv.conf";
  std::string resolved_directory = "/run/systemd/resolve";
  std::vector<std::string> resolvectl{"/usr/bin/resolvectl", "/bin/resolvectl"};
};

/// Whether the host's resolver is systemd-resolved: it runs, `resolvectl` exists, and resolv.conf leads to it (by
/// symbolic link, or by its stub address). Where it runs but resolv.conf is somebody else's, programs do not ask it.
/// Returns the path of resolvectl.
[[nodiscard]] std::optional<std::string> find_resolved(const DnsPaths& paths);

/// The `resolvectl` calls that make a link's settings, arguments only. Per-link settings go away with the TUN.
[[nodiscard]] std::vector<std::vector<std::string>> resolvectl_calls(const DnsSettings& settings,
                                                                     const std::string& tun);

class Dns {
 public:
  Dns(UndoJournal& journal, std::string tun, DnsPaths paths = {})
      : journal_{journal}, tun_{std::move(tun)}, paths_{std::move(paths)} {}
  Dns(const Dns&) = delete;
  Dns& operator=(const Dns&) = delete;
  ~Dns() { revert(); }

  /// Empty servers: as revert().
  [[nodiscard]] Result<void, UserError> apply(const DnsSettings& settings);
  void revert();
  /// "resolved", "resolv.conf" or "none", for the status.
  [[nodiscard]] std::string_view method() const noexcept;
  [[nodiscard]] const DnsSettings& applied() const noexcept { return applied_; }

 private:
  UndoJournal& journal_;
  std::string tun_;
  DnsPaths paths_;
  DnsSettings applied_;
  std::optional<std::string> resolvectl_;   // set while resolved has our settings
  std::optional<ResolvConfBackup> backup_;  // set while resolv.conf is ours
};

/// Runs a program without a shell and waits for it, at most five seconds. Errors name it and say what it said.
[[nodiscard]] Result<void, UserError> run_program(const std::string& path, const std::vector<std::string>& arguments);

}  // namespace switchback::client
