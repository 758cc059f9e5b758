// One payload body, for each parser: the first octet says which. Reaches deeper than whole messages do.
#include "common/ike/payload_auth.h"
#include "common/ike/payload_cp.h"
#include "common/ike/payload_eap.h"
#include "common/ike/payload_ke.h"
#include "common/ike/payload_notify.h"
#include "common/ike/payload_sa.h"
#include "common/ike/payload_ts.h"
#include "common/ike/proposal.h"

using namespace switchback;
using namespace switchback::ike;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView body{data + 1, size - 1};
  switch (data[0] % 12) {
    case 0:
      if (const auto proposals = parse_sa(body)) {
        (void)choose_ike(default_ike_proposals(), *proposals, false);
        (void)choose_ike(default_ike_proposals(), *proposals, true);
        (void)choose_esp(default_esp_proposals(), *proposals, ChildKeyExchange::negotiated);
        const auto offered = offer(default_ike_proposals());
        (void)accept_ike(offered, *proposals);
      }
      break;
    case 1: (void)parse_key_exchange(body); break;
    case 2: (void)parse_id(body); break;
    case 3: (void)parse_certificate(body); break;
    case 4: (void)parse_certificate_request(body); break;
    case 5: (void)parse_auth(body); break;
    case 6: (void)parse_notify(body); break;
    case 7: (void)parse_delete(body); break;
    case 8: (void)parse_traffic_selectors(body); break;
    case 9:
      if (const auto view = parse_configuration(body)) (void)interpret(*view);
      break;
    case 10: (void)parse_eap(body); break;
    default: (void)parse_nonce(body); break;
  }
  return 0;
}
