#include "transports/dataplane/worker.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace switchback::transports {
namespace {

constexpr std::uint64_t kWakeTag = 0, kTunTag = 1, kFirstLinkTag = 2;
/// Deadlines are looked at no more often than this: with thousands of SAs one is always due.
constexpr Duration kTickInterval = std::chrono::seconds{1};

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

[[nodiscard]] packet::CoalesceMode coalesce_mode(const io::TunQueue& tun, const io::TunOffloads& offloads) noexcept {
  return {tun.has_header(), offloads.checksum && offloads.tso4 && offloads.tso6, offloads.uso};
}

}  // namespace

Worker::Worker(const DataPlaneConfig& config, io::TunQueue tun, Mailbox<DataPlaneEvent>& events, IkeBudget& ike_budget)
    : pool_{config.pool_slabs},
      carver_{pool_},
      tun_{std::move(tun)},
      epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      events_{events},
      ike_budget_{ike_budget},
      coalescer_{coalesce_mode(tun_, config.tun_offloads)},
      tun_buffer_{std::make_unique<std::uint8_t[]>(packet::kMaxIpPacketBytes)} {
  out_.reserve(kOutboundBatch + packet::kMaxSegments);
  runs_.reserve(kOutboundBatch);
  groups_.reserve(kOutboundBatch);
}

Worker::~Worker() = default;

Result<std::unique_ptr<Worker>, UserError> Worker::create(const DataPlaneConfig& config, io::TunQueue tun,
                                                          const TransportRegistry& registry,
                                                          Mailbox<DataPlaneEvent>& events, IkeBudget& ike_budget) {
  std::unique_ptr<Worker> worker{new Worker{config, std::move(tun), events, ike_budget}};
  SB_CHECK(worker->open(config, registry));
  return worker;
}

Result<void, UserError> Worker::open(const DataPlaneConfig& config, const TransportRegistry& registry) {
  const auto add = [&](int fd, std::uint64_t tag) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = tag;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  };
  bool watched = add(commands_.fd(), kWakeTag) && add(tun_.fd(), kTunTag);
  links_.reserve(config.transports.size());
  for (const auto& transport : config.transports) {
    SB_TRY(auto opened, registry.open(transport, pool_));
    watched = add(opened->wait_fd(), kFirstLinkTag + links_.size()) && watched;
    links_.push_back({std::move(opened), {}, true, false});
  }
  if (!watched)
    return fail_user("cannot watch the tunnel's descriptors: the limit of open files is too low (ulimit -n)");
  if (!config.pcap_file.empty()) {
    SB_TRY(pcap_, PcapWriter::create(config.pcap_file, wall_now(), monotonic_now()));
  }
  publish();
  return {};
}

void Worker::run() {
  while (!stopping_) {
    wait();
    turn(monotonic_now());
  }
}

