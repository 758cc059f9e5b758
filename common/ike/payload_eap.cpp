#include "common/ike/payload_eap.h"

namespace switchback::ike {

Result<EapView, ParseError> parse_eap(ByteView body) noexcept {
  WireReader r{body};
  EapView view{};
  view.code = EapCode{r.u8()};
  view.identifier = r.u8();
  const auto length = r.u16be();
  if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
  if (length != body.size()) return fail(ParseErrc::bad_length, 2);
  switch (view.code) {
    case EapCode::request:
    case EapCode::response:
      view.type = r.u8();  // RFC 3748 §4.1
      view.data = r.rest();
      if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
      return view;
    case EapCode::success:
    case EapCode::failure:
      if (!r.at_end()) return fail(ParseErrc::bad_length, 2);  // RFC 3748 §4.2: four octets
      return view;
  }
  return fail(ParseErrc::bad_value, 0);
}

}  // namespace switchback::ike
