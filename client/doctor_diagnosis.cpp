#include "client/doctor_diagnosis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace switchback::client::doctor {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Less than this is chance, or a queue that overflowed once.
constexpr double kLossWorthAWord = 0.005;
constexpr std::uint32_t kLostWorthAWord = 3;
constexpr double kBadLoss = 0.02;
/// Probes in a row at the end that say: it worked, and does no more.
constexpr std::uint32_t kDead = 20;
/// A burst of which so much less arrives than of others' is throttled.
constexpr double kThrottledShare = 0.7, kUnthrottledShare = 0.9;
/// Slower than this, one does not speak of a burst's size but of a rate.
constexpr double kSlowOctets = 600'000;
/// Certificates are lenient by less.
constexpr seconds kClockOff{120};
/// A handshake so much faster than a probe was not with the headend. Scheduling alone makes a millisecond or two.
constexpr double kNearer = 0.5;
constexpr Duration kNearerBy = milliseconds{8};

std::string decimal(double value, int places) {
  std::array<char, 64> out{};
  (void)std::snprintf(out.data(), out.size(), "%.*f", places, value);
  return out.data();
}
std::string percent(double share) { return decimal(share * 100, share < 0.1 ? 1 : 0) + " %"; }
std::string ms(Duration time) { return decimal(std::chrono::duration<double, std::milli>(time).count(), 1) + " ms"; }
std::string rate(double octets_per_second) {
  const auto megabits = octets_per_second * 8 / 1e6;
  return decimal(megabits, megabits < 10 ? 1 : 0) + " Mbit/s";
}
std::string plural(std::uint64_t count, const std::string& one) {
  return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
}
std::string duration_text(std::int64_t total) {
  if (total >= 2 * 86400) return std::to_string(total / 86400) + " days";
  if (total >= 2 * 3600) return std::to_string(total / 3600) + " hours";
  if (total >= 120) return std::to_string(total / 60) + " minutes";
  return std::to_string(total) + " seconds";
}

std::string name_of(const WayFacts& way) {
  return std::string{to_string(way.kind)} + (way.remote.address.is_v6() ? "/ipv6" : "/ipv4");
}

/// "a", "a and b", "a, b and c".
std::string list(const std::vector<std::string>& of) {
  std::string out;
  for (std::size_t i = 0; i < of.size(); ++i) {
    if (i != 0) out += i + 1 == of.size() ? " and " : ", ";
    out += of[i];
  }
  return out;
}

using Ways = std::vector<const WayFacts*>;

class Doctor {
 public:
  explicit Doctor(const Facts& facts) : facts_{facts} {}

  std::vector<Finding> run() {
    names();
    if (!facts_.addresses.empty()) {
      portal();
      doors();
      authentication();
      clock();
      dying();
      proxies();
      tracking();
      resets();
      sizes();
      throttling();
      loss();
      nat();
      idle();
      left_out();
    }
    std::stable_sort(findings_.begin(), findings_.end(),
                     [](const Finding& a, const Finding& b) { return a.severity < b.severity; });
    const bool bad = std::any_of(findings_.begin(), findings_.end(),
                                 [](const Finding& one) { return one.severity <= Severity::problem; });
    if (!bad) clean();
    return std::move(findings_);
  }

 private:
  Finding& add(std::string id, Severity severity, std::string sentence, std::string remedy = {}) {
    findings_.push_back({std::move(id), severity, {}, std::move(sentence), {}, std::move(remedy)});
    return findings_.back();
  }
  template <class Is>
  [[nodiscard]] Ways where(const Is& is) const {
    Ways found;
    for (const auto& way : facts_.ways) {
      if (way.left_out.empty() && is(way)) found.push_back(&way);
    }
    return found;
  }
  [[nodiscard]] bool anything_reaches() const {
    return std::any_of(facts_.ways.begin(), facts_.ways.end(), [](const WayFacts& way) { return way.reaches(); });
  }
  static void name(Finding& finding, const Ways& ways) {
    for (const auto* way : ways) finding.ways.push_back(name_of(*way));
  }
  [[nodiscard]] static std::vector<std::string> wires(const Ways& ways) {
    std::vector<std::string> names;
    for (const auto* way : ways) {
      if (const auto wire = wire_of(*way); std::find(names.begin(), names.end(), wire) == names.end()) {
        names.push_back(wire);
      }
    }
    return names;
  }
  [[nodiscard]] std::string working() const {
    const auto wires_up = wires(where([](const WayFacts& way) { return way.reaches(); }));
    return wires_up.empty() ? "nothing else gets through"
                            : list(wires_up) + (wires_up.size() == 1 ? " gets" : " get") + " through";
  }

  // ------------------------------------------------------------------------------------------- names and routes

  void names() {
    if (!facts_.lookup_failure.empty()) {
      auto& finding = add("dns", facts_.addresses.empty() ? Severity::fatal : Severity::problem,
                          "The headend's name cannot be looked up.",
                          "Check the name in headend.addresses of the profile and this host's DNS; an address in its "
                          "place needs no DNS.");
      finding.evidence.push_back("looking up " + facts_.lookup_failure);
    }
    if (!facts_.no_route.empty()) {
      const bool all = facts_.no_route.size() >= facts_.addresses.size();
      // An address of a family that this network does not have is no fault while the other family works.
      auto& finding = add("no-route", all ? Severity::fatal : Severity::note,
                          all ? "This host has no route to the headend: it is not connected to a network that leads "
                                "there."
                              : "This host has no route to one of the headend's addresses.",
                          all ? "Check cable, Wi-Fi, addresses and the default route (ip route)." : "");
      for (const auto& one : facts_.no_route) finding.evidence.push_back("route to " + one);
    }
  }

