// Any data of the offer notify: parsed within its bounds, and what is accepted is written and read the same.
#include <cstdlib>

#include "common/path/offer.h"

using namespace switchback;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView octets{data, size};
  (void)path::parse_in_band(octets);
  const auto offer = path::parse_offer(octets);
  if (!offer) return 0;
  if (offer->transports.size() > path::kMaxOffered || offer->kinds().size() > path::kTransportKinds) std::abort();
  for (const auto kind : offer->kinds()) {
    if (offer->find(kind) == nullptr) std::abort();
  }
  const auto again = path::parse_offer(path::build_offer(*offer));
  if (!again || *again != *offer) std::abort();
  return 0;
}
