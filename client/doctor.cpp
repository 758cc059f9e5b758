#include "client/doctor.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <thread>

#include "client/doctor_diagnosis.h"
#include "client/doctor_knock.h"
#include "client/doctor_prober.h"
#include "client/doctor_report.h"
#include "client/locate.h"
#include "client/resolver.h"
#include "client/route_plan.h"
#include "client/targets.h"
#include "common/base/log.h"
#include "common/io/netlink.h"
#include "common/io/sockets.h"
#include "transports/tls/visit.h"

namespace switchback::client {
namespace {

using doctor::Facts;
using doctor::WayKind;

constexpr std::uint16_t kHttpPort = 80;

/// The mark of a running client's outer packets, which its policy routing lets past its tunnel; 0 if none runs.
std::uint32_t mark_in_use() {
  auto netlink = io::Netlink::open();
  if (!netlink) return 0;
  std::vector<io::Rule> rules;
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    if (const auto some = netlink->rules(family)) rules.insert(rules.end(), some->begin(), some->end());
  }
  const auto first_free = choose_numbers({});
  std::uint32_t found = 0;
  for (const auto& rule : rules) {
    if (rule.mark >= first_free.mark && rule.mark < first_free.mark + kPrioritySpan &&
        rule.priority >= first_free.priority) {
      found = found == 0 ? rule.mark : std::min(found, rule.mark);
    }
  }
  return found;
}

struct OutsideFacts {
  std::vector<doctor::KnockTarget> targets;
  std::vector<doctor::KnockResult> knocks;
  doctor::WebFacts tls, plain;
};

/// What needs no session: on a thread of its own, beside the prober.
OutsideFacts look_from_outside(const Facts& facts, const Config& config, std::uint32_t mark) {
  OutsideFacts outside;
  const auto ports = ports_of(config.profile);
  for (const auto& address : facts.addresses) {
    outside.targets.push_back({WayKind::udp_500, {address, ports.ike}});
    outside.targets.push_back({WayKind::udp_4500, {address, ports.nat_t}});
    outside.targets.push_back({WayKind::esp, {address, 0}});
    const auto ctcp = ports.ctcp.empty() ? std::uint16_t{10000} : ports.ctcp.front();
    outside.targets.push_back({WayKind::ctcp_resilient, {address, ctcp}});
    outside.targets.push_back({WayKind::tls, {address, ports.tls}});
    outside.targets.push_back({WayKind::tcp, {address, ports.tcp}});
  }
  doctor::KnockOptions options;
  options.mark = mark;
  options.local = config.local;
  outside.knocks = doctor::knock(outside.targets, options);
  for (std::size_t i = 0; i < outside.targets.size(); ++i) {
    const auto& target = outside.targets[i];
    if (target.kind != WayKind::tls || outside.knocks[i].facts.result != doctor::Knock::answered) continue;
    const auto source = io::source_address_for(target.remote, mark);
    transports::tls::VisitOptions visiting;
    visiting.mark = mark;
    visiting.server_name = config.profile.transports.tls_server_name.value_or("");
    const auto visit =
        transports::tls::visit(config.local.value_or(source ? *source : IpAddress{}), target.remote, visiting);
    outside.tls.tried = true;
    outside.tls.tls = visit.secured;
    outside.tls.tls_error = visit.error;
    outside.tls.certificate_subject = visit.subject;
    outside.tls.certificate_issuer = visit.issuer;
    if (visit.secured) {
      doctor::read_http_head(visit.head, outside.tls);
    } else {
      auto plain = doctor::ask_plainly(target.remote, options);
      plain.tls_error = visit.error;
      outside.tls = std::move(plain);
    }
    break;
  }
  for (const auto& address : facts.addresses) {
    outside.plain = doctor::ask_plainly({address, kHttpPort}, options);
    if (outside.plain.status != 0) break;
  }
  return outside;
}

void merge(Facts& facts, OutsideFacts outside) {
  facts.tls_web = std::move(outside.tls);
  facts.plain_web = std::move(outside.plain);
  for (std::size_t i = 0; i < outside.targets.size(); ++i) {
    for (auto& way : facts.ways) {
      const bool same_kind = way.kind == outside.targets[i].kind ||
                             (way.kind == WayKind::ctcp_classic && outside.targets[i].kind == WayKind::ctcp_resilient);
      const bool same_address = way.remote.address == outside.targets[i].remote.address;
      if (same_kind && same_address) way.knock = outside.knocks[i].facts;
      const auto mtu = outside.knocks[i].icmp_mtu;
      if (same_address && mtu != 0 && (way.mtu.icmp == 0 || mtu < way.mtu.icmp)) way.mtu.icmp = mtu;
    }
  }
}

/// At most one address of each family, and only those with a route.
void choose_addresses(Facts& facts, const Config& config, std::uint32_t mark) {
  auto answer = resolve_now(config.profile.headend.addresses);
  facts.lookup_failure = std::move(answer.failure);
  std::vector<IpAddress> usable;
  for (const auto& address : answer.addresses) {
    if (config.local && config.local->family() != address.family()) continue;
    if (const auto route = io::source_address_for({address, config.profile.headend.nat_t_port}, mark); !route) {
      facts.no_route.push_back(address.to_string() + " (" + route.error().message() + ")");
      facts.addresses.push_back(address);
      continue;
    }
    const bool known = std::any_of(usable.begin(), usable.end(),
                                   [&](const IpAddress& one) { return one.family() == address.family(); });
    if (!known) usable.push_back(address);
  }
  // Addresses without a route stay where there are no others, so that the diagnosis knows them.
  if (!usable.empty()) facts.addresses = std::move(usable);
}

}  // namespace

