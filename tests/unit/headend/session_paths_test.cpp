#include "headend/session_paths.h"

#include <catch2/catch.hpp>
#include <map>

#include "headend/session_setup.h"
#include "tests/support/seeded_random.h"

using namespace switchback;
using namespace switchback::headend;
using namespace std::chrono_literals;

namespace {

using transports::kCtcpTransport;
using transports::kEspTransport;
using transports::kTcpTransport;
using transports::kUdpTransport;

AddressPair path_of(const char* remote, transports::TransportId transport = kUdpTransport) {
  const bool esp = transport == kEspTransport;
  return {{*IpAddress::parse("192.0.2.1"), static_cast<std::uint16_t>(esp ? 0 : 4500)},
          *Endpoint::parse(remote),
          transport};
}

const AddressPair kUdp = path_of("198.51.100.7:4500");
const AddressPair kTcp = path_of("198.51.100.7:50001", kTcpTransport);
const AddressPair kCtcp = path_of("198.51.100.7:50002", kCtcpTransport);
const AddressPair kElsewhere = path_of("203.0.113.9:4500");

/// A headend's session whose actions are written down, and a client that is played by the test.
class World {
 public:
  World() {
    for (auto& overhead : rules.overhead) overhead = {28, 48};
    rules.tun_mtu = 1438;
    session = std::make_unique<SessionPaths>(rules, random);
  }

  void start(const AddressPair& path = kUdp) {
    session->handle_started(path, now);
    drain();
  }
  void control(const AddressPair& path, const path::ControlMessage& message) {
    auto& activity = activity_of(path);
    activity.received_packets.fetch_add(1);
    transports::ControlReceived received;
    received.path = path;
    path::build_control(message, received.body);
    received.at = now;
    received.received_packets = activity.received_packets.load();
    session->handle_control(received, now);
    drain();
  }
  void probe(const AddressPair& path, std::uint32_t decision, path::Role role, std::uint64_t sent_count = 0) {
    control(path, path::Probe{++last_probe, 5, sent_count, {decision, role}});
  }
  void data(const AddressPair& path, std::uint64_t packets) {
    auto& activity = activity_of(path);
    activity.received_packets.fetch_add(packets);
    activity.received_octets.fetch_add(packets * 1000);
    activity.last_in.store(now.time_since_epoch().count());
  }
  /// Time passes, with a tick in each second.
  void pass(Duration duration) {
    const auto end = now + duration;
    while (now < end) {
      auto next = std::min(end, next_tick);
      if (const auto due = session->next_deadline()) next = std::min(next, std::max(*due, now));
      now = next;
      ++turns;
      if (now >= next_tick) {
        next_tick = now + 1s;
        session->handle_tick(now);
      }
      session->handle_deadline(now);
      drain();
      if (answers) answer();
      if (const auto due = session->next_deadline()) REQUIRE(*due > now);
    }
  }
  /// What a client does with our probes.
  void answer() {
    auto sent = std::exchange(unanswered, {});
    for (auto& [path, message] : sent) {
      if (const auto* probe = std::get_if<path::Probe>(&message)) {
        control(path, path::ProbeAnswer{probe->id, probe->sent_at_us, 0, 0, 0, 0});
      } else if (const auto* size = std::get_if<path::PmtuProbe>(&message)) {
        if (size->packet_octets <= carries)
          control(path, path::PmtuAnswer{size->id, size->packet_octets, size->body_octets});
      }
    }
  }

  template <class Message>
  std::vector<std::pair<AddressPair, Message>> sent() const {
    std::vector<std::pair<AddressPair, Message>> found;
    for (const auto& [path, message] : messages) {
      if (const auto* wanted = std::get_if<Message>(&message)) found.emplace_back(path, *wanted);
    }
    return found;
  }
  template <class Action>
  std::vector<Action> did() const {
    std::vector<Action> found;
    for (const auto& action : actions) {
      if (const auto* wanted = std::get_if<Action>(&action)) found.push_back(*wanted);
    }
    return found;
  }
  void forget() {
    actions.clear();
    messages.clear();
  }
  transports::PathActivity& activity_of(const AddressPair& path) {
    auto& activity = activities[path];
    if (!activity) activity = std::make_shared<transports::PathActivity>();
    return *activity;
  }

