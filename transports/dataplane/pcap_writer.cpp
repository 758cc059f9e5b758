#include "transports/dataplane/pcap_writer.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace switchback::transports {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024, kSnapLength = 65535;
constexpr std::uint32_t kMagicNanoseconds = 0xA1B23C4D;
constexpr std::uint32_t kLinkTypeRaw = 101;  // IPv4 or IPv6 by the version nibble

/// pcap is in the byte order of the machine that wrote it; the magic tells.
void put_u32(Bytes& to, std::uint32_t value) {
  std::array<std::uint8_t, 4> octets{};
  std::memcpy(octets.data(), &value, 4);
  append(to, octets);
}
void put_u16(Bytes& to, std::uint16_t value) {
  std::array<std::uint8_t, 2> octets{};
  std::memcpy(octets.data(), &value, 2);
  append(to, octets);
}

}  // namespace

Result<PcapWriter, UserError> PcapWriter::create(const std::string& file, WallTime wall_now, Instant now) {
  PcapWriter writer;
  writer.fd_ = UniqueFd{::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!writer.fd_) {
    return fail_user("cannot write the packet capture " + file + ": " + std::strerror(errno) +
                     "; choose another file for --pcap");
  }
  (void)!::fchmod(writer.fd_.get(), 0600);  // a file that was there keeps its mode otherwise
  writer.epoch_offset_ = wall_now.time_since_epoch() - now.time_since_epoch();
  writer.buffer_.reserve(kBufferBytes + kSnapLength + 16);
  put_u32(writer.buffer_, kMagicNanoseconds);
  put_u16(writer.buffer_, 2);
  put_u16(writer.buffer_, 4);
  put_u32(writer.buffer_, 0);
  put_u32(writer.buffer_, 0);
  put_u32(writer.buffer_, kSnapLength);
  put_u32(writer.buffer_, kLinkTypeRaw);
  writer.flush();
  return writer;
}

void PcapWriter::write(ByteView packet, Instant now) {
  if (!fd_) return;
  const auto at = now.time_since_epoch() + epoch_offset_;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(at);
  const auto kept = packet.first(std::min(packet.size(), kSnapLength));
  put_u32(buffer_, static_cast<std::uint32_t>(seconds.count()));
  put_u32(buffer_, static_cast<std::uint32_t>((at - seconds).count()));
  put_u32(buffer_, static_cast<std::uint32_t>(kept.size()));
  put_u32(buffer_, static_cast<std::uint32_t>(packet.size()));
  append(buffer_, kept);
  if (buffer_.size() >= kBufferBytes) flush();
}

void PcapWriter::flush() noexcept {
  std::size_t written = 0;
  while (written < buffer_.size() && fd_) {
    const auto got = ::write(fd_.get(), buffer_.data() + written, buffer_.size() - written);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      fd_ = UniqueFd{};  // the disk is full: a capture that ends early beats a tunnel that stops
      break;
    }
    written += static_cast<std::size_t>(got);
  }
  buffer_.clear();
}

}  // namespace switchback::transports
