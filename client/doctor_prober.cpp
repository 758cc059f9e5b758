// The Prober's life: transports, IKE on every one of them, and the session.
#include "client/doctor_prober.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/io/sockets.h"
#include "transports/dataplane/child_from_ike.h"

namespace switchback::client::doctor {
namespace {

using path::TransportKind;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Longer than the first three sendings of an IKE request.
constexpr Duration kIkePatience = milliseconds{4500};
/// What opens or answers at all does it long before; the rest is given up when something has.
constexpr Duration kStragglers = milliseconds{2500};
constexpr Duration kAuthPatience = seconds{6};

TransportKind transport_of(WayKind kind) {
  switch (kind) {
    case WayKind::udp_500:
    case WayKind::udp_4500: return TransportKind::udp;
    case WayKind::esp: return TransportKind::esp;
    case WayKind::ctcp_resilient:
    case WayKind::ctcp_classic: return TransportKind::ctcp;
    case WayKind::tls: return TransportKind::tls;
    case WayKind::tcp: return TransportKind::tcp;
  }
  return TransportKind::udp;
}

std::uint16_t port_of(WayKind kind, const TransportPorts& ports) {
  switch (kind) {
    case WayKind::udp_500: return ports.ike;
    case WayKind::udp_4500: return ports.nat_t;
    case WayKind::esp: return 0;
    case WayKind::ctcp_resilient:
    case WayKind::ctcp_classic: return ports.ctcp.empty() ? std::uint16_t{10000} : ports.ctcp.front();
    case WayKind::tls: return ports.tls;
    case WayKind::tcp: return ports.tcp;
  }
  return 0;
}

constexpr std::array kAllKinds{WayKind::udp_4500,     WayKind::udp_500, WayKind::esp, WayKind::ctcp_resilient,
                               WayKind::ctcp_classic, WayKind::tls,     WayKind::tcp};
/// Where IKE_AUTH is tried, best first. UDP 500 means native ESP, which NATs break.
constexpr std::array kAuthOrder{WayKind::udp_4500,       WayKind::tls,          WayKind::tcp,
                                WayKind::ctcp_resilient, WayKind::ctcp_classic, WayKind::udp_500};

}  // namespace

Result<std::unique_ptr<Prober>, UserError> Prober::create(const Config& config, ProberOptions options) {
  std::unique_ptr<Prober> prober{new Prober{config, std::move(options)}};
  SB_CHECK(prober->open());
  return prober;
}

Prober::~Prober() {
  if (data_) data_->stop();
  data_.reset();
  if (sink_ >= 0) ::close(sink_);
}

Result<void, UserError> Prober::open() {
  end_ = monotonic_now() + options_.limit;
  ports_ = ports_of(config_.profile);
  std::vector<IpFamily> families;
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    if (io::open_udp({IpAddress::any(family), 0}, {}).has_value()) families.push_back(family);
  }
  SB_TRY(auto setup,
         keep_openable(make_transports(config_, families, options_.mark), config_, transports::builtin_transports()));
  left_out_ = std::move(setup.left_out);
  // Nothing comes out of this TUN, and what goes in is thrown away.
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_user("cannot make a socket pair");
  }
  sink_ = ends[1];
  transports::DataPlaneConfig data;
  data.transports = std::move(setup.wanted);
  data.tun.emplace_back(UniqueFd{ends[0]}, false);
  SB_TRY(data_, transports::DataPlane::create(std::move(data)));
  data_->start();
  return {};
}

void Prober::say(const std::string& text) const {
  if (options_.progress) options_.progress(text);
}

void Prober::run(Facts& facts) {
  plan(facts);
  say("opening every transport");
  open_paths();
  ask_ike();
  say("authenticating");
  authenticate(facts);
  if (facts.auth == AuthResult::ok && !facts.standard_peer) {
    for (const auto family : {IpFamily::v4, IpFamily::v6}) probe_family(family, facts);
  }
  if (headend_clock_) facts.headend_clock = WallTime{seconds{static_cast<std::int64_t>(*headend_clock_)}};
  finish();
  facts.full = monotonic_now() < end_;
  for (auto& way : ways_) facts.ways.push_back(std::move(way.facts));
}

