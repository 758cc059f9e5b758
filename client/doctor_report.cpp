#include "client/doctor_report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace switchback::client::doctor {
namespace {

using Json = nlohmann::ordered_json;

double milliseconds_of(Duration time) {
  return std::round(std::chrono::duration<double, std::milli>(time).count() * 1000) / 1000;
}

std::string_view to_string(Knock knock) {
  switch (knock) {
    case Knock::untested: return "untested";
    case Knock::answered: return "answered";
    case Knock::silent: return "silent";
    case Knock::refused: return "refused";
    case Knock::unreachable: return "unreachable";
    case Knock::no_route: return "no-route";
  }
  return {};
}

std::string_view to_string(IkeAnswer answer) {
  switch (answer) {
    case IkeAnswer::untested: return "untested";
    case IkeAnswer::answered: return "answered";
    case IkeAnswer::silent: return "silent";
    case IkeAnswer::refused: return "refused";
  }
  return {};
}

std::string_view to_string(AuthResult result) {
  switch (result) {
    case AuthResult::not_reached: return "not-reached";
    case AuthResult::ok: return "ok";
    case AuthResult::refused_us: return "refused";
    case AuthResult::not_trusted: return "headend-not-trusted";
    case AuthResult::no_proposal: return "no-proposal";
    case AuthResult::no_address: return "no-address";
    case AuthResult::other: return "other";
  }
  return {};
}

Json to_json(const Count& count) { return {{"sent", count.sent}, {"arrived", count.arrived}}; }

Json to_json(const TcpEnd& end) {
  Json json;
  if (end.numbers_known) {
    json["local_isn"] = end.local_isn;
    json["remote_isn"] = end.remote_isn;
  }
  if (end.mss != 0) json["mss"] = end.mss;
  if (end.window_scale) json["window_scale"] = *end.window_scale;
  json["sack"] = end.sack;
  json["timestamps"] = end.timestamps;
  json["resegmented"] = end.resegmented;
  json["resets"] = end.resets;
  if (end.rtt) json["rtt_ms"] = milliseconds_of(*end.rtt);
  return json;
}

Json to_json(const WayFacts& way) {
  Json json;
  json["way"] = to_string(way.kind);
  json["family"] = way.remote.address.is_v6() ? "ipv6" : "ipv4";
  json["remote"] = way.remote.port == 0 ? way.remote.address.to_string() : way.remote.to_string();
  json["works"] = way.reaches();
  if (!way.left_out.empty()) json["left_out"] = way.left_out;
  json["offered"] = way.offered;
  json["knock"] = to_string(way.knock.result);
  if (way.knock.rtt) json["knock_rtt_ms"] = milliseconds_of(*way.knock.rtt);
  if (!way.knock.icmp.empty()) json["icmp"] = way.knock.icmp;
  if (!way.knock.icmp_from.empty()) json["icmp_from"] = way.knock.icmp_from.to_string();
  json["opened"] = way.opened;
  if (!way.open_failure.empty()) json["open_failure"] = way.open_failure;
  json["ike"] = to_string(way.ike);
  json["probed"] = way.probed;
  if (!way.closed.empty()) json["closed"] = way.closed;
  if (!way.probed) return json;
  json["out"] = to_json(way.there);
  json["back"] = to_json(way.back);
  json["unanswered_at_end"] = way.unanswered_at_end;
  if (way.rtt) json["rtt_ms"] = milliseconds_of(*way.rtt);
  if (way.resets != 0) json["resets"] = way.resets;
  if (way.seen) {
    json["seen_as"] = way.seen->client.port == 0 ? way.seen->client.address.to_string() : way.seen->client.to_string();
    json["sent_from"] = way.local.port == 0 ? way.local.address.to_string() : way.local.to_string();
    if (way.seen->tcp) json["tcp_at_headend"] = to_json(*way.seen->tcp);
  }
  if (way.here) json["tcp_here"] = to_json(*way.here);
  if (way.mtu.works != 0) {
    json["mtu"] = {{"link", way.mtu.link}, {"works", way.mtu.works}, {"large_back", to_json(way.mtu.large_back)}};
    if (way.mtu.icmp != 0) json["mtu"]["icmp"] = way.mtu.icmp;
  }
  if (way.burst.packets.sent != 0) {
    json["burst"] = to_json(way.burst.packets);
    json["burst"]["octets_each"] = way.burst.octets_each;
    if (way.burst.octets_per_second) json["burst"]["octets_per_second"] = std::round(*way.burst.octets_per_second);
  }
  if (way.after_hole.sent != 0) json["after_hole"] = to_json(way.after_hole);
  if (way.after_jump.sent != 0) json["after_jump"] = to_json(way.after_jump);
  if (way.idle_survived)
    json["idle_survived_s"] = std::chrono::duration_cast<std::chrono::seconds>(*way.idle_survived).count();
  if (way.idle_died) json["idle_died_s"] = std::chrono::duration_cast<std::chrono::seconds>(*way.idle_died).count();
  return json;
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

/// One line of the table.
std::string row(const WayFacts& way) {
  std::string line =
      "  " + padded(std::string{to_string(way.kind)} + (way.remote.address.is_v6() ? " ipv6" : " ipv4"), 21);
  if (!way.left_out.empty()) return line + "not tested: " + way.left_out;
  if (!way.offered) return line + "not served by the headend";
  std::string state = "no answer";
  if (way.works()) {
    state = "works";
  } else if (way.ike == IkeAnswer::answered) {
    state = "IKE answers";
  } else if (way.knock.result == Knock::refused || way.knock.result == Knock::unreachable) {
    state = std::string{to_string(way.knock.result)};
  }
  line += padded(state, 13);
  if (!way.works()) return line;
  std::array<char, 128> figures{};
  (void)std::snprintf(figures.data(), figures.size(), "rtt %7.2f ms   lost out %u/%u back %u/%u",
                      way.rtt ? std::chrono::duration<double, std::milli>(*way.rtt).count() : 0.0, way.there.lost(),
                      way.there.sent, way.back.lost(), way.back.sent);
  line += figures.data();
  if (way.mtu.works != 0) line += "   mtu " + std::to_string(way.mtu.works);
  return line;
}

}  // namespace

std::string to_text(const Facts& facts, const std::vector<Finding>& findings) {
  std::string out;
  for (const auto& way : facts.ways) out += row(way) + "\n";
  if (!facts.ways.empty()) out += "\n";
  for (const auto& finding : findings) {
    out += std::string{to_string(finding.severity)} + ": " + finding.sentence + "\n";
    for (const auto& line : finding.evidence) out += "    - " + line + "\n";
    if (!finding.remedy.empty()) out += "    → " + finding.remedy + "\n";
  }
  if (!facts.full) out += "(Cut short by --timeout: not everything was measured.)\n";
  return out;
}

std::string to_json(const Facts& facts, const std::vector<Finding>& findings) {
  Json json;
  json["version"] = 1;
  json["complete"] = facts.full;
  json["addresses"] = Json::array();
  for (const auto& address : facts.addresses) json["addresses"].push_back(address.to_string());
  json["authentication"] = to_string(facts.auth);
  if (!facts.auth_detail.empty()) json["authentication_detail"] = facts.auth_detail;
  if (facts.headend_clock) json["clock_offset_s"] = (facts.clock - *facts.headend_clock).count();
  json["findings"] = Json::array();
  for (const auto& finding : findings) {
    json["findings"].push_back({{"id", finding.id},
                                {"severity", to_string(finding.severity)},
                                {"ways", finding.ways},
                                {"sentence", finding.sentence},
                                {"evidence", finding.evidence},
                                {"remedy", finding.remedy}});
  }
  json["ways"] = Json::array();
  for (const auto& way : facts.ways) json["ways"].push_back(to_json(way));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace switchback::client::doctor
