#include "transports/tls/decoy.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "transports/tcp/connection.h"

namespace switchback::transports::tls {

using tcp::Interest;
using tcp::IoResult;
using tcp::IoStatus;

namespace {

/// Steps of one proceed().
constexpr int kSteps = 32;

}  // namespace

// ---------------------------------------------------------------- the page

PageDecoy::PageDecoy(std::shared_ptr<const std::string> page, ByteView first, Instant now)
    : page_{std::move(page)}, server_{*page_}, deadline_{now + kRequestTimeout} {
  server_.give(first);
}

Interest PageDecoy::interest(const tcp::ByteStream& peer) const noexcept {
  return {sending() || peer.wants_write() ? std::uint32_t{EPOLLOUT} : std::uint32_t{EPOLLIN}, 0};
}

IoStatus PageDecoy::send(tcp::ByteStream& peer) {
  while (sending()) {
    const bool in_head = sent_ < response_.head.size();
    const auto rest =
        in_head ? std::string_view{response_.head}.substr(sent_) : response_.body.substr(sent_ - response_.head.size());
    iovec part{const_cast<char*>(rest.data()), rest.size()};
    const auto result = peer.write({&part, 1});
    sent_ += result.octets;
    if (result.status != IoStatus::ok) return result.status;
  }
  return peer.flush();
}

bool PageDecoy::proceed(tcp::ByteStream& peer, Instant now) {
  for (int i = 0; i < kSteps; ++i) {
    const auto sent = send(peer);
    if (sent != IoStatus::ok) return alive(sent);
    if (response_.last) return false;
    if (auto response = server_.next(wall_now())) {
      response_ = *std::move(response);
      sent_ = 0;
      deadline_ = now + kRequestTimeout;
      continue;
    }
    std::array<std::uint8_t, 2048> octets;
    const auto got = peer.read(ByteSpan{octets}.first(std::min(octets.size(), server_.room())));
    if (got.status != IoStatus::ok) return alive(got.status);
    server_.give(ByteView{octets}.first(got.octets));
  }
  return true;
}

// ---------------------------------------------------------------- the server behind

RelayDecoy::RelayDecoy(UniqueFd fd, ByteView first, Instant now)
    : fd_{std::move(fd)}, deadline_{now + kRelayIdleTimeout} {
  std::copy(first.begin(), first.end(), in_.octets.begin());
  in_.end = first.size();
}

std::unique_ptr<RelayDecoy> RelayDecoy::create(const Endpoint& upstream, ByteView first, Instant now) {
  auto fd = tcp::start_connect({}, upstream, {});
  if (!fd) return nullptr;
  return std::unique_ptr<RelayDecoy>{new RelayDecoy{*std::move(fd), first, now}};
}

Interest RelayDecoy::interest(const tcp::ByteStream& peer) const noexcept {
  Interest wanted;
  if (!in_.ended && !in_.full()) wanted.peer |= EPOLLIN;
  if (!out_.empty() || peer.wants_write()) wanted.peer |= EPOLLOUT;
  if (connecting_) {
    wanted.upstream = EPOLLOUT;
    return wanted;
  }
  if (!out_.ended && !out_.full()) wanted.upstream |= EPOLLIN;
  if (!in_.empty()) wanted.upstream |= EPOLLOUT;
  return wanted;
}

/// One round of all four directions.
RelayDecoy::Step RelayDecoy::step(tcp::ByteStream& peer) {
  bool moved = false;
  if (!in_.ended && !in_.full()) {
    const auto got = peer.read(in_.room());
    if (got.status == IoStatus::finished) {
      moved = in_.ended = true;
    } else if (!alive(got.status)) {
      return Step::over;
    }
    in_.end += got.octets;
    moved = moved || got.octets > 0;
  }
  if (connecting_) return moved ? Step::moved : Step::idle;
  if (!in_.empty()) {
    const auto held = in_.held();
    const auto sent = ::send(fd_.get(), held.data(), held.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return Step::over;
    if (sent > 0) in_.drop(static_cast<std::size_t>(sent));
    moved = moved || sent > 0;
  }
  // A half that is closed stays so on the other side: some clients wait for the answer only then.
  if (in_.ended && in_.empty() && !std::exchange(shut_, true)) ::shutdown(fd_.get(), SHUT_WR);
  if (!out_.ended && !out_.full()) {
    const auto room = out_.room();
    const auto got = ::recv(fd_.get(), room.data(), room.size(), 0);
    if (got < 0 && errno != EAGAIN && errno != EINTR) return Step::over;
    if (got == 0) moved = out_.ended = true;
    if (got > 0) out_.end += static_cast<std::size_t>(got);
    moved = moved || got > 0;
  }
  if (!out_.empty()) {
    const auto held = out_.held();
    const iovec part{held.data(), held.size()};
    const auto sent = peer.write({&part, 1});
    if (!alive(sent.status)) return Step::over;
    out_.drop(sent.octets);
    moved = moved || sent.octets > 0;
  } else if (const auto flushed = peer.flush(); !alive(flushed)) {
    return Step::over;
  }
  if (out_.ended && out_.empty()) return Step::over;  // what TLS still holds leaves while the connection lingers
  return moved ? Step::moved : Step::idle;
}

bool RelayDecoy::proceed(tcp::ByteStream& peer, Instant now) {
  if (connecting_) {
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) return false;
    // Connected sockets have a peer.
    if (tcp::remote_of(fd_.get()).port != 0) connecting_ = false;
  }
  for (int i = 0; i < kSteps; ++i) {
    const auto result = step(peer);
    if (result == Step::over) return false;
    if (result == Step::idle) return true;
    deadline_ = now + kRelayIdleTimeout;
  }
  return true;
}

}  // namespace switchback::transports::tls