  // --------------------------------------------------------------------------------------------- captive portals

  void portal() {
    const auto& tls = facts_.tls_web;
    const auto& plain = facts_.plain_web;
    const bool redirects =
        (plain.status >= 300 && plain.status < 400 && !plain.location.empty()) || plain.status == 511;
    const bool speaks_for_headend = plain.status != 0 || tls.status != 0 || tls.tls;
    if (anything_reaches() || !speaks_for_headend || !(redirects || tls.tls || tls.status != 0)) {
      foreign_tls();
      return;
    }
    if (!redirects && plain.status == 0) {
      foreign_tls();
      return;
    }
    auto& finding = add("captive-portal", Severity::fatal,
                        "A captive portal answers in the headend's place: this network wants a login before it lets "
                        "anything through.",
                        "Open " + (plain.location.empty() ? std::string{"any http:// page"} : plain.location) +
                            " in a browser, log in, and connect again.");
    if (plain.status != 0) {
      finding.evidence.push_back("a request to the headend's address by HTTP was answered with status " +
                                 std::to_string(plain.status) +
                                 (plain.location.empty() ? "" : ", sending the visitor to " + plain.location));
    }
    if (tls.tls && !tls.certificate_subject.empty()) {
      finding.evidence.push_back("TLS there shows a certificate for " + tls.certificate_subject);
    }
    finding.evidence.push_back("no transport reached the headend");
    portal_ = true;
  }

  /// Something else answers TLS at the headend's address.
  void foreign_tls() {
    const auto& tls = facts_.tls_web;
    const auto ways = where([](const WayFacts& way) { return way.kind == WayKind::tls && way.offered; });
    const bool unanswered =
        !ways.empty() && std::none_of(ways.begin(), ways.end(), [](const WayFacts* way) { return way->reaches(); });
    if (!unanswered || !tls.tried || !(tls.tls || tls.status != 0)) return;
    const bool knocked =
        std::any_of(ways.begin(), ways.end(), [](const WayFacts* way) { return way->knock.result == Knock::answered; });
    if (!knocked) return;
    auto& finding = add("tls-intercepted", Severity::problem,
                        "Something answers on " + wires(ways).front() +
                            " that does not let our TLS through: a proxy "
                            "that inspects or replaces TLS, or another server.",
                        "Ask for an exemption of the headend's address from TLS inspection, or use another transport.");
    name(finding, ways);
    if (!tls.certificate_subject.empty()) {
      finding.evidence.push_back("the certificate shown is for " + tls.certificate_subject + ", issued by " +
                                 tls.certificate_issuer);
    }
    if (tls.status != 0) finding.evidence.push_back("it answered with HTTP status " + std::to_string(tls.status));
    for (const auto* way : ways) explained_.push_back(way);
  }

  // ---------------------------------------------------------------------------------------- blocked, refused, silent

  /// The ways that do not work, by what they met.
  void doors() {
    if (portal_) return;
    const auto dead = where([&](const WayFacts& way) {
      if (way.reaches() || !way.offered || explained(way)) return false;
      if (way.kind == WayKind::esp) return way.probed;
      // Authentication may have ended things before everything was tried.
      return way.knock.result != Knock::untested || way.ike == IkeAnswer::silent || !way.open_failure.empty();
    });
    if (dead.empty()) return;
    const bool refused_by_ike = std::any_of(facts_.ways.begin(), facts_.ways.end(),
                                            [](const WayFacts& way) { return way.ike == IkeAnswer::refused; });
    if (!anything_reaches() && !refused_by_ike && facts_.no_route.size() < facts_.addresses.size()) {
      nothing_reaches(dead);
      return;
    }
    if (!anything_reaches()) return;
    esp_behind_nat(dead);
    Ways silent, refused, icmp;
    for (const auto* way : dead) {
      if (explained(*way)) continue;
      const auto knock = effective(*way);
      (knock == Knock::refused ? refused : knock == Knock::unreachable ? icmp : silent).push_back(way);
    }
    whole_family(silent);
    blocked("blocked-silent", without(silent), [](const std::string& what, bool many) {
      return what + (many ? " are" : " is") + " blocked on the way, silently: packets vanish and nobody says so.";
    });
    blocked("blocked-icmp", without(icmp), [](const std::string& what, bool many) {
      return what + (many ? " are" : " is") + " blocked on the way: a device there refuses " + (many ? "them" : "it") +
             " by ICMP.";
    });
    blocked("blocked-rst", without(refused), [](const std::string& what, bool many) {
      return what + (many ? " are" : " is") +
             " refused on the way: connections are answered by RST, although the headend "
             "serves " +
             (many ? "them" : "it") + ".";
    });
  }

  [[nodiscard]] static Knock effective(const WayFacts& way) {
    if (way.knock.result == Knock::refused || way.knock.result == Knock::unreachable) return way.knock.result;
    if (looks_like_tcp(way.kind) && way.open_failure.find("refused") != std::string::npos) return Knock::refused;
    return Knock::silent;
  }
  [[nodiscard]] bool explained(const WayFacts& way) const {
    return std::find(explained_.begin(), explained_.end(), &way) != explained_.end();
  }
  [[nodiscard]] Ways without(const Ways& ways) const {
    Ways left;
    for (const auto* way : ways) {
      if (!explained(*way)) left.push_back(way);
    }
    return left;
  }

