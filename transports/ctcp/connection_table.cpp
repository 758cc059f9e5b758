#include "transports/ctcp/connection_table.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace switchback::transports::ctcp {
namespace {

/// The driver's packets may or may not carry their transport's number.
AddressPair key_of(AddressPair path) noexcept {
  path.transport = 0;
  return path;
}

}  // namespace

bool Connection::established() const noexcept {
  return engine ? engine->state() == EngineState::established : classic->state() == ClassicState::established;
}

bool Connection::closed() const noexcept {
  return engine ? engine->state() == EngineState::closed : classic->state() == ClassicState::closed;
}

std::optional<Instant> Connection::next_deadline() const noexcept {
  return engine ? engine->next_deadline() : classic->next_deadline();
}

IpAddress holder_of(const IpAddress& remote) noexcept {
  if (!remote.is_v6()) return remote;
  std::array<std::uint8_t, 16> octets{};
  std::copy_n(remote.bytes().begin(), 8, octets.begin());
  return IpAddress::from_bytes(octets);
}

Connection* ConnectionTable::find(const AddressPair& path) noexcept {
  const auto found = by_path_.find(key_of(path));
  return found == by_path_.end() ? nullptr : found->second.get();
}

const Connection* ConnectionTable::find(const AddressPair& path) const noexcept {
  const auto found = by_path_.find(key_of(path));
  return found == by_path_.end() ? nullptr : found->second.get();
}

std::size_t ConnectionTable::held_by(const IpAddress& remote) const noexcept {
  const auto found = held_.find(holder_of(remote));
  return found == held_.end() ? 0 : found->second;
}

Connection& ConnectionTable::add(std::unique_ptr<Connection> connection) {
  auto& added = *connection;
  ++held_[holder_of(added.path.remote.address)];
  [[maybe_unused]] const auto [place, fresh] = by_path_.emplace(key_of(added.path), std::move(connection));
  assert(fresh);
  return added;
}

void ConnectionTable::remove(Connection& connection) {
  unschedule(connection);
  const auto holder = held_.find(holder_of(connection.path.remote.address));
  if (holder != held_.end() && --holder->second == 0) held_.erase(holder);
  by_path_.erase(key_of(connection.path));
}

void ConnectionTable::place(std::size_t index, Connection* connection) noexcept {
  heap_[index] = connection;
  connection->heap_index = index;
}

void ConnectionTable::sift_up(std::size_t index) noexcept {
  auto* moving = heap_[index];
  while (index > 0) {
    const auto parent = (index - 1) / 2;
    if (heap_[parent]->heap_at <= moving->heap_at) break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, moving);
}

void ConnectionTable::sift_down(std::size_t index) noexcept {
  auto* moving = heap_[index];
  for (;;) {
    auto child = 2 * index + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1]->heap_at < heap_[child]->heap_at) ++child;
    if (moving->heap_at <= heap_[child]->heap_at) break;
    place(index, heap_[child]);
    index = child;
  }
  place(index, moving);
}

void ConnectionTable::schedule(Connection& connection, Instant at) {
  if (connection.heap_index == Connection::kNotScheduled) {
    connection.heap_at = at;
    heap_.push_back(&connection);
    sift_up(heap_.size() - 1);
  } else if (at < connection.heap_at) {
    connection.heap_at = at;
    sift_up(connection.heap_index);
  }
}

void ConnectionTable::unschedule(Connection& connection) noexcept {
  const auto index = std::exchange(connection.heap_index, Connection::kNotScheduled);
  if (index == Connection::kNotScheduled) return;
  auto* last = heap_.back();
  heap_.pop_back();
  if (last == &connection) return;
  place(index, last);
  sift_up(index);
  sift_down(last->heap_index);
}

std::optional<Instant> ConnectionTable::next_deadline() const noexcept {
  return heap_.empty() ? std::nullopt : std::optional{heap_.front()->heap_at};
}

Connection* ConnectionTable::pop_due(Instant now) {
  if (heap_.empty() || heap_.front()->heap_at > now) return nullptr;
  auto* due = heap_.front();
  unschedule(*due);
  return due;
}

}  // namespace switchback::transports::ctcp
