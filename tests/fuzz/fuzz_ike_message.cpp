// A whole message in clear: header, chain and every payload parser, the choice from its offers, and what a headend
// asks of an IKE_SA_INIT request before it keeps state.

#include "common/ike/cookie.h"
#include "common/ike/fragment.h"
#include "common/ike/message.h"
#include "common/ike/nat_detection.h"
#include "common/ike/payload_auth.h"
#include "common/ike/payload_cp.h"
#include "common/ike/payload_eap.h"
#include "common/ike/payload_ke.h"
#include "common/ike/payload_notify.h"
#include "common/ike/payload_sa.h"
#include "common/ike/payload_ts.h"
#include "common/ike/proposal.h"
#include "tests/fuzz/require.h"

using namespace switchback;
using namespace switchback::ike;
using switchback::test::require;

namespace {

Bytes body_of(const ChainBuilder& chain) {
  const auto payloads = parse_payloads(chain.view(), chain.first());
  require(payloads.has_value() && payloads->list().size() == 1);
  return to_bytes(payloads->list().front().body);
}

/// Whatever was read is written to what reads the same.
void judge_sa(ByteView body) {
  const auto proposals = parse_sa(body);
  if (!proposals) return;
  static const auto ike_policy = default_ike_proposals();
  static const auto esp_policy = default_esp_proposals();
  for (const bool rekeying : {false, true}) {
    if (const auto chosen = choose_ike(ike_policy, *proposals, rekeying)) {
      auto answer = chosen->answer;
      if (rekeying) answer.spi = Bytes(8, 1);
      const auto accepted = accept_ike(*proposals, std::span{&answer, 1});
      require(accepted && accepted->suite == chosen->suite);
    }
  }
  for (const auto kex : {ChildKeyExchange::ignored, ChildKeyExchange::negotiated}) {
    if (const auto chosen = choose_esp(esp_policy, *proposals, kex)) require(chosen->spi.value >= 256);
  }
  bool plain = true;  // unknown attributes and odd SPIs are read but never written
  for (const auto& proposal : *proposals) {
    plain = plain && proposal.spi.size() <= 8;
    for (const auto& transform : proposal.transforms) plain = plain && transform.usable;
  }
  if (!plain) return;
  ChainBuilder again;
  add_sa(again, *proposals);
  const auto reread = parse_sa(body_of(again));
  require(reread.has_value() && *reread == *proposals);
}

void judge_ts(PayloadType which, ByteView body) {
  const auto view = parse_traffic_selectors(body);
  if (!view || view->selectors.empty()) return;
  ChainBuilder again;
  add_traffic_selectors(again, which, view->selectors);
  const auto reread = parse_traffic_selectors(body_of(again));
  require(reread.has_value() && reread->selectors == view->selectors);
}

void judge_cp(ByteView body) {
  const auto view = parse_configuration(body);
  if (!view) return;
  const auto meaning = interpret(*view);
  ChainBuilder again;
  add_configuration(again, meaning);
  const auto written = body_of(again);
  const auto reread = parse_configuration(written);
  if (reread) require(interpret(*reread).domains == meaning.domains);
}

void judge(const PayloadView& payload) {
  switch (payload.type) {
    case PayloadType::security_association: judge_sa(payload.body); break;
    case PayloadType::key_exchange: (void)parse_key_exchange(payload.body); break;
    case PayloadType::id_initiator:
    case PayloadType::id_responder: (void)parse_id(payload.body); break;
    case PayloadType::certificate: (void)parse_certificate(payload.body); break;
    case PayloadType::certificate_request:
      if (const auto view = parse_certificate_request(payload.body)) (void)view->names(Bytes(20));
      break;
    case PayloadType::authentication: (void)parse_auth(payload.body); break;
    case PayloadType::nonce: (void)parse_nonce(payload.body); break;
    case PayloadType::notify:
      if (const auto view = parse_notify(payload.body)) {
        (void)wanted_key_exchange(*view);
        (void)signature_hashes(*view);
        (void)to_string(view->type);
      }
      break;
    case PayloadType::delete_sa: (void)parse_delete(payload.body); break;
    case PayloadType::ts_initiator:
    case PayloadType::ts_responder: judge_ts(payload.type, payload.body); break;
    case PayloadType::configuration: judge_cp(payload.body); break;
    case PayloadType::eap: (void)parse_eap(payload.body); break;
    default: break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input{data, size};
  (void)peek_fragment(input);
  const auto message = parse_message(input);
  if (!message) return 0;
  require(message->header.length == size);
  require(message->payloads.list().size() <= kMaxPayloads);
  for (const auto& payload : message->payloads) judge(payload);
  (void)notifies(message->payloads);
  (void)find_error(message->payloads);
  (void)detect_nat(message->header, message->payloads, {});
  if (const auto preview = preview_init(*message)) {
    if (const auto demand = build_cookie_demand(message->header, Bytes(CookieJar::kCookieOctets))) {
      require(demand->size() <= size);
    }
  }
  return 0;
}
