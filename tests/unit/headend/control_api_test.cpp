#include "headend/control_api.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

using namespace switchback;
using namespace switchback::headend;
using Json = nlohmann::json;

namespace {

class FakeHeadend final : public ControlBackend {
 public:
  StatusView status() const override {
    StatusView view;
    view.version = "0.1.0";
    view.identity = "vpn.example.org";
    view.tun = "swb-head0";
    view.listening = {{*IpAddress::parse("192.0.2.1"), 500}};
    view.established = 1;
    view.sessions = 2;
    view.half_open = 1;
    view.pools = {{*IpPrefix::parse("10.99.0.0/16"), 65533, 1, 3}};
    view.forwarding = true;
    view.nat = "owned";
    view.counters = {{"ike_received", 7}};
    TransportView udp, tls;
    udp.name = "udp";
    udp.listening = view.listening;
    udp.sessions = 1;
    udp.counters = {{"sent_packets", 11}};
    tls.name = "tls";
    tls.failure = "tls: Bad file descriptor";
    view.transports = {udp, tls};
    view.workers.resize(2);
    view.workers[0].sessions = 4;
    view.workers[1].sessions = 3;
    view.workers[1].counters = {{"handed_inner", 5}};
    view.offloads = {{"ctcp", "segmentation", "*", "in use", "", {}, {}},
                     {"udp", "receive", "eth0", "quarantined", "50 of 60 packets failed",
                      WallTime{std::chrono::seconds{1'700'000'000}}, WallTime{std::chrono::seconds{1'700'000'600}}}};
    return view;
  }
  std::vector<SessionView> sessions() const override {
    SessionView view;
    view.id = 3;
    view.user = "alice";
    view.identity = "al\xFFice\n\"";  // as a peer might call itself
    view.state = "established";
    view.transport = "udp";
    view.path = {{*IpAddress::parse("192.0.2.1"), 4500}, {*IpAddress::parse("198.51.100.7"), 40000}};
    view.addresses = {*IpAddress::parse("10.99.0.2"), *IpAddress::parse("fd00::2")};
    view.since = WallTime{std::chrono::seconds{1'700'000'000}};
    view.idle = std::chrono::seconds{5};
    view.in_octets = 3 * 1024 * 1024;
    view.esp_suite = "aes128gcm16-esn";
    view.ike_path = view.path;
    view.in_band = true;
    PathView used, other;
    used.path = view.path;
    used.transport = "udp";
    used.state = "in_use";
    used.srtt = std::chrono::microseconds{12345};
    used.loss_in = 0.0125;
    used.mtu = 1400;
    used.mtu_found = true;
    used.signals = {{"unreachable", 2}};
    other.path = {{*IpAddress::parse("192.0.2.1"), 443}, {*IpAddress::parse("198.51.100.7"), 50000}};
    other.transport = "tls";
    other.state = "standby";
    view.paths = {other, used};
    MoveView first, second;
    first.at = second.at = WallTime{std::chrono::seconds{1'700'000'000}};
    first.to = second.from.emplace(other.path);
    second.to = view.path;
    first.to_transport = second.from_transport = "tls";
    second.to_transport = "udp";
    first.cause = "established";
    second.cause = "claimed";
    second.loss_out = 1;
    view.moves = {first, second};
    view.moved = 7;
    return {view};
  }
  std::size_t kick(const KickTarget& target) override {
    kicked = target;
    return 2;
  }
  std::size_t users_changed() override { return 1; }

  KickTarget kicked;
};

Json ask(FakeHeadend& headend, const std::string& line) { return Json::parse(handle_control_request(line, headend)); }

}  // namespace

TEST_CASE("status is answered with everything in one line", "[headend][control]") {
  FakeHeadend headend;
  const auto line = handle_control_request(status_request(), headend);
  CHECK(line.find('\n') == std::string::npos);
  const auto answer = Json::parse(line);
  CHECK(answer["ok"] == true);
  CHECK(answer["running"] == true);
  CHECK(answer["established"] == 1);
  CHECK(answer["listening"][0] == "192.0.2.1:500");
  CHECK(answer["pools"][0]["in_use"] == 1);
  CHECK(answer["counters"]["ike_received"] == 7);
  CHECK(answer["transports"]["udp"]["state"] == "listening");
  CHECK(answer["transports"]["udp"]["listening"][0] == "192.0.2.1:500");
  CHECK(answer["transports"]["udp"]["sessions"] == 1);
  CHECK(answer["transports"]["udp"]["counters"]["sent_packets"] == 11);
  CHECK(answer["workers"].size() == 2);
  CHECK(answer["workers"][1]["sessions"] == 3);
  CHECK(answer["workers"][1]["counters"]["handed_inner"] == 5);
  CHECK(answer["offloads"].size() == 2);
  CHECK(answer["offloads"][0]["until"].is_null());
  CHECK(answer["offloads"][1]["state"] == "quarantined");
  CHECK(answer["offloads"][1]["until"] == "2023-11-14T22:23:20Z");
  CHECK(render_status(line).find("udp receive at eth0: quarantined (50 of 60 packets failed)") != std::string::npos);
  CHECK(answer["transports"]["tls"]["state"] == "failed");
  CHECK(render_status(line).find("FAILED: tls: Bad file descriptor") != std::string::npos);
  CHECK(render_status(line).find("10.99.0.0/16: 1 of 65533 in use, 3 reserved") != std::string::npos);
}

TEST_CASE("sessions are listed, whatever octets a peer calls itself", "[headend][control]") {
  FakeHeadend headend;
  const auto line = handle_control_request(sessions_request(), headend);
  CHECK(line.find('\n') == std::string::npos);
  const auto session = Json::parse(line)["sessions"][0];
  CHECK(session["id"] == 3);
  CHECK(session["user"] == "alice");
  CHECK(session["remote"] == "198.51.100.7:40000");
  CHECK(session["addresses"] == Json::array({"10.99.0.2", "fd00::2"}));
  CHECK(session["since"] == "2023-11-14T22:13:20Z");
  CHECK(session["idle_seconds"] == 5);
  CHECK(session["in_band"] == true);
  CHECK(session["ike_remote"] == "198.51.100.7:40000");
  CHECK(session["paths"][0]["state"] == "standby");
  CHECK(session["paths"][0]["rtt_ms"].is_null());
  CHECK(session["paths"][1]["state"] == "in_use");
  CHECK(session["paths"][1]["rtt_ms"] == Approx(12.345));
  CHECK(session["paths"][1]["loss_in"] == Approx(0.0125));
  CHECK(session["paths"][1]["loss_out"].is_null());
  CHECK(session["paths"][1]["mtu"] == 1400);
  CHECK(session["paths"][1]["signals"] == Json{{"unreachable", 2}});
  CHECK(session["moved"] == 7);
  CHECK(session["moves"][0]["from"].is_null());
  CHECK(session["moves"][1]["from_transport"] == "tls");
  CHECK(session["moves"][1]["to"] == "198.51.100.7:40000");
  CHECK(session["moves"][1]["cause"] == "claimed");
  CHECK(session["moves"][1]["left_loss_out"] == 1);
  const auto table = render_sessions(line);
  CHECK(table.find("12.3 ms") != std::string::npos);
  CHECK(table.find("1.2%/-") != std::string::npos);
  CHECK(table.find("from tls 198.51.100.7:50000 to udp 198.51.100.7:40000 (claimed, move 7)") != std::string::npos);
  CHECK(table.find("alice") != std::string::npos);
  CHECK(table.find("3.0 MiB") != std::string::npos);
  CHECK(render_sessions(R"({"ok":true,"sessions":[]})") == "no sessions\n");
}

TEST_CASE("kick takes exactly one target", "[headend][control]") {
  FakeHeadend headend;
  KickTarget target;
  target.user = "alice";
  CHECK(ask(headend, kick_request(target))["ended"] == 2);
  CHECK(headend.kicked.user == "alice");
  target = {};
  target.id = 18446744073709551615U;
  CHECK(ask(headend, kick_request(target))["ok"] == true);
  CHECK(headend.kicked.id == 18446744073709551615U);
  target = {};
  target.address = IpAddress::parse("fd00::2");
  CHECK(ask(headend, kick_request(target))["ok"] == true);
  CHECK(headend.kicked.address == target.address);
  target = {};
  target.all = true;
  CHECK(ask(headend, kick_request(target))["ok"] == true);
  CHECK(headend.kicked.all);

  for (const char* wrong :
       {R"({"command":"kick"})", R"({"command":"kick","id":1,"user":"a"})", R"({"command":"kick","id":-1})",
        R"({"command":"kick","id":"1"})", R"({"command":"kick","user":""})", R"({"command":"kick","user":7})",
        R"({"command":"kick","address":"x"})", R"({"command":"kick","all":false})"}) {
    INFO(wrong);
    CHECK(ask(headend, wrong)["ok"] == false);
  }
}

TEST_CASE("anything that is no request is refused and harms nothing", "[headend][control]") {
  FakeHeadend headend;
  for (const auto& line :
       {std::string{}, std::string{"x"}, std::string{"[]"}, std::string{"{}"}, std::string{"{\"command\":7}"},
        std::string{"{\"command\":\"reboot\"}"}, std::string(10000, '['), std::string("\0\xFF", 2)}) {
    CHECK(ask(headend, line)["ok"] == false);
  }
}

TEST_CASE("commands understand answers, also those that make no sense", "[headend][control]") {
  CHECK(parse_control_answer(R"({"ok":true,"ended":3})").ended == 3);
  CHECK(parse_control_answer(R"({"ok":false,"error":"no"})").error == "no");
  CHECK_FALSE(parse_control_answer("x").ok);
  CHECK_FALSE(parse_control_answer(R"({"ok":1})").ok);
  CHECK_FALSE(parse_control_answer("").error.empty());
}
