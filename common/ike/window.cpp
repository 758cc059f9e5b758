#include "common/ike/window.h"

#include <algorithm>
#include <cassert>

#include "common/crypto/prf.h"

namespace switchback::ike {
namespace {

/// `interval` ± share, so that thousands of clients do not fall into step.
Duration jittered(Duration interval, double share, RandomSource& random) {
  const double unit = static_cast<double>(public_random<std::uint32_t>(random)) / 4294967295.0;  // 0 … 1
  const double factor = 1.0 + share * (2.0 * unit - 1.0);
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double, std::nano>(static_cast<double>(interval.count()) * factor));
}

}  // namespace

DatagramHash hash_datagram(ByteView datagram) {
  DatagramHash hash{};
  const auto digest = crypto::sha1({datagram});
  std::copy_n(digest.begin(), hash.size(), hash.begin());
  return hash;
}

void SendWindow::open(std::vector<Bytes> datagrams, const RetransmitPolicy& policy, RandomSource& random, Instant now) {
  assert(!busy() && !datagrams.empty());
  replace(std::move(datagrams), policy, random, now);
}

void SendWindow::replace(std::vector<Bytes> datagrams, const RetransmitPolicy& policy, RandomSource& random,
                         Instant now) {
  datagrams_ = std::move(datagrams);
  policy_ = policy;
  interval_ = policy.first;
  sends_ = 1;
  arm(random, now);
}

void SendWindow::arm(RandomSource& random, Instant now) {
  deadline_ = now + jittered(interval_, policy_.jitter, random);
}

void SendWindow::settle() noexcept {
  assert(busy());
  datagrams_.clear();
  ++next_;
}

SendWindow::Due SendWindow::handle_deadline(RandomSource& random, Instant now) {
  if (!busy() || now < deadline_) return Due::nothing;
  if (sends_ >= policy_.sends) return Due::dead;
  ++sends_;
  const auto grown = std::chrono::duration<double, std::nano>(static_cast<double>(interval_.count()) * policy_.factor);
  // RFC 7296 §2.1: retransmission intervals must grow exponentially.
  if (sends_ > 1 && interval_ < policy_.cap) {
    interval_ = std::min(policy_.cap, std::chrono::duration_cast<Duration>(grown));
  }
  arm(random, now);
  return Due::resend;
}

void SendWindow::restart(const RetransmitPolicy& policy, Instant now) noexcept {
  if (!busy()) return;
  policy_ = policy;
  interval_ = policy.first;
  sends_ = 0;
  deadline_ = now;
}

void ReceiveWindow::accept(const DatagramHash& request) noexcept {
  last_request_ = request;
  response_.clear();
  ++expected_;
}

bool ReceiveWindow::is_repetition(ByteView datagram) const { return hash_datagram(datagram) == last_request_; }

}  // namespace switchback::ike
