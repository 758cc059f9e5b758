#include "headend/firewall.h"

#include <catch2/catch.hpp>

#include "tests/unit/headend/temporary_directory.h"

using namespace switchback;
using namespace switchback::headend;
using test::read_text;
using test::TemporaryDirectory;
using test::write_text;

namespace {

void fake_sysctls(const TemporaryDirectory& root) {
  write_text(root.file("net/ipv4/ip_forward"), "0\n");
  write_text(root.file("net/ipv6/conf/all/forwarding"), "0\n");
  write_text(root.file("net/ipv6/conf/all/accept_ra"), "1\n");
  write_text(root.file("net/ipv6/conf/eth0/accept_ra"), "1\n");
  write_text(root.file("net/ipv6/conf/eth1/accept_ra"), "0\n");
}

}  // namespace

TEST_CASE("the NAT table hides the pools everywhere but in the tunnel", "[headend][firewall]") {
  const std::vector pools{*IpPrefix::parse("10.99.0.0/16"), *IpPrefix::parse("fd00::/64")};
  CHECK(nat_ruleset("switchback_swb0", "swb0", pools, TableOwnership::process) ==
        "table inet switchback_swb0 {\n"
        "  flags owner;\n"
        "  chain postrouting {\n"
        "    type nat hook postrouting priority srcnat; policy accept;\n"
        "    ip saddr 10.99.0.0/16 oifname != \"swb0\" masquerade;\n"
        "    ip6 saddr fd00::/64 oifname != \"swb0\" masquerade;\n"
        "  }\n"
        "}\n");
  CHECK(nat_ruleset("t", "swb0", pools, TableOwnership::plain).find("owner") == std::string::npos);
}

TEST_CASE("forwarding is turned on, keeps router advertisements, and is put back", "[headend][firewall]") {
  const TemporaryDirectory root;
  fake_sysctls(root);
  const auto changed = enable_forwarding(true, true, root.path());
  REQUIRE(changed);
  CHECK(read_text(root.file("net/ipv4/ip_forward")) == "1\n");
  CHECK(read_text(root.file("net/ipv6/conf/all/forwarding")) == "1\n");
  CHECK(read_text(root.file("net/ipv6/conf/eth0/accept_ra")) == "2\n");
  CHECK(read_text(root.file("net/ipv6/conf/eth1/accept_ra")) == "0\n");
  CHECK(changed->size() == 3);
  CHECK(sysctls_from_line(to_line(*changed)) == *changed);

  restore_sysctls(*changed, root.path());
  CHECK(read_text(root.file("net/ipv4/ip_forward")) == "0\n");
  CHECK(read_text(root.file("net/ipv6/conf/all/forwarding")) == "0\n");
  CHECK(read_text(root.file("net/ipv6/conf/eth0/accept_ra")) == "1\n");
}

TEST_CASE("what was on already is neither changed nor turned off", "[headend][firewall]") {
  const TemporaryDirectory root;
  fake_sysctls(root);
  write_text(root.file("net/ipv4/ip_forward"), "1\n");
  write_text(root.file("net/ipv6/conf/all/forwarding"), "1\n");
  CHECK(enable_forwarding(true, true, root.path())->empty());
  CHECK(read_text(root.file("net/ipv6/conf/eth0/accept_ra")) == "1\n");
}

TEST_CASE("only the family that is asked for is touched", "[headend][firewall]") {
  const TemporaryDirectory root;
  fake_sysctls(root);
  CHECK(enable_forwarding(true, false, root.path())->size() == 1);
  CHECK(read_text(root.file("net/ipv6/conf/all/forwarding")) == "0\n");
}

TEST_CASE("what somebody else changed meanwhile is left to them", "[headend][firewall]") {
  const TemporaryDirectory root;
  fake_sysctls(root);
  const auto changed = enable_forwarding(true, true, root.path()).value();
  write_text(root.file("net/ipv6/conf/eth0/accept_ra"), "0\n");
  restore_sysctls(changed, root.path());
  CHECK(read_text(root.file("net/ipv6/conf/eth0/accept_ra")) == "0\n");
}

TEST_CASE("a missing sysctl undoes what was changed before it", "[headend][firewall]") {
  const TemporaryDirectory root;
  write_text(root.file("net/ipv4/ip_forward"), "0\n");
  const auto changed = enable_forwarding(true, true, root.path());
  REQUIRE_FALSE(changed);
  CHECK(changed.error().message.find("forwarding = false") != std::string::npos);
  CHECK(read_text(root.file("net/ipv4/ip_forward")) == "0\n");
}

TEST_CASE("a damaged record of sysctls gives what makes sense and nothing outside", "[headend][firewall]") {
  CHECK(sysctls_from_line("").empty());
  CHECK(sysctls_from_line("garbage;net/ipv4/ip_forward=0;../../etc/passwd=x;net/ipv4/../x=1;=;") ==
        std::vector<ChangedSysctl>{{"net/ipv4/ip_forward", "0"}});
}
