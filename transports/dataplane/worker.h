// One packet thread: its TUN queue, its transports, its memory and its SAs.
//
// A turn of the loop: wait; read the clock once; obey commands; take what the transports have and write it to the TUN;
// send what was left over; read the TUN and send that; let acknowledgements leave that found nothing to ride on; look
// after deadlines; tell the control thread. Each step does a bounded amount of work, so that both directions and the
// commands get their share, and everything is done in batches: per packet there is no system call, lock, allocation or
// clock.
//
// Several workers: each has its own queue of the interface (the kernel gives it the flows whose answers it has written
// there), its own sockets of `udp` and `esp` (to which the kernel steers by SPI, see common/io/steering.h), its own
// pool and its share of the sessions, chosen by inbound SPI: no SA is ever touched by two threads. The other transports
// are run by worker 0 alone, whichever worker's sessions they carry. What is at the wrong worker goes over by a ring,
// see handover.h and team.cpp; what is rare goes as a command.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "common/base/rate_limit.h"
#include "common/esp/codec.h"
#include "common/packet/carver.h"
#include "common/packet/offload.h"
#include "common/packet/pool.h"
#include "transports/dataplane/child.h"
#include "transports/dataplane/dataplane.h"
#include "transports/dataplane/handover.h"
#include "transports/dataplane/mailbox.h"
#include "transports/dataplane/outbound_table.h"
#include "transports/dataplane/pcap_writer.h"
#include "transports/dataplane/session.h"

namespace switchback::transports {

class Worker;

namespace command {
struct Install {
  std::unique_ptr<Child> child;
  bool at_once;      // used for sending from now on
  AddressPair path;  // with `activity`: in use from now on
  std::shared_ptr<PathActivity> activity;
  std::shared_ptr<std::atomic<std::uint32_t>> control_waiting;
};
struct SwitchOutbound {
  Spi child;
};
struct Remove {
  Spi child;
};
struct RemoveSession {
  SessionTag session;
};
struct OpenPath {
  TransportId transport;
  PathRequest request;
};
struct ClosePath {
  AddressPair path;
};
struct AddPath {
  SessionTag session;
  AddressPair path;
  std::shared_ptr<PathActivity> activity;
};
struct RemovePath {
  SessionTag session;
  AddressPair path;
};
/// Both have been added.
struct UsePaths {
  SessionTag session;
  AddressPair in_use;
  std::optional<AddressPair> twin;
};
struct SetInnerMtu {
  SessionTag session;
  std::uint16_t inner_mtu;
};
struct SendIke {
  AddressPair path;
  Bytes message;
};
struct SendControl {
  SessionTag session;
  AddressPair path;
  Bytes body;
  bool dont_fragment;
};
struct SendLimited {
  SessionTag session;
  AddressPair path;
  Bytes body;
  std::uint8_t hop_limit;
  std::uint64_t token;
};
/// Something rare that needs the thread's own objects; the control thread waits for `done`.
struct Call {  // from the control thread
  std::function<void(Worker&)> what;
  std::promise<void> done;
};
struct Stop {};

// From other workers.
/// A Child SA of theirs takes inner packets from now on.
struct Reach {
  std::shared_ptr<const ForeignRoute> route;
};
struct Unreach {
  Spi child;
};
/// To worker 0, which runs the path's transport: what Transport::set_inbound_spis() is to know of their sessions.
struct Claim {
  unsigned worker;
  AddressPair path;
  std::vector<Spi> spis;
};
/// None of their sessions has the path any more.
struct Disclaim {
  unsigned worker;
  AddressPair path;
  bool close;  // if nobody else has it either
};
/// From worker 0: the path is gone.
struct ForgetPath {
  AddressPair path;
};
struct LinkFailed {
  TransportId transport;
  std::string detail;
};
}  // namespace command
using Command = std::variant<command::Install, command::SwitchOutbound, command::Remove, command::RemoveSession,
                             command::OpenPath, command::ClosePath, command::AddPath, command::RemovePath,
                             command::UsePaths, command::SetInnerMtu, command::SendIke, command::SendControl,
                             command::SendLimited, command::Call, command::Stop, command::Reach, command::Unreach,
                             command::Claim, command::Disclaim, command::ForgetPath, command::LinkFailed>;

/// Messages on their way to the control thread, which may be slower than the network. The packet threads add, the
/// control thread takes away.
struct EventBudget {
  std::size_t most_messages, most_octets;
  std::atomic<std::size_t> messages{0}, octets{0};

