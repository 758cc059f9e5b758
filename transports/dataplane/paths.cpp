// What the packet thread's sessions and transports are told of paths, and what transports tell of them.
#include <sys/epoll.h>

#include <algorithm>

#include "transports/dataplane/worker.h"

namespace switchback::transports {

// ---------------------------------------------------------------- sessions

void Worker::install(command::Install& install, Instant now) {
  const auto spi = install.child->spi();
  if (auto* before = find(spi)) finish(*before);
  auto& child = *install.child;
  auto& session = sessions_[child.session];
  if (!session) {
    session = std::make_unique<CarriedSession>();
    session->tag = child.session;
  }
  session->control_waiting = std::move(install.control_waiting);
  if (install.activity) {
    session->in_use = place(*session, install.path, install.activity);
    if (auto* slot = session->at(session->in_use)) slot->last_sent = now;
  }
  child.carrier = session.get();
  session->children.push_back(&child);
  children_[spi] = std::move(install.child);
  if (install.at_once) start_sending(child);
  publish_spis(*session);
  next_tick_ = earliest(next_tick_, now + kTickInterval);
}

void Worker::remove_session(SessionTag tag, Instant now) {
  auto* session = find(tag);
  if (session == nullptr) return;
  while (!session->children.empty()) finish(*session->children.back());
  for (std::size_t i = 0; i < session->slots.size(); ++i) {
    if (session->slots[i].activity) remove_path(*session, i, now);
  }
  sessions_.erase(tag);
}

std::size_t Worker::place(CarriedSession& session, const AddressPair& path,
                          const std::shared_ptr<PathActivity>& activity) {
  const bool known = session.find(path) != nullptr;
  const auto index = session.place(path, activity);
  if (!known && index != CarriedSession::kNone) carriers_.emplace(path, &session);
  return index;
}

void Worker::take_away(CarriedSession& session, std::size_t index) {
  const auto [begin, end] = carriers_.equal_range(session.slots[index].path);
  const auto entry = std::find_if(begin, end, [&](const auto& one) { return one.second == &session; });
  if (entry != end) carriers_.erase(entry);
  session.take_away(index);
}

void Worker::add_path(const command::AddPath& order) {
  auto* session = find(order.session);
  if (session == nullptr) return;
  const bool known = session->find(order.path) != nullptr;
  if (place(*session, order.path, order.activity) == CarriedSession::kNone) {
    ++counts_.no_path;
    return;
  }
  if (!known) publish_spis(order.path);
}

void Worker::remove_path(CarriedSession& session, std::size_t index, Instant now) {
  const auto path = session.slots[index].path;
  take_away(session, index);
  publish_spis(path);
  // A peer that begins anew on its connection has two sessions there for a while.
  if (!carriers_.contains(path) && !claims_.contains(path)) close_path(path, now);
}

/// The connection is no more. Another may soon have the same addresses and ports: it is nobody's here, neither to be
/// sent what was meant for the old one, nor to be closed when the sessions that had that let go of it.
void Worker::forget_path(const AddressPair& path) {
  if (const auto claimed = claims_.find(path); claimed != claims_.end()) {
    claims_.erase(claimed);
    tell_others(command::ForgetPath{path});
  }
  if (!carriers_.contains(path)) return;
  const auto [begin, end] = carriers_.equal_range(path);
  for (auto entry = begin; entry != end; ++entry) entry->second->take_away(entry->second->index_of(path));
  carriers_.erase(begin, end);
  // A claim may have crossed the news.
  if (links_[path.transport].elsewhere) {
    team_.front()->commands().post(command::Disclaim{index_, path, false});
  }
}

void Worker::use_paths(const command::UsePaths& order, Instant now) {
  auto* session = find(order.session);
  if (session == nullptr) return;
  session->in_use = session->index_of(order.in_use);
  session->twin = order.twin ? session->index_of(*order.twin) : CarriedSession::kNone;
  if (session->twin == session->in_use) session->twin = CarriedSession::kNone;
  next_tick_ = earliest(next_tick_, now + kTickInterval);  // its keepalives may be due
}

void Worker::publish_spis(CarriedSession& session) {
  for (const auto& slot : session.slots) {
    if (slot.activity) publish_spis(slot.path);
  }
}

void Worker::publish_spis(const AddressPair& path) {
  auto* link = living_link(path.transport);
  if (link == nullptr) return;
  spis_.clear();
  const auto [begin, end] = carriers_.equal_range(path);
  for (auto entry = begin; entry != end; ++entry) {
    for (const auto* child : entry->second->children) spis_.push_back(child->spi());
  }
  if (link->elsewhere) {
    if (begin != end) team_.front()->commands().post(command::Claim{index_, path, spis_});
    return;
  }
  if (const auto claimed = claims_.find(path); claimed != claims_.end()) {
    for (const auto& claim : claimed->second.all) spis_.insert(spis_.end(), claim.spis.begin(), claim.spis.end());
  }
  link->transport->set_inbound_spis(path, spis_);
}

// ---------------------------------------------------------------- transports

void Worker::open_path(const command::OpenPath& order, Instant now) {
  auto* link = living_link(order.transport);
  if (link == nullptr || link->elsewhere) {  // the latter is never ordered
    ++counts_.no_path;
    const std::string name{transport_name(order.transport)};
    tell(PathFailed{order.request.id, order.transport,
                    has(order.transport) ? "the transport " + name + " has failed at this end"
                                         : "this end does not run the transport " + name});
    return;
  }
  if (link->opening.size() == kOpening) link->opening.erase(link->opening.begin());
  link->opening.push_back(order.request.id);
  link->transport->open_path(order.request, now);
}

void Worker::close_path(const AddressPair& path, Instant now) {
  auto* link = living_link(path.transport);
  if (link != nullptr && link->elsewhere) {
    team_.front()->commands().post(command::Disclaim{index_, path, true});
  } else if (link != nullptr) {
    link->transport->close_path(path, now);
  } else {
    ++counts_.no_path;
  }
}

void Worker::poll_reports(TransportId id, Instant now) {
  auto& link = links_[id];
  while (auto report = link.transport->poll_report()) {
    report->path.transport = id;
    switch (report->kind) {
      case PathReport::Kind::unreachable:
      case PathReport::Kind::mtu:
        if (hints_.allow(now)) tell(PathHint{std::move(*report)});
        break;
      case PathReport::Kind::opened:
        std::erase(link.opening, report->request);
        tell(PathOpened{report->request, report->path});
        break;
      case PathReport::Kind::failed:
        std::erase(link.opening, report->request);
        tell(PathFailed{report->request, id, std::move(report->detail)});
        break;
      case PathReport::Kind::closed:
        forget_path(report->path);
        tell(PathClosed{report->path, std::move(report->detail)});
        break;
      case PathReport::Kind::signal: tell_signal(*report, now); break;
    }
  }
  while (auto change = link.transport->poll_offload_change()) tell(OffloadChanged{id, *std::move(change)});
}

/// Equal ones of a turn become one, and a flood of them is cut: nobody signed them, and probes settle what they mean.
void Worker::tell_signal(const PathReport& report, Instant now) {
  constexpr std::size_t kLookedAt = 32;
  const auto newest = std::min(told_.size(), kLookedAt);
  for (auto event = told_.rbegin(); event != told_.rbegin() + static_cast<std::ptrdiff_t>(newest); ++event) {
    auto* told = std::get_if<PathSignal>(&*event);
    if (told != nullptr && told->signal == report.signal && told->path == report.path) {
      told->count += report.count;
      return;
    }
  }
  if (signals_.allow(now)) tell(PathSignal{report.path, report.signal, report.count});
}

void Worker::fail_link(TransportId id, std::error_code error) {
  auto& link = links_[id];
  link.ready = false;
  if (link.failed) return;
  const auto what = "transport " + std::string{transport_name(id)};
  tell(DataPlaneFailed{what, error, id});
  const auto detail = what + ": " + error.message();
  lose_link(id, detail);
  // With the sockets of one worker all of the transport is given up: others would go on with a part of the sessions.
  tell_others(command::LinkFailed{id, detail});
}

void Worker::lose_link(TransportId id, const std::string& detail) {
  auto& link = links_[id];
  link.ready = false;
  if (std::exchange(link.failed, true)) return;
  if (link.transport) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, link.transport->wait_fd(), nullptr);
  for (const auto request : std::exchange(link.opening, {})) tell(PathFailed{request, id, detail});
  for (const auto& [tag, session] : sessions_) {
    for (const auto& slot : session->slots) {
      if (slot.activity && slot.path.transport == id) tell(PathClosed{slot.path, detail});
    }
  }
}

}  // namespace switchback::transports