  template <class Say>
  void blocked(const std::string& id, const Ways& ways, const Say& say) {
    if (ways.empty()) return;
    auto names = wires(ways);
    // All of a protocol is said in one word.
    const auto all_of = [&](auto is) {
      const auto tried = where([&](const WayFacts& way) { return is(way.kind) && way.offered; });
      return tried.size() > 1 && std::all_of(tried.begin(), tried.end(), [&](const WayFacts* way) {
               return std::find(ways.begin(), ways.end(), way) != ways.end();
             });
    };
    const bool udp = all_of([](WayKind kind) { return kind <= WayKind::udp_4500; });
    const bool tcp = all_of([](WayKind kind) { return looks_like_tcp(kind); });
    const auto drop = [&](std::string_view prefix, const char* with) {
      std::erase_if(names, [&](const std::string& one) { return one.starts_with(prefix); });
      names.insert(names.begin(), with);
    };
    if (tcp) drop("TCP ", "All TCP");
    if (udp) drop("UDP ", "All UDP");
    auto& finding = add(id, Severity::problem, say(list(names), names.size() > 1),
                        "Ask the network's admin to permit " + list(wires(ways)) +
                            " to the headend (switchback-firewall "
                            "prints the rules); until then use what works: " +
                            working() + ".");
    name(finding, ways);
    for (const auto* way : ways) {
      std::string line = name_of(*way) + ": ";
      if (!way->knock.icmp.empty() && !way->knock.icmp_from.empty()) {
        line += "ICMP \"" + way->knock.icmp + "\" from " + way->knock.icmp_from.to_string();
      } else if (effective(*way) == Knock::refused) {
        line += "RST in answer to the SYN";
      } else if (way->kind == WayKind::esp) {
        line += "no answer to " + plural(way->there.sent, "ESP probe");
      } else if (looks_like_tcp(way->kind) && way->knock.result == Knock::answered) {
        line += "the connection opens, but what is sent on it is not answered";
      } else if (looks_like_tcp(way->kind)) {
        line += "no answer to SYN";
      } else {
        line += "no answer to IKE";
      }
      finding.evidence.push_back(line);
    }
    finding.evidence.push_back(working());
  }

  void nothing_reaches(const Ways& dead) {
    const auto count = [&](Knock what) {
      return std::count_if(dead.begin(), dead.end(), [&](const WayFacts* way) { return effective(*way) == what; });
    };
    const auto open = std::count_if(dead.begin(), dead.end(),
                                    [](const WayFacts* way) { return way->knock.result == Knock::answered; });
    const auto refused = count(Knock::refused), unreachable = count(Knock::unreachable);
    if (open > 0) {
      auto& finding =
          add("headend-mute", Severity::fatal,
              "Something accepts connections at the headend's address, but nothing there speaks our protocol: "
              "a proxy or another server answers in the headend's place, or the headend is stuck.",
              "Check the address in the profile; ask the headend's admin whether it runs (switchback-headend "
              "status).");
      evidence_of(finding, dead);
      return;
    }
    if (refused > 0 && refused + unreachable >= static_cast<std::ptrdiff_t>(dead.size()) / 2) {
      auto& finding =
          add("headend-down", Severity::fatal, "The headend does not run: its host is there, and refuses everything.",
              "Ask the headend's admin to start it (switchback-headend run), and check the address and ports "
              "in the profile.");
      evidence_of(finding, dead);
      return;
    }
    if (unreachable > 0) {
      auto& finding =
          add("unreachable", Severity::fatal,
              "The headend cannot be reached: a router on the way says that it is unreachable or prohibited.",
              "Check this host's network, and ask the admin of the router named below.");
      evidence_of(finding, dead);
      return;
    }
    auto& finding =
        add("all-silent", Severity::fatal,
            "Nothing at the headend's address answers at all, by any transport: the host is down, the address "
            "is wrong, or this network blocks everything towards it.",
            "Check the address in the profile and whether other sites can be reached from here; ask the "
            "headend's admin whether it runs.");
    evidence_of(finding, dead);
  }

  static void evidence_of(Finding& finding, const Ways& ways) {
    name(finding, ways);
    for (const auto* way : ways) {
      std::string line = name_of(*way) + " to " +
                         (way->remote.port == 0 ? way->remote.address.to_string() : way->remote.to_string()) + ": ";
      switch (way->knock.result) {
        case Knock::answered: line += "connected, no answer to IKE"; break;
        case Knock::refused:
          line += looks_like_tcp(way->kind) ? "refused (RST)" : "refused (ICMP port unreachable)";
          break;
        case Knock::unreachable:
          line += "ICMP \"" + way->knock.icmp + "\"" +
                  (way->knock.icmp_from.empty() ? "" : " from " + way->knock.icmp_from.to_string());
          break;
        case Knock::no_route: line += way->knock.icmp; break;
        default: line += way->open_failure.empty() ? "silence" : way->open_failure; break;
      }
      finding.evidence.push_back(line);
    }
  }

  /// Protocol 50 has no ports: most NATs cannot carry it, and that is no fault.
  void esp_behind_nat(const Ways& dead) {
    if (!behind_nat()) return;
    Ways esp;
    for (const auto* way : dead) {
      if (way->kind == WayKind::esp && way->remote.address.is_v4()) esp.push_back(way);
    }
    if (esp.empty()) return;
    auto& finding =
        add("esp-nat", Severity::note,
            "Native ESP (protocol 50) does not get through the NAT, as is usual; ESP in UDP does the same.");
    name(finding, esp);
    for (const auto* way : esp) explained_.push_back(way);
  }

