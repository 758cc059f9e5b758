#include "headend/control_api.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "headend/users.h"

namespace switchback::headend {
namespace {

using Json = nlohmann::ordered_json;

/// What a peer called itself may hold any octets that print; bad UTF-8 must not make dump() throw.
std::string to_line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string refusal(std::string_view why) { return to_line({{"ok", false}, {"error", why}}); }

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Json rounded(double value, double to) { return std::round(value * to) / to; }

Json milliseconds(const std::optional<Duration>& duration) {
  return duration ? rounded(seconds(*duration) * 1000, 1000) : Json();
}

Json share(const std::optional<double>& ratio) { return ratio ? rounded(*ratio, 10000) : Json(); }

template <class Counters>
Json counters_json(const Counters& from) {
  Json counters = Json::object();
  for (const auto& [name, value] : from) counters[std::string{name}] = value;
  return counters;
}

Json path_json(const PathView& path) {
  return {{"transport", path.transport},
          {"local", path.path.local.to_string()},
          {"remote", path.path.remote.to_string()},
          {"state", path.state},
          {"rtt_ms", milliseconds(path.srtt)},
          {"loss_in", share(path.loss_in)},
          {"loss_out", share(path.loss_out)},
          {"goodput_in", std::round(path.goodput_in)},
          {"goodput_out", std::round(path.goodput_out)},
          {"mtu", path.mtu},
          {"mtu_found", path.mtu_found},
          {"sent_packets", path.sent_packets},
          {"received_packets", path.received_packets},
          {"idle_seconds", rounded(seconds(path.idle), 1000)},
          {"signals", counters_json(path.signals)}};
}

Json move_json(const MoveView& move) {
  return {{"at", iso_time(move.at)},
          {"cause", move.cause},
          {"from_transport", move.from ? Json(move.from_transport) : Json()},
          {"from", move.from ? Json(move.from->remote.to_string()) : Json()},
          {"to_transport", move.to_transport},
          {"to", move.to.remote.to_string()},
          {"left_rtt_ms", milliseconds(move.srtt)},
          {"left_loss_in", share(move.loss_in)},
          {"left_loss_out", share(move.loss_out)}};
}

/// @param most_moves  the newest so many are told
Json session_json(const SessionView& session, std::size_t most_moves) {
  Json addresses = Json::array();
  for (const auto& address : session.addresses) addresses.push_back(address.to_string());
  Json paths = Json::array(), moves = Json::array();
  for (const auto& path : session.paths) paths.push_back(path_json(path));
  for (std::size_t i = session.moves.size() - std::min(session.moves.size(), most_moves); i < session.moves.size();
       ++i) {
    moves.push_back(move_json(session.moves[i]));
  }
  return {{"id", session.id},
          {"user", session.user},
          {"identity", session.identity},
          {"state", session.state},
          {"transport", session.transport},
          {"local", session.path.local.to_string()},
          {"remote", session.path.remote.to_string()},
          {"addresses", std::move(addresses)},
          {"since", session.since ? Json(iso_time(*session.since)) : Json()},
          {"idle_seconds", static_cast<std::int64_t>(seconds(session.idle))},
          {"in_packets", session.in_packets},
          {"in_bytes", session.in_octets},
          {"out_packets", session.out_packets},
          {"out_bytes", session.out_octets},
          {"ike", session.ike_suite},
          {"esp", session.esp_suite},
          {"children", session.children},
          {"ike_local", session.ike_path.local.to_string()},
          {"ike_remote", session.ike_path.remote.to_string()},
          {"in_band", session.in_band},
          {"paths", std::move(paths)},
          {"moved", session.moved},
          {"moves", std::move(moves)}};
}

std::string answer_sessions(const std::vector<SessionView>& sessions) {
  Json list = Json::array();
  // An answer has a longest length: of many sessions only the newest moves are told.
  constexpr std::size_t kMoves = 100, kMovesOfAll = 20'000;
  const auto most = std::clamp<std::size_t>(kMovesOfAll / std::max<std::size_t>(sessions.size(), 1), 1, kMoves);
  for (const auto& session : sessions) list.push_back(session_json(session, most));
  return to_line({{"ok", true}, {"sessions", std::move(list)}});
}

std::string answer_status(const StatusView& status) {
  Json listening = Json::array();
  for (const auto& endpoint : status.listening) listening.push_back(endpoint.to_string());
  Json pools = Json::array();
  for (const auto& pool : status.pools) {
    pools.push_back({{"prefix", pool.prefix.to_string()},
                     {"capacity", pool.capacity},
                     {"in_use", pool.in_use},
                     {"reserved", pool.reserved}});
  }
  Json transports = Json::object();
  for (const auto& transport : status.transports) {
    Json at = Json::array();
    for (const auto& endpoint : transport.listening) at.push_back(endpoint.to_string());
    transports[std::string{transport.name}] = {
        {"state", transport.failure.empty() ? "listening" : "failed"},
        {"failure", transport.failure.empty() ? Json() : Json(transport.failure)},
        {"listening", std::move(at)},
        {"sessions", transport.sessions},
        {"counters", counters_json(transport.counters)}};
  }
  Json workers = Json::array();
  for (const auto& worker : status.workers) {
    workers.push_back({{"sessions", worker.sessions}, {"counters", counters_json(worker.counters)}});
  }
  Json offloads = Json::array();
  for (const auto& offload : status.offloads) {
    offloads.push_back({{"transport", offload.transport},
                        {"offload", offload.offload},
                        {"where", offload.where},
                        {"state", offload.state},
                        {"reason", offload.reason.empty() ? Json() : Json(offload.reason)},
                        {"since", offload.since ? Json(iso_time(*offload.since)) : Json()},
                        {"until", offload.until ? Json(iso_time(*offload.until)) : Json()}});
  }
  return to_line({{"ok", true},
                  {"running", true},
                  {"version", status.version},
                  {"started", iso_time(status.started)},
                  {"uptime_seconds", static_cast<std::int64_t>(seconds(status.uptime))},
                  {"identity", status.identity},
                  {"tun", status.tun},
                  {"listening", std::move(listening)},
                  {"sessions", status.sessions},
                  {"established", status.established},
                  {"half_open", status.half_open},
                  {"users_online", status.users_online},
                  {"pools", std::move(pools)},
                  {"forwarding", status.forwarding},
                  {"nat", status.nat},
                  {"counters", counters_json(status.counters)},
                  {"transports", std::move(transports)},
                  {"workers", std::move(workers)},
                  {"offloads", std::move(offloads)}});
}

std::string answer_kick(const Json& request, ControlBackend& backend) {
  KickTarget target;
  int given = 0;
  if (const auto id = request.find("id"); id != request.end()) {
    if (!id->is_number_unsigned()) return refusal("\"id\" must be a session's number");
    target.id = id->get<std::uint64_t>();
    ++given;
  }
  if (const auto user = request.find("user"); user != request.end()) {
    if (!user->is_string() || user->get<std::string>().empty()) return refusal("\"user\" must be a name");
    target.user = user->get<std::string>();
    ++given;
  }
  if (const auto address = request.find("address"); address != request.end()) {
    target.address = address->is_string() ? IpAddress::parse(address->get<std::string>()) : std::nullopt;
    if (!target.address) return refusal("\"address\" must be an inner IP address");
    ++given;
  }
  if (const auto all = request.find("all"); all != request.end()) {
    if (!all->is_boolean() || !all->get<bool>()) return refusal("\"all\" can only be true");
    target.all = true;
    ++given;
  }
  if (given != 1) return refusal("kick takes exactly one of id, user, address and all");
  return to_line({{"ok", true}, {"ended", backend.kick(target)}});
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "-";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string bytes_text(const Json& object, const char* key) {
  auto value = object.value(key, 0.0);
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string joined(const Json& object, const char* key) {
  std::string out;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return "-";
  for (const auto& element : *found) {
    if (!out.empty()) out += ", ";
    out += element.is_string() ? element.get<std::string>() : element.dump();
  }
  return out.empty() ? "-" : out;
}

/// Of a session; an empty object if there is none.
Json path_in_use(const Json& session) {
  const auto paths = session.find("paths");
  if (paths == session.end() || !paths->is_array()) return Json::object();
  for (const auto& path : *paths) {
    if (path.is_object() && text_of(path, "state") == "in_use") return path;
  }
  return Json::object();
}

std::string rtt_text(const Json& path) {
  const auto found = path.find("rtt_ms");
  if (found == path.end() || !found->is_number()) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.1f ms", found->get<double>());
  return text;
}

std::string loss_text(const Json& path) {
  const auto one = [&](const char* key) -> std::string {
    const auto found = path.find(key);
    if (found == path.end() || !found->is_number()) return "-";
    char text[32];
    std::snprintf(text, sizeof text, "%.1f%%", found->get<double>() * 100);
    return text;
  };
  return one("loss_in") + "/" + one("loss_out");
}

/// The last move of each session that has moved, below the table.
std::string moves_text(const Json& sessions) {
  std::string out;
  for (const auto& session : sessions) {
    const auto moves = session.find("moves");
    if (moves == session.end() || !moves->is_array() || moves->size() < 2) continue;
    const auto& move = moves->back();
    out += "session " + text_of(session, "id") + " moved at " + text_of(move, "at") + " from " +
           text_of(move, "from_transport") + " " + text_of(move, "from") + " to " + text_of(move, "to_transport") +
           " " + text_of(move, "to") + " (" + text_of(move, "cause") + ", move " + text_of(session, "moved") + ")\n";
  }
  return out;
}

/// Columns as wide as their widest cell.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out.append(widths[i] - row[i].size() + 2, ' ');
    }
    out += '\n';
  }
  return out;
}

}  // namespace

