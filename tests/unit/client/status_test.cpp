#include "client/status.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace switchback::client {
namespace {

using Json = nlohmann::json;

StatusView running() {
  StatusView status;
  status.tun = "swb0";
  status.state = "up";
  status.transport = "ctcp";
  status.path = {*Endpoint::parse("198.51.100.2:40000"), *Endpoint::parse("192.0.2.1:10000")};
  status.path_state = "settled";
  status.order = {"udp", "ctcp"};
  status.left_out = {{"esp", "raw sockets are not permitted"}};
  status.moves = 3;
  PathView path;
  path.id = 4;
  path.transport = "ctcp";
  path.role = "in_use";
  path.measured = true;
  path.rtt_ms = 12.34567;
  path.loss_out = 0.25;
  path.goodput_in = 1000.4;
  path.outer_mtu = 1400;
  path.signals = {{"reset", 2}};
  status.paths.push_back(path);
  PathEventView event;
  event.kind = "moved";
  event.from = "udp v4";
  event.text = "moved from udp v4 to ctcp v4: report_missing";
  status.events.push_back(event);
  status.offloads = {{"udp", "segmentation", "0.0.0.0:40000", "in use", "", {}, {}},
                     {"udp", "receive", "eth0", "quarantined", "50 of 60 packets failed",
                      WallTime{std::chrono::seconds{1'700'000'000}}, WallTime{std::chrono::seconds{1'700'000'600}}}};
  return status;
}

}  // namespace

TEST_CASE("the status tells the path in use, its figures, all paths with their signals, and what was decided",
          "[status]") {
  const auto json = Json::parse(to_json(running()));
  CHECK(json["transport"] == "ctcp");
  CHECK(json["local"] == "198.51.100.2:40000");
  CHECK(json["path_state"] == "settled");
  CHECK(json["rtt_ms"] == 12.346);
  CHECK(json["loss_out"] == 0.25);
  CHECK(json["loss_in"].is_null());  // not known
  CHECK(json["goodput_in"] == 1000);
  CHECK(json["outer_mtu"] == 1400);
  CHECK(json["moves"] == 3);
  CHECK(json["paths"][0]["signals"]["reset"] == 2);
  CHECK(json["events"][0]["text"] == "moved from udp v4 to ctcp v4: report_missing");
  CHECK(json["events"][0]["signal"].is_null());
  CHECK(json["left_out"][0]["transport"] == "esp");
}

TEST_CASE("without a path the figures are null rather than zero, and no transport is named", "[status]") {
  const auto json = Json::parse(to_json(StatusView{}));
  for (const auto* key : {"transport", "local", "remote", "rtt_ms", "loss_out", "goodput_in", "forced"}) {
    CHECK(json[key].is_null());
  }
  CHECK(json["paths"].empty());
}

TEST_CASE("native ESP is shown without ports", "[status]") {
  auto status = running();
  status.path = {{*IpAddress::parse("198.51.100.2"), 0}, {*IpAddress::parse("2001:db8::1"), 0}};
  const auto json = Json::parse(to_json(status));
  CHECK(json["local"] == "198.51.100.2");
  CHECK(json["remote"] == "2001:db8::1");
}

TEST_CASE("people see the transport, its figures and what was left out", "[status]") {
  const auto text = render_status(to_json(running()));
  CHECK(text.find("transport   ctcp from 198.51.100.2:40000\n") != std::string::npos);
  CHECK(text.find("path        settled, rtt 12.3 ms, loss out 25.0 %, 3 moves\n") != std::string::npos);
  CHECK(text.find("left out    esp: raw sockets are not permitted\n") != std::string::npos);
}

TEST_CASE("the status tells every offload, and people those that are not in use", "[status][offload]") {
  const auto json = Json::parse(to_json(running()))["offloads"];
  REQUIRE(json.size() == 2);
  CHECK(json[0]["state"] == "in use");
  CHECK(json[0]["reason"].is_null());
  CHECK(json[0]["until"].is_null());
  CHECK(json[1]["where"] == "eth0");
  CHECK(json[1]["since"] == "2023-11-14T22:13:20Z");
  CHECK(json[1]["until"] == "2023-11-14T22:23:20Z");
  const auto text = render_status(to_json(running()));
  CHECK(text.find("offload     udp receive at eth0: quarantined (50 of 60 packets failed)\n") != std::string::npos);
  CHECK(text.find("segmentation") == std::string::npos);
}

TEST_CASE("requests come back as they were sent, and anything else is unknown", "[status]") {
  const auto use = parse_control_request(control_request_line({ControlCommand::use, "tls"}));
  CHECK(use.command == ControlCommand::use);
  CHECK(use.transport == "tls");
  CHECK(parse_control_request(control_request_line({ControlCommand::status, {}})).command == ControlCommand::status);
  CHECK(parse_control_request(control_request_line({ControlCommand::disconnect, {}})).command ==
        ControlCommand::disconnect);
  for (const auto* line : {"", "[]", "{}", R"({"command":7})", R"({"command":"explode"})", "\xFF"}) {
    CHECK(parse_control_request(line).command == ControlCommand::unknown);
  }
  CHECK(parse_control_request(R"({"command":"use"})").transport.empty());
}

TEST_CASE("an answer is an error if it says so or makes no sense", "[status]") {
  CHECK_FALSE(control_error(control_ok()));
  CHECK(control_error(control_refusal("cannot move")) == "cannot move");
  CHECK(control_error("nonsense") == "the answer is not JSON");
}

}  // namespace switchback::client
