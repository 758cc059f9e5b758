#include "tools/middlebox/capture.h"

#include <cerrno>
#include <cstring>

namespace switchback::middlebox {
namespace {

constexpr std::uint32_t kSectionHeader = 0x0A0D0D0A, kInterface = 1, kEnhancedPacket = 6, kByteOrder = 0x1A2B3C4D;
constexpr std::uint16_t kLinkTypeRaw = 101;  // IPv4 or IPv6 by the version nibble
constexpr std::uint16_t kEndOfOptions = 0, kInterfaceName = 2, kPacketFlags = 2, kResolution = 9;

/// pcapng is in the byte order of the machine that wrote it; the byte order magic tells.
template <typename Number>
void put_number(Bytes& to, Number value) {
  std::array<std::uint8_t, sizeof value> octets{};
  std::memcpy(octets.data(), &value, sizeof value);
  append(to, octets);
}

void pad(Bytes& to) { to.resize((to.size() + 3) / 4 * 4); }

void put_option(Bytes& to, std::uint16_t code, ByteView value) {
  put_number(to, code);
  put_number(to, static_cast<std::uint16_t>(value.size()));
  append(to, value);
  pad(to);
}

void begin_block(Bytes& block, std::uint32_t type) {
  block.clear();
  put_number(block, type);
  put_number(block, std::uint32_t{0});  // its length, known at the end
}

void end_block(Bytes& block) {
  const auto octets = static_cast<std::uint32_t>(block.size() + 4);
  std::memcpy(block.data() + 4, &octets, 4);
  put_number(block, octets);
}

}  // namespace

Result<Capture, UserError> Capture::create(const std::string& file, const std::array<std::string, 2>& interfaces,
                                           WallTime wall_now, Instant now) {
  Capture capture;
  capture.file_.reset(std::fopen(file.c_str(), "wbe"));
  if (!capture.file_) {
    return fail_user("cannot write the packet capture " + file + ": " + std::strerror(errno) +
                     "; choose another file for --pcap");
  }
  capture.epoch_offset_ = wall_now.time_since_epoch() - now.time_since_epoch();
  auto& block = capture.block_;
  begin_block(block, kSectionHeader);
  put_number(block, kByteOrder);
  put_number(block, std::uint16_t{1});
  put_number(block, std::uint16_t{0});
  put_number(block, ~std::uint64_t{0});  // the section's length is not known
  end_block(block);
  capture.put(block);
  for (const auto& name : interfaces) {
    begin_block(block, kInterface);
    put_number(block, kLinkTypeRaw);
    put_number(block, std::uint16_t{0});
    put_number(block, std::uint32_t{0});  // packets are whole
    put_option(block, kInterfaceName, {reinterpret_cast<const std::uint8_t*>(name.data()), name.size()});
    constexpr std::uint8_t kNanoseconds = 9;
    put_option(block, kResolution, {&kNanoseconds, 1});
    put_option(block, kEndOfOptions, {});
    end_block(block);
    capture.put(block);
  }
  return capture;
}

void Capture::write(std::size_t interface, bool inbound, ByteView packet, Instant now) {
  if (failed_) return;
  const auto at = static_cast<std::uint64_t>((now.time_since_epoch() + epoch_offset_).count());
  begin_block(block_, kEnhancedPacket);
  put_number(block_, static_cast<std::uint32_t>(interface));
  put_number(block_, static_cast<std::uint32_t>(at >> 32U));
  put_number(block_, static_cast<std::uint32_t>(at));
  put_number(block_, static_cast<std::uint32_t>(packet.size()));
  put_number(block_, static_cast<std::uint32_t>(packet.size()));
  append(block_, packet);
  pad(block_);
  const std::uint32_t flags = inbound ? 1 : 2;
  std::array<std::uint8_t, 4> octets{};
  std::memcpy(octets.data(), &flags, 4);
  put_option(block_, kPacketFlags, octets);
  put_option(block_, kEndOfOptions, {});
  end_block(block_);
  put(block_);
}

void Capture::put(ByteView block) noexcept {
  if (!failed_ && std::fwrite(block.data(), 1, block.size(), file_.get()) != block.size()) failed_ = true;
}

bool Capture::finish() noexcept {
  if (std::fflush(file_.get()) != 0) failed_ = true;
  return !failed_;
}

}  // namespace switchback::middlebox
