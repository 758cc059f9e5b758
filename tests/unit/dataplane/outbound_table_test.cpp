#include "transports/dataplane/outbound_table.h"

#include <catch2/catch.hpp>

#include "tests/unit/dataplane/ends.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::testing;
using namespace switchback::transports;

namespace {

std::unique_ptr<Child> child_to(std::vector<std::string> remote,
                                std::vector<std::string> local = {"0.0.0.0/0", "::/0"}) {
  StaticChild child;
  child.local = std::move(local);
  child.remote = std::move(remote);
  return std::make_unique<Child>(child.make({}));
}

const Child* find(const OutboundTable& table, const std::string& destination, const std::string& source = "") {
  PacketSpec spec;
  spec.destination = destination;
  spec.source = !source.empty() ? source : destination.find(':') == std::string::npos ? "10.0.0.1" : "fd00::1";
  const auto packet = make_udp(spec);
  return table.find(packet, *packet::parse_ip(packet)).child;
}

}  // namespace

TEST_CASE("the narrowest destination wins, whatever the order of installation", "[dataplane][rfc4301]") {
  const auto all = child_to({"0.0.0.0/0", "::/0"}), net = child_to({"10.1.0.0/16"}), host = child_to({"10.1.2.3/32"}),
             other = child_to({"10.1.128.0/17", "fd00:1::/64"});
  for (const auto& order : {std::vector{all.get(), net.get(), host.get(), other.get()},
                            std::vector{other.get(), host.get(), net.get(), all.get()}}) {
    OutboundTable table;
    for (auto* child : order) table.add({child});
    CHECK(find(table, "10.1.2.3") == host.get());
    CHECK(find(table, "10.1.2.4") == net.get());
    CHECK(find(table, "10.1.128.1") == other.get());
    CHECK(find(table, "192.0.2.1") == all.get());
    CHECK(find(table, "fd00:1::5") == other.get());
    CHECK(find(table, "fd00:2::5") == all.get());
  }
}

TEST_CASE("of equal destinations the newest wins, and the older one takes over when it goes", "[dataplane]") {
  for (const auto* remote : {"10.1.2.3/32", "10.1.2.0/24"}) {
    const auto older = child_to({remote}), newer = child_to({remote});
    OutboundTable table;
    table.add({older.get()});
    table.add({newer.get()});
    CHECK(find(table, "10.1.2.3") == newer.get());
    table.remove({newer.get()});
    CHECK(find(table, "10.1.2.3") == older.get());
    table.remove({older.get()});
    CHECK(find(table, "10.1.2.3") == nullptr);
    CHECK(table.size() == 0);
  }
}

TEST_CASE("a packet whose source an SA does not carry goes on to the next one", "[dataplane][rfc4301]") {
  const auto wide = child_to({"0.0.0.0/0"}, {"10.0.0.0/8"});
  const auto narrow = child_to({"10.1.2.3/32"}, {"172.16.0.0/12"});
  OutboundTable table;
  table.add({wide.get()});
  table.add({narrow.get()});
  CHECK(find(table, "10.1.2.3", "172.16.0.1") == narrow.get());
  CHECK(find(table, "10.1.2.3", "10.5.5.5") == wide.get());
  CHECK(find(table, "10.1.2.3", "192.0.2.5") == nullptr);
}

TEST_CASE("ends of a range belong to it and their neighbours do not", "[dataplane]") {
  StaticChild fixed;
  auto child = fixed.make({});
  packet::TrafficSelector range;
  range.first = *IpAddress::parse("10.0.0.255");
  range.last = *IpAddress::parse("10.0.1.1");
  child.outbound.remote = {range};
  child.outbound.local = {packet::from_prefix(*IpPrefix::parse("0.0.0.0/0"))};
  Child made{std::move(child)};
  OutboundTable table;
  table.add({&made});
  CHECK(find(table, "10.0.0.254") == nullptr);
  CHECK(find(table, "10.0.0.255") == &made);
  CHECK(find(table, "10.0.1.1") == &made);
  CHECK(find(table, "10.0.1.2") == nullptr);
}

TEST_CASE("one host with several port ranges is listed once and leaves no trace", "[dataplane]") {
  StaticChild fixed;
  auto child = fixed.make({});
  auto web = packet::from_host(*IpAddress::parse("10.0.0.9"));
  web.ip_protocol = 17;
  web.first_port = web.last_port = 443;
  auto dns = web;
  dns.first_port = dns.last_port = 53;
  child.outbound.remote = {web, dns};
  child.outbound.local = {packet::from_prefix(*IpPrefix::parse("0.0.0.0/0"))};
  Child made{std::move(child)};
  OutboundTable table;
  table.add({&made});
  CHECK(find(table, "10.0.0.9") == &made);  // port 443 of the builder
  table.remove({&made});
  CHECK(table.size() == 0);
}
