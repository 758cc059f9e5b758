// One packet thread: its TUN queue, its transports, its memory and its SAs.
//
// A turn of the loop: wait; read the clock once; obey commands; take what the transports have and write it to the TUN;
// send what was left over; read the TUN and send that; look after deadlines; tell the control thread. Each step does a
// bounded amount of work, so that both directions and the commands get their share, and everything is done in batches:
// per packet there is no system call, lock, allocation or clock.
//
// Growing to several workers: each has its own queue of the interface (the kernel spreads inner flows over queues), its
// own sockets (TransportConfig::reuse_port; a BPF program on the group steers by SPI), pool and shard of the SAs,
// chosen by inbound SPI, so that no SA is ever touched by two threads. What arrives at the wrong worker (the outbound
// half of a shard that another queue's packet needs) goes over by a ring between the two; that ring is what remains to
// be made.
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
#include "transports/dataplane/mailbox.h"
#include "transports/dataplane/outbound_table.h"
#include "transports/dataplane/pcap_writer.h"

namespace switchback::transports {

class Worker;

namespace command {
struct Install {
  std::unique_ptr<Child> child;
  bool at_once;  // used for sending from now on
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
struct MovePath {
  SessionTag session;
  TransportId transport;
  AddressPair path;
};
struct SetInnerMtu {
  SessionTag session;
  std::uint16_t inner_mtu;
};
struct SendIke {
  TransportId transport;
  AddressPair path;
  Bytes message;
};
struct SendDummy {
  Spi child;
  Bytes body;
};
/// Something rare that needs the thread's own objects; the control thread waits for `done`.
struct Call {
  std::function<void(Worker&)> what;
  std::promise<void> done;
};
struct Stop {};
}  // namespace command
using Command =
    std::variant<command::Install, command::SwitchOutbound, command::Remove, command::RemoveSession, command::MovePath,
                 command::SetInnerMtu, command::SendIke, command::SendDummy, command::Call, command::Stop>;

/// IKE messages on their way to the control thread, which may be slower than the network. Both threads count.
struct IkeBudget {
  static constexpr std::size_t kMessages = 1024, kOctets = std::size_t{2} << 20U;
  std::atomic<std::size_t> messages{0}, octets{0};
};

class Worker {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Worker>, UserError> create(const DataPlaneConfig& config,
                                                                         io::TunQueue tun,
                                                                         const TransportRegistry& registry,
                                                                         Mailbox<DataPlaneEvent>& events,
                                                                         IkeBudget& ike_budget);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// The thread: returns after command::Stop.
  void run();

  /// Thread-safe.
  [[nodiscard]] Mailbox<Command>& commands() noexcept { return commands_; }
  /// Thread-safe: as of the end of the last turn.
  [[nodiscard]] DataPlaneCounters counters() const;

  /// For command::Call, or while run() does not.
  [[nodiscard]] Transport& transport(TransportId id) noexcept { return *links_[id].transport; }
  [[nodiscard]] std::size_t transport_count() const noexcept { return links_.size(); }
  void obey(Command& command, Instant now);

 private:
  /// Packets of one batch from a transport, and from the TUN before the last read of a batch is cut.
  static constexpr std::size_t kInboundBatch = 256, kOutboundBatch = 128;
  /// Batches of one turn in each direction.
  static constexpr int kInboundRounds = 3, kOutboundRounds = 3;
  static constexpr std::size_t kIkeWaiting = 64;

  struct Link {
    std::unique_ptr<Transport> transport;
    std::vector<packet::Packet> ike_waiting;  // for a full socket
    bool ready = true;
    bool failed = false;
  };

  Worker(const DataPlaneConfig& config, io::TunQueue tun, Mailbox<DataPlaneEvent>& events, IkeBudget& ike_budget);
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
  void poll_reports(TransportId id, Instant now);
  void fail_link(TransportId id, std::error_code error);
  void tell(DataPlaneEvent event) { told_.push_back(std::move(event)); }
  [[nodiscard]] Child* find(Spi spi) const noexcept {
    const auto found = children_.find(spi);
    return found == children_.end() ? nullptr : found->second.get();
  }

  // inbound.cpp: transport to TUN
  void receive(TransportId id, Instant now);
  void take_ike(TransportId id, const packet::Packet& packet);
  void refuse_unknown(TransportId id, Spi spi, std::span<packet::Packet> run, Instant now);
  void open_run(TransportId id, Child& child, std::span<packet::Packet> run, Instant now);
  void note_authentic(TransportId id, Child& child, const AddressPair& path, Instant now);
  void write_inner(std::span<packet::Packet> batch);

  // outbound.cpp: TUN to transport
  [[nodiscard]] bool read_tun(Instant now);
  void cut(const packet::VirtioNetHeader& header, ByteView packet, Instant now);
  void seal_runs(Instant now);
  [[nodiscard]] bool flush();
  [[nodiscard]] bool flush_ike(TransportId id, Instant now);
  void answer_too_big(Child& child, ByteView packet, const packet::IpView& ip, Instant now);
  void send_ike(const command::SendIke& order, Instant now);
  void send_dummy(Child& child, ByteView body, Instant now);
  void send_keepalive(Child& child, Instant now);
  void send_alone(TransportId id, packet::Packet packet, Instant now);

  packet::PacketPool pool_;  // first in, last out: everything below holds packets of it
  packet::PacketCarver carver_;
  io::TunQueue tun_;
  UniqueFd epoll_;
  std::vector<Link> links_;
  Mailbox<Command> commands_;
  Mailbox<DataPlaneEvent>& events_;
  IkeBudget& ike_budget_;

  std::unordered_map<Spi, std::unique_ptr<Child>> children_;  // by inbound SPI
  std::unordered_map<SessionTag, std::vector<Child*>> sessions_;
  OutboundTable outbound_;

  // Of the present turn.
  Instant now_{};
  bool tun_ready_ = true, commanded_ = false, stopping_ = false;
  bool tun_watched_ = true, tun_failed_ = false;
  std::optional<Instant> next_tick_;
  std::vector<Command> orders_;
  std::vector<DataPlaneEvent> told_;
  TokenBucket unknown_spi_{5, 5}, hints_{5, 10}, icmp_{200, 50};

  // Inbound.
  std::array<packet::Packet, kInboundBatch> in_;
  std::array<esp::Verdict, kInboundBatch> verdicts_{};
  packet::Coalescer coalescer_;

  // Outbound. `out_` is cut and sealed for runs of one Child SA, then sent for groups of one transport; what a full
  // socket leaves stays there, and the TUN is not read meanwhile.
  struct Run {
    Child* child;
    std::size_t first, count;
  };
  struct Group {
    TransportId transport;
    std::size_t count;
  };
  std::unique_ptr<std::uint8_t[]> tun_buffer_;
  std::vector<packet::Packet> out_;
  std::vector<Run> runs_;
  std::vector<Group> groups_;
  std::size_t out_first_ = 0, group_first_ = 0;

  std::optional<PcapWriter> pcap_;
  DataPlaneCounters counts_;
  mutable std::mutex published_mutex_;
  DataPlaneCounters published_;
};

}  // namespace switchback::transports
