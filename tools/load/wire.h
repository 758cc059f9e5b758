// One UDP socket that sends from as many addresses as one likes, in batches.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/io/sockets.h"

struct mmsghdr;

namespace switchback::load {

struct WireCounters {
  std::uint64_t sent = 0, received = 0;
  std::uint64_t refused = 0;  // the kernel did not take them: full buffers, no route
};

class Wire {
 public:
  /// @param sources  the addresses that will be sent from; they need not stand on an interface, but the kernel must
  /// take them for its own: `ip route add local PREFIX dev lo`. Errors: it does not.
  [[nodiscard]] static Result<Wire, UserError> open(const IpPrefix& sources);
  Wire(Wire&&) noexcept;
  Wire& operator=(Wire&&) noexcept;
  ~Wire();

  [[nodiscard]] std::uint16_t port() const noexcept;
  [[nodiscard]] int fd() const noexcept;
  /// Copies it; it leaves at flush(), or before. Longer than kDatagramOctets: refused.
  /// @param prefix  octets before `datagram`: the non-ESP marker
  void send(const AddressPair& path, ByteView datagram, ByteView prefix = {});
  void flush();
  /// Hands up to a batch of datagrams to `take`; false when there are no more for now.
  bool receive(const std::function<void(ByteView datagram, const AddressPair& path)>& take);
  [[nodiscard]] const WireCounters& counters() const noexcept;

  static constexpr std::size_t kBatch = 64;
  static constexpr std::size_t kDatagramOctets = 2048;

 private:
  struct Impl;
  explicit Wire(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchback::load
