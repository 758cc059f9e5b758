#include "client/doctor_diagnosis.h"

#include <catch2/catch.hpp>

#include <algorithm>

namespace switchback::client::doctor {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::array kKinds{WayKind::udp_4500,     WayKind::udp_500, WayKind::esp, WayKind::ctcp_resilient,
                            WayKind::ctcp_classic, WayKind::tls,     WayKind::tcp};

std::uint16_t port_of(WayKind kind) {
  switch (kind) {
    case WayKind::udp_500: return 500;
    case WayKind::esp: return 0;
    case WayKind::ctcp_resilient:
    case WayKind::ctcp_classic: return 10000;
    case WayKind::tls: return 443;
    default: return 4500;
  }
}

/// A way on which everything is as it should be.
WayFacts good_way(WayKind kind, const IpAddress& headend, const IpAddress& here) {
  WayFacts way;
  way.kind = kind;
  way.remote = {headend, port_of(kind)};
  way.local = {here, static_cast<std::uint16_t>(kind == WayKind::esp ? 0 : 40000)};
  way.knock.result = looks_like_tcp(kind) ? Knock::answered : Knock::silent;
  if (looks_like_tcp(kind)) way.knock.rtt = milliseconds{20};
  way.opened = true;
  if (kind != WayKind::esp) way.ike = IkeAnswer::answered;
  if (kind == WayKind::udp_500) return way;
  way.probed = true;
  way.answered = 210;
  way.there = way.back = {200, 200};
  way.rtt = milliseconds{21};
  way.seen = Seen{way.local, way.remote, {}};
  if (looks_like_tcp(kind)) {
    TcpEnd end;
    end.window_scale = end.own_window_scale = 8;
    end.sack = end.timestamps = end.engine = true;
    end.rtt = milliseconds{20};
    if (!is_kernel_tcp(kind)) {
      end.numbers_known = true;
      end.local_isn = 1;
      end.remote_isn = 2;
    }
    way.here = end;
    std::swap(end.local_isn, end.remote_isn);
    way.seen->tcp = end;
  }
  if (!is_kernel_tcp(kind) && kind != WayKind::ctcp_classic) {
    way.mtu.link = way.mtu.works = 1500;
    way.mtu.searched = true;
    way.mtu.large_back = {6, 6};
  }
  if (kind == WayKind::ctcp_classic) {
    way.after_hole = way.after_jump = {30, 30};
  } else {
    way.burst = {{160, 160}, 1200, 900'000.0};
  }
  return way;
}

Facts good() {
  Facts facts;
  facts.names = {"vpn.example"};
  const auto headend = *IpAddress::parse("192.0.2.1"), here = *IpAddress::parse("198.51.100.2");
  facts.addresses = {headend};
  for (const auto kind : kKinds) facts.ways.push_back(good_way(kind, headend, here));
  facts.auth = AuthResult::ok;
  facts.clock = WallTime{hours{24 * 365 * 55}};
  facts.headend_clock = facts.clock;
  facts.own_not_before = facts.clock - hours{24};
  facts.own_not_after = facts.clock + hours{24 * 365};
  facts.full = true;
  return facts;
}

WayFacts& way(Facts& facts, WayKind kind) {
  return *std::find_if(facts.ways.begin(), facts.ways.end(), [&](const WayFacts& one) { return one.kind == kind; });
}

/// Nothing came through it.
void silence(WayFacts& way) {
  const auto kind = way.kind;
  const auto remote = way.remote;
  way = {};
  way.kind = kind;
  way.remote = remote;
  way.knock.result = Knock::silent;
  way.ike = kind == WayKind::esp ? IkeAnswer::untested : IkeAnswer::silent;
  way.probed = kind == WayKind::esp;
}

/// All ids; those that are worse than a note.
std::vector<std::string> ids(const std::vector<Finding>& findings, bool bad) {
  std::vector<std::string> out;
  for (const auto& finding : findings) {
    if (!bad || finding.severity <= Severity::problem) out.push_back(finding.id);
  }
  return out;
}
std::vector<std::string> said(const Facts& facts) { return ids(diagnose(facts), false); }
std::vector<std::string> bad(const Facts& facts) { return ids(diagnose(facts), true); }
using Ids = std::vector<std::string>;

}  // namespace

TEST_CASE("where nothing is wrong, nothing is named", "[doctor]") {
  CHECK(said(good()) == Ids{"clean"});
  auto few = good();
  way(few, WayKind::udp_4500).there.arrived = 199;  // one packet in a thousand is nobody's fault
  CHECK(said(few) == Ids{"clean"});
  auto unserved = good();
  silence(way(unserved, WayKind::tcp));
  way(unserved, WayKind::tcp).offered = false;
  CHECK(said(unserved) == Ids{"clean"});
}

TEST_CASE("a port that is silent, refused or answered by ICMP is blocked so", "[doctor]") {
  auto facts = good();
  silence(way(facts, WayKind::udp_4500));
  CHECK(bad(facts) == Ids{"blocked-silent"});
  CHECK(diagnose(facts).front().sentence.find("UDP 4500 is blocked") == 0);
  silence(way(facts, WayKind::udp_500));
  CHECK(diagnose(facts).front().sentence.find("All UDP is blocked") == 0);

  facts = good();
  silence(way(facts, WayKind::tls));
  way(facts, WayKind::tls).knock.result = Knock::refused;
  CHECK(bad(facts) == Ids{"blocked-rst"});

  facts = good();
  silence(way(facts, WayKind::esp));
  CHECK(bad(facts) == Ids{"blocked-silent"});
  way(facts, WayKind::esp).knock = {
      Knock::unreachable, {}, "administratively prohibited", *IpAddress::parse("10.0.0.1")};
  const auto findings = diagnose(facts);
  CHECK(ids(findings, true) == Ids{"blocked-icmp"});
  CHECK(findings.front().evidence.front().find("from 10.0.0.1") != std::string::npos);
}

TEST_CASE("a NAT is a note, and that it does not carry protocol 50 is no fault", "[doctor]") {
  auto facts = good();
  for (auto& one : facts.ways) {
    if (one.seen) one.seen->client = {*IpAddress::parse("203.0.113.9"), 51000};
  }
  silence(way(facts, WayKind::esp));
  const auto all = said(facts);
  CHECK(bad(facts).empty());
  CHECK(std::count(all.begin(), all.end(), "nat") == 1);
  CHECK(std::count(all.begin(), all.end(), "esp-nat") == 1);
}

TEST_CASE("a TCP proxy shows in options, cuts and round trips", "[doctor]") {
  auto facts = good();
  way(facts, WayKind::ctcp_resilient).seen->tcp->engine = false;
  CHECK(said(facts) == Ids{"clean", "tcp-proxy"});
  way(facts, WayKind::ctcp_classic).after_hole = {30, 0};  // which explains that
  CHECK(said(facts) == Ids{"clean", "tcp-proxy"});
  facts.classic_configured = true;
  CHECK(bad(facts) == Ids{"tcp-proxy"});
  facts = good();
  way(facts, WayKind::tcp).seen->tcp->window_scale = 7;
  CHECK(said(facts) == Ids{"clean", "tcp-proxy"});
  facts = good();
  way(facts, WayKind::tls).here->rtt = milliseconds{2};
  CHECK(said(facts) == Ids{"clean", "tcp-proxy"});
  facts = good();
  way(facts, WayKind::ctcp_classic).here->local_isn = 99;  // rewritten, nothing else
  CHECK(said(facts) == Ids{"clean", "tcp-normalizer"});
}

TEST_CASE("a classic flow that dies at a hole means a device that tracks streams", "[doctor]") {
  auto facts = good();
  way(facts, WayKind::ctcp_classic).after_hole = {40, 0};
  way(facts, WayKind::ctcp_classic).unanswered_at_end = 190;
  CHECK(said(facts) == Ids{"clean", "stream-tracking"});
  way(facts, WayKind::ctcp_classic).after_hole = {30, 30};
  way(facts, WayKind::ctcp_classic).after_jump = {30, 0};  // it tracks windows rather than holes
  CHECK(said(facts) == Ids{"clean", "stream-tracking"});
  facts.classic_configured = true;
  CHECK(bad(facts) == Ids{"stream-tracking"});
  CHECK(diagnose(facts).front().remedy.find("switchback-firewall") != std::string::npos);
}

TEST_CASE("RSTs on a connection that the headend goes on answering are injected", "[doctor]") {
  auto facts = good();
  way(facts, WayKind::ctcp_resilient).resets = 1;
  way(facts, WayKind::ctcp_classic).closed = "connection reset";
  CHECK(said(facts) == Ids{"rst-injection"});
  facts = good();
  way(facts, WayKind::tls).closed = "connection reset by peer";
  way(facts, WayKind::tls).unanswered_at_end = 100;
  CHECK(bad(facts) == Ids{"rst-injection"});
}

TEST_CASE("sizes that vanish are a black hole, those that ICMP tells of are not", "[doctor]") {
  auto facts = good();
  for (const auto kind : {WayKind::udp_4500, WayKind::esp, WayKind::ctcp_resilient}) way(facts, kind).mtu.works = 1400;
  CHECK(bad(facts) == Ids{"mtu-hole"});
  for (const auto kind : {WayKind::udp_4500, WayKind::esp, WayKind::ctcp_resilient}) way(facts, kind).mtu.icmp = 1400;
  CHECK(said(facts) == Ids{"clean", "mtu-lower"});
  facts = good();
  way(facts, WayKind::udp_4500).mtu.large_back = {6, 0};
  CHECK(bad(facts) == Ids{"mtu-hole-back"});
}

TEST_CASE("throttling is what others do not suffer", "[doctor]") {
  auto facts = good();
  way(facts, WayKind::udp_4500).burst = {{160, 60}, 1200, 120'000.0};
  CHECK(bad(facts) == Ids{"udp-throttled"});
  for (auto& one : facts.ways) {
    if (one.burst.packets.sent != 0) one.burst = {{160, 60}, 1200, 120'000.0};
  }
  CHECK(said(facts) == Ids{"clean", "slow"});
}

TEST_CASE("loss is told by direction", "[doctor]") {
  auto facts = good();
  way(facts, WayKind::udp_4500).there = {200, 190};
  way(facts, WayKind::udp_4500).back = {190, 190};
  const auto findings = diagnose(facts);
  CHECK(ids(findings, true) == Ids{"loss"});
  CHECK(findings.front().sentence.find("to the headend") != std::string::npos);
  CHECK(findings.front().sentence.find("from it") == std::string::npos);
  CHECK(findings.front().remedy.find("--locate-loss") != std::string::npos);
}

TEST_CASE("a flow that dies is named, unless that is classic's habit", "[doctor]") {
  auto facts = good();
  way(facts, WayKind::ctcp_resilient).unanswered_at_end = 100;
  CHECK(bad(facts) == Ids{"dies"});
}

TEST_CASE("what IKE_AUTH says is explained", "[doctor]") {
  const auto with = [](AuthResult result, std::string detail) {
    auto facts = good();
    facts.auth = result;
    facts.auth_detail = std::move(detail);
    facts.headend_clock.reset();
    for (auto& one : facts.ways) {
      one.probed = false;
      one.answered = 0;
      one.there = one.back = {};
      one.mtu = {};
      one.burst = {};
      one.after_hole = one.after_jump = {};
    }
    return facts;
  };
  CHECK(bad(with(AuthResult::refused_us, "the peer answered AUTHENTICATION_FAILED")) == Ids{"user-refused"});
  CHECK(bad(with(AuthResult::no_proposal, "")) == Ids{"no-proposal"});
  CHECK(bad(with(AuthResult::no_address, "")) == Ids{"no-address"});
  CHECK(bad(with(AuthResult::not_trusted, "unknown issuer")) == Ids{"headend-untrusted"});
  CHECK(bad(with(AuthResult::not_trusted, "its certificate has expired")) == Ids{"headend-certificate-expired"});

  auto nothing_in_common = with(AuthResult::no_proposal, "");
  for (auto& one : nothing_in_common.ways) one.ike = IkeAnswer::refused;
  nothing_in_common.tls_web.tried = nothing_in_common.tls_web.tls = true;
  CHECK(bad(nothing_in_common) == Ids{"no-proposal"});

  auto facts = with(AuthResult::refused_us, "");
  facts.own_not_after = facts.clock - hours{48};
  CHECK(bad(facts) == Ids{"certificate-expired"});

  facts = with(AuthResult::not_trusted, "its certificate has expired");
  facts.tls_web.date = facts.clock - hours{24 * 400};
  CHECK(bad(facts) == Ids{"clock"});
  CHECK(diagnose(facts).front().sentence.find("by 400 days") != std::string::npos);

  facts = with(AuthResult::not_trusted, "not yet valid");
  facts.own_not_before = facts.clock + hours{24};
  CHECK(bad(facts) == Ids{"clock"});
}

TEST_CASE("where nothing gets through, it is said which nothing it is", "[doctor]") {
  auto facts = good();
  facts.auth = AuthResult::not_reached;
  facts.headend_clock.reset();
  for (auto& one : facts.ways) {
    silence(one);
    one.probed = false;
  }
  CHECK(bad(facts) == Ids{"all-silent"});

  auto down = facts;
  for (auto& one : down.ways) one.knock.result = Knock::refused;
  CHECK(bad(down) == Ids{"headend-down"});

  auto portal = facts;
  for (auto& one : portal.ways) {
    if (looks_like_tcp(one.kind)) one.knock.result = Knock::answered;
  }
  CHECK(bad(portal) == Ids{"headend-mute"});
  portal.plain_web.status = 302;
  portal.plain_web.location = "http://login.example/";
  const auto findings = diagnose(portal);
  CHECK(ids(findings, true) == Ids{"captive-portal"});
  CHECK(findings.front().remedy.find("http://login.example/") != std::string::npos);
}

TEST_CASE("names and routes come before everything else", "[doctor]") {
  Facts facts;
  facts.lookup_failure = "vpn.example: Name or service not known";
  CHECK(bad(facts) == Ids{"dns"});
  facts = {};
  facts.addresses = {*IpAddress::parse("192.0.2.1")};
  facts.no_route = {"192.0.2.1 (Network is unreachable)"};
  CHECK(bad(facts) == Ids{"no-route"});
}

TEST_CASE("a family that is a black hole is told once", "[doctor]") {
  auto facts = good();
  const auto headend = *IpAddress::parse("2001:db8::1"), here = *IpAddress::parse("2001:db8::2");
  facts.addresses.push_back(headend);
  for (const auto kind : kKinds) {
    facts.ways.push_back(good_way(kind, headend, here));
    silence(facts.ways.back());
  }
  CHECK(bad(facts) == Ids{"family-silent"});
}

TEST_CASE("an idle timeout shorter than keepalives is a problem", "[doctor]") {
  auto facts = good();
  way(facts, WayKind::udp_4500).idle_died = seconds{15};
  CHECK(bad(facts) == Ids{"idle-timeout"});
  way(facts, WayKind::udp_4500).idle_died = seconds{60};
  CHECK(said(facts) == Ids{"clean", "idle-timeout"});
}

}  // namespace switchback::client::doctor
