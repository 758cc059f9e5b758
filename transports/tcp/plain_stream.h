// A socket's stream as it is.
#pragma once

#include "transports/tcp/byte_stream.h"

namespace switchback::transports::tcp {

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(int fd) noexcept : fd_{fd} {}

  [[nodiscard]] IoStatus establish() override { return IoStatus::ok; }
  [[nodiscard]] IoResult read(ByteSpan out) override;
  [[nodiscard]] IoResult write(std::span<const iovec> parts) override;
  [[nodiscard]] IoStatus flush() override { return IoStatus::ok; }
  [[nodiscard]] bool wants_write() const noexcept override { return false; }
  [[nodiscard]] bool has_pending() const noexcept override { return false; }
  void finish() override {}
  [[nodiscard]] std::string error() const override { return describe_errno(errno_); }

 private:
  int fd_;
  int errno_ = 0;
};

}  // namespace switchback::transports::tcp