ExitStatus run_doctor(const DoctorOptions& options) {
  (void)std::signal(SIGPIPE, SIG_IGN);
  ConnectOptions connect;
  connect.profile = options.profile;
  connect.local = options.local;
  if (options.locate) {
    connect.transport = options.transport;
  } else {
    connect.order = {"udp", "esp", "ctcp", "tls", "tcp"};
  }
  const auto config = make_config(connect);
  if (!config) {
    (void)std::fprintf(stderr, "switchback-client: %s\n", config.error().message.c_str());
    return ExitStatus::usage;
  }
  Facts facts;
  facts.names = config->profile.headend.addresses;
  facts.classic_configured = config->profile.transports.ctcp_mode == "classic";
  facts.clock = wall_now();
  if (!config->profile.authentication.certificate.empty()) {
    if (const auto chain = crypto::Certificate::parse_pem(config->profile.authentication.certificate, "certificate")) {
      facts.own_not_before = chain->front().not_before();
      facts.own_not_after = chain->front().not_after();
    }
  }
  const auto mark = mark_in_use();
  choose_addresses(facts, *config, mark);
  const bool routed = facts.no_route.empty() || facts.no_route.size() < facts.addresses.size() ||
                      std::any_of(facts.addresses.begin(), facts.addresses.end(), [&](const IpAddress& address) {
                        return io::source_address_for({address, 1}, mark).has_value();
                      });
  if (options.locate) {
    if (!facts.addresses.empty() && routed) return locate_loss(options, *config, mark, facts);
    (void)std::fprintf(stderr,
                       "switchback-client: the headend cannot be reached at all: run the doctor without "
                       "--locate-loss, which says why\n");
    return ExitStatus::failure;
  }
  if (!facts.addresses.empty() && routed) {
    doctor::ProberOptions probing;
    probing.mark = mark;
    probing.idle = options.idle;
    probing.limit =
        std::chrono::seconds{options.timeout} + (options.idle ? std::chrono::seconds{600} : std::chrono::seconds{0});
    probing.progress = [](const std::string& text) { (void)std::fprintf(stderr, "… %s\n", text.c_str()); };
    auto prober = doctor::Prober::create(*config, std::move(probing));
    if (!prober) {
      (void)std::fprintf(stderr, "switchback-client: %s\n", prober.error().message.c_str());
      return ExitStatus::failure;
    }
    OutsideFacts outside;
    std::thread outsider{
        [&outside, &config, mark, known = facts] { outside = look_from_outside(known, *config, mark); }};
    (*prober)->run(facts);
    outsider.join();
    merge(facts, std::move(outside));
  } else {
    facts.full = true;
  }
  const auto findings = doctor::diagnose(facts);
  (void)std::fputs(
      options.json ? (doctor::to_json(facts, findings) + "\n").c_str() : doctor::to_text(facts, findings).c_str(),
      stdout);
  (void)std::fflush(stdout);
  if (facts.auth == doctor::AuthResult::refused_us || facts.auth == doctor::AuthResult::not_trusted) {
    return ExitStatus::authentication;
  }
  const bool bad = std::any_of(findings.begin(), findings.end(), [](const doctor::Finding& finding) {
    return finding.severity <= doctor::Severity::problem;
  });
  return bad ? ExitStatus::failure : ExitStatus::success;
}

}  // namespace switchback::client