  void drain() {
    while (auto action = session->poll_action()) {
      if (const auto* add = std::get_if<SessionPaths::AddPath>(&*action)) {
        (void)activity_of(add->path);
        session->handle_added(add->path, activities[add->path], 1500, now);
      } else if (const auto* control = std::get_if<SessionPaths::SendControl>(&*action)) {
        auto message = path::parse_control(control->body).value();
        if (control->dont_fragment) CHECK(std::holds_alternative<path::PmtuProbe>(message));
        unanswered.emplace_back(control->path, message);
        messages.emplace_back(control->path, std::move(message));
      } else if (const auto* gone = std::get_if<SessionPaths::RemovePath>(&*action)) {
        // What the data plane asks for.
        CHECK(session->in_use() != gone->path);
        activities.erase(gone->path);
      }
      actions.push_back(*std::move(action));
    }
  }

  PathRules rules;
  Instant now = Instant{} + 1000s, next_tick = now + 1s;
  test::SeededRandom random{7};
  std::unique_ptr<SessionPaths> session;
  std::map<AddressPair, std::shared_ptr<transports::PathActivity>> activities;
  std::vector<SessionPaths::Action> actions;
  std::vector<std::pair<AddressPair, path::ControlMessage>> messages, unanswered;
  std::uint64_t last_probe = 0;
  std::size_t turns = 0;
  bool answers = true;
  std::uint16_t carries = 1500;
};

using path::Role;

}  // namespace

TEST_CASE("a session begins on the path of its IKE_AUTH", "[headend][paths]") {
  World world;
  world.start();
  CHECK(world.session->in_use() == kUdp);
  REQUIRE(world.did<SessionPaths::AddPath>().size() == 1);
  REQUIRE(world.did<SessionPaths::UsePaths>().size() == 1);
  CHECK(world.did<SessionPaths::UsePaths>()[0].in_use == kUdp);
  REQUIRE(world.session->moves().size() == 1);
  CHECK(world.session->moves()[0].cause == MoveCause::established);
}

TEST_CASE("a standard peer is sent no control message, and moves by IKE alone", "[headend][paths]") {
  World world;
  world.start();
  world.data(kUdp, 100);
  world.pass(10s);
  CHECK(world.messages.empty());
  world.session->handle_seen(kElsewhere, world.now);
  world.drain();
  CHECK(world.session->in_use() == kUdp);
  world.session->handle_ike_moved(kUdp, kElsewhere, true, world.now);
  world.drain();
  CHECK(world.session->in_use() == kElsewhere);
  CHECK(world.session->moves().back().cause == MoveCause::rebound);
  CHECK_FALSE(world.session->has(kUdp));  // or its return there would not be told
  world.session->handle_ike_moved(kElsewhere, kUdp, false, world.now);
  world.drain();
  CHECK(world.session->in_use() == kUdp);
  CHECK(world.session->moves().back().cause == MoveCause::mobike);
}

TEST_CASE("dummy packets that are no control messages mean nothing", "[headend][paths]") {
  World world;
  world.start();
  transports::ControlReceived received;
  received.path = kElsewhere;
  received.body = Bytes(100, 0);  // traffic flow confidentiality
  world.session->handle_control(received, world.now);
  received.body.clear();
  path::build_control(path::Probe{}, received.body);
  received.body.resize(20);  // cut off
  world.session->handle_control(received, world.now);
  CHECK_FALSE(world.session->speaks_control());
  CHECK_FALSE(world.session->has(kElsewhere));
  CHECK(world.session->malformed() == 1);
}

TEST_CASE("a probe is answered at once, by the path it came by", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kTcp, 7, Role::standby);
  const auto answers = world.sent<path::ProbeAnswer>();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].first == kTcp);
  CHECK(answers[0].second.id == world.last_probe);
  CHECK(answers[0].second.probe_sent_at_us == 5);
  CHECK(answers[0].second.received_count == 1);
  CHECK(answers[0].second.decision == 7);  // the claim was heard before the answer was made
  CHECK(world.session->in_use() == kUdp);  // standing by moves nothing
}

