#include "transports/dataplane/dataplane.h"

#include <pthread.h>

#include <csignal>
#include <thread>

#include "transports/dataplane/path_book.h"
#include "transports/dataplane/worker.h"

namespace switchback::transports {

struct DataPlane::Impl {
  Mailbox<DataPlaneEvent> events;
  EventBudgets budgets;
  PathBook book;
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::thread> threads;

  [[nodiscard]] bool running() const noexcept { return !threads.empty(); }
  /// The worker that a Child SA lives on.
  [[nodiscard]] Worker& home_of(Spi spi) const noexcept { return *workers[spi.value % workers.size()]; }

  void order(Worker& worker, Command command) const { worker.commands().post(std::move(command)); }
  /// To every worker; T is copied.
  template <class T>
  void order_all(const T& command) const {
    for (const auto& worker : workers) worker->commands().post(Command{command});
  }
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
  // Until workers can hand packets to each other, see worker.h.
  if (config.tun.size() != 1) return fail_user("the data plane runs one worker: give it one TUN queue");
  auto impl = std::make_unique<Impl>();
  for (auto& queue : config.tun) {
    SB_TRY(auto worker, Worker::create(config, std::move(queue), registry, impl->events, impl->budgets));
    impl->workers.push_back(std::move(worker));
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
  for (const auto& worker : impl_->workers) impl_->order(*worker, command::Stop{});
  for (auto& thread : impl_->threads) thread.join();
  impl_->threads.clear();
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

Result<void, UserError> DataPlane::rebind(TransportId id, std::vector<Endpoint> local) {
  Result<void, UserError> result;
  for (const auto& worker : impl_->workers) {
    if (!worker->has(id)) return fail_user("this end does not run the transport " + std::string{transport_name(id)});
    impl_->call(*worker, [&](Worker& w) { result = w.transport(id).rebind(local); });
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
  auto made = std::make_unique<Child>(std::move(child));
  ChildCounters counters{made->inbound.counters(), made->outbound.counters(), made->activity};
  auto& worker = impl_->home_of(made->spi());
  auto place = impl_->book.install(session, path);
  if (place.evicted) impl_->order_all(command::RemovePath{session, *place.evicted});
  impl_->order(worker, command::Install{std::move(made), at_once, path, std::move(place.activity),
                                        std::move(place.control_waiting)});
  return counters;
}

void DataPlane::switch_outbound(Spi inbound) {
  impl_->order(impl_->home_of(inbound), command::SwitchOutbound{inbound});
}
void DataPlane::remove(Spi inbound) { impl_->order(impl_->home_of(inbound), command::Remove{inbound}); }
void DataPlane::remove_session(SessionTag session) {
  impl_->book.remove_session(session);
  impl_->order_all(command::RemoveSession{session});
}
void DataPlane::set_inner_mtu(SessionTag session, std::uint16_t inner_mtu) {
  impl_->order_all(command::SetInnerMtu{session, inner_mtu});
}

void DataPlane::open_path(TransportId transport, PathRequest request) {
  impl_->order(*impl_->workers.front(), command::OpenPath{transport, request});
}
void DataPlane::close_path(const AddressPair& path) { impl_->order_all(command::ClosePath{path}); }

std::shared_ptr<const PathActivity> DataPlane::add_path(SessionTag session, const AddressPair& path) {
  auto added = impl_->book.add(session, path);
  if (added.evicted) impl_->order_all(command::RemovePath{session, *added.evicted});
  if (added.recorded) impl_->order_all(command::AddPath{session, path, added.activity});
  return std::move(added.activity);
}
void DataPlane::remove_path(SessionTag session, const AddressPair& path) {
  impl_->book.remove(session, path);
  impl_->order_all(command::RemovePath{session, path});
}
void DataPlane::use_paths(SessionTag session, const AddressPair& in_use, const std::optional<AddressPair>& twin) {
  // Known to be in use before they are added, so that neither makes room for the other.
  impl_->book.use(session, in_use, twin);
  (void)add_path(session, in_use);
  if (twin) (void)add_path(session, *twin);
  impl_->order_all(command::UsePaths{session, in_use, twin});
}
void DataPlane::send_control(SessionTag session, const AddressPair& path, Bytes body, bool dont_fragment) {
  impl_->order(*impl_->workers.front(), command::SendControl{session, path, std::move(body), dont_fragment});
}
void DataPlane::send_limited(SessionTag session, const AddressPair& path, Bytes body, std::uint8_t hop_limit,
                             std::uint64_t token) {
  impl_->order(*impl_->workers.front(), command::SendLimited{session, path, std::move(body), hop_limit, token});
}
void DataPlane::send_ike(const AddressPair& path, Bytes message) {
  impl_->order(*impl_->workers.front(), command::SendIke{path, std::move(message)});
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
  DataPlaneCounters sum = impl_->workers.front()->counters();
  return sum;
}

}  // namespace switchback::transports
