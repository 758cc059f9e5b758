#include "client/connect.h"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <utility>

#include "common/base/log.h"

namespace switchback::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Changes of the network come in bursts (link, addresses, routes): look once they have settled.
constexpr Duration kSettle = milliseconds{200};
constexpr Duration kCloseWait = std::chrono::seconds{3};  // two more requests to close after the first

/// For standard output: what the headend sends in names must not play with the terminal.
std::string printable(std::string text) {
  for (auto& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  return text;
}

}  // namespace

Connector::Connector(io::EventLoop& loop, const Config& config, Tunnel& tunnel, std::optional<keylog::Keylog> keylog)
    : loop_{loop},
      config_{config},
      tunnel_{tunnel},
      keylog_{std::move(keylog)},
      resolver_{loop},
      paths_{loop, config, tunnel, *this, random_} {}

Connector::~Connector() = default;

ExitStatus Connector::run() {
  auto server = io::ControlServer::listen(
      loop_, config_.control_socket,
      [this](std::string_view request, io::ControlServer::Reply reply) { on_control(request, std::move(reply)); });
  if (!server) {
    error_ = server.error().message;
    return ExitStatus::failure;
  }
  control_ = std::move(*server);
  signal_watch_ = loop_.on_signals({SIGINT, SIGTERM}, [this](int signal) { on_signal(signal); });
  data_watch_ = loop_.on_readable(tunnel_.data().events_fd(), [this](Instant now) { on_data(now); });
  session_timer_ = loop_.make_timer([this](Instant now) {
    if (session_) session_->handle_deadline(now, wall_now());
    pump(now);
  });
  attempt_timer_ = loop_.make_timer([this](Instant now) { on_attempt_timer(now); });
  retry_timer_ = loop_.make_timer([this](Instant) {
    if (state_ != State::closing) return begin_round();
    // The headend finds out by itself; whoever asked us to go should not wait for a path that is dead.
    log::info("session_given_up", {{"reason", "no answer to the request to close"}});
    drop_session();
    finish();
  });
  network_timer_ = loop_.make_timer([this](Instant now) { on_network_change(now); });
  tick_timer_ = loop_.make_timer([this](Instant now) { on_tick(now); });
  if (auto monitor = io::NetlinkMonitor::open()) {
    monitor_ = std::move(*monitor);
    network_watch_ = loop_.on_readable(monitor_->fd(), [this](Instant now) {
      if (monitor_->drain(tunnel_.ifindex())) network_timer_.arm(now + kSettle);
    });
  } else {
    log::warning("network_changes_unseen", {{"error", monitor.error().message()}});
  }
  begin_round();
  loop_.run();
  return exit_;
}

void Connector::begin_round() {
  if (state_ == State::closing) return;
  state_ = State::connecting;
  waiting_for_route_ = false;
  lookup_failure_.clear();
  resolver_.resolve(config_.profile.headend.addresses,
                    [this](Resolver::Answer answer) { on_resolved(std::move(answer)); });
  // When a tunnel is being mended its name servers may be out of reach: what was found before is tried meanwhile.
  if (was_up_ && !resolved_.empty()) begin_race(resolved_);
}

void Connector::on_resolved(Resolver::Answer answer) {
  if (state_ == State::closing) return;
  if (!answer.failure.empty()) {
    log::warning("name_not_found", {{"error", answer.failure}});
    lookup_failure_ = "cannot look up " + answer.failure + ": check the name in headend.addresses, and this host's DNS";
  }
  if (config_.local) {
    std::erase_if(answer.addresses,
                  [&](const IpAddress& address) { return address.family() != config_.local->family(); });
  }
  if (!answer.addresses.empty()) resolved_ = answer.addresses;
  if (state_ != State::connecting || paths_.running()) return;
  begin_race(answer.addresses);
}

void Connector::begin_race(const std::vector<IpAddress>& addresses) {
  std::vector<IpAddress> reachable, others;
  std::string unreachable = lookup_failure_;
  for (const auto& address : addresses) {
    const auto local = tunnel_.source_for(address);
    if (local) {
      reachable.push_back(address);
      log::info("connecting", {{"remote", address}, {"local", *local}});
      continue;
    }
    others.push_back(address);
    if (!unreachable.empty()) unreachable += "; ";
    unreachable += "no way to " + Endpoint{address, config_.profile.headend.ike_port}.to_string() + " (" +
                   local.error().message() + "): check headend.addresses, and this host's network and routes";
  }
  if (reachable.empty()) {
    round_failed(unreachable.empty() ? "none of the headend's addresses can be used" : unreachable);
    return;
  }
  ++tag_.value;
  established_.reset();
  closed_.reset();
  child_error_.reset();
  last_in_ = last_hint_ = {};
  hint_interval_ = {};
  strangers_ = 0;
  network_missed_ = false;
  // A network that the session comes to later may have a way to these: it would be lost there otherwise.
  reachable.insert(reachable.end(), others.begin(), others.end());
  paths_.start(tag_, std::move(reachable), monotonic_now());
}

