#include "tests/support/session_pair.h"

#include <algorithm>
#include <stdexcept>

#include "common/crypto/pki.h"

namespace switchback::test {
namespace {

using namespace std::chrono_literals;

template <class T, class E>
T must(Result<T, E> result) {
  if (!result) throw std::runtime_error{"test set-up failed"};
  return std::move(*result);
}

ike::TrafficSelectors everything() {
  return {packet::from_prefix(*IpPrefix::parse("0.0.0.0/0")), packet::from_prefix(*IpPrefix::parse("::/0"))};
}

PairConfig base() {
  PairConfig config;
  config.client.local_identity = must(crypto::IkeIdentity::parse("alice"));
  config.client.remote_identity = must(crypto::IkeIdentity::parse("vpn.example.org"));
  config.client.local_selectors = everything();
  config.client.remote_selectors = everything();
  config.client.request_network = ike::NetworkRequest{};
  config.headend.local_identity = must(crypto::IkeIdentity::parse("vpn.example.org"));
  config.headend.local_selectors = everything();
  config.headend.remote_selectors = everything();
  return config;
}

}  // namespace

PairConfig PairConfig::with_psk() {
  auto config = base();
  const auto key = as_bytes("correct horse battery staple");
  config.client.credentials =
      std::make_shared<const crypto::Credentials>(must(crypto::Credentials::from_pre_shared_key(Secret{key})));
  config.headend.peer_keys.push_back({config.client.local_identity, Secret{key}});
  return config;
}

PairConfig PairConfig::with_certificates(crypto::KeyType type) {
  auto config = base();
  const WallTime now = VirtualClock{}.wall();
  const auto authority = must(crypto::CertificateAuthority::create("Test authority", now, type));
  crypto::HeadendRequest headend;
  headend.dns_names = {"vpn.example.org"};
  headend.key_type = type;
  auto headend_issued = must(authority.issue_headend(headend, now));
  auto user_issued = must(authority.issue_user({"alice", type}, now));
  auto trust = std::make_shared<crypto::TrustStore>();
  trust->add(authority.certificate());
  config.client.trust = trust;
  config.headend.trust = trust;
  const auto own = [](crypto::IssuedCertificate& issued) {
    return std::make_shared<const crypto::Credentials>(
        must(crypto::Credentials::from_certificate({issued.certificate}, std::move(issued.key))));
  };
  config.client.credentials = own(user_issued);
  config.headend.credentials = own(headend_issued);
  return config;
}

SessionPair::SessionPair(PairConfig given, std::uint64_t seed, LinkConditions conditions)
    : random{seed}, network{random, conditions}, config{std::move(given)} {
  authorize = [](const ike::AuthorizationNeeded&) {
    ike::Authorization answer;
    answer.granted = true;
    answer.network.addresses = {*IpPrefix::parse("10.99.0.2/32"), *IpPrefix::parse("fd00:99::2/128")};
    answer.network.dns = {*IpAddress::parse("10.99.0.1")};
    return answer;
  };
  client_config_ = std::make_shared<const ike::SessionConfig>(std::move(config.client));
  headend_config_ = std::make_shared<const ike::SessionConfig>(std::move(config.headend));
  client.session =
      std::make_unique<ike::Session>(ike::Role::initiator, client_config_, ike::Environment{random, client_spis});
}

void SessionPair::start() {
  client.session->start({kClient, kHeadendIke}, clock.now(), clock.wall());
  flush();
}

void SessionPair::flush() {
  drain(client);
  if (headend.session) drain(headend);
}

void SessionPair::drain(End& end) {
  for (bool busy = true; busy;) {
    busy = false;
    while (auto event = end.session->poll_event()) {
      busy = true;
      take(end, *event);
    }
    while (auto out = end.session->poll_transmit()) {
      busy = true;
      Datagram datagram{out->path, std::move(out->datagram), false};
      if (record) recorded.push_back(datagram);
      network.send(std::move(datagram), clock.now());
    }
  }
}

void SessionPair::take(End& end, ike::Event& event) {
  const auto visit = [&](auto& what) {
    using What = std::decay_t<decltype(what)>;
    if constexpr (std::is_same_v<What, ike::AuthorizationNeeded>) {
      end.asked = what;
      if (auto answer = authorize(what)) end.session->handle_authorization(std::move(*answer), clock.now());
    } else if constexpr (std::is_same_v<What, ike::InitAnswered>) {
      end.init_answered = what;
    } else if constexpr (std::is_same_v<What, ike::Established>) {
      end.established = what;
    } else if constexpr (std::is_same_v<What, ike::ChildInstalled>) {
      InstalledChild child{what.inbound,
                           what.outbound,
                           to_bytes(what.inbound_key.key_and_salt.view()),
                           to_bytes(what.outbound_key.key_and_salt.view()),
                           what.local,
                           what.remote,
                           what.esn,
                           what.suite};
      end.installed.insert_or_assign(what.inbound, std::move(child));
      ++end.installs;
      end.esp_path = what.path;
      if (what.use_outbound) end.sending_on = what.outbound;
    } else if constexpr (std::is_same_v<What, ike::OutboundSwitched>) {
      end.sending_on = what.outbound;
    } else if constexpr (std::is_same_v<What, ike::ChildRemoved>) {
      end.installed.erase(what.inbound);
      if (end.sending_on == what.outbound) {
        // A further Child SA with the same selectors may carry on; which one is the shell's choice, not the session's.
        end.sending_on.reset();
        for (const auto& child : end.session->children()) {
          if (child.state == ike::ChildState::installed) end.sending_on = child.outbound;
        }
      }
    } else if constexpr (std::is_same_v<What, ike::ChildFailed>) {
      end.child_failures.push_back(what.error);
    } else if constexpr (std::is_same_v<What, ike::PathChanged>) {
      end.moves.push_back(what);
      end.esp_path = what.to;
    } else if constexpr (std::is_same_v<What, ike::IkeSpisAdded>) {
      end.ike_spis.insert(what.we_are_original_initiator ? what.initiator : what.responder);
    } else if constexpr (std::is_same_v<What, ike::IkeSpisRemoved>) {
      end.ike_spis.erase(what.we_are_original_initiator ? what.initiator : what.responder);
    } else if constexpr (std::is_same_v<What, ike::IkeRekeyed>) {
      ++end.ike_rekeys;
    } else if constexpr (std::is_same_v<What, ike::Closed>) {
      end.closed = what;
    } else if constexpr (std::is_same_v<What, ike::IkeKeylog>) {
      end.keylog.push_back(std::move(what));
    }
  };
  std::visit(visit, event);
}

void SessionPair::deliver(const Datagram& datagram) {
  const bool to_headend = datagram.path.local.address == kHeadendIke.address;
  auto& end = to_headend ? headend : client;
  if (datagram.esp) {
    if (!end.session) return;
    const Spi spi{load_be<std::uint32_t>(datagram.octets.data())};
    ++end.esp_received;
    if (end.installed.count(spi) == 0) {
      ++end.esp_unknown;
      return;
    }
    end.session->handle_authenticated_traffic(clock.now());
    if (end.first_seen.insert(spi).second) end.session->handle_first_inbound_packet(spi, clock.now());
    if (datagram.path != end.esp_path) end.session->handle_esp_from(datagram.path, clock.now());
    drain(end);
    return;
  }
  if (to_headend && !headend.session) {
    headend.session =
        std::make_unique<ike::Session>(ike::Role::responder, headend_config_, ike::Environment{random, headend_spis});
  }
  if (!end.session) return;
  end.session->handle_message(datagram.octets, datagram.path, clock.now(), clock.wall());
  drain(end);
}

bool SessionPair::step(Instant until) {
  auto next = network.next_delivery();
  next = earliest(next, client.session->next_deadline());
  if (headend.session) next = earliest(next, headend.session->next_deadline());
  if (!next || *next > until) return false;
  clock.advance_to(*next);
  if (auto datagram = network.receive(clock.now())) {
    deliver(*datagram);
    return true;
  }
  for (auto* end : {&client, &headend}) {
    if (!end->session) continue;
    const auto due = end->session->next_deadline();
    if (!due || *due > clock.now()) continue;
    end->session->handle_deadline(clock.now(), clock.wall());
    drain(*end);
    // A deadline that stays in the past would stop time.
    const auto again = end->session->next_deadline();
    if (again && *again <= clock.now() && *again == *due) throw std::logic_error{"a deadline was not dealt with"};
  }
  return true;
}

void SessionPair::run_for(Duration time) {
  const auto until = clock.now() + time;
  while (step(until)) {
  }
  clock.advance_to(until);
}

bool SessionPair::run_until(const std::function<bool()>& done, Duration limit) {
  const auto until = clock.now() + limit;
  while (!done()) {
    if (!step(until)) return done();
  }
  return true;
}

bool SessionPair::establish(Duration limit) {
  start();
  return run_until([this] { return both_established() && !client.installed.empty() && !headend.installed.empty(); },
                   limit);
}

void SessionPair::send_esp(End& from) {
  if (!from.sending_on) return;
  Bytes octets(40);
  store_be(octets.data(), from.sending_on->value);
  ++from.esp_sent;
  network.send({from.esp_path, std::move(octets), true}, clock.now());
}

bool SessionPair::both_established() const {
  return client.established && headend.established && !client.closed && !headend.closed;
}

bool SessionPair::both_closed() const { return client.closed && (!headend.session || headend.closed); }

bool SessionPair::quiet() const {
  return network.idle() && client.session->quiescent() && (!headend.session || headend.session->quiescent());
}

std::string SessionPair::disagreement() const {
  if (client.closed.has_value() != headend.closed.has_value()) return "one end has closed, the other has not";
  if (client.closed) return {};
  if (client.session->ike_sa_count() != 1 || headend.session->ike_sa_count() != 1) {
    return "IKE SAs: " + std::to_string(client.session->ike_sa_count()) + " and " +
           std::to_string(headend.session->ike_sa_count());
  }
  if (client.session->initiator_spi() != headend.session->initiator_spi() ||
      client.session->responder_spi() != headend.session->responder_spi()) {
    return "the IKE SAs differ";
  }
  if (client.installed.size() != headend.installed.size()) {
    return "Child SAs: " + std::to_string(client.installed.size()) + " and " + std::to_string(headend.installed.size());
  }
  for (const auto& [inbound, child] : client.installed) {
    const auto mirror = headend.installed.find(child.outbound);
    if (mirror == headend.installed.end()) return "a Child SA of the client is unknown to the headend";
    const auto& other = mirror->second;
    if (other.outbound != inbound) return "SPIs of a Child SA do not pair";
    if (other.inbound_key != child.outbound_key || other.outbound_key != child.inbound_key) return "keys differ";
    if (other.local != child.remote || other.remote != child.local) return "selectors differ";
    if (other.esn != child.esn || other.suite != child.suite) return "suites differ";
  }
  const auto reachable = [](const End& from, const End& to) {
    return from.installed.empty() || (from.sending_on && to.installed.count(*from.sending_on) != 0);
  };
  if (!reachable(client, headend)) return "the client sends on an SA that the headend does not have";
  if (!reachable(headend, client)) return "the headend sends on an SA that the client does not have";
  return {};
}

}  // namespace switchback::test