void Prober::plan(const Facts& facts) {
  for (const auto& address : facts.addresses) {
    const auto local = io::source_address_for({address, ports_.nat_t}, options_.mark);
    for (const auto kind : kAllKinds) {
      const auto& only = options_.kinds;
      if (!only.empty() && std::find(only.begin(), only.end(), kind) == only.end()) continue;
      Way way;
      way.facts.kind = kind;
      way.facts.remote = {address, port_of(kind, ports_)};
      if (local) way.local = config_.local.value_or(*local);
      const auto transport = transport_of(kind);
      for (const auto& one : left_out_) {
        if (one.transport == transport) way.facts.left_out = one.why;
      }
      if (way.facts.left_out.empty() && !data_->has(static_cast<transports::TransportId>(transport))) {
        way.facts.left_out = "this host does not run it";
      }
      if (!local) way.facts.left_out = "no route: " + local.error().message();
      ways_.push_back(std::move(way));
    }
  }
}

void Prober::open_paths() {
  for (std::size_t i = 0; i < ways_.size(); ++i) {
    auto& way = ways_[i];
    if (!way.facts.left_out.empty()) continue;
    const auto id = static_cast<transports::TransportId>(transport_of(way.facts.kind));
    if (way.facts.kind == WayKind::esp) {
      way.data = {{way.local, 0}, {way.facts.remote.address, 0}, id};
      way.has_path = way.facts.opened = true;
    } else if (!looks_like_tcp(way.facts.kind)) {
      for (const auto& socket : data_->local_endpoints(id)) {
        if (socket.address.family() != way.local.family()) continue;
        way.ike = way.data = {{way.local, socket.port}, way.facts.remote, id};
        way.has_path = way.facts.opened = true;
      }
      begin_ike(i);
    } else {
      way.request = next_request_++;
      transports::PathRequest request;
      request.id = way.request;
      request.local = way.local;
      request.remote = way.facts.remote;
      request.classic = way.facts.kind == WayKind::ctcp_classic;
      data_->open_path(id, request);
    }
  }
}

void Prober::begin_ike(std::size_t index) {
  auto& way = ways_[index];
  if (!way.has_path) return;
  // IKE that stays on port 500 is that of native ESP.
  const auto transport = way.facts.kind == WayKind::udp_500 ? TransportKind::esp : transport_of(way.facts.kind);
  // Made for us alone, and made mutable: it is only const for those who share it.
  const auto shared = std::const_pointer_cast<ike::SessionConfig>(make_session_config(config_, {}, transport));
  auto& config = *shared;
  // Others of this user go on.
  config.initial_contact = false;
  config.mobike = false;
  config.timers.connect = {milliseconds{500}, 1.5, seconds{2}, 5, 0.1};
  const auto now = monotonic_now();
  way.session.emplace(ike::Role::initiator, shared, ike::Environment{random_, spis_});
  way.facts.ike = IkeAnswer::silent;
  way.session->start(way.ike, now, wall_now());
  pump(index, now);
}

void Prober::ask_ike() {
  const auto open = [&](const Way& way) {
    return way.facts.left_out.empty() && way.facts.kind != WayKind::esp &&
           (way.request != 0 || (way.facts.ike == IkeAnswer::silent && way.facts.closed.empty()));
  };
  const auto all_done = [&] { return std::none_of(ways_.begin(), ways_.end(), open); };
  if (wait(kStragglers, all_done)) return;
  (void)wait(kIkePatience - kStragglers, all_done);
  for (auto& way : ways_) {
    if (way.request == 0) continue;
    way.request = 0;  // too late
    if (way.facts.open_failure.empty()) way.facts.open_failure = "no answer";
  }
}