TEST_CASE("data follows claims, and not those that a newer one has overtaken", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kUdp, 1, Role::in_use);
  world.probe(kTcp, 2, Role::in_use);
  CHECK(world.session->in_use() == kTcp);
  CHECK(world.session->moves().back().cause == MoveCause::claimed);
  world.probe(kUdp, 1, Role::in_use);  // late
  CHECK(world.session->in_use() == kTcp);
  world.probe(kUdp, 2, Role::twin);
  CHECK(world.session->twin() == kUdp);
  CHECK(world.did<SessionPaths::UsePaths>().back().twin == kUdp);
  world.probe(kTcp, 3, Role::in_use);  // a decision without a twin
  CHECK_FALSE(world.session->twin().has_value());
}

TEST_CASE("what arrives is reported every 250 ms, and an idle session costs no timer", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kUdp, 1, Role::in_use, 1);
  world.pass(5s);
  world.forget();
  world.data(kUdp, 10);
  world.pass(1s);  // a tick sees it
  for (int i = 0; i < 8; ++i) {
    world.data(kUdp, 10);
    world.pass(250ms);
  }
  const auto reports = world.sent<path::Report>();
  CHECK(reports.size() >= 8);
  CHECK(reports.size() <= 12);
  CHECK(reports.back().first == kUdp);
  CHECK(reports.back().second.received_octets >= 80'000);
  CHECK(reports.back().second.claim == path::Claim{});  // this end follows

  world.pass(100s);  // silence
  world.forget();
  const auto before = world.turns;
  world.pass(100s);
  CHECK(world.messages.empty());
  CHECK(world.turns - before == 100);  // the ticks, which serve all sessions
  CHECK_FALSE(world.session->next_deadline().has_value());
}

TEST_CASE("data that begins again within seconds is reported before the client grows suspicious", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kUdp, 1, Role::in_use, 1);
  world.data(kUdp, 10);
  world.pass(3s);  // the client takes that for no pause, and sends no probe
  world.forget();
  world.data(kUdp, 10);
  world.pass(300ms);
  CHECK_FALSE(world.sent<path::Report>().empty());
}

TEST_CASE("loss, round trip and goodput come out of what is exchanged", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kUdp, 1, Role::in_use, 0);
  for (int i = 1; i <= 8; ++i) {
    world.data(kUdp, 74);
    world.pass(500ms);
    world.probe(kUdp, 1, Role::in_use, static_cast<std::uint64_t>(i) * 100);
    path::Report report;
    report.number = static_cast<std::uint32_t>(i);
    report.peer_sent_count = static_cast<std::uint64_t>(i) * 50;
    report.received_then = static_cast<std::uint64_t>(i) * 40;
    report.received_octets = static_cast<std::uint64_t>(i) * 500'000;
    report.sent_count = static_cast<std::uint64_t>(i) * 100;
    report.claim = {1, Role::in_use};
    world.control(kUdp, report);
  }
  const auto figures = world.session->figures();
  REQUIRE(figures.size() == 1);
  CHECK(figures[0].use == PathUse::in_use);
  REQUIRE(figures[0].loss_in.has_value());
  CHECK(*figures[0].loss_in == Approx(0.2).margin(0.06));  // control messages count, too
  REQUIRE(figures[0].loss_out.has_value());
  CHECK(*figures[0].loss_out == Approx(0.2).margin(0.01));
  CHECK(figures[0].goodput_out == Approx(1e6).epsilon(0.1));
  CHECK(figures[0].srtt.has_value());
}

