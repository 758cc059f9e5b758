#include "client/resolver.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

namespace switchback::client {

/// Shared by the loop and a thread that may outlive both the resolver and the loop: getaddrinfo() cannot be cancelled.
struct Resolver::Pending {
  std::mutex mutex;
  io::EventLoop* loop = nullptr;  // null: nobody waits any more
  std::function<void(Answer)> done;
};

Resolver::Answer resolve_now(const std::vector<std::string>& names) {
  Resolver::Answer answer;
  const auto add = [&](const IpAddress& address) {
    const auto& known = answer.addresses;
    if (address.empty() || known.size() >= kMaxCandidates) return;
    if (std::find(known.begin(), known.end(), address) == known.end()) answer.addresses.push_back(address);
  };
  for (const auto& name : names) {
    if (const auto address = IpAddress::parse(name)) {
      add(*address);
      continue;
    }
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(name.c_str(), nullptr, &hints, &found);
    if (error != 0) {
      answer.failure = name + ": " + (error == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(error));
      continue;
    }
    for (const auto* entry = found; entry != nullptr; entry = entry->ai_next) {
      sockaddr_storage storage{};
      std::memcpy(&storage, entry->ai_addr, std::min<std::size_t>(entry->ai_addrlen, sizeof(storage)));
      add(Endpoint::from_sockaddr(storage).address);
    }
    ::freeaddrinfo(found);
  }
  return answer;
}

void Resolver::resolve(std::vector<std::string> names, std::function<void(Answer)> done) {
  cancel();
  pending_ = std::make_shared<Pending>();
  pending_->loop = &loop_;
  pending_->done = std::move(done);
  std::thread([names = std::move(names), pending = pending_] {
    auto answer = resolve_now(names);
    const std::lock_guard guard{pending->mutex};
    if (pending->loop == nullptr) return;
    pending->loop->post([pending, answer = std::move(answer)]() mutable {
      // On the loop's thread, where cancel() is called too: no lock is needed to look.
      if (pending->loop != nullptr) pending->done(std::move(answer));
    });
  }).detach();
}

void Resolver::cancel() {
  if (!pending_) return;
  const auto pending = std::exchange(pending_, nullptr);  // keeps the mutex until it is released
  const std::lock_guard guard{pending->mutex};
  pending->loop = nullptr;
}

}  // namespace switchback::client