  /// @param share  of the whole, one in so many: what may be there at most for this one to come in
  [[nodiscard]] bool take(std::size_t size, std::size_t share = 1) noexcept {
    const bool fits = messages.fetch_add(1, std::memory_order_relaxed) < most_messages / share;
    if (octets.fetch_add(size, std::memory_order_relaxed) + size <= most_octets / share && fits) return true;
    give_back(size);
    return false;
  }
  void give_back(std::size_t size) noexcept {
    messages.fetch_sub(1, std::memory_order_relaxed);
    octets.fetch_sub(size, std::memory_order_relaxed);
  }
};
struct EventBudgets {
  EventBudget ike{1024, std::size_t{2} << 20U};
  EventBudget control{8192, std::size_t{4} << 20U};  // of all sessions; see also kControlBurst
};

/// Whether every worker has sockets of this transport; if not, worker 0 runs it for all.
[[nodiscard]] constexpr bool runs_everywhere(TransportId id) noexcept {
  return id == kUdpTransport || id == kEspTransport;
}

class Worker {
 public:
  /// @param index  among `handover`'s workers; 0, and no handover, where there is only one
  [[nodiscard]] static Result<std::unique_ptr<Worker>, UserError> create(
      const DataPlaneConfig& config, io::TunQueue tun, const TransportRegistry& registry,
      Mailbox<DataPlaneEvent>& events, EventBudgets& budgets, unsigned index, Handover* handover);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// All workers by index, itself included. Before run(); for several only.
  void meet(std::vector<Worker*> team) { team_ = std::move(team); }
  /// The thread: returns after command::Stop.
  void run();

  /// Thread-safe.
  [[nodiscard]] Mailbox<Command>& commands() noexcept { return commands_; }
  /// Thread-safe: as of the end of the last turn.
  [[nodiscard]] DataPlaneCounters counters() const;

  /// For command::Call, or while run() does not.
  /// Pre: has(id).
  [[nodiscard]] Transport& transport(TransportId id) noexcept { return *links_[id].transport; }
  [[nodiscard]] bool has(TransportId id) const noexcept { return id < links_.size() && links_[id].transport; }
  void obey(Command& command, Instant now);

 private:
  /// Packets of one batch from a transport, and from the TUN before the last read of a batch is cut.
  static constexpr std::size_t kInboundBatch = 256, kOutboundBatch = 128;
  /// Deadlines of SAs are looked at no more often than this: with thousands of SAs one is always due.
  static constexpr Duration kTickInterval = std::chrono::seconds{1};
  /// Batches of one turn in each direction.
  static constexpr int kInboundRounds = 3, kOutboundRounds = 3;
  static constexpr std::size_t kIkeWaiting = 64;
  /// Requests to open paths that are remembered to be failed together with their transport.
  static constexpr std::size_t kOpening = 256;

  struct Link {
    std::unique_ptr<Transport> transport;     // empty: this end does not run it, or another worker does
    std::vector<packet::Packet> ike_waiting;  // IKE, control messages, keepalives, for a full socket
    std::vector<packet::Packet> relayed;      // other workers' packets, for a full socket
    std::vector<std::uint64_t> opening;
    bool ready = false;
    bool failed = false;
    bool elsewhere = false;  // worker 0 runs it
    [[nodiscard]] bool lives() const noexcept { return (transport || elsewhere) && !failed; }
    [[nodiscard]] bool here() const noexcept { return transport && !failed; }
  };

  Worker(const DataPlaneConfig& config, io::TunQueue tun, Mailbox<DataPlaneEvent>& events, EventBudgets& budgets,
         unsigned index, Handover* handover);
  [[nodiscard]] Result<void, UserError> open(const DataPlaneConfig& config, const TransportRegistry& registry);