  /// Nothing at all of one family while the other works.
  void whole_family(const Ways& silent) {
    for (const auto v6 : {false, true}) {
      const auto of_family =
          where([&](const WayFacts& way) { return way.remote.address.is_v6() == v6 && way.offered; });
      if (of_family.size() < 2 || std::any_of(of_family.begin(), of_family.end(), [&](const WayFacts* way) {
            return std::find(silent.begin(), silent.end(), way) == silent.end();
          })) {
        continue;
      }
      auto& finding =
          add("family-silent", Severity::problem,
              std::string{"Nothing gets through over IPv"} + (v6 ? "6" : "4") + ", while IPv" + (v6 ? "4" : "6") +
                  " works: this host has a route, but packets vanish.",
              "The client copes by itself; have the network's IPv" + std::string{v6 ? "6" : "4"} + " repaired.");
      evidence_of(finding, of_family);
      for (const auto* way : of_family) explained_.push_back(way);
    }
  }

  // ------------------------------------------------------------------------------------------------ IKE_AUTH, clock

  void authentication() {
    const auto& detail = facts_.auth_detail;
    switch (facts_.auth) {
      case AuthResult::ok:
        if (facts_.standard_peer) {
          add("standard-peer", Severity::note,
              "The headend is a standard IKEv2 server without our in-band control: beyond IKE nothing could be "
              "measured.");
        }
        return;
      case AuthResult::not_reached:
        if (anything_reaches() && !detail.empty()) {
          auto& finding =
              add("auth-silent", Severity::fatal,
                  "The headend answers first packets, but not IKE_AUTH: larger messages are lost on the way, "
                  "or the headend has no answer to give.",
                  "Look at the headend's log at this time; check for devices that drop fragments.");
          finding.evidence.push_back(detail);
        }
        return;
      case AuthResult::refused_us: {
        if (own_certificate_outdated()) return;
        auto& finding =
            add("user-refused", Severity::fatal,
                "The headend does not let this user in: the profile was revoked, the user removed or locked, "
                "or the profile is another headend's.",
                "Ask the admin for a new profile (switchback-headend user add).");
        finding.evidence.push_back("IKE_AUTH: " + detail);
        return;
      }
      case AuthResult::not_trusted: {
        if (clock_is_off() || detail.find("expired") != std::string::npos ||
            detail.find("not yet valid") != std::string::npos) {
          headend_certificate_time();
          return;
        }
        auto& finding =
            add("headend-untrusted", Severity::fatal,
                "What answers is not the headend that the profile names: its certificate does not prove it.",
                "If the headend was set up anew, ask for a new profile. Otherwise somebody may be in between: "
                "do not go on.");
        finding.evidence.push_back("IKE_AUTH: " + detail);
        return;
      }
      case AuthResult::no_proposal: {
        auto& finding =
            add("no-proposal", Severity::fatal, "Client and headend have no cryptographic proposal in common.",
                "Take the [crypto] section out of the profile, or make it agree with the headend's.");
        finding.evidence.push_back("IKE: " + detail);
        return;
      }
      case AuthResult::no_address:
        add("no-address", Severity::fatal,
            "The headend lets the user in but has no tunnel to give: its address pool is used up, or it has nothing in "
            "common with the profile's routes and ESP proposals.",
            "Ask the headend's admin (switchback-headend status).");
        return;
      case AuthResult::other: {
        auto& finding = add("ike-refused", Severity::fatal, "The headend ended the attempt.",
                            "Look at the headend's log at this time.");
        finding.evidence.push_back("IKE: " + detail);
        return;
      }
    }
  }

  /// The headend's calendar, from the session or from its page; positive: ours is ahead.
  [[nodiscard]] std::optional<seconds> offset() const {
    if (facts_.headend_clock) return facts_.clock - *facts_.headend_clock;
    for (const auto* web : {&facts_.tls_web, &facts_.plain_web}) {
      if (web->date) return facts_.clock - *web->date;
    }
    return std::nullopt;
  }
  [[nodiscard]] bool clock_is_off() const {
    const auto off = offset();
    return off && std::chrono::abs(*off) > kClockOff;
  }

  [[nodiscard]] bool own_certificate_outdated() {
    const auto& facts = facts_;
    if (facts.own_not_before && facts.clock < *facts.own_not_before) return true;  // clock() says it
    if (!facts.own_not_after || facts.clock <= *facts.own_not_after) return false;
    if (clock_is_off()) return true;
    auto& finding = add("certificate-expired", Severity::fatal, "This profile's certificate has expired.",
                        "Ask the admin for a new profile (switchback-headend user add).");
    finding.evidence.push_back("it was valid until " + duration_text((facts.clock - *facts.own_not_after).count()) +
                               " ago");
    if (!offset()) finding.evidence.push_back("nothing says whether this host's clock is right");
    return true;
  }

  void headend_certificate_time() {
    if (clock_is_off()) return;  // clock() says it
    if (facts_.own_not_before && facts_.clock < *facts_.own_not_before) return;
    const bool unsure = !offset();
    auto& finding = add("headend-certificate-expired", Severity::fatal,
                        std::string{"The headend's certificate is not valid at this time"} +
                            (unsure ? ": it has expired, or this host's clock is wrong." : "."),
                        "Compare this host's clock with a watch; then have the headend's certificate renewed "
                        "(switchback-headend init renews what it made).");
    finding.evidence.push_back("IKE_AUTH: " + facts_.auth_detail);
  }

  void clock() {
    const bool before_own = facts_.own_not_before && facts_.clock + kClockOff < *facts_.own_not_before;
    const auto off = offset();
    if (!clock_is_off() && !before_own) return;
    const bool fatal = facts_.auth != AuthResult::ok;
    auto& finding = add("clock", fatal ? Severity::fatal : Severity::problem,
                        "This host's clock is wrong" + (off ? " by " + duration_text(std::abs(off->count())) : "") +
                            (fatal ? ", so that certificates look expired or not yet valid."
                                   : ": certificates will look expired or not yet valid."),
                        "Set the clock (timedatectl set-ntp true).");
    if (off) {
      finding.evidence.push_back("this host's clock is " + duration_text(std::abs(off->count())) +
                                 (off->count() > 0 ? " ahead of" : " behind") + " the headend's");
    }
    if (before_own) finding.evidence.push_back("this profile's own certificate is not valid yet, says this clock");
    if (fatal && !facts_.auth_detail.empty()) finding.evidence.push_back("IKE_AUTH: " + facts_.auth_detail);
  }

