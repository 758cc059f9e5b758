// Proposals in text: what parses is written to what parses the same, and errors stay short and printable.
#include <algorithm>
#include <cstdlib>

#include "common/ike/proposal.h"

using namespace switchback;
using namespace switchback::ike;

namespace {

template <class Parsed, class Parse>
void judge(const Parsed& parsed, Parse parse) {
  if (parsed) {
    const auto again = parse(to_string(*parsed));
    if (!again || !(*again == *parsed)) std::abort();
    return;
  }
  const auto& message = parsed.error().message;
  if (message.size() > 512 || std::any_of(message.begin(), message.end(), [](char c) { return c < ' ' || c > '~'; })) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = as_text({data, size});
  judge(parse_ike_proposal(text), parse_ike_proposal);
  judge(parse_esp_proposal(text), parse_esp_proposal);
  return 0;
}