void Prober::authenticate(Facts& facts) {
  for (const auto kind : kAuthOrder) {
    for (std::size_t i = 0; i < ways_.size(); ++i) {
      auto& way = ways_[i];
      if (way.facts.kind != kind || !way.init_answered || !way.session || !way.facts.closed.empty()) continue;
      session_way_ = i;
      closed_.reset();
      const auto now = monotonic_now();
      way.session->handle_proceed(now, wall_now());
      pump(i, now);
      (void)wait(kAuthPatience, [&] { return closed_.has_value() || child_ || child_failed_; });
      if (child_ && established_) {
        facts.auth = AuthResult::ok;
        facts.behind_nat = established_->local_behind_nat;
        std::optional<path::Offer> offer;
        for (const auto& notify : established_->notifies) {
          if (notify.type != path::kOfferNotify) continue;
          if (auto parsed = path::parse_offer(notify.data)) offer = std::move(*parsed);
        }
        facts.standard_peer = !offer || offer->control_version == 0;
        for (auto& other : ways_) {
          if (!offer) break;
          const auto* one = offer->find(transport_of(other.facts.kind));
          other.facts.offered = one != nullptr && (other.facts.kind != WayKind::ctcp_classic || one->classic) &&
                                (other.facts.kind != WayKind::ctcp_resilient || one->resilient);
          if (other.facts.kind == WayKind::udp_500) other.facts.offered = true;
        }
        return;
      }
      if (child_failed_) {
        facts.auth = AuthResult::no_address;
        return;
      }
      if (!closed_ || closed_->reason == ike::CloseReason::timeout) {
        facts.auth_detail = "no answer to IKE_AUTH over " + std::string{to_string(kind)};
        way.session.reset();
        session_way_.reset();
        if (monotonic_now() >= end_) return;
        continue;
      }
      facts.auth_detail = closed_->detail;
      switch (closed_->reason) {
        case ike::CloseReason::authentication_failed:
          facts.auth =
              closed_->detail.starts_with("the peer is not") ? AuthResult::not_trusted : AuthResult::refused_us;
          break;
        case ike::CloseReason::no_proposal_chosen: facts.auth = AuthResult::no_proposal; break;
        default: facts.auth = AuthResult::other; break;
      }
      return;
    }
  }
  // IKE_SA_INIT may have been refused already.
  if (closed_ && facts.auth == AuthResult::not_reached && closed_->reason == ike::CloseReason::no_proposal_chosen) {
    facts.auth = AuthResult::no_proposal;
    facts.auth_detail = closed_->detail;
  }
}

void Prober::finish() {
  finishing_ = true;
  if (session_way_ && ways_[*session_way_].session) {
    const auto index = *session_way_;
    const auto now = monotonic_now();
    end_ = std::max(end_, now + seconds{1});
    closed_.reset();
    ways_[index].session->close(now);
    pump(index, now);
    (void)wait(seconds{1}, [&] { return closed_.has_value(); });
  }
  data_->remove_session(tag_);
  for (const auto& way : ways_) {
    if (way.has_path && looks_like_tcp(way.facts.kind)) data_->close_path(way.data);
  }
  data_->stop();
}

// ------------------------------------------------------------------------------------------------- events

void Prober::pump(std::size_t index, Instant now) {
  for (bool busy = true; busy && ways_[index].session;) {
    busy = false;
    // Events first: an SA must be installed before the message leaves that lets the peer use it.
    if (auto event = ways_[index].session->poll_event()) {
      busy = true;
      handle(index, std::move(*event), now);
    } else if (auto message = ways_[index].session->poll_transmit()) {
      busy = true;
      data_->send_ike(message->path, std::move(message->datagram));
    }
  }
}

void Prober::handle(std::size_t index, ike::Event event, Instant now) {
  auto& way = ways_[index];
  if (auto* answered = std::get_if<ike::InitAnswered>(&event)) {
    way.facts.ike = IkeAnswer::answered;
    way.init_answered = true;
    way.ike = answered->path;
    if (way.facts.kind == WayKind::udp_4500) way.data = answered->path;
  } else if (auto* established = std::get_if<ike::Established>(&event)) {
    established_ = std::move(*established);
  } else if (auto* child = std::get_if<ike::ChildInstalled>(&event)) {
    auto sa = transports::child_from_ike(*child, tag_, false, now);
    sa.path = way.data;
    if (way.facts.kind == WayKind::udp_500) {
      sa.path = {{way.local, 0}, {way.facts.remote.address, 0}, transports::kEspTransport};
    }
    sa.inner_mtu = 1280;
    (void)data_->install(std::move(sa));
    child_ = true;
  } else if (std::holds_alternative<ike::ChildFailed>(event)) {
    child_failed_ = true;
  } else if (auto* closed = std::get_if<ike::Closed>(&event)) {
    if (!way.init_answered) {
      way.facts.ike = closed->reason == ike::CloseReason::timeout ? IkeAnswer::silent : IkeAnswer::refused;
      if (way.facts.closed.empty()) way.facts.closed = "IKE: " + std::string{ike::to_string(closed->reason)};
    }
    closed_ = std::move(*closed);
  }
}

