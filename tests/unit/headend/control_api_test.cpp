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
  const auto table = render_sessions(line);
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
