#include "client/denial.h"

#include <algorithm>

#include "common/ike/message.h"
#include "common/ike/payload_notify.h"

namespace switchback::client {

bool denies_session(ByteView message, IkeSpi initiator, IkeSpi responder, std::span<const Spi> outbound) {
  const auto parsed = ike::parse_message(message);
  if (!parsed) return false;
  const auto error = ike::find_error(parsed->payloads);
  if (!error) return false;
  const auto& header = parsed->header;
  if (error->type == ike::NotifyType::invalid_ike_spi) {
    return header.response && header.initiator_spi == initiator && header.responder_spi == responder;
  }
  if (error->type != ike::NotifyType::invalid_spi || error->data.size() != sizeof(std::uint32_t)) return false;
  const Spi named{load_be<std::uint32_t>(error->data.data())};
  return std::find(outbound.begin(), outbound.end(), named) != outbound.end();
}

}  // namespace switchback::client