TEST_CASE("a new address gets data at once, and loses it if nobody answers from there", "[headend][paths][flood]") {
  World world;
  world.start();
  world.probe(kUdp, 1, Role::in_use);
  world.answers = false;
  world.forget();
  world.probe(kElsewhere, 2, Role::in_use);  // sent on by somebody, perhaps
  CHECK(world.session->in_use() == kElsewhere);
  CHECK_FALSE(world.sent<path::Probe>().empty());
  world.pass(9s);
  CHECK(world.session->in_use() == kElsewhere);
  world.pass(2s);
  CHECK(world.session->in_use() == kUdp);
  CHECK(world.session->moves().back().cause == MoveCause::unproven);

  SECTION("claiming it again moves nothing, nor does another address nobody answers from") {
    world.probe(kElsewhere, 3, Role::in_use);
    CHECK(world.session->in_use() == kUdp);
    world.probe(path_of("203.0.113.10:4500"), 4, Role::in_use);
    CHECK(world.session->in_use() == kUdp);
  }
  SECTION("an answer from there proves it after all") {
    world.pass(2s);
    world.unanswered.clear();
    world.probe(kElsewhere, 3, Role::in_use);
    CHECK(world.session->in_use() == kUdp);
    world.answer();
    CHECK(world.session->in_use() == kElsewhere);
  }
  SECTION("a guessed answer proves nothing") {
    for (std::uint64_t id = 1; id < 900; ++id) world.control(kElsewhere, path::ProbeAnswer{id, 0, 0, 0, 0, 0});
    CHECK(world.session->in_use() == kUdp);
  }
}

TEST_CASE("the probes that a client has seen tell it nothing of those that prove an address",
          "[headend][paths][flood]") {
  World world;
  world.start();
  world.probe(kUdp, 1, Role::in_use);
  world.answers = false;
  world.forget();
  // One that goes to an address of the client's own.
  world.probe(path_of("198.51.100.8:4500"), 2, Role::in_use);
  const auto own = world.sent<path::Probe>();
  REQUIRE_FALSE(own.empty());
  const auto seen = own.back().second.id;
  world.control(path_of("198.51.100.8:4500"), path::ProbeAnswer{seen, 0, 0, 0, 0, 0});
  // Then somebody else's is claimed, and answers are forged from there.
  world.probe(kElsewhere, 3, Role::in_use);
  REQUIRE(world.session->in_use() == kElsewhere);
  for (std::uint64_t i = 1; i < 1000; ++i) {
    world.control(kElsewhere, path::ProbeAnswer{seen + i, 0, 0, 0, 0, 0});
    world.control(kElsewhere, path::ProbeAnswer{seen - i, 0, 0, 0, 0, 0});
  }
  world.pass(12s);
  CHECK(world.session->in_use() != kElsewhere);
}

TEST_CASE("who closes every proven path gets no data to an address that nobody answers from",
          "[headend][paths][flood]") {
  World world;
  world.start(kTcp);
  world.probe(kTcp, 1, Role::in_use);
  world.answers = false;
  world.probe(kElsewhere, 1, Role::standby);  // forged: it is only heard
  const auto end = [&] {
    world.session->handle_closed(kTcp, world.now);
    world.drain();
  };
  SECTION("once ten seconds are over") {
    end();
    CHECK(world.session->in_use() == kElsewhere);
    world.pass(8s);
    world.probe(kElsewhere, 1, Role::standby);
    world.pass(4s);
    CHECK_FALSE(world.session->in_use());
    CHECK(world.did<SessionPaths::RemovePath>().back().path == kElsewhere);
    for (std::uint32_t i = 2; i < 20; ++i) {
      world.probe(kElsewhere, i, Role::in_use);
      world.pass(1s);
      CHECK_FALSE(world.session->in_use());
    }
    SECTION("unless it answers after all") {
      world.answers = true;
      world.unanswered.clear();
      world.pass(2s);
      world.probe(kElsewhere, 20, Role::in_use);
      world.answer();
      CHECK(world.session->in_use() == kElsewhere);
    }
    SECTION("or a connection comes") {
      world.probe(kCtcp, 20, Role::in_use);
      CHECK(world.session->in_use() == kCtcp);
    }
  }
  SECTION("and none while a proven one is left, though it was heard before") {
    world.probe(kCtcp, 1, Role::standby);
    world.pass(1s);
    world.probe(kElsewhere, 1, Role::standby);
    end();
    CHECK(world.session->in_use() == kCtcp);
  }
}

