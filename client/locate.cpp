#include "client/locate.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <utility>

#include "client/doctor_prober.h"
#include "client/locate_report.h"

namespace switchback::client {
namespace {

using doctor::WayKind;

volatile std::sig_atomic_t interrupted = 0;  // by SIGINT or SIGTERM; nothing else can be told in a signal's handler

void note_interrupt(int /*signal*/) { interrupted = 1; }

/// Ends the measurement, not the program: what there is so far is said. A second one ends the program.
class InterruptScope {
 public:
  InterruptScope() {
    interrupted = 0;
    struct sigaction action {};
    action.sa_handler = note_interrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(SIGINT, &action, &int_before_);
    ::sigaction(SIGTERM, &action, &term_before_);
  }
  ~InterruptScope() {
    ::sigaction(SIGINT, &int_before_, nullptr);
    ::sigaction(SIGTERM, &term_before_, nullptr);
  }
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  struct sigaction int_before_ {
  }, term_before_{};
};

WayKind way_of(path::TransportKind transport, bool classic) {
  switch (transport) {
    case path::TransportKind::udp: return WayKind::udp_4500;
    case path::TransportKind::esp: return WayKind::esp;
    case path::TransportKind::ctcp: return classic ? WayKind::ctcp_classic : WayKind::ctcp_resilient;
    case path::TransportKind::tls: return WayKind::tls;
    case path::TransportKind::tcp: return WayKind::tcp;
  }
  return WayKind::udp_4500;
}

/// One line that is written over where somebody watches; else as the doctor's other lines.
class Progress {
 public:
  void stage(const std::string& text) {
    end();
    (void)std::fprintf(stderr, "… %s\n", text.c_str());
  }
  void line(const std::string& text) {
    if (!terminal_) return;
    (void)std::fprintf(stderr, "\r\033[K… %s", text.c_str());
    open_ = true;
  }
  void end() {
    if (std::exchange(open_, false)) (void)std::fputc('\n', stderr);
  }

 private:
  bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  bool open_ = false;
};

}  // namespace

ExitStatus locate_loss(const DoctorOptions& options, const Config& config, std::uint32_t mark, doctor::Facts& facts) {
  Progress progress;
  doctor::LocateRequest request;
  doctor::ProberOptions probing;
  probing.mark = mark;
  probing.limit = std::chrono::seconds{options.seconds} + std::chrono::seconds{90};
  probing.progress = [&](const std::string& text) { progress.stage(text); };
  for (const auto transport : config.order) {
    request.ways.push_back(way_of(transport, config.ctcp_classic));
    probing.kinds.push_back(request.ways.back());
    // IKE of native ESP begins on UDP 500; sessions for others may be made there, too.
    if (transport == path::TransportKind::esp) probing.kinds.push_back(WayKind::udp_500);
  }
  auto prober = doctor::Prober::create(config, std::move(probing));
  if (!prober) {
    (void)std::fprintf(stderr, "switchback-client: %s\n", prober.error().message.c_str());
    return ExitStatus::failure;
  }
  const InterruptScope scope;
  request.length = std::chrono::seconds{options.seconds};
  request.interrupted = [] { return interrupted != 0; };
  request.progress = [&](const std::string& text) { progress.line(text); };
  const auto result = (*prober)->locate(facts, request);
  progress.end();
  if (!result.failure.empty()) {
    if (options.json) (void)std::fprintf(stdout, "%s\n", doctor::locate_json(result).c_str());
    (void)std::fprintf(stderr, "switchback-client: %s\n", result.failure.c_str());
    const bool refused = facts.auth == doctor::AuthResult::refused_us || facts.auth == doctor::AuthResult::not_trusted;
    return refused ? ExitStatus::authentication : ExitStatus::failure;
  }
  (void)std::fputs((options.json ? doctor::locate_json(result) + "\n" : doctor::locate_text(result)).c_str(), stdout);
  (void)std::fflush(stdout);
  return doctor::loses(result) ? ExitStatus::failure : ExitStatus::success;
}

}  // namespace switchback::client