  // worker.cpp: the loop, commands, deadlines
  void wait();
  void turn(Instant now);
  void obey_all(Instant now);
  void tick(Instant now);
  void look_after(Child& child, Instant now, std::optional<Instant>& next);
  void set_tun_interest(bool wanted);
  void publish();
  void finish(Child& child);
  void start_sending(Child& child);
  void stop_sending(Child& child);
  void poll_lifetime(Child& child, esp::Lifetime& lifetime, bool outbound);
  [[nodiscard]] int wait_ms() const;
  void tell(DataPlaneEvent event) { told_.push_back(std::move(event)); }
  [[nodiscard]] Child* find(Spi spi) const noexcept {
    const auto found = children_.find(spi);
    return found == children_.end() ? nullptr : found->second.get();
  }
  [[nodiscard]] CarriedSession* find(SessionTag session) const noexcept {
    const auto found = sessions_.find(session);
    return found == sessions_.end() ? nullptr : found->second.get();
  }

  // paths.cpp: what sessions and transports are told of paths
  void install(command::Install& install, Instant now);
  void remove_session(SessionTag session, Instant now);
  void open_path(const command::OpenPath& order, Instant now);
  void close_path(const AddressPair& path, Instant now);
  void add_path(const command::AddPath& order);
  void remove_path(CarriedSession& session, std::size_t index, Instant now);
  void use_paths(const command::UsePaths& order, Instant now);
  [[nodiscard]] std::size_t place(CarriedSession& session, const AddressPair& path,
                                  const std::shared_ptr<PathActivity>& activity);
  void take_away(CarriedSession& session, std::size_t index);
  void forget_path(const AddressPair& path);
  void publish_spis(CarriedSession& session);
  void publish_spis(const AddressPair& path);
  [[nodiscard]] Link* living_link(TransportId id) noexcept {
    return id < links_.size() && links_[id].lives() ? &links_[id] : nullptr;
  }
  void poll_reports(TransportId id, Instant now);
  void tell_signal(const PathReport& report, Instant now);
  void fail_link(TransportId id, std::error_code error);
  void lose_link(TransportId id, const std::string& detail);

  // team.cpp: what goes to and comes from other workers. Nothing of it is called where there are none.
  void hand_over_inner(unsigned to, const packet::VirtioNetHeader& header, ByteView packet);
  void hand_over_arrived(unsigned to, std::span<packet::Packet> run);
  [[nodiscard]] std::size_t hand_over_sealed(std::span<packet::Packet> batch);
  void take_inner(Instant now);
  void take_arrived(Instant now);
  void relay_sealed(Instant now);
  [[nodiscard]] bool flush_relayed(TransportId id, Instant now);
  [[nodiscard]] bool something_came();
  void ring_doorbells() noexcept;
  template <class T>
  void tell_others(const T& command) {
    for (auto* other : team_) {
      if (other != this) other->commands().post(command);
    }
  }
  void reach(const command::Reach& order);
  void unreach(Spi child);
  void claim(command::Claim& order);
  void disclaim(const command::Disclaim& order, Instant now);
  [[nodiscard]] Child* find_installed(Spi spi, Instant now);

  // inbound.cpp: transport to TUN
  void receive(TransportId id, Instant now);
  void take_in(std::span<packet::Packet> batch, bool from_other, Instant now);
  void take_ike(const packet::Packet& packet);
  void refuse_unknown(Spi spi, std::span<packet::Packet> run, Instant now);
  void open_run(Child& child, std::span<packet::Packet> run, Instant now);
  [[nodiscard]] bool continues_judging(const packet::Packet& packet);
  void judge_authentic(const packet::Packet& packet, std::uint8_t flow);
  void judge_failed(const packet::Packet& packet, std::optional<std::uint8_t> flow, bool from_peer);
  void settle_judging();
  void take_control(const Child& child, const packet::Packet& packet, const PathSlot* slot, Instant now);
  void tell_moved(Child& child, const AddressPair& path, Instant now);
  void write_inner(std::span<packet::Packet> batch);