void Prober::handle(transports::DataPlaneEvent& event, Instant now) {
  const auto of_path = [&](const AddressPair& path) {
    return std::find_if(ways_.begin(), ways_.end(),
                        [&](const Way& way) { return way.has_path && (way.data == path || way.ike == path); });
  };
  if (const auto* received = std::get_if<transports::IkeReceived>(&event)) {
    if (received->message.size() < sizeof(std::uint64_t)) return;
    const auto spi = IkeSpi{load_be<std::uint64_t>(received->message.data())};
    for (std::size_t i = 0; i < ways_.size(); ++i) {
      if (!ways_[i].session || ways_[i].session->initiator_spi() != spi) continue;
      ways_[i].session->handle_message(received->message, received->path, now, wall_now());
      pump(i, now);
      return;
    }
  } else if (const auto* message = std::get_if<transports::ControlReceived>(&event)) {
    control(*message);
  } else if (const auto* limited = std::get_if<transports::LimitedSent>(&event)) {
    handle_limited(*limited);
  } else if (const auto* opened = std::get_if<transports::PathOpened>(&event)) {
    for (std::size_t i = 0; i < ways_.size(); ++i) {
      auto& way = ways_[i];
      if (way.request == 0 || way.request != opened->request) continue;
      way.request = 0;
      way.ike = way.data = opened->path;
      way.has_path = way.facts.opened = true;
      begin_ike(i);
      return;
    }
    data_->close_path(opened->path);
  } else if (const auto* failed = std::get_if<transports::PathFailed>(&event)) {
    for (auto& way : ways_) {
      if (way.request == 0 || way.request != failed->request) continue;
      way.request = 0;
      way.facts.open_failure = failed->detail;
    }
  } else if (const auto* closed = std::get_if<transports::PathClosed>(&event)) {
    const auto way = of_path(closed->path);
    if (way == ways_.end()) return;
    if (finishing_) return;
    if (way->facts.closed.empty()) way->facts.closed = closed->detail.empty() ? "closed" : closed->detail;
  } else if (const auto* signal = std::get_if<transports::PathSignal>(&event)) {
    const auto way = of_path(signal->path);
    if (way != ways_.end() && signal->signal == path::Signal::reset) way->facts.resets += signal->count;
  } else if (const auto* hint = std::get_if<transports::PathHint>(&event)) {
    if (hint->report.kind != transports::PathReport::Kind::mtu) return;
    for (auto& way : ways_) {
      if (way.facts.remote.address != hint->report.path.remote.address) continue;
      const auto mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(hint->report.mtu, 65535));
      if (way.facts.mtu.icmp == 0 || mtu < way.facts.mtu.icmp) way.facts.mtu.icmp = mtu;
    }
  } else if (const auto* first = std::get_if<transports::FirstInbound>(&event)) {
    if (session_way_ && ways_[*session_way_].session) {
      ways_[*session_way_].session->handle_first_inbound_packet(first->child, now);
      pump(*session_way_, now);
    }
  }
}

void Prober::turn(Instant until) {
  auto next = until;
  for (const auto& way : ways_) {
    if (!way.session) continue;
    if (const auto deadline = way.session->next_deadline()) next = std::min(next, *deadline);
  }
  const auto left = std::chrono::ceil<milliseconds>(next - monotonic_now()).count();
  const int icmp = locating_ && locating_->icmp ? locating_->icmp->fd() : -1;
  std::array<pollfd, 2> ready{pollfd{data_->events_fd(), POLLIN, 0}, pollfd{icmp, POLLIN, 0}};
  (void)::poll(ready.data(), ready.size(), static_cast<int>(std::clamp<std::int64_t>(left, 0, 1000)));
  const auto now = monotonic_now();
  if ((ready[1].revents & POLLIN) != 0) hear_icmp();
  events_.clear();
  data_->drain_events(events_);
  for (auto& event : events_) handle(event, now);
  for (std::size_t i = 0; i < ways_.size(); ++i) {
    if (!ways_[i].session) continue;
    const auto deadline = ways_[i].session->next_deadline();
    if (!deadline || *deadline > now) continue;
    ways_[i].session->handle_deadline(now, wall_now());
    pump(i, now);
  }
}

bool Prober::wait(Duration most, const std::function<bool()>& done) {
  const auto until = std::min(monotonic_now() + most, end_);
  for (;;) {
    if (done()) return true;
    if (monotonic_now() >= until) return false;
    turn(until);
  }
}

}  // namespace switchback::client::doctor
