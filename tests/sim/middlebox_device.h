// The devices of switchback-middlebox, in the simulated network.
#pragma once

#include <memory>
#include <utility>

#include "tests/sim/ctcp_devices.h"
#include "tools/middlebox/segment_flow.h"

namespace switchback::test {

class MiddleboxDevice final : public Device {
 public:
  explicit MiddleboxDevice(std::unique_ptr<middlebox::Device> device) : device_{std::move(device)} {}
  std::vector<Forward> pass(bool to_headend, const Wire& wire, Instant now) override {
    middlebox::Output out;
    device_->handle(
        {to_headend ? middlebox::Direction::outward : middlebox::Direction::inward, wire.header, wire.payload, {}}, now,
        out);
    return take(out, now);
  }
  std::optional<Instant> next_deadline() const override { return device_->next_deadline(); }
  std::vector<Forward> handle_deadline(Instant now) override {
    middlebox::Output out;
    device_->handle_deadline(now, out);
    return take(out, now);
  }
  /// When it stopped forwarding; nothing if it still does.
  std::optional<Instant> killed_at;

 private:
  std::vector<Forward> take(middlebox::Output& out, Instant now) {
    for (const auto& decision : out.decisions) {
      if (decision.what == "drop" || decision.what == "invalid") ++refused;
      if (decision.what == "kill" && !killed_at) killed_at = now;
    }
    std::vector<Forward> all;
    for (auto& segment : out.forward) {
      all.push_back({segment.direction == middlebox::Direction::outward, {segment.header, std::move(segment.payload)}});
    }
    return all;
  }
  std::unique_ptr<middlebox::Device> device_;
};

}  // namespace switchback::test