  // ------------------------------------------------------------------------------------- what happens on open paths

  [[nodiscard]] bool dies(const WayFacts& way) const {
    return way.works() && (way.unanswered_at_end >= kDead || (!way.closed.empty() && !way.closed.starts_with("IKE")));
  }
  [[nodiscard]] bool proxied(const WayFacts& way) const {
    return std::find(proxied_.begin(), proxied_.end(), &way) != proxied_.end();
  }

  void proxies() {
    Finding* finding = nullptr;
    const auto ways = where([](const WayFacts& way) { return looks_like_tcp(way.kind); });
    for (const auto* way : ways) {
      std::vector<std::string> why;
      if (way->here && way->seen && way->seen->tcp) {
        const auto& here = *way->here;
        const auto& there = *way->seen->tcp;
        if (here.numbers_known && there.numbers_known &&
            (here.local_isn != there.remote_isn || here.remote_isn != there.local_isn)) {
          numbers_.push_back(way);
        }
        if (way->kind == WayKind::ctcp_resilient) {
          if (!there.engine)
            why.push_back("the SYN that reached the headend is not the one that left here: its options differ");
          if (here.resegmented > 0) why.push_back("segments arrive here cut elsewhere than the headend cuts them");
          if (there.resegmented > 0) why.push_back("segments arrive at the headend cut elsewhere than we cut them");
        }
        if (is_kernel_tcp(way->kind)) {
          if (here.own_window_scale && there.window_scale && *here.own_window_scale != *there.window_scale) {
            why.push_back("the headend was told window scale " + std::to_string(*there.window_scale) + ", we said " +
                          std::to_string(*here.own_window_scale));
          }
          if (here.timestamps != there.timestamps) why.push_back("TCP timestamps are in use at one end only");
          if (here.sack != there.sack) why.push_back("selective acknowledgements are in use at one end only");
        }
      }
      if (way->here && way->here->rtt && way->rtt && is_kernel_tcp(way->kind) && nearer(*way->here->rtt, *way->rtt)) {
        why.push_back("TCP's own round trip takes " + ms(*way->here->rtt) + ", a probe to the headend " +
                      ms(*way->rtt));
      } else if (way->knock.result == Knock::answered && way->knock.rtt && way->rtt &&
                 nearer(*way->knock.rtt, *way->rtt)) {
        why.push_back("the SYN-ACK comes after " + ms(*way->knock.rtt) + ", a probe's answer from the headend after " +
                      ms(*way->rtt) + ": it was sent from nearer than the headend");
      }
      const bool numbers = std::find(numbers_.begin(), numbers_.end(), way) != numbers_.end();
      if (why.empty()) continue;
      if (numbers) why.push_back("sequence numbers are not those that the ends chose");
      if (finding == nullptr) {
        finding = &add("tcp-proxy", Severity::note, "", "");
      }
      proxied_.push_back(way);
      finding->ways.push_back(name_of(*way));
      for (const auto& one : why) finding->evidence.push_back(name_of(*way) + ": " + one);
    }
    if (finding != nullptr) {
      const auto names = wires(proxied_);
      finding->sentence = "A TCP proxy is in the path of " + list(names) +
                          ": it ends the connection and makes another one to the headend.";
      const bool classic_hurt =
          facts_.classic_configured && std::any_of(facts_.ways.begin(), facts_.ways.end(), [](const WayFacts& way) {
            return way.kind == WayKind::ctcp_classic && way.offered && (!way.works() || no_more(way.after_hole));
          });
      finding->severity = classic_hurt ? Severity::problem : Severity::note;
      finding->remedy = classic_hurt
                            ? "Classic cTCP cannot live behind it: set ctcp_mode = \"resilient\", or have the flow "
                              "exempted (switchback-firewall prints how)."
                            : "The resilient ctcp, tls and tcp cope with it; UDP or ESP avoid it. To exempt the "
                              "flow: switchback-firewall prints how.";
      // What a proxy does to classic is its own explanation.
      return;
    }
    if (!numbers_.empty()) {
      auto& normal = add("tcp-normalizer", Severity::note,
                         "A device rewrites the TCP sequence numbers of " + list(wires(numbers_)) +
                             ": a stateful firewall that randomises them.");
      name(normal, numbers_);
      for (const auto* way : numbers_) {
        normal.evidence.push_back(name_of(*way) + ": the numbers at the headend are not those sent from here");
      }
    }
  }

  [[nodiscard]] static bool nearer(Duration tcp, Duration probe) {
    return probe - tcp > kNearerBy && static_cast<double>(tcp.count()) < kNearer * static_cast<double>(probe.count());
  }

  [[nodiscard]] static bool no_more(const Count& after) { return after.sent >= 10 && after.arrived * 10 < after.sent; }