/// Nothing that was tried has led to a session that carries data.
void Connector::race_failed() {
  auto why = paths_.failures().empty()
                 ? "no transport can be tried to any of the headend's addresses: check --transport "
                   "and --order, and this host's network"
                 : why_no_path(paths_.failures(), paths_.targets().ports());
  for (const auto& one : tunnel_.left_out()) {
    why += ", " + std::string{path::to_string(one.transport)} + " (left out: " + one.why + ")";
  }
  if (!lookup_failure_.empty()) why = lookup_failure_ + "; " + why;
  drop_session();
  round_failed(why);
}

void Connector::round_failed(const std::string& why) {
  if (!was_up_) {
    fail_with(ExitStatus::failure, "cannot connect: " + why);
    return;
  }
  log::info("attempt_failed", {{"reason", why}});
  retry_later(why, false);
}

void Connector::retry_later(const std::string& why, bool soon) {
  state_ = State::waiting;
  const auto wait = soon ? Duration{milliseconds{50}} : backoff_.next(random_);
  log::debug("retry", {{"in_ms", std::chrono::duration_cast<milliseconds>(wait).count()}, {"reason", why}});
  retry_timer_.arm(monotonic_now() + wait);
}

void Connector::fail_with(ExitStatus status, std::string message) {
  if (error_.empty()) error_ = std::move(message);
  exit_ = status;
  drop_session();
  finish();
}

void Connector::on_network_change(Instant now) {
  if (state_ == State::waiting) {
    backoff_.reset();
    begin_round();
    return;
  }
  if (state_ != State::up || !session_) {
    network_missed_ = true;
    return;
  }
  if (!paths_.peer_takes_part()) {
    follow_standard_peer(now);
    return;
  }
  const auto reachable = [this](const IpAddress& address) { return tunnel_.source_for(address).has_value(); };
  if (std::none_of(resolved_.begin(), resolved_.end(), reachable)) {
    if (!std::exchange(waiting_for_route_, true)) announce("waiting: no network leads to the headend");
    return;
  }
  paths_.handle_network_changed(std::exchange(waiting_for_route_, false), now);
  pump(now);
}

/// Such a headend knows one path only, and MOBIKE at best.
void Connector::follow_standard_peer(Instant now) {
  const auto current = session_->path();
  const auto in_use = paths_.transport_in_use();
  const bool datagrams = in_use == path::TransportKind::udp || in_use == path::TransportKind::esp;
  auto path = tunnel_.udp_path(current.remote);
  if (!path) {
    // Perhaps another of the headend's addresses can be reached from the network that is left.
    for (const auto& candidate : resolved_) {
      if (path) break;
      path = tunnel_.udp_path({candidate, current.remote.port});
    }
  }
  if (!path) {
    if (!std::exchange(waiting_for_route_, true)) announce("waiting: no network leads to the headend");
    return;
  }
  const bool back = std::exchange(waiting_for_route_, false);
  if (path->local.address == current.local.address && path->remote.address == current.remote.address) {
    tunnel_.set_path_mtu({});  // the MTU may be another
    tunnel_.data().set_inner_mtu(tag_, tunnel_.path_inner_mtu());
    // The same address, but perhaps through another network, or one that was away for a while.
    if (back) session_->handle_hint(now);
    pump(now);
    return;
  }
  log::info("network_changed", {{"from", current.local}, {"to", path->local}});
  if (established_ && established_->mobike && datagrams) {
    session_->handle_path_change(*path, now);
    pump(now);
    return;
  }
  announce("reconnecting: the local address changed to " + path->local.address.to_string());
  drop_session();
  retry_later("address changed", true);
}

void Connector::on_signal(int signal) {
  if (state_ == State::closing) {  // a second one: at once
    drop_session();
    finish();
    return;
  }
  begin_close(signal == SIGINT ? "interrupted" : "terminated");
}

void Connector::begin_close(const std::string& why) {
  log::info("closing", {{"reason", why}});
  ::sd_notify(0, "STOPPING=1");
  state_ = State::closing;
  resolver_.cancel();
  retry_timer_.cancel();
  network_timer_.cancel();
  tick_timer_.cancel();
  if (!session_ || session_->state() != ike::SessionState::established) {
    drop_session();
    finish();
    return;
  }
  const auto now = monotonic_now();
  session_->close(now);
  retry_timer_.arm(now + kCloseWait);
  pump(now);
}

void Connector::finish() {
  state_ = State::closing;
  resolver_.cancel();
  retry_timer_.cancel();
  network_timer_.cancel();
  tunnel_.down();
  if (was_up_) announce(exit_ == ExitStatus::success ? "down: disconnected" : "down: " + error_);
  loop_.stop();
}

void Connector::announce(const std::string& line) {
  last_event_ = printable(line);
  std::fputs((last_event_ + "\n").c_str(), stdout);
  std::fflush(stdout);
  log::debug("event", {{"line", last_event_}});
}

}  // namespace switchback::client
