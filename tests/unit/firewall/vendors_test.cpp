// Each vendor's text against a file in golden/. To write them anew after a change: SB_WRITE_GOLDEN=1 unit_firewall
#include "tools/firewall/vendors.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

using namespace switchback;
using namespace switchback::firewall;

namespace {

Request request_for(Mode mode) {
  Request request;
  profile::Profile profile;
  profile.headend.addresses = {"192.0.2.1", "2001:db8:1::1"};
  profile.transports.ctcp_ports = {10000, 10001};
  request.flows = *from_profile(
      profile, [](const std::string&) -> Result<std::vector<IpAddress>, std::string> { return fail(std::string{}); });
  request.mode = mode;
  return request;
}

std::string text_of(const Vendor& vendor, const Request& request, Part part = Part::all) {
  const auto sheet = write_sheet(vendor, request);
  REQUIRE(sheet);
  return render(*sheet, request, part);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream{text};
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

void compare_with_file(const std::string& name, const std::string& text) {
  const auto path = std::string{SB_SOURCE_DIR} + "/tests/unit/firewall/golden/" + name + ".txt";
  if (std::getenv("SB_WRITE_GOLDEN") != nullptr) {
    std::ofstream{path} << text;
    return;
  }
  std::ifstream file{path};
  INFO(path);
  REQUIRE(file);
  std::ostringstream wanted;
  wanted << file.rdbuf();
  CHECK(text == wanted.str());
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("every vendor's text is the one that was read and found right", "[firewall][golden]") {
  for (const auto& vendor : vendors()) {
    DYNAMIC_SECTION(vendor.name) {
      compare_with_file(std::string{vendor.name} + "-bypass", text_of(vendor, request_for(Mode::bypass)));
      compare_with_file(std::string{vendor.name} + "-tolerant", text_of(vendor, request_for(Mode::tolerant)));
      auto narrowed = request_for(Mode::bypass);
      REQUIRE(set_clients(narrowed.flows, {"10.1.0.0/16", "2001:db8:2::/48"}));
      const bool linux_names = vendor.name == "nftables" || vendor.name == "iptables" || vendor.name == "pf";
      narrowed.interface = linux_names ? "wan0" : "ge-0/0/2.100";
      narrowed.inside = linux_names ? "lan0.20" : "ge-0/0/3.200";
      compare_with_file(std::string{vendor.name} + "-narrowed", text_of(vendor, narrowed));
    }
  }
}

TEST_CASE("every text begins with the advice that makes it superfluous, and names all that is to be permitted",
          "[firewall]") {
  for (const auto& vendor : vendors()) {
    for (const auto mode : {Mode::permit, Mode::bypass, Mode::tolerant}) {
      INFO(vendor.name);
      const auto text = text_of(vendor, request_for(mode));
      CHECK(has(lines_of(text).at(0),
                "Allow UDP 500/4500 and ESP (protocol 50) to the headend: then no bypass is needed."));
      for (const std::string_view part : {"192.0.2.1", "2001:db8:1::1", "500", "4500", "443", "10000", "10001"}) {
        INFO(part);
        CHECK(has(text, part));
      }
      CHECK((has(text, "esp") || has(text, "ESP")));
      CHECK(has(text, " ---- Check"));
      CHECK(has(text, " ---- Undo"));
      CHECK(has(text, " ---- Security"));
      CHECK(has(text, "Remove part 2 after") == (mode != Mode::permit));
    }
  }
}

TEST_CASE("with permit alone nothing is exempt, and without ctcp there is nothing to exempt", "[firewall]") {
  for (const auto& vendor : vendors()) {
    INFO(vendor.name);
    CHECK(text_of(vendor, request_for(Mode::permit), Part::rule).empty());
    auto without = request_for(Mode::bypass);
    without.flows.ctcp.clear();
    CHECK(text_of(vendor, without, Part::rule).empty());
    const auto text = text_of(vendor, without);
    CHECK(has(text, "Nothing to exempt"));
    CHECK_FALSE(has(text, "10000"));
    CHECK(has(text, "nothing is given up"));
  }
}

TEST_CASE("pasting the whole undoes nothing: check and rollback stand in comments", "[firewall]") {
  for (const auto& vendor : vendors()) {
    for (const auto mode : {Mode::bypass, Mode::tolerant}) {
      INFO(vendor.name);
      const auto request = request_for(mode);
      const std::string comment = vendor.name == "asa" || vendor.name == "ios" ? "!" : "#";
      std::vector<std::string> live;
      for (const auto& line : lines_of(text_of(vendor, request))) {
        if (!line.empty() && line.rfind(comment, 0) != 0) live.push_back(line);
      }
      auto wanted = lines_of(text_of(vendor, request, Part::permit));
      const auto rule = lines_of(text_of(vendor, request, Part::rule));
      wanted.insert(wanted.end(), rule.begin(), rule.end());
      CHECK(live == wanted);
    }
  }
}

TEST_CASE("names that could be more than names are refused for every vendor", "[firewall]") {
  for (const std::string name : {"eth0; reboot",
                                 "eth0\nreload",
                                 "eth0\" accept",
                                 "$(reboot)",
                                 "`reboot`",
                                 "eth 0",
                                 "-j",
                                 "'",
                                 "\\",
                                 "eth0|sh",
                                 "",
                                 "eth0\t",
                                 "a234567890123456789012345678901b",
                                 "{",
                                 "#",
                                 "!",
                                 "\xc3\xa9th0",
                                 ".eth0",
                                 "/etc",
                                 "eth0>x",
                                 "eth0&"}) {
    INFO(name);
    CHECK_FALSE(check_name(name, "--interface"));
    if (name.empty()) continue;
    for (const auto& vendor : vendors()) {
      auto request = request_for(Mode::bypass);
      request.interface = name;
      request.inside = "eth1";
      CHECK_FALSE(write_sheet(vendor, request));
      std::swap(request.interface, request.inside);
      CHECK_FALSE(write_sheet(vendor, request));
    }
  }
  for (const std::string name : {"eth0", "GigabitEthernet0/0/1.100", "ge-0/0/0", "outside", "br_lan"}) {
    CHECK(check_name(name, "--interface"));
  }
}

TEST_CASE("a chain is one or two words, as its vendor has it", "[firewall]") {
  const auto written = [](std::string_view vendor, const std::string& chain) {
    auto request = request_for(Mode::bypass);
    request.chain = chain;
    return static_cast<bool>(write_sheet(*find_vendor(vendor), request));
  };
  CHECK(written("nftables", "fw4 forward"));
  CHECK_FALSE(written("nftables", "forward"));
  CHECK_FALSE(written("nftables", "filter forward accept"));
  CHECK_FALSE(written("nftables", "filter  forward"));
  CHECK_FALSE(written("nftables", "filter forward;flush"));
  CHECK_FALSE(written("nftables", "filter\nforward"));
  CHECK(written("iptables", "DOCKER-USER"));
  CHECK_FALSE(written("iptables", "FORWARD 1"));
  CHECK_FALSE(written("iptables", "-F"));
  CHECK_FALSE(written("iptables", "FORWARD\nCOMMIT"));
  CHECK_FALSE(written("asa", "outside"));
}

TEST_CASE("whatever the flows are, the text has nothing but printable ASCII", "[firewall]") {
  for (const auto& vendor : vendors()) {
    for (const auto& line : lines_of(text_of(vendor, request_for(Mode::bypass)))) {
      INFO(vendor.name << ": " << line);
      CHECK(std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c < 127; }));
    }
  }
}

TEST_CASE("Linux gets names that Linux has", "[firewall]") {
  for (const auto* vendor : {"nftables", "iptables"}) {
    auto request = request_for(Mode::bypass);
    request.interface = "ge-0/0/0";
    CHECK_FALSE(write_sheet(*find_vendor(vendor), request));
    request.interface = "a234567890123456";
    CHECK_FALSE(write_sheet(*find_vendor(vendor), request));
    request.interface = "a23456789012345";
    CHECK(write_sheet(*find_vendor(vendor), request));
  }
}

TEST_CASE("pf is told of both interfaces or of none", "[firewall]") {
  auto request = request_for(Mode::bypass);
  request.interface = "em0";
  CHECK_FALSE(write_sheet(*find_vendor("pf"), request));
  request.inside = "em1";
  CHECK(write_sheet(*find_vendor("pf"), request));
  CHECK(find_vendor("pfsense") == nullptr);
}