std::string handle_control_request(std::string_view line, ControlBackend& backend) {
  const auto request = Json::parse(line, nullptr, false);
  if (request.is_discarded() || !request.is_object()) return refusal("the request is no JSON object");
  const auto found = request.find("command");
  if (found == request.end() || !found->is_string()) return refusal("the request has no \"command\"");
  const auto command = found->get<std::string>();
  if (command == "status") return answer_status(backend.status());
  if (command == "sessions") return answer_sessions(backend.sessions());
  if (command == "kick") return answer_kick(request, backend);
  if (command == "users_changed") return to_line({{"ok", true}, {"ended", backend.users_changed()}});
  return refusal("unknown command");
}

std::string status_request() { return R"({"command":"status"})"; }
std::string sessions_request() { return R"({"command":"sessions"})"; }
std::string users_changed_request() { return R"({"command":"users_changed"})"; }

std::string kick_request(const KickTarget& target) {
  Json request{{"command", "kick"}};
  if (target.id) request["id"] = *target.id;
  if (!target.user.empty()) request["user"] = target.user;
  if (target.address) request["address"] = target.address->to_string();
  if (target.all) request["all"] = true;
  return to_line(request);
}

ControlAnswer parse_control_answer(std::string_view line) {
  const auto answer = Json::parse(line, nullptr, false);
  ControlAnswer result;
  if (answer.is_discarded() || !answer.is_object()) {
    result.error = "the headend's answer is no JSON; do the versions of command and headend differ?";
    return result;
  }
  const auto ok = answer.find("ok");
  result.ok = ok != answer.end() && ok->is_boolean() && ok->get<bool>();
  if (!result.ok) result.error = text_of(answer, "error");
  if (const auto ended = answer.find("ended"); ended != answer.end() && ended->is_number_unsigned()) {
    result.ended = ended->get<std::size_t>();
  }
  return result;
}