void Worker::wait() {
  int timeout = -1;
  const bool more = std::any_of(links_.begin(), links_.end(), [](const Link& link) { return link.ready; });
  if (more || tun_ready_) {
    timeout = 0;
  } else {
    if (pcap_) pcap_->flush();
    if (next_tick_) {
      // Time passed since now_ only makes the wait too long by one turn.
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(std::max(*next_tick_ - now_, Duration{0}));
      timeout = static_cast<int>(std::min<std::chrono::milliseconds::rep>(left.count(), 60'000));
    }
  }
  std::array<epoll_event, 16> events{};
  const auto count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout);
  for (int i = 0; i < count; ++i) {
    const auto tag = events[static_cast<std::size_t>(i)].data.u64;
    if (tag == kWakeTag) {
      commanded_ = true;
    } else if (tag == kTunTag) {
      tun_ready_ = true;
    } else {
      links_[tag - kFirstLinkTag].ready = true;
    }
  }
}

void Worker::turn(Instant now) {
  now_ = now;
  ++counts_.loop_turns;
  if (commanded_) obey_all(now);
  bool blocked = false;
  for (std::size_t i = 0; i < links_.size(); ++i) {
    const auto id = static_cast<TransportId>(i);
    const bool was_ready = links_[i].ready;
    if (was_ready) {
      receive(id, now);
      poll_reports(id, now);
    }
    if (const auto due = links_[i].transport->next_deadline(); due && *due <= now) {
      links_[i].transport->handle_deadline(now);
    }
    blocked = !flush_ike(id, now) || blocked;
  }
  blocked = !flush() || blocked;
  if (tun_failed_) tun_ready_ = false;
  for (int round = 0; round < kOutboundRounds && tun_ready_ && !blocked; ++round) {
    tun_ready_ = read_tun(now);
    blocked = !flush();
  }
  // Back pressure: what the socket does not take now stays in the TUN's own queue, where the kernel's TCP sees it.
  if (blocked) tun_ready_ = false;
  set_tun_interest(!blocked);
  if (next_tick_ && now >= *next_tick_) tick(now);
  publish();
  events_.post_all(told_);
}

void Worker::set_tun_interest(bool wanted) {
  wanted = wanted && !tun_failed_;
  if (wanted == tun_watched_) return;
  tun_watched_ = wanted;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kTunTag;
  // Out of the set rather than without events: EPOLLERR cannot be masked.
  ::epoll_ctl(epoll_.get(), wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, tun_.fd(), &event);
}

void Worker::publish() {
  counts_.transports.resize(links_.size());
  for (std::size_t i = 0; i < links_.size(); ++i) counts_.transports[i] = links_[i].transport->counters();
  const std::lock_guard lock{published_mutex_};
  published_ = counts_;
}

DataPlaneCounters Worker::counters() const {
  const std::lock_guard lock{published_mutex_};
  return published_;
}

// ---------------------------------------------------------------- commands

void Worker::obey_all(Instant now) {
  commanded_ = false;
  commands_.take(orders_);
  for (auto& order : orders_) obey(order, now);
  orders_.clear();
}

void Worker::obey(Command& order, Instant now) {
  const auto each_of = [this](SessionTag session, const auto& what) {
    if (const auto found = sessions_.find(session); found != sessions_.end()) {
      for (auto* child : found->second) what(*child);
    }
  };
  std::visit(Overloaded{[&](command::Install& install) {
                          const auto spi = install.child->spi();
                          if (auto* before = find(spi)) finish(*before);
                          auto& child = *install.child;
                          children_[spi] = std::move(install.child);
                          sessions_[child.session].push_back(&child);
                          child.last_sent = now;
                          if (install.at_once) start_sending(child);
                          next_tick_ = earliest(next_tick_, now + kTickInterval);
                        },
                        [&](const command::SwitchOutbound& o) {
                          if (auto* child = find(o.child)) {
                            stop_sending(*child);  // so that it becomes the newest
                            start_sending(*child);
                          }
                        },
                        [&](const command::Remove& o) {
                          if (auto* child = find(o.child)) finish(*child);
                        },
                        [&](const command::RemoveSession& o) {
                          const auto found = sessions_.find(o.session);
                          if (found == sessions_.end()) return;
                          const auto all = found->second;
                          for (auto* child : all) finish(*child);
                        },
                        [&](const command::MovePath& o) {
                          each_of(o.session, [&](Child& child) {
                            child.transport = o.transport;
                            child.path = o.path;
                          });
                        },
                        [&](const command::SetInnerMtu& o) {
                          each_of(o.session, [&](Child& child) { child.inner_mtu = o.inner_mtu; });
                        },
                        [&](const command::SendIke& o) { send_ike(o, now); },
                        [&](const command::SendDummy& o) {
                          if (auto* child = find(o.child)) send_dummy(*child, o.body, now);
                        },
                        [&](command::Call& call) {
                          call.what(*this);
                          call.done.set_value();
                        },
                        [&](const command::Stop&) { stopping_ = true; }},
             order);
}

void Worker::start_sending(Child& child) {
  if (std::exchange(child.sending, true)) return;
  outbound_.add(child);
  // Only after the new one is there. All of the chain: one in the middle may never have been used.
  auto before = child.replaces;
  for (auto left = sessions_.at(child.session).size(); before && left > 0; --left) {
    auto* old = find(*before);
    if (old == nullptr || old == &child || old->session != child.session) break;
    stop_sending(*old);
    before = old->replaces;
  }
}

void Worker::stop_sending(Child& child) {
  if (std::exchange(child.sending, false)) outbound_.remove(child);
}

void Worker::finish(Child& child) {
  stop_sending(child);
  const auto session = sessions_.find(child.session);
  auto& siblings = session->second;
  siblings.erase(std::find(siblings.begin(), siblings.end(), &child));
  if (siblings.empty()) sessions_.erase(session);
  children_.erase(child.spi());
}

// ---------------------------------------------------------------- deadlines and events

void Worker::tick(Instant now) {
  std::optional<Instant> next;
  for (auto& [spi, child] : children_) look_after(*child, now, next);
  next_tick_ = next ? std::optional{std::max(*next, now + kTickInterval)} : std::nullopt;
}

void Worker::look_after(Child& child, Instant now, std::optional<Instant>& next) {
  child.inbound.lifetime().handle_deadline(now);
  child.outbound.lifetime().handle_deadline(now);
  poll_lifetime(child, child.inbound.lifetime(), false);
  poll_lifetime(child, child.outbound.lifetime(), true);
  next = earliest(next, earliest(child.inbound.lifetime().next_deadline(), child.outbound.lifetime().next_deadline()));
  if (child.nat_keepalive > Duration{0} && child.sending) {
    if (now - child.last_sent >= child.nat_keepalive) send_keepalive(child, now);
    next = earliest(next, child.last_sent + child.nat_keepalive);
  }
}

void Worker::poll_lifetime(Child& child, esp::Lifetime& lifetime, bool outbound) {
  while (const auto event = lifetime.poll_event()) {
    tell(LifetimeReached{child.session, child.spi(), outbound, *event == esp::LifetimeEvent::hard_reached});
  }
}

void Worker::poll_reports(TransportId id, Instant now) {
  while (const auto report = links_[id].transport->poll_report()) {
    if (hints_.allow(now)) tell(PathHint{id, *report});
  }
}

void Worker::fail_link(TransportId id, std::error_code error) {
  auto& link = links_[id];
  link.ready = false;
  if (std::exchange(link.failed, true)) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, link.transport->wait_fd(), nullptr);
  tell(DataPlaneFailed{"transport " + std::string{link.transport->traits().name}, error});
}

}  // namespace switchback::transports
