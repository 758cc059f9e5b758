#include "tools/load/fleet.h"

#include <poll.h>

#include <algorithm>
#include <cmath>

#include "transports/udp/framing.h"

namespace switchback::load {
namespace {

constexpr Duration kProgressInterval = std::chrono::milliseconds{200};
constexpr Duration kLongestWait = std::chrono::milliseconds{50};
/// Batches that are received before anything else gets its turn, and connections begun in one turn.
constexpr int kReceiveRounds = 8;
constexpr std::size_t kStartsPerTurn = 64;
/// Answers that are still under way when a phase ends do not count as lost.
constexpr Duration kSettle = std::chrono::milliseconds{500};

}  // namespace

/// An activity while it runs.
struct Fleet::Doing {
  Activity activity;
  Pacer pacer{1, {}};
  Instant since{}, until{};
  std::size_t first = 0, end = 0;  // the clients that it uses: [first, end)
  std::size_t next = 0;
  bool over = false;
};

Fleet::Fleet(FleetOptions options, Users users, Wire wire, std::optional<HeadendWatch> watch)
    : Context{system_random_, packets_},
      options_{std::move(options)},
      users_{std::move(users)},
      wire_{std::move(wire)},
      watch_{std::move(watch)} {
  clients_.reserve(options_.sessions);
  for (std::size_t i = 0; i < options_.sessions; ++i) {
    const AddressPair path{{source_address(options_.sources, i).value(), wire_.port()}, users_.headend};
    clients_.push_back(Client{i, path, users_.configs[i % users_.configs.size()], *this});
  }
}

Fleet::~Fleet() = default;

void Fleet::send_ike(const AddressPair& path, ByteView message) {
  static constexpr std::array<std::uint8_t, transports::udp::kMarkerBytes> kMarker{};
  const auto framing = transports::udp::framing_of(path, false, users_.headend.port);
  wire_.send(path, message, framing == transports::udp::Framing::marked ? ByteView{kMarker} : ByteView{});
}

void Fleet::send_packet(const AddressPair& path, ByteView packet) { wire_.send(path, packet); }

void Fleet::came_up(std::size_t, Instant now) {
  ++up_;
  ups_.push_back(now);
}

void Fleet::went_down(std::size_t, Instant now) {
  --up_;
  if (!first_down_) first_down_ = now;
}

void Fleet::take(ByteView datagram, const AddressPair& path, Instant now, WallTime wall) {
  using transports::udp::Content;
  const auto what = classify(datagram, transports::udp::framing_of(path, false, users_.headend.port));
  if (what.content == Content::ike) {
    const auto message = datagram.subspan(what.skip);
    // RFC 7296 §3.1: whoever began the IKE SA says so in its messages; the other SPI is the other end's.
    constexpr std::size_t kFlags = 19;
    constexpr std::uint8_t kInitiator = 0x08;
    const bool peer_began = (message[kFlags] & kInitiator) != 0;
    const auto found = by_ike_.find(IkeSpi{load_be<std::uint64_t>(message.data() + (peer_began ? 8 : 0))});
    if (found == by_ike_.end()) return;
    const auto client = found->second;
    clients_[client].handle_ike(message, path, now, wall);
    arm(client);
  } else if (what.content == Content::esp) {
    const auto found = by_esp_.find(Spi{load_be<std::uint32_t>(datagram.data())});
    if (found == by_esp_.end()) {
      ++tally.esp_refused;
      return;
    }
    const auto client = found->second;
    clients_[client].handle_esp(datagram, path, now);
    arm(client);
  }
}

void Fleet::turn(Instant now, WallTime wall) {
  for (int round = 0; round < kReceiveRounds; ++round) {
    if (!wire_.receive([&](ByteView datagram, const AddressPair& path) { take(datagram, path, now, wall); })) break;
    now = monotonic_now();
  }
  std::vector<std::size_t> due;  // taken first: what is set anew below is for the next turn
  while (due.size() < kStartsPerTurn) {
    const auto client = deadlines_.take_due(now);
    if (!client) break;
    due.push_back(*client);
  }
  for (const auto client : due) {
    clients_[client].handle_deadline(now, wall);
    arm(client);
  }
}

void Fleet::begin(Doing& doing, Instant now) {
  const auto& activity = doing.activity;
  doing.since = now;
  doing.until = now + activity.time;
  doing.pacer = Pacer{activity.rate, now};
  if (activity.kind == Kind::storm) doing.next = doing.first;
  if (activity.kind == Kind::ramp) {
    doing.first = doing.next = wanted_;
    doing.end = std::max(wanted_, activity.sessions);
    wanted_ = doing.end;
  } else if (activity.kind == Kind::active) {
    doing.pacer = Pacer{activity.rate * static_cast<double>(doing.end - doing.first), now};
    for (auto i = doing.first; i < doing.end; ++i) clients_[i].reset_echoes();
  }
}

bool Fleet::step(Doing& doing, Instant now, WallTime wall) {
  const auto all_up = [&] { return up_ == wanted_; };
  const bool late = now >= doing.until;
  switch (doing.activity.kind) {
    case Kind::ramp:
    case Kind::storm:
      if (doing.next < doing.end) {
        for (auto left = doing.pacer.take(now); left > 0 && doing.next < doing.end; --left, ++doing.next) {
          if (doing.activity.kind == Kind::ramp) {
            clients_[doing.next].connect(now, wall);
          } else {
            clients_[doing.next].reconnect(false, now, wall);
          }
          arm(doing.next);
        }
        return !late;
      }
      return !late && !all_up();
    case Kind::hold: return !late;
    case Kind::churn:
      if (doing.end == doing.first) return false;
      for (auto left = doing.pacer.take(now); left > 0 && !late; --left) {
        const auto client = doing.first + doing.next++ % (doing.end - doing.first);
        if (!clients_[client].up()) continue;
        clients_[client].reconnect(true, now, wall);
        arm(client);
      }
      return !late;
    case Kind::active:
      for (auto left = doing.pacer.take(now); left > 0 && !late; --left) {
        const auto client = doing.first + doing.next++ % (doing.end - doing.first);
        clients_[client].send_echo(*options_.echo, options_.payload, now);
        arm(client);
      }
      return now < doing.until + kSettle;
    case Kind::restart: {
      const bool all_anew =
          up_ == wanted_ && std::all_of(clients_.begin() + static_cast<std::ptrdiff_t>(doing.first),
                                        clients_.begin() + static_cast<std::ptrdiff_t>(doing.end),
                                        [&](const Client& client) { return client.up_since() > doing.since; });
      return !late && !all_anew;
    }
  }
  return false;
}

void Fleet::wait(Instant until) {
  wire_.flush();
  auto due = std::min(until, monotonic_now() + kLongestWait);
  if (const auto next = deadlines_.next()) due = std::min(due, *next);
  const auto left = std::max(due - monotonic_now(), Duration{0});
  const timespec timeout{left / std::chrono::seconds{1}, (left % std::chrono::seconds{1}).count()};
  pollfd watched{wire_.fd(), POLLIN, 0};
  (void)::ppoll(&watched, 1, &timeout, nullptr);
}

PhaseResult Fleet::run(const Phase& phase, const std::function<bool(const Progress&)>& progress) {
  PhaseResult result;
  result.text = phase.text;
  tally = {};
  first_down_.reset();
  ups_.clear();
  const auto wire_before = wire_.counters();
  if (watch_) result.before = watch_->sample();
  result.rss_peak = result.before ? result.before->rss_bytes : 0;

  const auto start = monotonic_now();
  std::vector<Doing> all;
  for (const auto& activity : phase.activities) all.push_back({activity});
  // Active sessions come first; whatever else goes on beside them leaves them alone.
  std::size_t active = 0;
  for (auto& doing : all) {
    if (doing.activity.kind != Kind::active) continue;
    doing.first = active;
    doing.end = active += doing.activity.sessions;
  }
  for (auto& doing : all) {
    if (doing.activity.kind != Kind::active && doing.activity.kind != Kind::ramp) {
      doing.first = active;
      doing.end = wanted_;
    }
    begin(doing, start);
  }

  auto report_at = start;
  for (bool busy = true; busy;) {
    auto now = monotonic_now();
    const auto wall = wall_now();
    turn(now, wall);
    busy = false;
    now = monotonic_now();
    auto next = now + kLongestWait;
    for (auto& doing : all) {
      if (doing.over) continue;
      doing.over = !step(doing, now, wall);
      busy = busy || !doing.over;
      if (doing.activity.rate > 0) next = std::min(next, doing.pacer.next());
    }
    if (now >= report_at) {
      report_at = now + kProgressInterval;
      if (const auto sample = watch_ ? watch_->sample() : std::nullopt) {
        result.rss_peak = std::max(result.rss_peak, sample->rss_bytes);
      }
      Progress told;
      told.phase = phase.text;
      told.up = up_;
      told.handshakes = tally.handshakes;
      for (const auto& [reason, times] : tally.failures) told.failures += times;
      told.done = 1;
      for (const auto& doing : all) {
        const auto used =
            std::chrono::duration<double>(now - start) / std::chrono::duration<double>(doing.until - start);
        const auto begun = doing.end == doing.first || doing.activity.kind != Kind::ramp
                               ? 0.0
                               : static_cast<double>(up_) / static_cast<double>(doing.end);
        told.done = std::min({told.done, std::max(used, begun), 1.0});
      }
      if (!progress(told)) {
        result.reached = false;
        break;
      }
    }
    if (busy) wait(next);
  }

  result.seconds = std::chrono::duration<double>(monotonic_now() - start).count();
  result.up = up_;
  result.tally = tally;
  if (watch_) result.after = watch_->sample();
  const auto& wire_after = wire_.counters();
  result.wire = {wire_after.sent - wire_before.sent, wire_after.received - wire_before.received,
                 wire_after.refused - wire_before.refused};
  judge(phase, all, result);
  return result;
}

void Fleet::judge(const Phase& phase, std::vector<Doing>& all, PhaseResult& result) const {
  result.reached = result.reached && up_ == wanted_;
  const bool loses = std::any_of(phase.activities.begin(), phase.activities.end(), [](const Activity& activity) {
    return activity.kind == Kind::churn || activity.kind == Kind::storm || activity.kind == Kind::restart;
  });
  if (!loses && !tally.losses.empty()) result.reached = false;
  // A second's window over the times at which sessions came up.
  for (std::size_t first = 0, last = 0; last < ups_.size(); ++last) {
    while (ups_[last] - ups_[first] >= std::chrono::seconds{1}) ++first;
    result.busiest_second = std::max(result.busiest_second, static_cast<double>(last - first + 1));
  }
  if (loses && first_down_ && !ups_.empty()) {
    result.half_back = ups_[(ups_.size() - 1) / 2] - *first_down_;
    if (up_ == wanted_) result.all_back = ups_.back() - *first_down_;
  }
  std::vector<double> shares;
  for (const auto& doing : all) {
    if (doing.activity.kind == Kind::restart) {
      // Only what came up after the phase began counts as back; a session that nobody noticed to be gone does not.
      result.reached =
          result.reached && std::all_of(clients_.begin() + static_cast<std::ptrdiff_t>(doing.first),
                                        clients_.begin() + static_cast<std::ptrdiff_t>(doing.end),
                                        [&](const Client& client) { return client.up_since() > doing.since; });
    }
    if (doing.activity.kind != Kind::active) continue;
    for (auto i = doing.first; i < doing.end; ++i) {
      const auto sent = std::max<std::uint64_t>(clients_[i].echoes_sent(), 1);
      shares.push_back(static_cast<double>(clients_[i].echoes_received()) / static_cast<double>(sent));
    }
  }
  if (shares.empty()) return;
  std::sort(shares.begin(), shares.end());
  result.worst_share = shares.front();
  result.median_share = shares[shares.size() / 2];
}

void Fleet::leave() {
  const auto now = monotonic_now();
  for (auto& client : clients_) client.leave(now);
  wire_.flush();
}

}  // namespace switchback::load
