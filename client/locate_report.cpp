#include "client/locate_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace switchback::client::doctor {
namespace {

using locate::Certainty;
using locate::Direction;
using locate::Hop;
using locate::HopKind;
using locate::Interval;
using locate::LossyStretch;
using Json = nlohmann::ordered_json;

/// "2.1 %", with one digit more where it is little.
std::string percent(double share) {
  const double value = share * 100;
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), value != 0 && value < 0.995 ? "%.2f %%" : "%.1f %%", value);
  return text.data();
}

std::string range(const Interval& interval) {
  auto low = percent(interval.low);
  low.resize(low.size() - 2);  // the sign comes once
  return low + " to " + percent(interval.high);
}

const LocatedDirection& of(const LocateResult& result, Direction direction) {
  return direction == Direction::out ? result.out : result.back;
}

std::string_view towards(Direction direction) {
  return direction == Direction::out ? "towards the headend" : "from the headend";
}

/// Who is at a place of a stretch.
std::string who(const LocatedDirection& one, Direction direction, std::size_t place) {
  const auto& hops = one.evidence.hops;
  if (place == 0) return direction == Direction::out ? "this host" : "the headend";
  if (place > hops.size()) return direction == Direction::out ? "the headend" : "this host";
  const auto& hop = hops[place - 1];
  return hop.address.empty() ? "hop " + std::to_string(hop.limit) : hop.address.to_string();
}

bool whole_way(const LocatedDirection& one, const LossyStretch& place) {
  return place.where.from == 0 && place.where.to == one.evidence.hops.size() + 1 && one.evidence.hops.size() > 0;
}

/// Routers in a stretch that say nothing.
std::string within(const LossyStretch& place) {
  const auto inner = place.where.to - place.where.from - 1;
  if (inner == 0) return {};
  return inner == 1 ? " (with a router between them that tells nothing)"
                    : " (with " + std::to_string(inner) + " routers between them that tell too little)";
}

std::string sentence_of(const LocatedDirection& one, Direction direction) {
  const auto& whole = one.evidence.whole;
  const auto& found = one.findings;
  const auto to{std::string{direction == Direction::out ? "Towards the headend" : "From the headend"}};
  if (whole.sent == 0) return to + " nothing could be counted.";
  if (!found.lossy) {
    if (whole.lost == 0) {
      return to + " nothing was lost of " + std::to_string(whole.sent) + " packets: at most " +
             percent(found.interval.high) + " is (95 % confidence).";
    }
    return to + " " + std::to_string(whole.lost) + " of " + std::to_string(whole.sent) +
           " packets were lost, too few to speak of: at most " + percent(found.interval.high) +
           " is (95 % confidence).";
  }
  std::string text;
  for (const auto& place : found.places) {
    if (!text.empty()) text += ' ';
    const auto amount = percent(place.share) + " of the packets (95 %: " + range(place.interval) + ")";
    if (!one.no_hops.empty()) {
      text += to + " " + amount + " get lost. Where is not known: " + one.no_hops + ".";
    } else if (place.certainty == Certainty::unknown && whole_way(one, place)) {
      text += to + " " + amount + " get lost; where, cannot be told yet: a longer measurement (--seconds) may.";
    } else {
      const auto between = "between " + who(one, direction, place.where.from) + " and " +
                           who(one, direction, place.where.to) + within(place);
      if (place.certainty == Certainty::unknown) {
        text += to + " " + amount + " get lost somewhere " + between +
                "; between which of those, cannot be told yet: a longer measurement (--seconds) may.";
      } else {
        auto start = between;
        start.front() = 'B';
        text += start + ", " + std::string{towards(direction)} + ", " + amount + " get lost: that is " +
                (place.certainty == Certainty::sure ? "sure." : "likely, not sure.");
      }
    }
  }
  if (whole.inflation > 1.5) text += " They get lost in bursts.";
  return text;
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}
std::string right(const std::string& text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string note_of(const Hop& hop) {
  std::string note;
  const auto add = [&](const std::string& more) { note += (note.empty() ? "" : "; ") + more; };
  switch (hop.kind) {
    case HopKind::open: break;
    case HopKind::limited: {
      std::array<char, 64> text{};
      (void)std::snprintf(text.data(), text.size(), "answers at most %.1f times a second: asked more slowly",
                          hop.answers_per_second.value_or(0));
      add(text.data());
      break;
    }
    case HopKind::erratic: add("answers some, however slowly it is asked: says nothing of loss"); break;
    case HopKind::silent: add("does not answer"); break;
  }
  if (hop.several) add("several routers take turns here");
  return note;
}

std::string table_of(const LocatedDirection& one, Direction direction) {
  const auto& whole = one.evidence.whole;
  std::string out = (direction == Direction::out ? "Towards the headend" : "From the headend") + std::string{"\n"};
  out +=
      "  hop  " + padded("address", 28) + right("packets", 8) + right("missing", 8) + right("share", 9) + "   95 %\n";
  const auto row = [&](const std::string& hop, const std::string& address, std::uint64_t sent, std::uint64_t lost,
                       const Interval& interval, const std::string& note) {
    out += right(hop, 5) + "  " + padded(address, 28) + right(std::to_string(sent), 8) + right(std::to_string(lost), 8);
    if (sent != 0) {
      out += right(percent(static_cast<double>(lost) / static_cast<double>(sent)), 9) + "   " + range(interval);
    }
    if (!note.empty()) out += "   (" + note + ")";
    out += "\n";
  };
  for (const auto& hop : one.evidence.hops) {
    row(std::to_string(hop.limit), hop.address.empty() ? "*" : hop.address.to_string(), hop.asked,
        hop.asked - hop.answered, locate::wilson(hop.asked - hop.answered, hop.asked), note_of(hop));
  }
  if (!one.no_hops.empty()) out += "    –  no routers: " + one.no_hops + "\n";
  if (one.no_hops.empty() && !one.evidence.complete) out += "    …  routers that do not answer may follow\n";
  row("end", direction == Direction::out ? "headend" : "this host", whole.sent, whole.lost, one.findings.interval,
      "counted by the receiver");
  return out;
}

double rounded(double value) { return std::round(value * 1e6) / 1e6; }

Json json_of(const Interval& interval) { return {rounded(interval.low), rounded(interval.high)}; }

Json json_of(const LocatedDirection& one, Direction direction) {
  const auto& whole = one.evidence.whole;
  Json json;
  json["sent"] = whole.sent;
  json["lost"] = whole.lost;
  json["share"] = rounded(whole.share());
  json["interval_95"] = json_of(one.findings.interval);
  json["burst_factor"] = std::round(whole.inflation * 100) / 100;
  json["lossy"] = one.findings.lossy;
  json["places"] = Json::array();
  for (const auto& place : one.findings.places) {
    json["places"].push_back({{"from", who(one, direction, place.where.from)},
                              {"from_hop", place.where.from},
                              {"to", who(one, direction, place.where.to)},
                              {"to_hop", place.where.to},
                              {"share", rounded(place.share)},
                              {"interval_95", json_of(place.interval)},
                              {"certainty", locate::to_string(place.certainty)},
                              {"probability", std::round(place.probability * 1e4) / 1e4}});
  }
  if (!one.no_hops.empty()) json["no_hops"] = one.no_hops;
  json["complete"] = one.evidence.complete;
  json["hops"] = Json::array();
  for (const auto& hop : one.evidence.hops) {
    Json entry;
    entry["hop"] = hop.limit;
    if (!hop.address.empty()) entry["address"] = hop.address.to_string();
    entry["kind"] = locate::to_string(hop.kind);
    entry["asked"] = hop.asked;
    entry["answered"] = hop.answered;
    entry["asked_in_all"] = hop.asked_in_all;
    entry["answered_in_all"] = hop.answered_in_all;
    if (hop.answers_per_second) entry["answers_per_second"] = std::round(*hop.answers_per_second * 100) / 100;
    if (hop.least_rtt) {
      entry["rtt_ms"] = std::round(std::chrono::duration<double, std::milli>(*hop.least_rtt).count() * 1000) / 1000;
    }
    if (hop.several) entry["several"] = true;
    json["hops"].push_back(std::move(entry));
  }
  return json;
}

std::string name_of(const Endpoint& endpoint) {
  return endpoint.port == 0 ? endpoint.address.to_string() : endpoint.to_string();
}

}  // namespace

