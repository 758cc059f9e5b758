// Devices in a row: what one lets out, the next one meets.
#pragma once

#include <deque>
#include <memory>
#include <utility>

#include "tools/middlebox/segment_flow.h"

namespace switchback::middlebox {

/// The first device is nearest to the inner end. Without any it forwards everything as it is.
class Chain final : public Device {
 public:
  void add(std::unique_ptr<Device> device) { devices_.push_back(std::move(device)); }

  void handle(Segment segment, Instant now, Output& out) override;
  [[nodiscard]] std::optional<Instant> next_deadline() const override;
  void handle_deadline(Instant now, Output& out) override;
  [[nodiscard]] bool dead() const noexcept override;
  [[nodiscard]] std::size_t kept_octets() const noexcept override;

 private:
  /// Devices answer each other (two proxies do); no input may cause more steps than this.
  static constexpr std::size_t kStepsMost = 65536;

  void leave(std::size_t device, Output& made, Output& out);
  void run(Instant now, Output& out);

  std::vector<std::unique_ptr<Device>> devices_;
  std::deque<std::pair<std::size_t, Segment>> between_;  // in front of which device
};

}  // namespace switchback::middlebox
