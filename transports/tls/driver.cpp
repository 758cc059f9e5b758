#include "transports/tls/driver.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "common/base/rate_limit.h"
#include "transports/tcp/stream_driver.h"
#include "transports/tls/context.h"
#include "transports/tls/decoy.h"
#include "transports/tls/tls_stream.h"

namespace switchback::transports::tls {
namespace {

/// IP header, TCP header with timestamps, length field, and a record's header, content type and tag (RFC 8446 §5.2),
/// counted in full for each packet although packets share records.
constexpr std::uint16_t kOverheadV4 = 20 + 32 + 2 + 22, kOverheadV6 = 40 + 32 + 2 + 22;
constexpr std::size_t kMaxBatch = 1024;
constexpr std::size_t kMostPageBytes = std::size_t{1} << 20U;

/// Handshakes of a headend that the packet thread begins in a second: each costs about a millisecond, with RSA keys
/// more, and anybody may ask for one. Sessions wait meanwhile.
constexpr double kHandshakesPerSecond = 250, kHandshakesAtOnce = 64;

class TlsFlavour final : public tcp::Flavour {
 public:
  TlsFlavour(SslCtxPtr context, std::string server_name, Decoy decoy, std::shared_ptr<const std::string> page)
      : context_{std::move(context)},
        server_name_{std::move(server_name)},
        decoy_{std::move(decoy)},
        page_{std::move(page)} {}

  [[nodiscard]] std::unique_ptr<tcp::ByteStream> make_stream(int fd, bool server) override {
    return TlsStream::create(fd, context_.get(), server, server_name_);
  }
  [[nodiscard]] std::unique_ptr<tcp::Foreign> make_foreign(ByteView first, Instant now) override {
    if (decoy_.upstream) {
      // A server behind that is not there: the page is better than nothing.
      if (auto relay = RelayDecoy::create(*decoy_.upstream, first, now)) return relay;
    }
    return std::make_unique<PageDecoy>(page_, first, now);
  }
  [[nodiscard]] bool takes_more(Instant now) override { return handshakes_.allow(now); }

 private:
  SslCtxPtr context_;
  std::string server_name_;
  Decoy decoy_;
  std::shared_ptr<const std::string> page_;
  TokenBucket handshakes_{kHandshakesPerSecond, kHandshakesAtOnce};
};

[[nodiscard]] Result<std::string, UserError> read_page(const std::string& file) {
  if (file.empty()) return std::string{default_page()};
  std::ifstream in{file, std::ios::binary};
  std::ostringstream all;
  if (!in || !(all << in.rdbuf())) return fail_user("cannot read the page " + file + " of the tls transport");
  auto text = all.str();
  if (text.size() > kMostPageBytes) return fail_user("the page " + file + " of the tls transport exceeds 1 MiB");
  return text;
}

}  // namespace

Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config, packet::PacketPool& pool) {
  if (config.headend && !config.tls) return fail_user("the tls transport needs a certificate and its private key");
  SB_TRY(auto context, config.headend ? server_context(*config.tls) : client_context());
  std::string server_name;
  Decoy decoy;
  std::shared_ptr<const std::string> page;
  if (config.headend) {
    decoy = config.tls->decoy;
    SB_TRY(auto text, read_page(decoy.page_file));
    page = std::make_shared<const std::string>(std::move(text));
  } else if (config.tls && !IpAddress::parse(config.tls->server_name)) {
    server_name = config.tls->server_name;  // RFC 6066 §3: names only
  }
  const TransportTraits traits{"tls", kOverheadV4, kOverheadV6, kMaxBatch};
  auto flavour = std::make_unique<TlsFlavour>(std::move(context), std::move(server_name), std::move(decoy), page);
  auto driver = std::make_unique<tcp::StreamDriver>(config, pool, traits, kTlsTransport, std::move(flavour));
  SB_CHECK(driver->open_all(config.local));
  return driver;
}

}  // namespace switchback::transports::tls
