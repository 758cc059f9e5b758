#include "transports/dataplane/dataplane.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <iterator>
#include <string>
#include <thread>

#include "transports/dataplane/offload_views.h"
#include "transports/dataplane/path_book.h"
#include "transports/dataplane/worker.h"

namespace switchback::transports {

struct DataPlane::Impl {
  Mailbox<DataPlaneEvent> events;
  EventBudgets budgets;
  PathBook book;
  std::unique_ptr<Handover> handover;  // of several workers
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::thread> threads;

  [[nodiscard]] bool running() const noexcept { return !threads.empty(); }
  [[nodiscard]] unsigned count() const noexcept { return static_cast<unsigned>(workers.size()); }
  /// The worker that runs all transports, and those of the others that not every worker runs.
  [[nodiscard]] Worker& first() const noexcept { return *workers.front(); }
  /// The worker that a Child SA, or a session, lives on.
  [[nodiscard]] Worker& home_of(Spi spi) const noexcept { return *workers[worker_of(spi, count())]; }
  [[nodiscard]] Worker& home_of(SessionTag session) const noexcept { return *workers[book.worker_of(session)]; }

  void order(Worker& worker, Command command) const { worker.commands().post(std::move(command)); }
  /// Runs `what` on the worker's thread and waits; here, if there is no thread.
  void call(Worker& worker, std::function<void(Worker&)> what) const {
    if (!running()) return what(worker);
    command::Call call{std::move(what), {}};
    auto done = call.done.get_future();
    order(worker, std::move(call));
    done.wait();
  }
};

DataPlane::DataPlane(std::unique_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}

DataPlane::~DataPlane() { stop(); }

Result<std::unique_ptr<DataPlane>, UserError> DataPlane::create(DataPlaneConfig config,
                                                                const TransportRegistry& registry) {
  const auto count = config.tun.size();
  if (count == 0 || count > kMaxWorkers) {
    return fail_user("the data plane runs 1 to " + std::to_string(kMaxWorkers) + " workers, not " +
                     std::to_string(count));
  }
  auto impl = std::make_unique<Impl>();
  if (count > 1) impl->handover = std::make_unique<Handover>(static_cast<unsigned>(count));
  for (unsigned i = 0; i < count; ++i) {
    for (auto& transport : config.transports) {
      transport.workers = static_cast<unsigned>(count);
      transport.worker = i;
      // The others join the ports that the kernel chose for the first.
      const auto id = transport_id(transport.name);
      if (i == 1 && id && runs_everywhere(*id)) transport.local = impl->first().transport(*id).local_endpoints();
    }
    SB_TRY(auto worker, Worker::create(config, std::move(config.tun[i]), registry, impl->events, impl->budgets, i,
                                       impl->handover.get()));
    impl->workers.push_back(std::move(worker));
  }
  if (count > 1) {
    std::vector<Worker*> team;
    for (const auto& worker : impl->workers) team.push_back(worker.get());
    for (auto* worker : team) worker->meet(team);
  }
  return std::unique_ptr<DataPlane>{new DataPlane{std::move(impl)}};
}

void DataPlane::start() {
  if (impl_->running()) return;
  // Signals are the control thread's; a thread inherits the mask that it is made under.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (std::size_t i = 0; i < impl_->workers.size(); ++i) {
    impl_->threads.emplace_back([worker = impl_->workers[i].get()] { worker->run(); });
    pthread_setname_np(impl_->threads.back().native_handle(), ("swb-packet" + std::to_string(i)).c_str());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void DataPlane::stop() {
  if (!impl_->running()) return;
  // The first last: what the others still have to send by its transports is on its way to it.
  for (auto i = impl_->workers.size(); i-- > 0;) {
    impl_->order(*impl_->workers[i], command::Stop{});
    impl_->threads[i].join();
  }
  impl_->threads.clear();
}

unsigned DataPlane::workers() const noexcept { return impl_->count(); }

void DataPlane::settle() const {
  for (int round = 0; round < 2; ++round) {
    for (const auto& worker : impl_->workers) impl_->call(*worker, [](Worker&) {});
  }
}

bool DataPlane::has(TransportId id) const noexcept { return impl_->workers.front()->has(id); }

std::vector<Endpoint> DataPlane::local_endpoints(TransportId id) const {
  std::vector<Endpoint> endpoints;
  auto& worker = *impl_->workers.front();
  if (!worker.has(id)) return endpoints;
  impl_->call(worker, [&](Worker& w) { endpoints = w.transport(id).local_endpoints(); });
  return endpoints;
}

const TransportTraits& DataPlane::traits(TransportId id) const {
  return impl_->workers.front()->transport(id).traits();  // constant from the start
}

std::optional<PathObservation> DataPlane::observe(const AddressPair& path) const {
  std::optional<PathObservation> seen;
  auto& worker = *impl_->workers.front();
  if (!worker.has(path.transport)) return seen;
  impl_->call(worker, [&](Worker& w) { seen = w.transport(path.transport).observe(path); });
  return seen;
}

bool DataPlane::make_hole(const AddressPair& path) {
  bool made = false;
  auto& worker = *impl_->workers.front();
  if (!worker.has(path.transport)) return made;
  impl_->call(worker, [&](Worker& w) { made = w.transport(path.transport).make_hole(path, monotonic_now()); });
  return made;
}

std::vector<OffloadView> DataPlane::offloads() const {
  struct Found {
    TransportId transport;
    OffloadStatus status;
  };
  std::vector<Found> all;
  for (const auto& worker : impl_->workers) {
    for (std::size_t i = 0; i < kTransportIds; ++i) {
      const auto id = static_cast<TransportId>(i);
      if (!worker->has(id)) continue;
      std::vector<OffloadStatus> some;
      impl_->call(*worker, [&](Worker& w) { some = w.transport(id).offloads(); });
      for (auto& status : some) {
        const auto same = std::find_if(all.begin(), all.end(), [&](const Found& one) {
          return one.transport == id && one.status.offload == status.offload && one.status.where == status.where;
        });
        if (same == all.end()) {
          all.push_back({id, std::move(status)});
        } else if (status.since.value_or(Instant{}) > same->status.since.value_or(Instant{})) {
          same->status = std::move(status);
        }
      }
    }
  }
  std::vector<OffloadView> views;
  for (const auto& [id, status] : all) views.push_back(view_of(id, status, monotonic_now(), wall_now()));
  return views;
}

Result<void, UserError> DataPlane::rebind(TransportId id, std::vector<Endpoint> local) {
  if (!has(id)) return fail_user("this end does not run the transport " + std::string{transport_name(id)});
  Result<void, UserError> result;
  for (const auto& worker : impl_->workers) {
    if (!worker->has(id)) break;  // only the first has it
    impl_->call(*worker, [&](Worker& w) {
      result = w.transport(id).rebind(local);
      if (worker == impl_->workers.front()) local = w.transport(id).local_endpoints();
    });
    if (!result) return result;
  }
  return result;
}

ChildCounters DataPlane::install(ChildSa child) {
  if (child.inbound.installed == Instant{}) child.inbound.installed = monotonic_now();
  if (child.outbound.installed == Instant{}) child.outbound.installed = child.inbound.installed;
  const bool at_once = child.activation == Activation::now;
  const auto session = child.session;
  const auto path = child.path;
  std::shared_ptr<ForeignRoute> route;
  if (impl_->count() > 1) {
    const auto& out = child.outbound;
    route = std::make_shared<ForeignRoute>();
    route->child = child.inbound.spi;
    route->worker = worker_of(child.inbound.spi, impl_->count());
    route->remote = out.remote;
    route->sources = packet::SelectorMatcher{out.local};
    route->destinations = packet::SelectorMatcher{out.remote};
  }
  auto made = std::make_unique<Child>(std::move(child));
  made->route = std::move(route);
  ChildCounters counters{made->inbound.counters(), made->outbound.counters(), made->activity};
  auto& worker = impl_->home_of(made->spi());
  auto place = impl_->book.install(session, worker_of(made->spi(), impl_->count()), path);
  if (place.evicted) impl_->order(worker, command::RemovePath{session, *place.evicted});
  impl_->order(worker, command::Install{std::move(made), at_once, path, std::move(place.activity),
                                        std::move(place.control_waiting)});
  return counters;
}

void DataPlane::switch_outbound(Spi inbound) {
  impl_->order(impl_->home_of(inbound), command::SwitchOutbound{inbound});
}
void DataPlane::remove(Spi inbound) { impl_->order(impl_->home_of(inbound), command::Remove{inbound}); }
void DataPlane::remove_session(SessionTag session) {
  impl_->order(impl_->home_of(session), command::RemoveSession{session});
  impl_->book.remove_session(session);
}
void DataPlane::set_inner_mtu(SessionTag session, std::uint16_t inner_mtu) {
  impl_->order(impl_->home_of(session), command::SetInnerMtu{session, inner_mtu});
}

void DataPlane::open_path(TransportId transport, PathRequest request) {
  impl_->order(impl_->first(), command::OpenPath{transport, request});
}
void DataPlane::close_path(const AddressPair& path) { impl_->order(impl_->first(), command::ClosePath{path}); }

std::shared_ptr<const PathActivity> DataPlane::add_path(SessionTag session, const AddressPair& path) {
  auto added = impl_->book.add(session, path);
  auto& home = impl_->home_of(session);
  if (added.evicted) impl_->order(home, command::RemovePath{session, *added.evicted});
  if (added.recorded) impl_->order(home, command::AddPath{session, path, added.activity});
  return std::move(added.activity);
}
void DataPlane::remove_path(SessionTag session, const AddressPair& path) {
  impl_->book.remove(session, path);
  impl_->order(impl_->home_of(session), command::RemovePath{session, path});
}
void DataPlane::use_paths(SessionTag session, const AddressPair& in_use, const std::optional<AddressPair>& twin) {
  // Known to be in use before they are added, so that neither makes room for the other.
  impl_->book.use(session, in_use, twin);
  (void)add_path(session, in_use);
  if (twin) (void)add_path(session, *twin);
  impl_->order(impl_->home_of(session), command::UsePaths{session, in_use, twin});
}
void DataPlane::send_control(SessionTag session, const AddressPair& path, Bytes body, bool dont_fragment) {
  impl_->order(impl_->home_of(session), command::SendControl{session, path, std::move(body), dont_fragment});
}
void DataPlane::send_limited(SessionTag session, const AddressPair& path, Bytes body, std::uint8_t hop_limit,
                             std::uint64_t token) {
  // Where its SA is; what needs none is sent where the connection is.
  auto& worker = runs_everywhere(path.transport) ? impl_->home_of(session) : impl_->first();
  impl_->order(worker, command::SendLimited{session, path, std::move(body), hop_limit, token});
}
void DataPlane::send_ike(const AddressPair& path, Bytes message) {
  // By the first, so that messages stay in order; if it tells the peer of a Child SA of another worker, that one looks
  // into its commands before it refuses what the peer then sends.
  impl_->order(impl_->first(), command::SendIke{path, std::move(message)});
}

int DataPlane::events_fd() const noexcept { return impl_->events.fd(); }

void DataPlane::drain_events(std::vector<DataPlaneEvent>& out) {
  const auto before = out.size();
  impl_->events.take(out);
  for (std::size_t i = before; i < out.size(); ++i) {
    if (const auto* ike = std::get_if<IkeReceived>(&out[i])) impl_->budgets.ike.give_back(ike->message.size());
    if (const auto* control = std::get_if<ControlReceived>(&out[i])) {
      impl_->budgets.control.give_back(control->body.size());
      impl_->book.control_taken(control->session);
    }
  }
}

DataPlaneCounters DataPlane::counters() const {
  DataPlaneCounters sum;
  for (const auto& worker : impl_->workers) sum += worker->counters();
  return sum;
}

std::vector<DataPlaneCounters> DataPlane::worker_counters() const {
  std::vector<DataPlaneCounters> all;
  for (const auto& worker : impl_->workers) all.push_back(worker->counters());
  return all;
}

DataPlaneCounters& DataPlaneCounters::operator+=(const DataPlaneCounters& more) noexcept {
  using Counter = std::uint64_t DataPlaneCounters::*;
  static constexpr Counter kAll[] = {&DataPlaneCounters::tun_read_packets,    &DataPlaneCounters::tun_read_octets,
                                     &DataPlaneCounters::tun_written_packets, &DataPlaneCounters::tun_written_octets,
                                     &DataPlaneCounters::tun_write_failed,    &DataPlaneCounters::inner_sent,
                                     &DataPlaneCounters::inner_received,      &DataPlaneCounters::no_outbound,
                                     &DataPlaneCounters::inner_malformed,     &DataPlaneCounters::too_big,
                                     &DataPlaneCounters::unknown_spi,         &DataPlaneCounters::esp_malformed,
                                     &DataPlaneCounters::esp_replayed,        &DataPlaneCounters::esp_forged,
                                     &DataPlaneCounters::esp_refused,         &DataPlaneCounters::esp_dummy,
                                     &DataPlaneCounters::ike_received,        &DataPlaneCounters::ike_sent,
                                     &DataPlaneCounters::ike_dropped,         &DataPlaneCounters::keepalives_received,
                                     &DataPlaneCounters::keepalives_sent,     &DataPlaneCounters::pool_empty,
                                     &DataPlaneCounters::loop_turns,          &DataPlaneCounters::no_path,
                                     &DataPlaneCounters::twins_sent,          &DataPlaneCounters::control_dropped,
                                     &DataPlaneCounters::handed_inner,        &DataPlaneCounters::handed_arrived,
                                     &DataPlaneCounters::handed_sealed,       &DataPlaneCounters::handover_full};
  static_assert(sizeof(DataPlaneCounters) == std::size(kAll) * sizeof(std::uint64_t) + sizeof(transports),
                "a counter is missing above");
  for (const auto counter : kAll) this->*counter += more.*counter;
  for (std::size_t i = 0; i < transports.size(); ++i) {
    if (!more.transports[i]) continue;
    if (!transports[i]) transports[i].emplace();
    auto& sum = *transports[i];
    const auto& one = *more.transports[i];
    sum.sent_packets += one.sent_packets;
    sum.sent_octets += one.sent_octets;
    sum.send_calls += one.send_calls;
    sum.send_dropped += one.send_dropped;
    sum.send_blocked += one.send_blocked;
    sum.received_packets += one.received_packets;
    sum.received_octets += one.received_octets;
    sum.receive_calls += one.receive_calls;
    sum.receive_malformed += one.receive_malformed;
    sum.path_reports += one.path_reports;
  }
  return *this;
}

}  // namespace switchback::transports
