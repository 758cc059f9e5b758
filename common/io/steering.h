// Which of several sockets a packet goes to, decided in the kernel by the number that its first octets hold.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"

namespace switchback::io {

/// One of a number of sockets that share what arrives; the member that an SPI belongs to is SPI modulo `members`.
struct SteeringShare {
  unsigned members = 1;
  unsigned member = 0;
};

/// Gives each datagram to the socket of a SO_REUSEPORT group whose place, in the order of binding, is its first four
/// octets modulo `members`; shorter datagrams, and those with the non-ESP marker, go to the first. Without
/// `by_spi` all go to the first.
/// @param fd  any socket of the group, after bind(); the last one attached holds for all
/// Errors: the kernel's. Without a program the kernel spreads by addresses and ports.
[[nodiscard]] Result<void> steer_reuseport_group(int fd, unsigned members, bool by_spi);

/// Lets a raw socket of protocol 50 see only the packets whose SPI belongs to its member. Every raw socket is offered
/// a copy of each packet, IPv4 ones with their header.
[[nodiscard]] Result<void> filter_raw_esp(int fd, IpFamily family, const SteeringShare& share);

/// The programs of the above, for who wants to look at them.
[[nodiscard]] std::vector<sock_filter> reuseport_program(unsigned members, bool by_spi);
[[nodiscard]] std::vector<sock_filter> raw_esp_program(IpFamily family, const SteeringShare& share);

}  // namespace switchback::io
