#include "transports/tcp/driver.h"

#include <utility>

#include "transports/tcp/plain_stream.h"
#include "transports/tcp/stream_driver.h"

namespace switchback::transports::tcp {
namespace {

/// IP header, TCP header with timestamps, length field.
constexpr std::uint16_t kOverheadV4 = 20 + 32 + 2, kOverheadV6 = 40 + 32 + 2;
constexpr std::size_t kMaxBatch = 1024;

class PlainFlavour final : public Flavour {
 public:
  PlainFlavour() = default;
  [[nodiscard]] std::unique_ptr<ByteStream> make_stream(int fd, bool /*server*/) override {
    return std::make_unique<PlainStream>(fd);
  }
  [[nodiscard]] std::unique_ptr<Foreign> make_foreign(ByteView /*first*/, Instant /*now*/) override { return nullptr; }
};

}  // namespace

Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config, packet::PacketPool& pool) {
  const TransportTraits traits{"tcp", kOverheadV4, kOverheadV6, kMaxBatch};
  auto driver = std::make_unique<StreamDriver>(config, pool, traits, kTcpTransport, std::make_unique<PlainFlavour>());
  SB_CHECK(driver->open_all(config.local));
  return driver;
}

}  // namespace switchback::transports::tcp