TEST_CASE("an answer, MOBIKE or a connection proves an address", "[headend][paths][flood]") {
  World world;
  world.start();
  world.probe(kUdp, 1, Role::in_use);
  SECTION("an answer to our probe") { world.probe(kElsewhere, 2, Role::in_use); }
  SECTION("the IKE session, which checks before it moves") {
    world.answers = false;
    world.probe(kElsewhere, 2, Role::in_use);
    world.session->handle_ike_moved(kUdp, kElsewhere, false, world.now);
    world.drain();
  }
  SECTION("the handshake of TCP") {
    world.answers = false;
    world.probe(path_of("203.0.113.9:50000", kTcpTransport), 2, Role::in_use);
  }
  SECTION("another transport to an address that is proven") {
    world.answers = false;
    world.probe(path_of("198.51.100.7:0", kEspTransport), 2, Role::in_use);
  }
  world.pass(30s);
  CHECK(world.session->in_use() != kUdp);
  CHECK(world.session->moved() == 2);
}

TEST_CASE("an address that somebody only sends from is not taken for proven", "[headend][paths][flood]") {
  World world;
  world.start();
  CHECK(world.session->proven(kUdp));
  CHECK(world.session->proven(path_of("198.51.100.7:9")));  // a NAT's other port
  CHECK(world.session->proven(path_of("203.0.113.9:50000", kTcpTransport)));
  world.answers = false;
  world.probe(kElsewhere, 1, Role::standby);
  world.session->handle_seen(kElsewhere, world.now);
  world.drain();
  CHECK(world.session->has(kElsewhere));
  CHECK_FALSE(world.session->proven(kElsewhere));
  world.session->handle_ike_moved(kUdp, kElsewhere, false, world.now);
  CHECK(world.session->proven(kElsewhere));
}

TEST_CASE("a path that data does not use proves itself when asked, and only if it answers", "[headend][paths]") {
  for (const bool answers : {false, true}) {
    World world;
    world.start();
    world.probe(kElsewhere, 0, Role::standby);
    CHECK_FALSE(world.session->proven(kElsewhere));
    world.answers = answers;
    world.session->ask_for_proof(kElsewhere, world.now);
    world.drain();
    if (answers) world.answer();
    CHECK(world.session->proven(kElsewhere) == answers);
    CHECK(world.session->in_use() == kUdp);
  }
}

TEST_CASE("going to and fro does not prolong the time for a proof", "[headend][paths][flood]") {
  World world;
  world.start();
  world.answers = false;
  std::uint32_t decision = 0;
  Duration there{};
  for (int i = 0; i < 60; ++i) {
    world.probe(kElsewhere, ++decision, Role::in_use);
    if (world.session->in_use() == kElsewhere) there += 900ms;
    world.pass(900ms);
    world.probe(kUdp, ++decision, Role::in_use);
    world.pass(100ms);
  }
  CHECK(there <= 12s);
}

TEST_CASE("a closed path is replaced by its twin, or by the last that was proven", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kTcp, 1, Role::in_use);
  world.probe(kCtcp, 1, Role::twin);
  world.session->handle_closed(kTcp, world.now);
  world.drain();
  CHECK(world.session->in_use() == kCtcp);
  CHECK(world.session->moves().back().cause == MoveCause::closed);
  world.session->handle_closed(kCtcp, world.now);
  world.drain();
  CHECK(world.session->in_use() == kUdp);
  world.session->handle_closed(kUdp, world.now);
  world.drain();
  CHECK_FALSE(world.session->in_use().has_value());
  // Whatever comes next is better than nothing.
  world.probe(kTcp, 1, Role::standby);
  CHECK(world.session->in_use() == kTcp);
}

TEST_CASE("of many paths the least recently heard goes, never one that carries data", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kTcp, 1, Role::in_use);
  for (unsigned i = 0; i < 50; ++i) {
    world.pass(10ms);
    world.probe(path_of(("203.0.113.50:" + std::to_string(1000 + i)).c_str()), 1, Role::standby);
    CHECK(world.session->paths().size() <= kMaxSessionPaths);
  }
  CHECK(world.session->in_use() == kTcp);
  CHECK(world.session->has(kTcp));
  CHECK(world.session->has(path_of("203.0.113.50:1049")));
  CHECK_FALSE(world.session->has(path_of("203.0.113.50:1000")));
}

