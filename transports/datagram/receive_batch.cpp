#include "transports/datagram/receive_batch.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace switchback::transports::datagram {

using packet::PacketPool;

ReceiveBatch::ReceiveBatch(PacketPool& pool) : pool_{pool} {
  for (std::size_t i = 0; i < kMessages; ++i) {
    auto& header = headers_[i].msg_hdr;
    header.msg_name = &names_[i];
    header.msg_iov = &parts_[2 * i];
    header.msg_iovlen = 2;
  }
}

/// Memory for up to `wanted` messages: each gets a slot, and behind it a whole slab for what does not fit. Returns for
/// how many there is memory.
std::size_t ReceiveBatch::prepare(std::size_t wanted) noexcept {
  if (!slots_ || slots_.size() - slots_used_ < kSlotBytes * std::min(wanted, std::size_t{4})) {
    slots_ = pool_.allocate(0);
    slots_used_ = 0;
    if (!slots_) return 0;
    slots_.resize(PacketPool::kSlabBytes);
  }
  std::size_t ready = 0;
  for (; ready < wanted; ++ready) {
    const auto offset = slots_used_ + ready * kSlotBytes;
    if (offset + kSlotBytes > slots_.size()) break;
    auto& overflow = overflow_[ready];
    if (!overflow) {
      overflow = pool_.allocate(0);
      if (!overflow) break;
      overflow.resize(PacketPool::kSlabBytes);
    }
    parts_[2 * ready] = {slots_.data().data() + offset, kSlotBytes};
    parts_[2 * ready + 1] = {overflow.data().data() + kSlotBytes, PacketPool::kSlabBytes - kSlotBytes};
    auto& header = headers_[ready].msg_hdr;
    header.msg_namelen = sizeof names_[ready];
    header.msg_control = controls_[ready].octets.data();
    header.msg_controllen = io::kReceiveControlBytes;
    header.msg_flags = 0;
  }
  return ready;
}

Result<std::span<ReceiveBatch::Message>> ReceiveBatch::fetch(int fd, bool& drained) {
  drained = false;
  for (auto& message : messages_) message.buffer.reset();
  const auto ready = prepare(large_messages_ ? 4 : kMessages);
  if (ready == 0) {
    drained = true;
    return std::span<Message>{};
  }
  const auto got = ::recvmmsg(fd, headers_.data(), static_cast<unsigned>(ready), 0, nullptr);
  if (got < 0) {
    if (errno == EINTR) return std::span<Message>{};
    if (errno != EAGAIN && errno != EWOULDBLOCK) return fail_errno();
    drained = true;
    return std::span<Message>{};
  }
  const auto count = static_cast<std::size_t>(got);
  drained = count < ready;
  std::size_t octets = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& header = headers_[i].msg_hdr;
    const std::size_t size = headers_[i].msg_len;
    octets += size;
    auto& message = messages_[i];
    message.from = Endpoint::from_sockaddr(names_[i]);
    message.control = io::parse_control(header);
    if ((header.msg_flags & MSG_TRUNC) != 0 || size == 0) continue;
    if (size <= kSlotBytes) {
      message.buffer = slots_.slice(slots_used_ + i * kSlotBytes, size);
    } else {
      std::memcpy(overflow_[i].data().data(), parts_[2 * i].iov_base, kSlotBytes);
      message.buffer = std::move(overflow_[i]);
      message.buffer.resize(size);
    }
  }
  slots_used_ += count * kSlotBytes;
  if (count != 0) large_messages_ = octets / count >= kLargeMessageBytes;
  return std::span{messages_}.first(count);
}

}  // namespace switchback::transports::datagram
