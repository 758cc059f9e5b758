#include "client/paths.h"

#include <algorithm>
#include <array>
#include <utility>

#include "client/history_file.h"
#include "common/base/log.h"
#include "common/crypto/random.h"

namespace switchback::client {
namespace {

using path::TransportKind;

transports::TransportId id_of(TransportKind transport) { return static_cast<transports::TransportId>(transport); }
static_assert(static_cast<transports::TransportId>(TransportKind::udp) == transports::kUdpTransport);
static_assert(static_cast<transports::TransportId>(TransportKind::esp) == transports::kEspTransport);
static_assert(static_cast<transports::TransportId>(TransportKind::ctcp) == transports::kCtcpTransport);
static_assert(static_cast<transports::TransportId>(TransportKind::tls) == transports::kTlsTransport);
static_assert(static_cast<transports::TransportId>(TransportKind::tcp) == transports::kTcpTransport);

bool is_stream(TransportKind transport) { return transport != TransportKind::udp && transport != TransportKind::esp; }

/// A path without state of its own: everything about it follows from the addresses.
AddressPair esp_path(const IpAddress& local, const IpAddress& remote) {
  return {{local, 0}, {remote, 0}, transports::kEspTransport};
}

}  // namespace

Paths::Paths(io::EventLoop& loop, const Config& config, Tunnel& tunnel, PathsHost& host, RandomSource& random)
    : config_{config},
      tunnel_{tunnel},
      host_{host},
      random_{random},
      history_file_{history_path(config.state_directory, config.profile.name, config.profile.headend.identity)} {
  timer_ = loop.make_timer([this](Instant now) { on_timer(now); });
  history_ = load_history(history_file_);
}

Paths::~Paths() = default;

void Paths::start(transports::SessionTag tag, std::vector<IpAddress> addresses, Instant now) {
  tag_ = tag;
  authenticated_ = standard_peer_ = false;
  classic_ = config_.ctcp_classic;
  failures_.clear();
  applied_mtu_.reset();
  std::vector<TransportKind> order;
  for (const auto transport : config_.order) {
    if (tunnel_.data().has(id_of(transport))) order.push_back(transport);
  }
  targets_ = Targets{std::move(order), ports_of(config_.profile), std::move(addresses)};
  v4_ = tunnel_.source_for(targets_.first(IpFamily::v4)).has_value();
  v6_ = tunnel_.source_for(targets_.first(IpFamily::v6)).has_value();
  network_ = tunnel_.network_to(targets_.first(v4_ ? IpFamily::v4 : IpFamily::v6));

  path::SelectorConfig selector;
  selector.candidates = targets_.candidates();
  selector.forced = config_.forced;
  selector.network = network_;
  // Sessions follow each other on the same addresses: a late answer must not be taken for one of this session.
  selector.first_probe_id = (std::uint64_t{public_random<std::uint32_t>(random_)} << 32U) + 1;
  selector_.emplace(std::move(selector), history_);
  selector_->handle_network_changed(network_, v4_, v6_, now);
  selector_->handle_start(now);
  drain(now);
}

void Paths::stop(Instant now) {
  timer_.cancel();
  if (!selector_) return;
  moves_before_ += selector_->moves();
  history_ = selector_->history();
  in_use_.reset();
  twin_.reset();
  selector_->handle_stop(now);
  authenticated_ = false;  // the session's paths went with it: only the transports are told
  drain(now);
  for (auto& [id, entry] : std::exchange(entries_, {})) {
    host_.drop_ike(id);
    if (is_stream(entry.candidate.transport) && !entry.data.remote.address.empty()) {
      tunnel_.data().close_path(entry.data);
    }
  }
  selector_.reset();
  timer_.cancel();
}

// ------------------------------------------------------------------------------------------ what the selector wants

void Paths::drain(Instant now) {
  if (draining_ || !selector_) return;
  draining_ = true;
  // Events first: they tell of paths that the actions may take away. The host may stop everything meanwhile.
  for (bool busy = true; busy && selector_;) {
    busy = false;
    while (selector_) {
      const auto event = selector_->poll_event();
      if (!event) break;
      busy = true;
      note(*event);
    }
    if (!selector_) break;
    if (const auto action = selector_->poll_action()) {
      busy = true;
      perform(*action, now);
    }
  }
  draining_ = false;
  arm(now);
}

void Paths::perform(const path::Action& action, Instant now) {
  struct Perform {
    Paths& self;
    Instant now;
    void operator()(const path::OpenPath& a) const { self.open(a, now); }
    void operator()(const path::ClosePath& a) const { self.close(a.path); }
    void operator()(const path::Authenticate& a) const { self.host_.authenticate(a.path); }
    void operator()(const path::SendProbe& a) const {
      if (auto* entry = self.find(a.path)) self.send_probe(*entry, a, now);
    }
    void operator()(const path::MoveTo& a) const { self.move_to(a.path, now); }
    void operator()(const path::StartTwin& a) const {
      self.twin_ = a.path;
      self.use(now);
    }
    void operator()(const path::StopTwin& a) const {
      if (self.twin_ == a.path) self.twin_.reset();
      self.use(now);
    }
    void operator()(const path::CheckMtu& a) const {
      if (auto* entry = self.find(a.path); entry != nullptr && entry->pmtu) entry->pmtu->handle_large_lost(now);
    }
  };
  std::visit(Perform{*this, now}, action);
}

void Paths::note(const path::Event& event) {
  if (log_.size() == path::EventLog::kKept) log_.pop_front();
  log_.push_back({wall_now(), event});
  log::debug("path", {{"event", path::describe(event)}, {"path", event.path.value}});
  if (event.kind == path::EventKind::failed) {
    targets_.note_failed(event.candidate);
    if (const auto* entry = find(event.path)) {
      auto why = entry->why;
      if (why.empty()) why = event.reason == path::Reason::unanswered ? "IKE is answered, ESP is not" : "no answer";
      auto remote = entry->target;
      if (!is_stream(entry->candidate.transport)) remote.port = targets_.ports().ike;
      note_failure(failures_, {entry->candidate.transport, remote, std::move(why)});
    }
  }
  host_.path_event(event);
}

void Paths::open(const path::OpenPath& action, Instant now) {
  auto& entry = entries_.try_emplace(action.path).first->second;
  entry.id = action.path;
  entry.candidate = action.candidate;
  entry.target = targets_.next(action.candidate);
  const auto transport = action.candidate.transport;
  if (authenticated_ && config_.stay) return failed(entry, "told to stay", now);
  const auto local = tunnel_.source_for(entry.target.address);
  if (!local) return failed(entry, "no way to it: " + local.error().message(), now);
  if (is_stream(transport)) {
    entry.request = next_request_++;
    tunnel_.data().open_path(id_of(transport),
                             {entry.request, *local, entry.target, transport == TransportKind::ctcp && classic_});
    return;
  }
  auto udp = tunnel_.udp_path({entry.target.address, targets_.ports().ike});
  if (!udp) return failed(entry, "no way to it: " + udp.error().message(), now);
  if (transport == TransportKind::udp && authenticated_) {
    udp->remote.port = targets_.ports().nat_t;
    entry.data = entry.ike = *udp;
    return opened(entry, now);
  }
  if (transport == TransportKind::esp) entry.data = esp_path(*local, entry.target.address);
  // Native ESP is of use only where its IKE comes through too, so that this is asked even after authentication.
  entry.ike = *udp;
  host_.begin_ike(entry.id, transport, entry.ike);
}

void Paths::opened(Entry& entry, Instant now) {
  if (authenticated_) attach(entry);
  selector_->handle_path_opened(entry.id, now);
  drain(now);
}

void Paths::failed(Entry& entry, std::string why, Instant now) {
  log::debug("path_failed",
             {{"transport", path::to_string(entry.candidate.transport)}, {"remote", entry.target}, {"reason", why}});
  entry.why = std::move(why);
  selector_->handle_path_failed(entry.id, now);
  drain(now);
}

void Paths::attach(Entry& entry) {
  if (entry.activity != nullptr) return;
  entry.activity = tunnel_.data().add_path(tag_, entry.data);
  path::AnswererConfig config;
  entry.answerer = path::Answerer{config};
}

void Paths::close(path::PathId id) {
  auto* entry = find(id);
  if (entry == nullptr) return;
  host_.drop_ike(id);
  auto& data = tunnel_.data();
  if (shared(*entry)) {
    // The other one goes on with it.
  } else if (entry->activity != nullptr && authenticated_) {
    data.remove_path(tag_, entry->data);
  } else if (is_stream(entry->candidate.transport) && !entry->data.remote.address.empty()) {
    data.close_path(entry->data);
  }
  entries_.erase(id);
}

void Paths::move_to(path::PathId id, Instant now) {
  auto* entry = find(id);
  if (entry == nullptr) return;
  attach(*entry);
  in_use_ = id;
  if (twin_ == id) twin_.reset();
  use(now);
  begin_pmtu(*entry, now);
  applied_mtu_ = outer_mtu(*entry, now);
  tunnel_.follow_path(entry->data, applied_mtu_);
  tunnel_.data().set_inner_mtu(tag_, tunnel_.path_inner_mtu());
  save_history(history_file_, selector_->history());
  host_.data_moved(entry->candidate.transport, entry->ike);
}

void Paths::use(Instant /*now*/) {
  if (!in_use_ || !authenticated_) return;
  const auto* in_use = find(*in_use_);
  if (in_use == nullptr) return;
  std::optional<AddressPair> twin;
  if (twin_) {
    if (auto* entry = find(*twin_); entry != nullptr && entry->data != in_use->data) twin = entry->data;
  }
  tunnel_.data().use_paths(tag_, in_use->data, twin);
}

// ------------------------------------------------------------------------------------------------- what IKE says

void Paths::handle_ike_answered(path::PathId id, const AddressPair& ike, bool local_behind_nat, Instant now) {
  auto* entry = find(id);
  if (entry == nullptr) return;
  entry->ike = ike;
  const auto transport = entry->candidate.transport;
  if (transport == TransportKind::udp) entry->data = ike;
  if (transport == TransportKind::esp && local_behind_nat && config_.forced != TransportKind::esp) {
    entry->why = "there is a NAT on the way";
    selector_->handle_path_failed(id, now);
    selector_->handle_unusable(transport, now);
    return drain(now);
  }
  if (authenticated_) {
    host_.drop_ike(id);  // it has shown what it was asked for; nobody was authenticated
    return opened(*entry, now);
  }
  selector_->handle_path_opened(id, now);
  drain(now);
}

void Paths::handle_ike_failed(path::PathId id, std::string why, Instant now) {
  if (auto* entry = find(id)) failed(*entry, std::move(why), now);
}

void Paths::handle_authenticated(path::PathId id, const path::Offer* offer, Instant now) {
  auto* chosen = find(id);
  if (chosen == nullptr || !selector_) return;
  authenticated_ = true;
  standard_peer_ = offer == nullptr || offer->control_version == 0;
  targets_.prefer(chosen->target.address);
  attach(*chosen);
  if (standard_peer_) {
    const std::array only{chosen->candidate.transport};
    selector_->handle_offer(only, now);
    drain(now);
  } else {
    targets_.apply(*offer);
    if (const auto* ctcp = offer->find(TransportKind::ctcp);
        ctcp != nullptr && !(classic_ ? ctcp->classic : ctcp->resilient)) {
      classic_ = ctcp->classic;
      log::info("ctcp_mode", {{"mode", classic_ ? "classic" : "resilient"}, {"reason", "the headend serves no other"}});
    }
    selector_->handle_offer(offer->kinds(), now);
    drain(now);
    // What is open but has not answered IKE yet need not do so any more: probes will tell.
    std::vector<path::PathId> ids;
    for (const auto& [other, entry] : entries_) ids.push_back(other);
    for (const auto other : ids) {
      auto* entry = find(other);
      if (entry == nullptr || other == id || entry->activity != nullptr || entry->request != 0) continue;
      if (entry->candidate.transport == TransportKind::udp) {
        entry->ike.remote.port = targets_.ports().nat_t;
        entry->data = entry->ike;
      }
      if (entry->candidate.transport == TransportKind::esp) continue;  // its IKE is what it waits for
      host_.drop_ike(other);
      opened(*entry, now);
    }
    for (auto& [other, entry] : entries_) {  // esp that was answered before
      if (entry.activity != nullptr || entry.candidate.transport != TransportKind::esp) continue;
      const auto all = selector_->paths();
      const bool answered = std::any_of(all.begin(), all.end(), [&](const path::PathStatus& status) {
        return status.path == other && status.state == path::PathState::answered;
      });
      if (!answered) continue;
      host_.drop_ike(other);
      attach(entry);
    }
  }
  if (!selector_) return;  // what was opened may have led to the end
  selector_->handle_authenticated(id, now);
  drain(now);
}

void Paths::handle_moved(const AddressPair& to, Instant now) {
  if (!in_use_) return;
  if (auto* entry = find(*in_use_); entry != nullptr && entry->data.transport == to.transport)
    relocate(*entry, to, now);
}

/// The same path from other addresses: a datagram's path is nothing but those.
void Paths::relocate(Entry& entry, const AddressPair& to, Instant now) {
  if (entry.data == to || entry.activity == nullptr) return;
  const auto old = std::exchange(entry.data, to);
  entry.ike = to;
  if (entry.candidate.transport == TransportKind::esp) {
    entry.ike.transport = transports::kUdpTransport;
    if (const auto udp = tunnel_.udp_path({to.remote.address, targets_.ports().ike})) entry.ike = *udp;
  }
  entry.activity.reset();
  attach(entry);
  if (in_use_ == entry.id) {
    use(now);
    if (entry.pmtu) entry.pmtu->handle_path_changed(now);
    entry.pmtu_begun = now;
    applied_mtu_ = outer_mtu(entry, now);
    tunnel_.follow_path(entry.data, applied_mtu_);
    tunnel_.data().set_inner_mtu(tag_, tunnel_.path_inner_mtu());
  }
  if (find(old) == nullptr) tunnel_.data().remove_path(tag_, old);
  arm(now);
}

// ------------------------------------------------------------------------------------------- what the network says

void Paths::handle_network_changed(bool returned, Instant now) {
  if (!selector_) return;
  const bool v4 = tunnel_.source_for(targets_.first(IpFamily::v4)).has_value();
  const bool v6 = tunnel_.source_for(targets_.first(IpFamily::v6)).has_value();
  const auto network = tunnel_.network_to(targets_.first(v4 ? IpFamily::v4 : IpFamily::v6));
  bool changed = returned || v4 != v4_ || v6 != v6_ || network != network_;
  std::vector<path::PathId> ids;
  for (const auto& [id, entry] : entries_) ids.push_back(id);
  for (const auto id : ids) {
    auto* entry = find(id);
    if (entry == nullptr || entry->data.remote.address.empty()) continue;
    const auto local = tunnel_.source_for(entry->target.address);
    if (local && *local == entry->data.local.address) continue;
    changed = true;
    if (local && in_use_ == id && !is_stream(entry->candidate.transport)) {
      auto to = entry->data;
      to.local.address = *local;
      relocate(*entry, to, now);
      host_.data_moved(entry->candidate.transport, entry->ike);
    } else if (v4 || v6) {
      // Without any way to the headend there is nothing to choose from: this path may well be back in a moment.
      failed(*entry, local ? "its local address is gone" : "no way to it any more", now);
    }
  }
  v4_ = v4;
  v6_ = v6;
  network_ = network;
  if (changed && (v4 || v6)) selector_->handle_network_changed(network, v4, v6, now);
  tunnel_.set_path_mtu(applied_mtu_);  // the interface's may be another
  tunnel_.data().set_inner_mtu(tag_, tunnel_.path_inner_mtu());
  drain(now);
}

Result<void, UserError> Paths::request(TransportKind transport, Instant now) {
  const std::string name{path::to_string(transport)};
  if (!selector_ || !in_use_) return fail_user("cannot move to " + name + ": there is no session yet");
  if (standard_peer_) {
    return fail_user("cannot move to " + name +
                     ": this headend does not take part in moves; connect with --transport " + name);
  }
  if (!tunnel_.data().has(id_of(transport))) {
    return fail_user("cannot move to " + name + ": this client runs without it, see the status for the reason");
  }
  selector_->handle_request(transport, now);
  drain(now);
  return {};
}

// ---------------------------------------------------------------------------------------------------- what is known

Paths::Entry* Paths::find(path::PathId id) noexcept {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

const Paths::Entry* Paths::find(path::PathId id) const noexcept {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

Paths::Entry* Paths::find(const AddressPair& data) noexcept {
  const auto found =
      std::find_if(entries_.rbegin(), entries_.rend(), [&](const auto& entry) { return entry.second.data == data; });
  return found == entries_.rend() ? nullptr : &found->second;
}

Paths::Entry* Paths::find_probed(const AddressPair& data, std::uint64_t probe) noexcept {
  for (auto& [id, entry] : entries_) {
    if (entry.data != data) continue;
    if (std::find(entry.probes.begin(), entry.probes.end(), probe) != entry.probes.end()) return &entry;
  }
  return nullptr;
}

bool Paths::shared(const Entry& entry) const noexcept {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const auto& other) { return other.first != entry.id && other.second.data == entry.data; });
}

AddressPair Paths::data_path(path::PathId id) const {
  const auto* entry = find(id);
  return entry == nullptr ? AddressPair{} : entry->data;
}

std::optional<AddressPair> Paths::in_use() const {
  const auto* entry = in_use_ ? find(*in_use_) : nullptr;
  if (entry == nullptr) return std::nullopt;
  return entry->data;
}

std::optional<TransportKind> Paths::transport_in_use() const {
  const auto* entry = in_use_ ? find(*in_use_) : nullptr;
  if (entry == nullptr) return std::nullopt;
  return entry->candidate.transport;
}

path::SelectorState Paths::state() const noexcept { return selector_ ? selector_->state() : path::SelectorState::idle; }

std::uint64_t Paths::moves() const noexcept { return moves_before_ + (selector_ ? selector_->moves() : 0); }

std::vector<Paths::View> Paths::views() const {
  std::vector<View> all;
  if (!selector_) return all;
  for (const auto& status : selector_->paths()) {
    View view;
    view.status = status;
    view.in_use = in_use_ == status.path;
    if (const auto* entry = find(status.path)) {
      view.data = entry->data;
      if (entry->pmtu) {
        view.outer_mtu = entry->pmtu->mtu();
        view.pmtu_state = path::to_string(entry->pmtu->state());
      }
      view.goodput_out = entry->answerer.quality().goodput_out;
      const auto counted = totals(*entry);
      view.sent_packets = counted.sent_packets;
      view.received_packets = counted.received_packets;
      view.received_octets = counted.received_octets;
    }
    all.push_back(view);
  }
  return all;
}

}  // namespace switchback::client
