// The running headend: ties sessions, data plane, store, pools and control socket together on one event loop.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/io/event_loop.h"
#include "headend/config.h"
#include "headend/control_api.h"

namespace switchback::headend {

struct RunOptions {
  std::string keylog_directory;  // empty: none
  std::string pcap_file;         // inner packets; empty: none
};

/// Made on, and for, the thread that runs the loop; the loop outlives it.
class Server final : public ControlBackend {
 public:
  /// Opens everything: TUN, sockets, database, control socket, forwarding and NAT. What was opened is undone if a later
  /// step fails, and by the destructor. Errors say what to do.
  [[nodiscard]] static Result<std::unique_ptr<Server>, UserError> create(io::EventLoop& loop, Config config,
                                                                         const RunOptions& options);
  ~Server() override;

  /// Ends all sessions with a DELETE, waits a bounded time for the answers, then calls `done`, once. A second call
  /// stops waiting.
  void shut_down(std::function<void()> done);
  /// Reads headend.toml again, and of it what can change while running; an error leaves everything as it was.
  void reload();
  /// Why the server stopped by itself; empty unless it did.
  [[nodiscard]] const std::string& failure() const noexcept;
  /// One line about what is open, for people.
  [[nodiscard]] std::string summary() const;
  /// Called when something broke for good, e.g. the TUN was deleted.
  void on_failure(std::function<void()> failed);

  [[nodiscard]] StatusView status() const override;
  [[nodiscard]] std::vector<SessionView> sessions() const override;
  std::size_t kick(const KickTarget& target) override;
  std::size_t users_changed() override;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchback::headend