  /// A flow of classic cTCP, in which a segment was left out on purpose.
  void tracking() {
    Ways died;
    for (const auto& way : facts_.ways) {
      if (way.kind != WayKind::ctcp_classic || !way.works()) continue;
      // What a proxy or an injector does to the resilient flow beside it explains this one as well.
      const auto beside = where([&](const WayFacts& other) {
        return other.kind == WayKind::ctcp_resilient && other.remote == way.remote &&
               (proxied(other) || (other.resets > 0 && way.closed.find("reset") != std::string::npos));
      });
      if (proxied(way) || !beside.empty()) continue;
      const bool ended = !way.closed.empty() && !way.closed.starts_with("IKE");
      if (no_more(way.after_hole) || no_more(way.after_jump) || ended) died.push_back(&way);
    }
    if (died.empty()) return;
    const bool harmful = facts_.classic_configured;
    auto& finding =
        add("stream-tracking", harmful ? Severity::problem : Severity::note,
            "A device on the way tracks TCP streams and stops forwarding once a segment is missing: classic cTCP "
            "dies there with the first lost packet.",
            harmful ? "Use the resilient mode (ctcp_mode = \"resilient\"), UDP, ESP or TLS; or have the flow "
                      "exempted from inspection: switchback-firewall prints the configuration "
                      "(tcp-state-bypass and its like)."
                    : "Nothing to do: the resilient mode fills what is missing. To exempt the flow from "
                      "inspection: switchback-firewall prints how.");
    name(finding, died);
    for (const auto* way : died) {
      const auto& after = no_more(way->after_hole) || way->after_jump.sent == 0 ? way->after_hole : way->after_jump;
      const bool hole = &after == &way->after_hole;
      finding.evidence.push_back(
          name_of(*way) + ": it worked, then " +
          (hole ? "one segment was left out on purpose" : "more was left out on purpose than a window holds") +
          "; of " + plural(after.sent, "probe") + (hole ? " sent some seconds later " : " sent after that ") +
          std::to_string(after.arrived) + " were answered");
      if (!way->closed.empty()) finding.evidence.push_back(name_of(*way) + ": then it was closed: " + way->closed);
    }
    for (const auto& way : facts_.ways) {
      if (way.kind == WayKind::ctcp_resilient && way.works() && way.unanswered_at_end < kDead) {
        finding.evidence.push_back(name_of(way) + " to the same port goes on");
        break;
      }
    }
  }

  void resets() {
    const auto hit = where([&](const WayFacts& way) {
      if (!way.works()) return false;
      if (way.kind == WayKind::ctcp_classic && way.after_hole.sent > 0 && way.after_hole.arrived == 0 &&
          way.resets == 0 && way.closed.find("reset") == std::string::npos) {
        return false;
      }
      return way.resets > 0 || (way.here && way.here->resets > 0) ||
             (way.seen && way.seen->tcp && way.seen->tcp->resets > 0) || way.closed.find("reset") != std::string::npos;
    });
    // A device that kills flows with a hole sends RSTs, too, and only there.
    const bool only_classic = std::all_of(hit.begin(), hit.end(), [](const WayFacts* way) {
      return way->kind == WayKind::ctcp_classic && way->after_hole.arrived == 0;
    });
    const bool tracked =
        std::any_of(findings_.begin(), findings_.end(), [](const Finding& one) { return one.id == "stream-tracking"; });
    if (hit.empty() || (only_classic && tracked)) return;
    auto& finding =
        add("rst-injection", Severity::problem,
            "Somebody on the way injects TCP RSTs into " + list(wires(hit)) +
                ": the headend did not end these connections.",
            "The resilient ctcp ignores them; tls and tcp break and are opened anew. Use UDP or ESP, or ask the "
            "network's admin why an intrusion prevention system resets the flow (switchback-firewall prints an "
            "exemption).");
    name(finding, hit);
    for (const auto* way : hit) {
      const auto here = std::max(way->resets, way->here ? way->here->resets : 0U);
      std::string line = name_of(*way) + ": ";
      if (here > 0) line += plural(here, "RST") + " arrived here";
      if (way->seen && way->seen->tcp && way->seen->tcp->resets > 0) {
        line += std::string{here > 0 ? ", " : ""} + plural(way->seen->tcp->resets, "RST") + " arrived at the headend";
      }
      if (!way->closed.empty())
        line += (line.ends_with(": ") ? "" : "; ") + std::string{"the connection ended: "} + way->closed;
      finding.evidence.push_back(line);
      if (way->kind == WayKind::ctcp_resilient && way->unanswered_at_end < kDead) {
        finding.evidence.push_back(name_of(*way) + ": the headend went on answering on the same connection after them");
      }
    }
  }

  void dying() {
    for (const auto& way : facts_.ways) {
      if (!dies(way) || way.kind == WayKind::ctcp_classic) continue;
      if (way.closed.find("reset") != std::string::npos) continue;  // resets() says it
      auto& finding =
          add("dies", Severity::problem,
              wire_of(way) + " works at first and dies after some packets: a device on the way stops forwarding it.",
              "Use another transport, and have the flow exempted from inspection (switchback-firewall prints "
              "how).");
      finding.ways.push_back(name_of(way));
      finding.evidence.push_back(name_of(way) + ": " + plural(way.back.arrived, "probe") + " answered, then " +
                                 std::to_string(way.unanswered_at_end) + " in a row not" +
                                 (way.closed.empty() ? "" : "; closed: " + way.closed));
    }
  }

  // ---------------------------------------------------------------------------------------------------------- sizes

