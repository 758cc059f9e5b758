#include "client/path_lines.h"

#include <catch2/catch.hpp>

namespace switchback::client {
namespace {

using path::EventKind;
using path::TransportKind;

Endpoint endpoint(std::string_view text) { return *Endpoint::parse(text); }

bool shown(EventKind kind, path::Reason reason = path::Reason::none) {
  path::Event event;
  event.kind = kind;
  event.reason = reason;
  return worth_a_line(event);
}

}  // namespace

TEST_CASE("moves and doubts are shown, mere attempts are not", "[paths]") {
  for (const auto kind : {EventKind::suspected, EventKind::cleared, EventKind::stalled, EventKind::held,
                          EventKind::outage, EventKind::noted, EventKind::network, EventKind::declined}) {
    CHECK(shown(kind));
  }
  for (const auto kind : {EventKind::tried, EventKind::opened, EventKind::failed, EventKind::twinned,
                          EventKind::untwinned, EventKind::closed, EventKind::up}) {
    CHECK_FALSE(shown(kind));
  }
  CHECK(shown(EventKind::up, path::Reason::better_transport));
}

TEST_CASE("the first path is not shown as a move: the line that says up tells of it", "[paths]") {
  path::Event event;
  event.kind = EventKind::moved;
  CHECK_FALSE(worth_a_line(event));
  event.from = path::Candidate{};
  CHECK(worth_a_line(event));
}

TEST_CASE("a failed start is one sentence with every transport, its reason and the remedy", "[paths]") {
  std::vector<PathFailure> failures;
  note_failure(failures, {TransportKind::udp, endpoint("192.0.2.1:500"), "unreachable (ICMP)"});
  note_failure(failures, {TransportKind::tls, endpoint("192.0.2.1:443"), "connection refused"});
  note_failure(failures, {TransportKind::udp, endpoint("192.0.2.1:500"), "no answer"});  // the later word counts
  CHECK(why_no_path(failures, {}) ==
        "no answer from 192.0.2.1:500: check the address, that the headend runs, and that nothing on the way blocks "
        "UDP 500 and 4500 and TCP 443; tried udp (no answer), tls (connection refused)");
}

TEST_CASE("with several addresses each failure says which", "[paths]") {
  std::vector<PathFailure> failures;
  note_failure(failures, {TransportKind::tcp, endpoint("192.0.2.1:4500"), "no answer"});
  note_failure(failures, {TransportKind::tcp, endpoint("[2001:db8::1]:4500"), "no way to it"});
  const auto text = why_no_path(failures, {});
  CHECK(text.find("blocks TCP 4500; tried tcp to 192.0.2.1 (no answer), tcp to 2001:db8::1 (no way to it)") !=
        std::string::npos);
}

TEST_CASE("the list of failures is bounded", "[paths]") {
  std::vector<PathFailure> failures;
  for (std::uint16_t port = 1; port < 1000; ++port) {
    note_failure(failures, {TransportKind::ctcp, {*IpAddress::parse("192.0.2.1"), port}, "no answer"});
  }
  CHECK(failures.size() == 64);
}

}  // namespace switchback::client