bool loses(const LocateResult& result) noexcept { return result.out.findings.lossy || result.back.findings.lossy; }

std::vector<std::string> locate_sentences(const LocateResult& result) {
  std::vector<std::string> all;
  for (const auto direction : {Direction::out, Direction::back})
    all.push_back(sentence_of(of(result, direction), direction));
  return all;
}

std::string locate_remedy(const LocateResult& result) {
  bool near = false, far = false, between = false;
  for (const auto direction : {Direction::out, Direction::back}) {
    const auto& one = of(result, direction);
    for (const auto& place : one.findings.places) {
      if (place.certainty == Certainty::unknown) continue;
      const bool first = place.where.from == 0, last = place.where.to == one.evidence.hops.size() + 1;
      near = near || (direction == Direction::out ? first : last);
      far = far || (direction == Direction::out ? last : first);
      between = between || (!first && !last);
    }
  }
  std::string text;
  if (near)
    text += "The link of this host loses packets: try a cable in place of Wi-Fi, another port, another access. ";
  if (far) text += "The link of the headend loses packets: its operator should look at it. ";
  if (between) text += "Tell the provider of these routers the two addresses, the direction and the share. ";
  if (text.empty() && loses(result)) text = "Measure longer, or by another transport (--transport), to learn where. ";
  if (!text.empty()) text.pop_back();
  return text;
}

std::string locate_text(const LocateResult& result) {
  std::array<char, 96> took{};
  (void)std::snprintf(took.data(), took.size(), "%.0f s, %llu packets from here",
                      std::chrono::duration<double>(result.took).count(),
                      static_cast<unsigned long long>(result.packets));
  std::string out = std::string{to_string(result.way)} + ", " + name_of(result.local) + " to " +
                    name_of(result.remote) + ", " + took.data() + (result.interrupted ? " (interrupted)" : "") + "\n\n";
  out += table_of(result.out, Direction::out) + "\n" + table_of(result.back, Direction::back) + "\n";
  for (const auto& sentence : locate_sentences(result)) out += sentence + "\n";
  if (const auto remedy = locate_remedy(result); !remedy.empty()) out += "    → " + remedy + "\n";
  return out;
}

std::string locate_json(const LocateResult& result) {
  Json json;
  json["version"] = 1;
  json["way"] = to_string(result.way);
  json["family"] = result.remote.address.is_v6() ? "ipv6" : "ipv4";
  json["local"] = name_of(result.local);
  json["remote"] = name_of(result.remote);
  if (!result.failure.empty()) json["failure"] = result.failure;
  json["seconds"] = std::round(std::chrono::duration<double>(result.took).count() * 10) / 10;
  json["packets"] = result.packets;
  json["interrupted"] = result.interrupted;
  json["out"] = json_of(result.out, Direction::out);
  json["back"] = json_of(result.back, Direction::back);
  json["sentences"] = locate_sentences(result);
  json["remedy"] = locate_remedy(result);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace switchback::client::doctor