  void sizes() {
    Ways holes, lower;
    for (const auto& way : facts_.ways) {
      const auto& mtu = way.mtu;
      // Behind a proxy packets are the proxy's.
      if (!way.works() || proxied(way) || !mtu.searched || mtu.works == 0 || mtu.works >= mtu.link) continue;
      // The last octets may be lost to alignment: no packet of exactly the link's size can be built.
      if (mtu.link - mtu.works < 8) continue;
      (mtu.icmp == 0 ? holes : lower).push_back(&way);
    }
    const auto line = [](const WayFacts& way) {
      return name_of(way) + ": packets of " + std::to_string(way.mtu.works) +
             " octets arrive, larger ones do not; this host's link takes " + std::to_string(way.mtu.link);
    };
    if (!holes.empty()) {
      const auto least = (*std::min_element(holes.begin(), holes.end(), [](auto* a, auto* b) {
                           return a->mtu.works < b->mtu.works;
                         }))->mtu.works;
      auto& finding =
          add("mtu-hole", Severity::problem,
              "Packets of more than " + std::to_string(least) +
                  " octets vanish without a word: a path MTU black hole, where a router or firewall keeps ICMP "
                  "\"fragmentation needed\" back.",
              "The client finds the size by probes by itself; everything else on this host needs the ICMP let "
              "through, or this link's MTU set to " +
                  std::to_string(least) + ".");
      name(finding, holes);
      for (const auto* way : holes) finding.evidence.push_back(line(*way) + "; no ICMP came");
    }
    if (!lower.empty()) {
      auto& finding = add("mtu-lower", Severity::note,
                          "The path takes packets of at most " + std::to_string(lower.front()->mtu.works) +
                              " octets, less than this host's link, and says so by ICMP as it should.",
                          "Nothing to do: the client follows.");
      name(finding, lower);
      for (const auto* way : lower)
        finding.evidence.push_back(line(*way) + "; ICMP said " + std::to_string(way->mtu.icmp));
    }
    Ways back;
    for (const auto& way : facts_.ways) {
      const auto& large = way.mtu.large_back;
      if (way.works() && !proxied(way) && large.sent >= 4 && large.arrived == 0 && way.back.loss() < 0.3 &&
          way.unanswered_at_end < kDead) {
        back.push_back(&way);
      }
    }
    if (!back.empty() && holes.empty()) {
      auto& finding =
          add("mtu-hole-back", Severity::problem,
              "Large packets from the headend do not arrive, though as large ones arrive there: an MTU black hole "
              "on the way back.",
              "The headend finds the size by probes; have ICMP let through on the way from the headend.");
      name(finding, back);
      for (const auto* way : back) {
        finding.evidence.push_back(name_of(*way) + ": none of " + plural(way->mtu.large_back.sent, "packet") + " of " +
                                   std::to_string(way->mtu.works) + " octets came back");
      }
    }
  }

  // ----------------------------------------------------------------------------------------------------- throughput

  /// Share of a burst that came, and at what rate.
  void throttling() {
    const auto tested =
        where([](const WayFacts& way) { return way.burst.packets.sent > 0 && way.burst.octets_per_second; });
    const auto slow = [](const WayFacts* way) {
      return 1 - way->burst.packets.loss() < kThrottledShare || *way->burst.octets_per_second < kSlowOctets / 3;
    };
    const auto fine = [](const WayFacts* way) {
      return 1 - way->burst.packets.loss() >= kUnthrottledShare && *way->burst.octets_per_second > kSlowOctets / 3 * 2;
    };
    const auto is_udp = [](const WayFacts* way) { return way->kind == WayKind::udp_4500; };
    Ways throttled, good;
    for (const auto* way : tested) {
      // What dies or loses anyway is told elsewhere.
      if (slow(way) && way->there.loss() < 0.1 && !dies(*way)) throttled.push_back(way);
      if (fine(way)) good.push_back(way);
    }
    if (throttled.empty()) return;
    const auto line = [](const WayFacts* way) {
      return name_of(*way) + ": of a burst of " + plural(way->burst.packets.sent, "packet") + " " +
             std::to_string(way->burst.packets.arrived) + " arrived, at " + rate(*way->burst.octets_per_second);
    };
    const bool udp = std::any_of(throttled.begin(), throttled.end(), is_udp);
    if (good.empty()) {
      auto& finding = add("slow", Severity::note,
                          "The way to the headend is slow for every transport: about " +
                              rate(*throttled.front()->burst.octets_per_second) + " out.",
                          "No transport changes that.");
      for (const auto* way : throttled) finding.evidence.push_back(line(way));
      return;
    }
    auto& finding = add(udp ? "udp-throttled" : "throttled", Severity::problem,
                        std::string{udp ? "UDP" : list(wires(throttled))} +
                            " is throttled on the way: bursts that other transports carry do not get "
                            "through.",
                        "Prefer another transport here (--order " + std::string{transport_name(*good.front())} +
                            ",…), or ask the network's admin.");
    name(finding, throttled);
    for (const auto* way : throttled) finding.evidence.push_back(line(way));
    for (const auto* way : good) finding.evidence.push_back(line(way) + ", for comparison");
  }
  [[nodiscard]] static std::string_view transport_name(const WayFacts& way) {
    switch (way.kind) {
      case WayKind::esp: return "esp";
      case WayKind::ctcp_classic:
      case WayKind::ctcp_resilient: return "ctcp";
      case WayKind::tls: return "tls";
      case WayKind::tcp: return "tcp";
      default: return "udp";
    }
  }

  // ----------------------------------------------------------------------------------------------------------- loss

