#include "common/path/limited_probes.h"

#include <algorithm>

namespace switchback::path {

using packet::QuoteMatch;

void LimitedProbes::forget(Instant now) {
  while (!sent_.empty() && now - sent_.front().at > kPatience) sent_.pop_front();
  while (!quoted_.empty() && now - quoted_.front().at > kQuotePatience) {
    quoted_.pop_front();
    ++strangers_;
  }
}

LimitedAnswer LimitedProbes::answer(const Sent& sent, const packet::IcmpQuote& quote, const IpAddress& from,
                                    Instant at) {
  return {sent.token, sent.hop_limit, quote.trouble, from, sent.at, std::max(at - sent.at, Duration{})};
}

std::optional<LimitedAnswer> LimitedProbes::handle_sent(std::uint64_t token, std::uint8_t hop_limit,
                                                        const packet::LimitedPacket& sent, Instant at) {
  forget(at);
  const Sent entry{token, hop_limit, sent, at};
  for (auto early = quoted_.begin(); early != quoted_.end(); ++early) {
    auto quote = early->quote;
    quote.front = ByteView{early->front}.first(early->octets);
    // By the identification alone it may be of one before this.
    if (match(quote, sent) != QuoteMatch::exact) continue;
    const auto found = answer(entry, quote, early->from, early->at);
    quoted_.erase(early);
    return found;
  }
  if (sent_.size() == kSent) sent_.pop_front();
  sent_.push_back(entry);
  return std::nullopt;
}

std::optional<LimitedAnswer> LimitedProbes::handle_quote(const packet::IcmpQuote& quote, const IpAddress& from,
                                                         Instant at) {
  forget(at);
  // The newest first: an identification comes again after 65,536 packets.
  auto best = sent_.rend();
  for (auto entry = sent_.rbegin(); entry != sent_.rend(); ++entry) {
    const auto verdict = match(quote, entry->packet);
    if (verdict == QuoteMatch::none) continue;
    if (verdict == QuoteMatch::exact) {
      best = entry;
      break;
    }
    if (best == sent_.rend()) best = entry;
  }
  if (best == sent_.rend()) {
    if (quoted_.size() == kQuotes) {
      quoted_.pop_front();
      ++strangers_;
    }
    Quoted kept;
    kept.quote = quote;
    kept.quote.front = {};
    kept.octets = std::min(quote.front.size(), kept.front.size());
    std::copy_n(quote.front.begin(), kept.octets, kept.front.begin());
    kept.from = from;
    kept.at = at;
    quoted_.push_back(kept);
    return std::nullopt;
  }
  const auto found = answer(*best, quote, from, at);
  sent_.erase(std::next(best).base());
  return found;
}

}  // namespace switchback::path
