#include "client/status.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace switchback::client {
namespace {

using Json = nlohmann::ordered_json;

/// What a peer called itself may hold any octets that print; bad UTF-8 must not make dump() throw.
std::string to_line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string iso_time(WallTime time) {
  const auto seconds = static_cast<std::time_t>(time.time_since_epoch().count());
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

template <class List>
Json texts(const List& list) {
  Json out = Json::array();
  for (const auto& entry : list) out.push_back(entry.to_string());
  return out;
}

std::string hex_spi(std::uint32_t spi) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "0x%08x", spi);
  return text.data();
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "-";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string joined(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array() || found->empty()) return "-";
  std::string out;
  for (const auto& entry : *found)
    out += (out.empty() ? "" : ", ") + (entry.is_string() ? entry.get<std::string>() : entry.dump());
  return out;
}

}  // namespace

std::string to_json(const StatusView& s) {
  Json children = Json::array();
  for (const auto& child : s.children) {
    children.push_back({{"inbound_spi", hex_spi(child.inbound)},
                        {"outbound_spi", hex_spi(child.outbound)},
                        {"state", child.state},
                        {"esp", child.suite},
                        {"local", child.local},
                        {"remote", child.remote},
                        {"in_packets", child.in_packets},
                        {"in_bytes", child.in_bytes},
                        {"out_packets", child.out_packets},
                        {"out_bytes", child.out_bytes},
                        {"replayed", child.replayed},
                        {"forged", child.forged},
                        {"wrong_selector", child.wrong_selector},
                        {"too_big", child.too_big}});
  }
  Json out{{"ok", true},
           {"running", true},
           {"version", s.version},
           {"profile", s.profile},
           {"tun", s.tun},
           {"state", s.state},
           {"transport", s.transport},
           {"headend", s.headend},
           {"local", s.path.local.address.empty() ? Json() : Json(s.path.local.to_string())},
           {"remote", s.path.remote.address.empty() ? Json() : Json(s.path.remote.to_string())},
           {"addresses", texts(s.addresses)},
           {"routes", texts(s.routes)},
           {"dns", texts(s.dns)},
           {"dns_method", s.dns_method},
           {"blocked_families", Json::array()},
           {"mtu", s.mtu},
           {"ike", s.ike_suite},
           {"nat", s.behind_nat},
           {"mobike", s.mobike},
           {"since", s.since ? Json(iso_time(*s.since)) : Json()},
           {"sessions", s.sessions},
           {"last_event", s.last_event},
           {"in_packets", s.in_packets},
           {"in_bytes", s.in_bytes},
           {"out_packets", s.out_packets},
           {"out_bytes", s.out_bytes},
           {"no_outbound", s.no_outbound},
           {"replayed", s.esp_replayed},
           {"forged", s.esp_forged},
           {"too_big", s.too_big},
           {"children", std::move(children)}};
  if (s.blocked_v4) out["blocked_families"].push_back("ipv4");
  if (s.blocked_v6) out["blocked_families"].push_back("ipv6");
  return to_line(out);
}

std::string render_status(std::string_view answer) {
  const auto status = Json::parse(answer, nullptr, false);
  if (status.is_discarded() || !status.is_object()) return "the answer is not JSON\n";
  if (status.contains("error")) return text_of(status, "error") + "\n";
  std::string out;
  const auto row = [&](std::string_view name, const std::string& value) {
    out += name;
    out.append(name.size() < 12 ? 12 - name.size() : 1, ' ');
    out += value + "\n";
  };
  row("tunnel", text_of(status, "tun") + ", " + text_of(status, "state"));
  row("headend", text_of(status, "headend") + " at " + text_of(status, "remote"));
  row("transport", text_of(status, "transport") + " from " + text_of(status, "local"));
  row("addresses", joined(status, "addresses"));
  row("routes", joined(status, "routes"));
  if (const auto blocked = joined(status, "blocked_families"); blocked != "-") row("blocked", blocked);
  row("dns", joined(status, "dns") + " (" + text_of(status, "dns_method") + ")");
  row("mtu", text_of(status, "mtu"));
  row("ike", text_of(status, "ike"));
  row("since", text_of(status, "since") + ", session " + text_of(status, "sessions"));
  row("received", text_of(status, "in_packets") + " packets, " + text_of(status, "in_bytes") + " octets");
  row("sent", text_of(status, "out_packets") + " packets, " + text_of(status, "out_bytes") + " octets");
  row("last event", text_of(status, "last_event"));
  return out;
}

ControlCommand parse_control_request(std::string_view line) {
  const auto request = Json::parse(line, nullptr, false);
  if (request.is_discarded() || !request.is_object()) return ControlCommand::unknown;
  const auto found = request.find("command");
  if (found == request.end() || !found->is_string()) return ControlCommand::unknown;
  const auto command = found->get<std::string>();
  if (command == "status") return ControlCommand::status;
  if (command == "disconnect") return ControlCommand::disconnect;
  return ControlCommand::unknown;
}

std::string control_request_line(ControlCommand command) {
  return to_line({{"command", command == ControlCommand::status ? "status" : "disconnect"}});
}
std::string control_ok() { return to_line({{"ok", true}}); }
std::string control_refusal(std::string_view why) { return to_line({{"ok", false}, {"error", why}}); }

}  // namespace switchback::client
