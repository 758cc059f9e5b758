// The door: which first packets become sessions, which find the session they already made, and which do neither. Pure.
#pragma once

#include <deque>
#include <optional>
#include <unordered_map>
#include <utility>
#include <variant>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/random.h"
#include "common/base/time.h"
#include "common/ike/responder_gate.h"
#include "headend/session_table.h"

namespace switchback::headend {

/// Counts of what came to the door; a flood shows here and nowhere else.
struct AcceptorCounters {
  std::uint64_t created = 0, duplicates = 0, replies = 0, dropped = 0;
};

/// Wraps ike::ResponderGate, which judges single datagrams, with the memory of who is half open: everything in it is
/// bounded by GateLimits::max_half_open and by the sessions there are.
class Acceptor {
 public:
  Acceptor(ike::GateLimits limits, RandomSource& random, Instant now) : gate_{limits, random, now} {}

  struct Drop {};
  struct Reply {
    Bytes datagram;
  };
  /// Hand the datagram to this session: it is the same IKE_SA_INIT that created it (RFC 7296 §2.1).
  struct Duplicate {
    SessionTag session;
  };
  /// Make a session, and tell opened().
  struct Create {};
  using Decision = std::variant<Drop, Reply, Duplicate, Create>;

  /// For datagrams whose own_spi() is no session's.
  [[nodiscard]] Decision decide(ByteView datagram, const AddressPair& path, Instant now);
  [[nodiscard]] std::optional<Bytes> unknown_esp(Spi spi, std::size_t octets, Instant now) {
    return gate_.unknown_esp(spi, octets, now);
  }

  void opened(SessionTag session, ByteView datagram, const AddressPair& path);
  /// The session is authenticated and no longer counts as half open; duplicates still find it for a minute.
  void established(SessionTag session, Instant now);
  void closed(SessionTag session);

  [[nodiscard]] std::size_t half_open() const noexcept { return half_open_; }
  [[nodiscard]] const AcceptorCounters& counters() const noexcept { return counters_; }

 private:
  /// Two initiators may choose the same SPI, and one may send different requests (with a cookie, with another KE): the
  /// whole datagram and where it came from make the identity.
  struct Key {
    Endpoint remote;
    std::size_t hash = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept { return std::hash<Endpoint>{}(key.remote) ^ key.hash; }
  };
  struct Entry {
    Key key;
    bool half_open = true;
  };
  [[nodiscard]] static Key key_of(ByteView datagram, const AddressPair& path) noexcept;
  void no_longer_half_open(Entry& entry);
  void forget_old(Instant now);

  ike::ResponderGate gate_;
  AcceptorCounters counters_;
  std::size_t half_open_ = 0;
  std::unordered_map<IpAddress, std::size_t> half_open_from_;
  std::unordered_map<Key, SessionTag, KeyHash> by_key_;
  std::unordered_map<SessionTag, Entry> entries_;
  std::deque<std::pair<Instant, SessionTag>> remembered_;  // established, in the order of when to forget them
};

}  // namespace switchback::headend