  void loss() {
    Count out, in;
    std::vector<std::string> lines;
    for (const auto& way : facts_.ways) {
      // Streams hide it, and a hole of our own making is no loss.
      if (!way.works() || looks_like_tcp(way.kind) || way.there.sent < 50) continue;
      out.sent += way.there.sent;
      out.arrived += way.there.arrived;
      in.sent += way.back.sent;
      in.arrived += way.back.arrived;
      lines.push_back(name_of(way) + ": out " + std::to_string(way.there.lost()) + " of " +
                      std::to_string(way.there.sent) + " lost, back " + std::to_string(way.back.lost()) + " of " +
                      std::to_string(way.back.sent));
    }
    const auto matters = [](const Count& count) {
      return count.lost() >= kLostWorthAWord && count.loss() >= kLossWorthAWord;
    };
    if (!matters(out) && !matters(in)) return;
    std::string where_to;
    if (matters(out)) where_to = percent(out.loss()) + " of the packets to the headend";
    if (matters(in)) where_to += (where_to.empty() ? "" : " and ") + percent(in.loss()) + " of those from it";
    const bool bad = std::max(out.loss(), in.loss()) >= kBadLoss;
    auto& finding = add("loss", bad ? Severity::problem : Severity::note, "The path loses " + where_to + ".",
                        "switchback-client doctor --locate-loss says between which routers.");
    finding.evidence = std::move(lines);
  }

  // ------------------------------------------------------------------------------------------------------- NAT, idle

  [[nodiscard]] bool behind_nat() const {
    return facts_.behind_nat ||
           std::any_of(facts_.ways.begin(), facts_.ways.end(), [](const WayFacts& way) { return translated(way); });
  }
  [[nodiscard]] static bool translated(const WayFacts& way) {
    return way.seen && !way.local.address.empty() &&
           (way.seen->client.address != way.local.address || way.seen->client.port != way.local.port);
  }

  void nat() {
    const auto ways = where([](const WayFacts& way) { return way.works() && translated(way); });
    if (ways.empty()) return;
    auto& finding = add("nat", Severity::note,
                        "A NAT is between this host and the headend: it is seen as " +
                            ways.front()->seen->client.address.to_string() + ", and calls itself " +
                            ways.front()->local.address.to_string() + ".",
                        "Nothing to do: keepalives hold its mappings.");
    name(finding, ways);
    for (const auto* way : ways) {
      finding.evidence.push_back(name_of(*way) + ": sent from " + way->local.to_string() + ", seen as " +
                                 way->seen->client.to_string());
    }
  }

  void idle() {
    for (const auto& way : facts_.ways) {
      if (!way.idle_died) continue;
      const auto died = std::chrono::duration_cast<seconds>(*way.idle_died).count();
      const bool short_one = died <= 30;
      auto& finding = add("idle-timeout", short_one ? Severity::problem : Severity::note,
                          "A device on the way forgets " + wire_of(way) + " after less than " + std::to_string(died) +
                              " s without a packet.",
                          short_one ? "Keepalives go every 20 s: ask for a longer timeout, or use a stream transport."
                                    : "Nothing to do: keepalives go every 20 s.");
      finding.ways.push_back(name_of(way));
      finding.evidence.push_back(way.rebound_after_idle ? "after the pause the headend saw another address or port"
                                                        : "after the pause nothing was answered");
      if (way.idle_survived) {
        finding.evidence.push_back("a pause of " +
                                   std::to_string(std::chrono::duration_cast<seconds>(*way.idle_survived).count()) +
                                   " s did no harm");
      }
    }
  }

  void left_out() {
    std::vector<std::string> lines;
    for (const auto& way : facts_.ways) {
      if (way.left_out.empty() || way.left_out.starts_with("no route")) continue;
      const auto line = std::string{to_string(way.kind)} + ": " + way.left_out;
      if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(line);
    }
    if (lines.empty()) return;
    auto& finding = add("not-tested", Severity::note, "Not every transport could be tested from this host.",
                        "Run the doctor as root, or with CAP_NET_RAW and CAP_NET_ADMIN.");
    finding.evidence = std::move(lines);
  }

  void clean() {
    const auto up = wires(where([](const WayFacts& way) { return way.reaches(); }));
    Finding finding;
    finding.id = "clean";
    finding.severity = Severity::good;
    finding.sentence =
        up.empty() ? "Nothing wrong was found, but nothing could be tested either."
                   : "Nothing is wrong: " + list(up) + (up.size() == 1 ? " reaches" : " reach") + " the headend.";
    for (const auto& way : facts_.ways) {
      if (!way.works()) continue;
      finding.evidence.push_back(name_of(way) + ": " + (way.rtt ? "round trip " + ms(*way.rtt) + ", " : "") + "lost " +
                                 std::to_string(way.there.lost()) + " of " + std::to_string(way.there.sent) + " out, " +
                                 std::to_string(way.back.lost()) + " of " + std::to_string(way.back.sent) + " back");
    }
    findings_.insert(findings_.begin(), std::move(finding));
  }

  const Facts& facts_;
  std::vector<Finding> findings_;
  Ways explained_, proxied_, numbers_;
  bool portal_ = false;
};

}  // namespace

std::string_view to_string(WayKind kind) noexcept {
  constexpr std::array<std::string_view, kWayKinds> kNames{"udp-500",      "udp-4500", "esp", "ctcp-resilient",
                                                           "ctcp-classic", "tls",      "tcp"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string_view to_string(Severity severity) noexcept {
  switch (severity) {
    case Severity::fatal: return "fatal";
    case Severity::problem: return "problem";
    case Severity::note: return "note";
    case Severity::good: return "good";
  }
  return {};
}

std::string wire_of(const WayFacts& way) {
  if (way.kind == WayKind::esp) return "protocol 50 (ESP)";
  const auto port = std::to_string(way.remote.port);
  switch (way.kind) {
    case WayKind::udp_500:
    case WayKind::udp_4500: return "UDP " + port;
    case WayKind::tls: return "TCP " + port + " (TLS)";
    default: return "TCP " + port;
  }
}

std::vector<Finding> diagnose(const Facts& facts) { return Doctor{facts}.run(); }

}  // namespace switchback::client::doctor
