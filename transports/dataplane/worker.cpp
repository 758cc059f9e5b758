#include "transports/dataplane/worker.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace switchback::transports {
namespace {

constexpr std::uint64_t kWakeTag = 0, kTunTag = 1, kDoorbellTag = 2, kFirstLinkTag = 3;
/// Precision of deadlines.
constexpr Duration kGrain = std::chrono::milliseconds{1};

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

Worker::Worker(const DataPlaneConfig& config, io::TunQueue tun, Mailbox<DataPlaneEvent>& events, EventBudgets& budgets,
               unsigned index, Handover* handover)
    : pool_{config.pool_slabs},
      carver_{pool_},
      tun_{std::move(tun)},
      epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      events_{events},
      budgets_{budgets},
      index_{index},
      handover_{handover},
      coalescer_{coalesce_mode(tun_, config.tun_offloads)},
      tun_buffer_{std::make_unique<std::uint8_t[]>(packet::kMaxIpPacketBytes)} {
  out_.reserve(kOutboundBatch + packet::kMaxSegments);
  twins_.reserve(kOutboundBatch + packet::kMaxSegments);
  runs_.reserve(kOutboundBatch);
  groups_.reserve(kOutboundBatch);
}

Worker::~Worker() = default;

Result<std::unique_ptr<Worker>, UserError> Worker::create(const DataPlaneConfig& config, io::TunQueue tun,
                                                          const TransportRegistry& registry,
                                                          Mailbox<DataPlaneEvent>& events, EventBudgets& budgets,
                                                          unsigned index, Handover* handover) {
  std::unique_ptr<Worker> worker{new Worker{config, std::move(tun), events, budgets, index, handover}};
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
  if (handover_ != nullptr) watched = add(handover_->doorbell(index_).fd(), kDoorbellTag) && watched;
  for (const auto& transport : config.transports) {
    const auto id = transport_id(transport.name);
    if (index_ != 0 && id && !runs_everywhere(*id)) {
      links_[*id].elsewhere = true;
      continue;
    }
    SB_TRY(auto opened, registry.open(transport, pool_));
    if (!id) return fail_user("the transport \"" + transport.name + "\" has no number");
    if (has(*id)) return fail_user("the transport " + transport.name + " is given twice");
    watched = add(opened->wait_fd(), kFirstLinkTag + *id) && watched;
    links_[*id].transport = std::move(opened);
    links_[*id].ready = true;
  }
  if (!watched)
    return fail_user("cannot watch the tunnel's descriptors: the limit of open files is too low (ulimit -n)");
  if (!config.pcap_file.empty()) {
    const auto file = index_ == 0 ? config.pcap_file : config.pcap_file + "." + std::to_string(index_);
    SB_TRY(pcap_, PcapWriter::create(file, wall_now(), monotonic_now()));
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

/// How long nothing is due: -1 for ever. Asked only by a thread that is about to sleep.
int Worker::wait_ms() const {
  auto due = next_tick_;
  for (const auto& link : links_) {
    if (!link.here()) continue;
    // What is due after having been looked after is a matter of the clock's grain: no spinning on it.
    if (auto at = link.transport->next_deadline()) due = earliest(due, std::max(*at, now_ + kGrain));
  }
  if (!due) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(std::max(*due - monotonic_now(), Duration{0}));
  return static_cast<int>(std::min<std::chrono::milliseconds::rep>(left.count(), 60'000));
}

void Worker::wait() {
  int timeout = 0;
  const bool more = std::any_of(links_.begin(), links_.end(), [](const Link& link) { return link.ready; });
  if (!more && !tun_ready_) {
    if (pcap_) pcap_->flush();
    timeout = wait_ms();
  }
  if (handover_ != nullptr && timeout != 0) {
    handover_->doorbell(index_).about_to_sleep();
    if (something_came()) timeout = 0;
  }
  std::array<epoll_event, 16> events{};
  const auto count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout);
  if (handover_ != nullptr) handover_->doorbell(index_).awake();
  for (int i = 0; i < count; ++i) {
    const auto tag = events[static_cast<std::size_t>(i)].data.u64;
    if (tag == kWakeTag) {
      commanded_ = true;
    } else if (tag == kTunTag) {
      tun_ready_ = true;
    } else if (tag == kDoorbellTag) {
      handover_->doorbell(index_).silence();
    } else {
      links_[tag - kFirstLinkTag].ready = true;
    }
  }
}

void Worker::turn(Instant now) {
  now_ = now;
  ++counts_.loop_turns;
  if (commanded_) obey_all(now);
  for (std::size_t i = 0; i < links_.size(); ++i) {
    const auto id = static_cast<TransportId>(i);
    auto& link = links_[i];
    if (!link.lives()) continue;
    if (link.ready) receive(id, now);
    if (!link.lives()) continue;
    // If it cannot, data finds the socket full, too; other transports do not wait.
    if (link.elsewhere) {
      (void)flush_ike(id, now);
      continue;
    }
    if (const auto due = link.transport->next_deadline(); due && *due <= now) link.transport->handle_deadline(now);
    (void)flush_ike(id, now);
  }
  if (handover_ != nullptr) {
    take_arrived(now);
    relay_sealed(now);
  }
  blocked_ = !flush();
  if (tun_failed_) tun_ready_ = false;
  // What other queues were given of our flows came before what is in this one.
  if (handover_ != nullptr && !blocked_) {
    take_inner(now);
    blocked_ = !flush();
  }
  for (int round = 0; round < kOutboundRounds && tun_ready_ && !blocked_; ++round) {
    tun_ready_ = read_tun(now);
    blocked_ = !flush();
  }
  // Back pressure: what the socket does not take now stays in the TUN's own queue, where the kernel's TCP sees it.
  if (blocked_) tun_ready_ = false;
  set_tun_interest(!blocked_);
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (!links_[i].here()) continue;
    links_[i].transport->end_turn(now);
    poll_reports(static_cast<TransportId>(i), now);
  }
  if (next_tick_ && now >= *next_tick_) tick(now);
  if (to_wake_ != 0) ring_doorbells();
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
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (links_[i].transport) counts_.transports[i] = links_[i].transport->counters();
  }
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
  std::visit(Overloaded{[&](command::Install& o) { install(o, now); },
                        [&](const command::SwitchOutbound& o) {
                          if (auto* child = find(o.child)) {
                            stop_sending(*child);  // so that it becomes the newest
                            start_sending(*child);
                          }
                        },
                        [&](const command::Remove& o) {
                          if (auto* child = find(o.child)) finish(*child);
                        },
                        [&](const command::RemoveSession& o) { remove_session(o.session, now); },
                        [&](const command::OpenPath& o) { open_path(o, now); },
                        [&](const command::ClosePath& o) { close_path(o.path, now); },
                        [&](const command::AddPath& o) { add_path(o); },
                        [&](const command::RemovePath& o) {
                          auto* session = find(o.session);
                          const auto index = session != nullptr ? session->index_of(o.path) : CarriedSession::kNone;
                          if (index != CarriedSession::kNone) remove_path(*session, index, now);
                        },
                        [&](const command::UsePaths& o) { use_paths(o, now); },
                        [&](const command::SetInnerMtu& o) {
                          if (auto* session = find(o.session)) {
                            for (auto* child : session->children) child->inner_mtu = o.inner_mtu;
                          }
                        },
                        [&](const command::SendIke& o) { send_ike(o, now); },
                        [&](const command::SendControl& o) { send_control(o, now); },
                        [&](const command::SendLimited& o) { send_limited(o, now); },
                        [&](command::Call& call) {
                          call.what(*this);
                          call.done.set_value();
                        },
                        [&](const command::Stop&) { stopping_ = true; },
                        [&](const command::Reach& o) { reach(o); },
                        [&](const command::Unreach& o) { unreach(o.child); },
                        [&](command::Claim& o) { claim(o); },
                        [&](const command::Disclaim& o) { disclaim(o, now); },
                        [&](const command::ForgetPath& o) { forget_path(o.path); },
                        [&](const command::LinkFailed& o) { lose_link(o.transport, o.detail); }},
             order);
}

void Worker::start_sending(Child& child) {
  if (std::exchange(child.sending, true)) return;
  outbound_.add({&child});
  if (child.route) tell_others(command::Reach{child.route});
  // Only after the new one is there. All of the chain: one in the middle may never have been used.
  auto before = child.replaces;
  for (auto left = child.carrier->children.size(); before && left > 0; --left) {
    auto* old = find(*before);
    if (old == nullptr || old == &child || old->session != child.session) break;
    stop_sending(*old);
    before = old->replaces;
  }
}

void Worker::stop_sending(Child& child) {
  if (!std::exchange(child.sending, false)) return;
  outbound_.remove({&child});
  if (child.route) tell_others(command::Unreach{child.spi()});
}

void Worker::finish(Child& child) {
  stop_sending(child);
  auto& session = *child.carrier;
  session.children.erase(std::find(session.children.begin(), session.children.end(), &child));
  children_.erase(child.spi());
  publish_spis(session);
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
  if (child.nat_keepalive == Duration{0} || !child.sending) return;
  auto* slot = child.carrier->at(child.carrier->in_use);
  if (slot == nullptr || slot->path.transport != kUdpTransport) return;  // streams have their own, ESP has no port
  if (now - slot->last_sent >= child.nat_keepalive) send_keepalive(*slot, now);
  next = earliest(next, slot->last_sent + child.nat_keepalive);
}

void Worker::poll_lifetime(Child& child, esp::Lifetime& lifetime, bool outbound) {
  while (const auto event = lifetime.poll_event()) {
    tell(LifetimeReached{child.session, child.spi(), outbound, *event == esp::LifetimeEvent::hard_reached});
  }
}

}  // namespace switchback::transports
