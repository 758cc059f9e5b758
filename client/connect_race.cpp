// The Connector's attempts: sessions on several paths until one is authenticated, and what the paths ask for.
#include <utility>

#include "client/connect.h"
#include "common/base/log.h"

namespace switchback::client {

void Connector::begin_ike(path::PathId id, path::TransportKind transport, const AddressPair& ike) {
  const auto now = monotonic_now();
  Attempt attempt{ike::Session{ike::Role::initiator, make_session_config(config_, preferred_, transport),
                               ike::Environment{random_, spis_}},
                  transport};
  attempt.session.start(ike, now, wall_now());
  attempts_.insert_or_assign(id, std::move(attempt));
  pump_attempt(id, now);
}

void Connector::drop_ike(path::PathId id) { attempts_.erase(id); }

void Connector::authenticate(path::PathId id) {
  const auto found = attempts_.find(id);
  if (found == attempts_.end()) return;
  const auto now = monotonic_now();
  log::debug("authenticate", {{"transport", path::to_string(found->second.transport)}, {"path", id.value}});
  found->second.session.handle_proceed(now, wall_now());
  pump_attempt(id, now);
}

void Connector::data_moved(path::TransportKind transport, const AddressPair& ike) {
  if (!session_) return;
  const auto now = monotonic_now();
  session_->handle_path_change(ike, now);  // nothing, where it is already
  if (state_ == State::connecting) came_up(transport, now);
  pump(now);
}

void Connector::path_event(const path::Event& event) {
  if (state_ == State::up) {
    if (worth_a_line(event)) announce(path::describe(event));
    if (event.kind != path::EventKind::stalled && event.kind != path::EventKind::outage) return;
    // It may be the headend that is gone or has been restarted, rather than the path.
    loop_.post([this, tag = tag_] {
      if (tag != tag_ || !session_) return;
      const auto now = monotonic_now();
      session_->handle_hint(now);
      pump(now);
    });
    return;
  }
  if (event.kind != path::EventKind::failed && event.kind != path::EventKind::outage) return;
  // Not from within the paths, which are in the middle of something.
  loop_.post([this, tag = tag_] {
    if (tag != tag_ || state_ != State::connecting || !paths_.running()) return;
    const bool at_end = paths_.state() == path::SelectorState::outage;
    // The first time everything is tried twice; later a new round, with new addresses, does the same.
    if (at_end && (session_ || paths_.exhausted(was_up_ ? 1 : 2))) race_failed();
  });
}

/// An attempt may end, or become the session, by each of its events: it is looked up anew each time.
void Connector::pump_attempt(path::PathId id, Instant now) {
  for (auto found = attempts_.find(id); found != attempts_.end(); found = attempts_.find(id)) {
    auto& session = found->second.session;
    if (auto event = session.poll_event()) {
      handle(id, std::move(*event), now);
    } else if (auto message = session.poll_transmit()) {
      tunnel_.data().send_ike(message->path, std::move(message->datagram));
    } else {
      break;
    }
  }
  arm_attempts();
}

void Connector::handle(path::PathId id, ike::Event event, Instant now) {
  if (auto* answered = std::get_if<ike::InitAnswered>(&event)) {
    paths_.handle_ike_answered(id, answered->path, answered->local_behind_nat, now);
  } else if (auto* established = std::get_if<ike::Established>(&event)) {
    promote(id, std::move(*established), now);
  } else if (auto* keys = std::get_if<ike::IkeKeylog>(&event)) {
    if (keylog_) keylog_->write(*keys);
  } else if (auto* closed = std::get_if<ike::Closed>(&event)) {
    attempt_closed(id, *closed, now);
  }
}

void Connector::promote(path::PathId id, ike::Established established, Instant now) {
  const auto found = attempts_.find(id);
  if (found == attempts_.end() || session_) return;
  log::info("established", {{"peer", established.peer},
                            {"transport", path::to_string(found->second.transport)},
                            {"path", established.path.remote},
                            {"ike", established.suite},
                            {"nat", established.local_behind_nat},
                            {"mobike", established.mobike}});
  session_.emplace(std::move(found->second.session));
  session_path_ = id;
  attempts_.erase(found);
  established_ = std::move(established);
  since_ = wall_now();
  pump(now);
}

void Connector::attempt_closed(path::PathId id, const ike::Closed& closed, Instant now) {
  const auto found = attempts_.find(id);
  if (found == attempts_.end()) return;
  const auto remote = found->second.session.path().remote;
  log::info("attempt_closed", {{"transport", path::to_string(found->second.transport)},
                               {"remote", remote},
                               {"reason", to_string(closed.reason)},
                               {"detail", closed.detail}});
  attempts_.erase(found);
  if (session_) {  // it only asked whether IKE gets through
    paths_.handle_ike_failed(id, "no answer to IKE", now);
    return;
  }
  switch (closed.reason) {
    case ike::CloseReason::authentication_failed:
      // Being told that we are not welcome does not get better by asking again and again.
      fail_with(ExitStatus::authentication,
                (was_up_ ? "the tunnel is down: " : "cannot connect: ") + explain(closed, remote));
      return;
    case ike::CloseReason::no_proposal_chosen:
    case ike::CloseReason::refused:
    case ike::CloseReason::peer_deleted:
      // The same headend says so on every path.
      loop_.post([this, tag = tag_, why = explain(closed, remote)] {
        if (tag != tag_ || state_ != State::connecting || session_) return;
        drop_session();
        round_failed(why);
      });
      return;
    default:
      paths_.handle_ike_failed(id, closed.reason == ike::CloseReason::timeout ? "no answer" : closed.detail, now);
  }
}

void Connector::arm_attempts() {
  std::optional<Instant> next;
  for (const auto& [id, attempt] : attempts_) next = earliest(next, attempt.session.next_deadline());
  if (next) {
    attempt_timer_.arm(*next);
  } else {
    attempt_timer_.cancel();
  }
}

void Connector::on_attempt_timer(Instant now) {
  std::vector<path::PathId> ids;
  for (const auto& [id, attempt] : attempts_) ids.push_back(id);
  for (const auto id : ids) {
    const auto found = attempts_.find(id);
    if (found == attempts_.end()) continue;
    const auto deadline = found->second.session.next_deadline();
    if (!deadline || *deadline > now) continue;
    found->second.session.handle_deadline(now, wall_now());
    pump_attempt(id, now);
  }
  arm_attempts();
}

}  // namespace switchback::client