std::string render_status(std::string_view answer) {
  const auto status = Json::parse(answer, nullptr, false);
  if (status.is_discarded() || !status.is_object()) return {};
  std::vector<std::vector<std::string>> rows{
      {"identity", text_of(status, "identity")},
      {"version", text_of(status, "version")},
      {"up since", text_of(status, "started") + " (" + text_of(status, "uptime_seconds") + " s)"},
      {"listening", joined(status, "listening")},
      {"tunnel", text_of(status, "tun")},
      {"sessions", text_of(status, "established") + " established, " + text_of(status, "half_open") + " half open, " +
                       text_of(status, "users_online") + " users"},
  };
  if (const auto transports = status.find("transports"); transports != status.end() && transports->is_object()) {
    for (const auto& [name, transport] : transports->items()) {
      if (!transport.is_object()) continue;
      const bool works = text_of(transport, "state") == "listening";
      rows.push_back({name, works ? joined(transport, "listening") + ": " + text_of(transport, "sessions") + " sessions"
                                  : "FAILED: " + text_of(transport, "failure")});
    }
  }
  if (const auto workers = status.find("workers"); workers != status.end() && workers->is_array()) {
    if (workers->size() > 1) {
      std::string shares;
      for (const auto& worker : *workers) shares += (shares.empty() ? "" : " + ") + text_of(worker, "sessions");
      rows.push_back({"workers", std::to_string(workers->size()) + ": " + shares + " sessions"});
    }
  }
  if (const auto offloads = status.find("offloads"); offloads != status.end() && offloads->is_array()) {
    for (const auto& one : *offloads) {
      if (text_of(one, "state") == "in use") continue;
      rows.push_back({"offload", text_of(one, "transport") + " " + text_of(one, "offload") + " at " +
                                     text_of(one, "where") + ": " + text_of(one, "state") + " (" +
                                     text_of(one, "reason") + ")"});
    }
  }
  if (const auto pools = status.find("pools"); pools != status.end() && pools->is_array()) {
    for (const auto& pool : *pools) {
      rows.push_back({"pool", text_of(pool, "prefix") + ": " + text_of(pool, "in_use") + " of " +
                                  text_of(pool, "capacity") + " in use, " + text_of(pool, "reserved") + " reserved"});
    }
  }
  rows.push_back({"forwarding", text_of(status, "forwarding") == "true" ? "on, NAT " + text_of(status, "nat") : "off"});
  return table(rows);
}

std::string render_sessions(std::string_view answer) {
  const auto parsed = Json::parse(answer, nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object()) return {};
  const auto list = parsed.find("sessions");
  if (list == parsed.end() || !list->is_array() || list->empty()) return "no sessions\n";
  std::vector<std::vector<std::string>> rows{
      {"ID", "USER", "STATE", "ADDRESSES", "BY", "FROM", "RTT", "LOSS IN/OUT", "SINCE", "IN", "OUT", "ESP"}};
  for (const auto& session : *list) {
    rows.push_back({text_of(session, "id"), text_of(session, "user"), text_of(session, "state"),
                    joined(session, "addresses"), text_of(session, "transport"), text_of(session, "remote"),
                    rtt_text(path_in_use(session)), loss_text(path_in_use(session)), text_of(session, "since"),
                    bytes_text(session, "in_bytes"), bytes_text(session, "out_bytes"), text_of(session, "esp")});
  }
  return table(rows) + moves_text(*list);
}

}  // namespace switchback::headend
