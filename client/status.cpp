#include "client/status.h"

#include <array>
#include <cmath>
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

/// Native ESP has no ports.
std::string plain(const Endpoint& endpoint) {
  return endpoint.port == 0 ? endpoint.address.to_string() : endpoint.to_string();
}

Json null_if_empty(const std::string& text) { return text.empty() ? Json() : Json(text); }

/// Three digits behind the point are all that is measured.
Json rounded(double value) { return std::round(value * 1000) / 1000; }
Json rounded(const std::optional<double>& value) { return value ? rounded(*value) : Json(); }

Json to_json(const PathView& path) {
  Json signals = Json::object();
  for (const auto& [name, count] : path.signals) signals[name] = count;
  return {{"id", path.id},
          {"transport", path.transport},
          {"family", path.family},
          {"state", path.state},
          {"role", path.role},
          {"local", null_if_empty(path.local)},
          {"remote", null_if_empty(path.remote)},
          {"rtt_ms", path.measured ? rounded(path.rtt_ms) : Json()},
          {"rtt_variation_ms", path.measured ? rounded(path.rtt_variation_ms) : Json()},
          {"loss_out", rounded(path.loss_out)},
          {"loss_in", rounded(path.loss_in)},
          {"goodput_out", std::round(path.goodput_out)},
          {"goodput_in", std::round(path.goodput_in)},
          {"outer_mtu", path.outer_mtu == 0 ? Json() : Json(path.outer_mtu)},
          {"pmtu_state", null_if_empty(path.pmtu_state)},
          {"probes", path.probes},
          {"answers", path.answers},
          {"sent_packets", path.sent_packets},
          {"received_packets", path.received_packets},
          {"received_octets", path.received_octets},
          {"signals", std::move(signals)}};
}

Json to_json(const PathEventView& event) {
  return {{"at", iso_time(event.at)},
          {"event", event.kind},
          {"transport", null_if_empty(event.transport)},
          {"family", null_if_empty(event.family)},
          {"from", null_if_empty(event.from)},
          {"signal", null_if_empty(event.signal)},
          {"reason", null_if_empty(event.reason)},
          {"text", event.text}};
}

Json to_json(const transports::OffloadView& offload) {
  return {{"transport", offload.transport},
          {"offload", offload.offload},
          {"where", offload.where},
          {"state", offload.state},
          {"reason", null_if_empty(offload.reason)},
          {"since", offload.since ? Json(iso_time(*offload.since)) : Json()},
          {"until", offload.until ? Json(iso_time(*offload.until)) : Json()}};
}

/// Of the path in use, "12 ms, loss 0 % out, 1 % in": what is known of it.
std::string figures(const Json& status) {
  std::string out;
  const auto add = [&](const std::string& part) { out += (out.empty() ? "" : ", ") + part; };
  const auto number = [&](const char* key) -> std::optional<double> {
    const auto found = status.find(key);
    if (found == status.end() || !found->is_number()) return std::nullopt;
    return found->get<double>();
  };
  std::array<char, 64> text{};
  if (const auto rtt = number("rtt_ms")) {
    std::snprintf(text.data(), text.size(), "rtt %.1f ms", *rtt);
    add(text.data());
  }
  const auto loss_out = number("loss_out"), loss_in = number("loss_in");
  if (loss_out) {
    std::snprintf(text.data(), text.size(), "loss out %.1f %%", *loss_out * 100);
    add(text.data());
  }
  if (loss_in) {
    std::snprintf(text.data(), text.size(), "loss in %.1f %%", *loss_in * 100);
    add(text.data());
  }
  return out.empty() ? "-" : out;
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
           {"transport", null_if_empty(s.transport)},
           {"headend", s.headend},
           {"local", s.path.local.address.empty() ? Json() : Json(plain(s.path.local))},
           {"remote", s.path.remote.address.empty() ? Json() : Json(plain(s.path.remote))},
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
  const PathView* in_use = nullptr;
  Json paths = Json::array(), events = Json::array(), left_out = Json::array();
  for (const auto& path : s.paths) {
    if (path.role == "in_use") in_use = &path;
    paths.push_back(to_json(path));
  }
  for (const auto& event : s.events) events.push_back(to_json(event));
  for (const auto& [transport, why] : s.left_out) left_out.push_back({{"transport", transport}, {"reason", why}});
  const auto now = in_use == nullptr ? Json::object() : to_json(*in_use);
  out["path_state"] = s.path_state;
  for (const auto* key : {"rtt_ms", "loss_out", "loss_in", "goodput_out", "goodput_in", "outer_mtu"}) {
    out[key] = now.contains(key) ? now[key] : Json();
  }
  out["order"] = s.order;
  out["forced"] = null_if_empty(s.forced);
  out["left_out"] = std::move(left_out);
  out["standard_peer"] = s.standard_peer;
  out["moves"] = s.moves;
  out["paths"] = std::move(paths);
  out["events"] = std::move(events);
  out["offloads"] = Json::array();
  for (const auto& offload : s.offloads) out["offloads"].push_back(to_json(offload));
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
  row("path", text_of(status, "path_state") + ", " + figures(status) + ", " + text_of(status, "moves") + " moves");
  if (const auto left = status.find("left_out"); left != status.end() && left->is_array()) {
    for (const auto& one : *left) row("left out", text_of(one, "transport") + ": " + text_of(one, "reason"));
  }
  if (const auto offloads = status.find("offloads"); offloads != status.end() && offloads->is_array()) {
    for (const auto& one : *offloads) {
      if (text_of(one, "state") == "in use") continue;
      row("offload", text_of(one, "transport") + " " + text_of(one, "offload") + " at " + text_of(one, "where") + ": " +
                         text_of(one, "state") + " (" + text_of(one, "reason") + ")");
    }
  }
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

ControlRequest parse_control_request(std::string_view line) {
  const auto request = Json::parse(line, nullptr, false);
  if (request.is_discarded() || !request.is_object()) return {};
  const auto text = [&](const char* key) {
    const auto found = request.find(key);
    return found != request.end() && found->is_string() ? found->get<std::string>() : std::string{};
  };
  const auto command = text("command");
  if (command == "status") return {ControlCommand::status, {}};
  if (command == "disconnect") return {ControlCommand::disconnect, {}};
  if (command == "use") return {ControlCommand::use, text("transport")};
  return {};
}

std::string control_request_line(const ControlRequest& request) {
  switch (request.command) {
    case ControlCommand::use: return to_line({{"command", "use"}, {"transport", request.transport}});
    case ControlCommand::disconnect: return to_line({{"command", "disconnect"}});
    default: return to_line({{"command", "status"}});
  }
}

std::optional<std::string> control_error(std::string_view answer) {
  const auto parsed = Json::parse(answer, nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object()) return "the answer is not JSON";
  const auto error = parsed.find("error");
  if (error == parsed.end() || !error->is_string()) return std::nullopt;
  return error->get<std::string>();
}

std::string control_ok() { return to_line({{"ok", true}}); }
std::string control_refusal(std::string_view why) { return to_line({{"ok", false}, {"error", why}}); }

}  // namespace switchback::client