TEST_CASE("paths that carry nothing and are silent are forgotten", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kUdp, 1, Role::in_use);
  world.probe(kTcp, 1, Role::standby);
  for (int i = 0; i < 20; ++i) {
    world.data(kUdp, 1);
    world.pass(10s);
  }
  CHECK(world.session->has(kUdp));
  CHECK_FALSE(world.session->has(kTcp));
}

TEST_CASE("a NAT that changes the mapping moves data, MOBIKE on another path does not", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kUdp, 1, Role::in_use);
  const auto rebound = path_of("198.51.100.7:61000");
  SECTION("rebound") {
    world.session->handle_ike_moved(kUdp, rebound, true, world.now);
    world.drain();
    CHECK(world.session->in_use() == rebound);
  }
  SECTION("while data goes elsewhere") {
    world.probe(kTcp, 2, Role::in_use);
    world.session->handle_ike_moved(kUdp, rebound, true, world.now);
    world.drain();
    CHECK(world.session->in_use() == kTcp);
  }
  SECTION("IKE moves by itself") {
    world.session->handle_ike_moved(kUdp, kTcp, false, world.now);
    world.drain();
    CHECK(world.session->in_use() == kUdp);
  }
}

TEST_CASE("the inner MTU follows the transport, and what probes find", "[headend][paths][mtu]") {
  World world;
  world.rules.overhead[kTcpTransport] = {54, 74};
  world.start(kUdp);
  CHECK(world.did<SessionPaths::SetInnerMtu>().back().inner_mtu == 0);  // 1438 is what fits
  world.probe(kTcp, 1, Role::in_use);
  CHECK(world.did<SessionPaths::SetInnerMtu>().back().inner_mtu == 1410);
  world.carries = 1000;
  world.probe(kUdp, 2, Role::in_use);
  CHECK(world.did<SessionPaths::SetInnerMtu>().back().inner_mtu ==
        0);  // while nothing is known, connections start large
  for (int i = 0; i < 60; ++i) {
    world.data(kUdp, 1);
    world.pass(1s);
  }
  const auto probes = world.sent<path::PmtuProbe>();
  REQUIRE_FALSE(probes.empty());
  for (const auto& [path, probe] : probes) CHECK(path == kUdp);
  const auto inner = world.did<SessionPaths::SetInnerMtu>().back().inner_mtu;
  CHECK(inner <= inner_mtu_for(1000, 28));
  CHECK(inner >= inner_mtu_for(990, 28));
}

TEST_CASE("inner packets fit the path, however small it is", "[headend][mtu]") {
  CHECK(session_inner_mtu(1300, 28, 1438) == 1238);
  CHECK(session_inner_mtu(576, 28, 1438) == 514);
  CHECK(session_inner_mtu(1500, 28, 1438) == 0);
  CHECK(session_inner_mtu(1500, 48, 1438) == 1418);
  CHECK(session_inner_mtu(40, 28, 1438) == 68);
}

TEST_CASE("the last hundred moves are kept, and all are counted", "[headend][paths]") {
  World world;
  world.start();
  for (std::uint32_t i = 1; i <= 250; ++i) world.probe(i % 2 == 0 ? kUdp : kTcp, i, Role::in_use);
  CHECK(world.session->moves().size() == kMaxMoves);
  CHECK(world.session->moved() == 251);
}

TEST_CASE("signals are counted by path", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kTcp, 1, Role::standby);
  world.session->handle_signal(kTcp, path::Signal::duplicate_acks, 3);
  world.session->handle_signal(kTcp, path::Signal::duplicate_acks, 2);
  world.session->handle_signal(kCtcp, path::Signal::reset, 1);  // nobody's
  for (const auto& figures : world.session->figures()) {
    CHECK(figures.signals[static_cast<std::size_t>(path::Signal::duplicate_acks)] == (figures.path == kTcp ? 5U : 0U));
  }
}

TEST_CASE("after all Child SAs were gone, the paths are made known again", "[headend][paths]") {
  World world;
  world.start();
  world.probe(kTcp, 1, Role::in_use);
  world.forget();
  world.start();
  CHECK(world.did<SessionPaths::AddPath>().size() == 2);
  REQUIRE_FALSE(world.did<SessionPaths::UsePaths>().empty());
  CHECK(world.did<SessionPaths::UsePaths>().back().in_use == kTcp);
}
