// Two data planes in one process, over UDP on the loopback, with socket pairs where the TUN interfaces would be.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "common/packet/offload.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::testing {

inline constexpr int kPatienceMs = 5000;  // only what fails waits so long

[[nodiscard]] inline bool readable(int fd, int milliseconds = kPatienceMs) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, milliseconds) == 1 && (entry.revents & POLLIN) != 0;
}

/// Waits for what a packet thread does in its own time.
template <class Condition>
[[nodiscard]] bool until(const Condition& condition) {
  for (int i = 0; i < kPatienceMs; ++i) {
    if (condition()) return true;
    (void)readable(-1, 1);
  }
  return condition();
}

/// What a data plane wrote to its TUN, or is to read from it.
struct TunRecord {
  packet::VirtioNetHeader header;
  Bytes packet;
  std::size_t queue = 0;
};

struct EndOptions {
  std::vector<std::string> transports{"udp"};  // with the same settings
  const transports::TransportRegistry* registry = &transports::builtin_transports();
  bool headend = false;
  bool transport_offload = true;
  bool tun_header = true;
  std::vector<Endpoint> local;
  std::uint16_t ike_port = 500;
  std::size_t socket_buffer = std::size_t{4} << 20U;
  std::string pcap_file;
  unsigned workers = 1;
};

class End {
 public:
  explicit End(const EndOptions& options) : header_{options.tun_header} {
    transports::DataPlaneConfig config;
    for (unsigned i = 0; i < options.workers; ++i) {
      std::array<int, 2> pair{-1, -1};
      if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.data()) != 0) std::abort();
      outside_.emplace_back(pair[0]);
      config.tun.emplace_back(UniqueFd{pair[1]}, options.tun_header);
    }
    transports::TransportConfig transport;
    transport.local = options.local;
    transport.headend = options.headend;
    transport.ike_port = options.ike_port;
    transport.offload = options.transport_offload;
    transport.socket_buffer = options.socket_buffer;
    for (const auto& name : options.transports) {
      transport.name = name;
      config.transports.push_back(transport);
    }
    if (options.tun_header) config.tun_offloads = {true, true, true, true};
    config.pcap_file = options.pcap_file;
    plane = transports::DataPlane::create(std::move(config), *options.registry).value();
    local = plane->local_endpoints(0);
  }

  /// Returns once the packet threads have obeyed all commands so far, which they may otherwise see after a packet.
  void settle() const { plane->settle(); }
  /// As if the kernel routed a packet into the TUN.
  void route(const Bytes& packet, const packet::VirtioNetHeader& header = {}, std::size_t queue = 0) {
    settle();
    Bytes octets;
    if (header_) {
      octets.resize(packet::VirtioNetHeader::kBytes);
      header.store(octets);
    }
    append(octets, packet);
    const auto fd = outside_[queue].get();
    while (::send(fd, octets.data(), octets.size(), 0) < 0) {
      if (errno != EAGAIN) std::abort();
      pollfd entry{fd, POLLOUT, 0};
      if (::poll(&entry, 1, kPatienceMs) != 1) std::abort();
    }
  }
  /// As route(), but false if there is no room now.
  [[nodiscard]] bool try_route(const Bytes& packet, std::size_t queue = 0) {
    Bytes octets(header_ ? packet::VirtioNetHeader::kBytes : 0);
    append(octets, packet);
    return ::send(outside_[queue].get(), octets.data(), octets.size(), 0) >= 0;
  }
  /// The next packet that came out of the TUN, by whatever queue.
  [[nodiscard]] std::optional<TunRecord> delivered() {
    std::vector<pollfd> entries;
    for (const auto& queue : outside_) entries.push_back({queue.get(), POLLIN, 0});
    if (::poll(entries.data(), entries.size(), kPatienceMs) <= 0) return std::nullopt;
    const auto ready = std::find_if(entries.begin(), entries.end(), [](const pollfd& e) { return e.revents != 0; });
    Bytes octets(70000);
    const auto got = ::recv(ready->fd, octets.data(), octets.size(), 0);
    if (got <= 0) return std::nullopt;
    octets.resize(static_cast<std::size_t>(got));
    TunRecord record;
    record.queue = static_cast<std::size_t>(ready - entries.begin());
    if (header_) {
      record.header = packet::VirtioNetHeader::load(octets);
      octets.erase(octets.begin(), octets.begin() + packet::VirtioNetHeader::kBytes);
    }
    record.packet = std::move(octets);
    return record;
  }
  /// The next event of this type; others on the way are kept for later calls.
  template <class Event>
  [[nodiscard]] std::optional<Event> event() {
    for (;;) {
      for (auto at = events_.begin(); at != events_.end(); ++at) {
        if (auto* wanted = std::get_if<Event>(&*at)) {
          auto found = std::move(*wanted);
          events_.erase(at);
          return found;
        }
      }
      if (!readable(plane->events_fd())) return std::nullopt;
      plane->drain_events(events_);
    }
  }

  std::unique_ptr<transports::DataPlane> plane;
  std::vector<Endpoint> local;

 private:
  std::vector<UniqueFd> outside_;  // by queue
  bool header_;
  std::vector<transports::DataPlaneEvent> events_;
};

[[nodiscard]] inline crypto::AeadKey fixed_key(std::uint8_t seed,
                                               crypto::AeadAlgorithm algorithm = crypto::AeadAlgorithm::aes128_gcm) {
  Bytes octets(crypto::aead_key_octets(algorithm) + crypto::kAeadSaltOctets, seed);
  return {algorithm, Secret{octets}};
}

/// One side of a Child SA with keys that are known. The other side swaps spis, keys and selectors.
struct StaticChild {
  std::uint32_t spi_in = 0x1001, spi_out = 0x2001;
  std::uint8_t key_in = 1, key_out = 2;
  std::vector<std::string> local{"10.9.0.1/32", "fd09::1/128"};
  std::vector<std::string> remote{"10.9.0.2/32", "fd09::2/128"};
  crypto::AeadAlgorithm algorithm = crypto::AeadAlgorithm::aes128_gcm;

  [[nodiscard]] StaticChild mirrored() const { return {spi_out, spi_in, key_out, key_in, remote, local, algorithm}; }
  [[nodiscard]] transports::ChildSa make(const AddressPair& path) const {
    const auto selectors = [](const std::vector<std::string>& prefixes) {
      packet::TrafficSelectors all;
      for (const auto& text : prefixes) all.push_back(packet::from_prefix(IpPrefix::parse(text).value()));
      return all;
    };
    const auto params = [&](std::uint32_t spi, std::uint8_t key) {
      esp::SaParams made;
      made.spi = Spi{spi};
      made.key = fixed_key(key, algorithm);
      made.local = selectors(local);
      made.remote = selectors(remote);
      return made;
    };
    transports::ChildSa child;
    child.session = transports::SessionTag{7};
    child.inbound = params(spi_in, key_in);
    child.outbound = params(spi_out, key_out);
    child.path = path;
    return child;
  }
};

}  // namespace switchback::testing
