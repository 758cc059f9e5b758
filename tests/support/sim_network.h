// Datagrams between two hosts in virtual time: delay, loss, reordering, duplication, and a NAT that forgets.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/time.h"
#include "tests/support/seeded_random.h"

namespace switchback::test {

struct LinkConditions {
  Duration delay = std::chrono::milliseconds{20};
  Duration jitter{};       // up to so much more, which also reorders
  double loss = 0;         // each datagram, each direction
  double duplication = 0;  // a second copy, delayed on its own
};

/// What a host sends or receives, addresses as that host sees them.
struct Datagram {
  AddressPair path;
  Bytes octets;
  bool esp = false;  // a model of an ESP packet: its first 4 octets are the SPI
};

class SimNetwork {
 public:
  SimNetwork(SeededRandom& random, LinkConditions conditions) : random_{random}, conditions_{conditions} {}

  LinkConditions& conditions() noexcept { return conditions_; }

  /// From now on hosts in `inside` are seen from outside as `outside` with ports of its own.
  void add_nat(const IpAddress& inside, const IpAddress& outside) { nat_ = Nat{inside, outside, {}, next_port_}; }
  /// The NAT forgets its mappings and makes others: a rebinding.
  void rebind();
  /// As rebind(), and with another outside address.
  void rebind(const IpAddress& outside);
  /// Lets through nothing that `keep` refuses; for scripted losses.
  void filter(std::function<bool(const Datagram&)> keep) { keep_ = std::move(keep); }

  void send(Datagram datagram, Instant now);
  [[nodiscard]] std::optional<Instant> next_delivery() const;
  /// The earliest datagram that is due, as its receiver sees it.
  [[nodiscard]] std::optional<Datagram> receive(Instant now);
  [[nodiscard]] bool idle() const noexcept { return flying_.empty(); }
  void drop_all() { flying_.clear(); }

 private:
  struct Mapping {
    Endpoint inside;
    std::uint16_t port;
  };
  struct Nat {
    IpAddress inside, outside;
    std::vector<Mapping> mappings;
    std::uint16_t next_port;
  };
  struct Flying {
    Instant due;
    std::uint64_t order;
    Datagram datagram;
  };
  /// What the receiver sees; nothing if the NAT has no mapping for it.
  [[nodiscard]] std::optional<AddressPair> translate(const AddressPair& sent);

  SeededRandom& random_;
  LinkConditions conditions_;
  std::optional<Nat> nat_;
  std::uint16_t next_port_ = 61000;
  std::function<bool(const Datagram&)> keep_;
  std::vector<Flying> flying_;
  std::uint64_t order_ = 0;
};

}  // namespace switchback::test