  // outbound.cpp: TUN to transport
  [[nodiscard]] bool read_tun(Instant now);
  void cut(const packet::VirtioNetHeader& header, ByteView packet, bool from_other, Instant now);
  void narrow(std::size_t first, std::size_t mtu);
  void seal_runs(Instant now);
  void send_twins(CarriedSession& session, std::span<const packet::Packet> batch, Instant now);
  [[nodiscard]] bool flush();
  [[nodiscard]] Result<std::size_t> send_by(Link& link, std::span<packet::Packet> batch, Instant now);
  [[nodiscard]] bool flush_ike(TransportId id, Instant now);
  void answer_too_big(Child& child, ByteView packet, const packet::IpView& ip, Instant now);
  void send_ike(const command::SendIke& order, Instant now);
  void send_control(const command::SendControl& order, Instant now);
  void send_limited(const command::SendLimited& order, Instant now);
  [[nodiscard]] static Child& child_to_send_by(const CarriedSession& session) noexcept;
  void send_keepalive(PathSlot& slot, Instant now);
  void send_alone(TransportId id, packet::Packet packet, Instant now);

  packet::PacketPool pool_;  // first in, last out: everything below holds packets of it
  packet::PacketCarver carver_;
  io::TunQueue tun_;
  UniqueFd epoll_;
  std::array<Link, kTransportIds> links_;  // by TransportId, with holes
  Mailbox<Command> commands_;
  Mailbox<DataPlaneEvent>& events_;
  EventBudgets& budgets_;

  std::unordered_map<Spi, std::unique_ptr<Child>> children_;  // by inbound SPI
  std::unordered_map<SessionTag, std::unique_ptr<CarriedSession>> sessions_;
  std::unordered_multimap<AddressPair, CarriedSession*> carriers_;  // by the paths in their slots
  std::vector<Spi> spis_;                                           // for publish_spis(), to keep its capacity
  OutboundTable outbound_;

  // Of several workers; otherwise empty.
  const unsigned index_;
  Handover* const handover_;
  std::vector<Worker*> team_;
  bool waits_for_ring_ = false;  // to worker 0: something is left that it had no room for
  std::uint32_t to_wake_ = 0;    // a bit for each worker that was handed something
  std::unordered_map<Spi, std::shared_ptr<const ForeignRoute>> foreign_;
  struct Claims {
    std::vector<command::Claim> all;  // one for each worker at most
  };
  std::unordered_map<AddressPair, Claims> claims_;  // at worker 0: what the others' sessions have

  // Of the present turn.
  Instant now_{};
  bool tun_ready_ = true, commanded_ = false, stopping_ = false;
  bool tun_watched_ = true, tun_failed_ = false;
  bool blocked_ = false;  // `out_` waits for a full socket
  std::optional<Instant> next_tick_;
  std::vector<Command> orders_;
  std::vector<DataPlaneEvent> told_;
  /// By transport: a peer that sends copies on two paths may hear an answer on one of them only.
  std::array<TokenBucket, kTransportIds> unknown_spi_{{{5, 5}, {5, 5}, {5, 5}, {5, 5}, {5, 5}}};
  TokenBucket hints_{5, 10}, icmp_{200, 50}, signals_{500, 200};

  // Inbound.
  std::array<packet::Packet, kInboundBatch> in_;
  std::array<esp::Verdict, kInboundBatch> verdicts_{};
  packet::Coalescer coalescer_;
  /// What became of a joined message so far, or of single packets in a row, for its transport to hear.
  struct Judging {
    packet::Arrival arrival;
    TransportId transport = 0;
    std::uint8_t flow = 0;
    bool from_peer = false;  // the peer of a session sent it, or at least a part
    std::uint32_t authentic = 0, failed = 0;
  };
  Judging judging_;
  AddressPair last_proven_;  // the last authentic packet came by it

  // Outbound. `out_` is cut and sealed for runs of one Child SA, copied for a twin, then sent for groups of one
  // transport; what a full socket leaves stays there, and the TUN is not read meanwhile. A twin waits for nothing.
  struct Run {
    Child* child;
    std::size_t first, count;
  };
  struct Group {
    TransportId transport;
    std::size_t first, count;  // what is left
  };
  std::unique_ptr<std::uint8_t[]> tun_buffer_;
  std::vector<packet::Packet> out_, twins_;
  std::vector<packet::Packet> whole_;  // for narrow(), to keep its capacity
  std::vector<Run> runs_;
  std::vector<Group> groups_;

  std::optional<PcapWriter> pcap_;
  DataPlaneCounters counts_;
  mutable std::mutex published_mutex_;
  DataPlaneCounters published_;
};

}  // namespace switchback::transports
