#include <fcntl.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "tests/unit/dataplane/ends.h"
#include "tests/unit/packet/builders.h"
#include "transports/dataplane/mailbox.h"

using namespace switchback;
using namespace switchback::testing;
using namespace switchback::transports;

namespace {

const auto kAny4 = *Endpoint::parse("127.0.0.1:0");
const auto kAny6 = *Endpoint::parse("[::1]:0");

PacketSpec outward(bool v6 = false) {
  PacketSpec spec;
  spec.source = v6 ? "fd09::1" : "10.9.0.1";
  spec.destination = v6 ? "fd09::2" : "10.9.0.2";
  return spec;
}

PacketSpec reversed(PacketSpec spec) {
  std::swap(spec.source, spec.destination);
  std::swap(spec.source_port, spec.destination_port);
  return spec;
}

/// A TCP super-packet as the kernel hands it over, and its header.
TunRecord super_packet(PacketSpec spec, std::size_t payload, std::uint16_t mss) {
  spec.payload = counting(payload);
  TunRecord record;
  record.packet = make_tcp(spec);
  const auto l3 = l3_bytes_of(record.packet);
  // CHECKSUM_PARTIAL: the field holds the pseudo header's sum.
  store_be(&record.packet[l3 + 16],
           static_cast<std::uint16_t>(
               ~reference_checksum({}, reference_pseudo(addresses_of(record.packet), 6, record.packet.size() - l3))));
  record.header.flags = packet::kVirtioNeedsCsum;
  record.header.gso_type = l3 == 20 ? packet::kVirtioGsoTcpV4 : packet::kVirtioGsoTcpV6;
  record.header.gso_size = mss;
  record.header.hdr_len = static_cast<std::uint16_t>(l3 + 20);
  record.header.csum_start = static_cast<std::uint16_t>(l3);
  record.header.csum_offset = 16;
  return record;
}

/// Payload of a TCP packet with a header without options.
Bytes tcp_payload(const TunRecord& record) {
  const auto header = l3_bytes_of(record.packet) + (record.packet[l3_bytes_of(record.packet) + 12] >> 4U) * 4U;
  return {record.packet.begin() + static_cast<std::ptrdiff_t>(header), record.packet.end()};
}

struct Pair {
  explicit Pair(EndOptions client_options = {}, EndOptions headend_options = {}, StaticChild keys = {},
                bool start = true)
      : client{with(std::move(client_options), false)}, headend{with(std::move(headend_options), true)} {
    up = {client.local.front(), headend.local.front()};
    down = {headend.local.front(), client.local.front()};
    child = keys;
    client_counters = client.plane->install(keys.make(up));
    headend_counters = headend.plane->install(keys.mirrored().make(down));
    if (start) {
      client.plane->start();
      headend.plane->start();
    }
  }
  static EndOptions with(EndOptions options, bool headend) {
    options.headend = headend;
    if (options.local.empty()) options.local = {kAny4};
    return options;
  }

  End client, headend;
  AddressPair up, down;
  StaticChild child;
  ChildCounters client_counters, headend_counters;
};

void check_both_ways(Pair& pair) {
  for (const bool v6 : {false, true}) {
    auto spec = outward(v6);
    spec.payload = counting(700);
    const auto ping = make_udp(spec);
    pair.client.route(ping);
    const auto there = pair.headend.delivered();
    REQUIRE(there);
    CHECK(there->packet == ping);
    const auto pong = make_udp(reversed(spec));
    pair.headend.route(pong);
    const auto back = pair.client.delivered();
    REQUIRE(back);
    CHECK(back->packet == pong);
  }
}

}  // namespace

TEST_CASE("inner packets of both families go both ways over an IPv4 path", "[dataplane][rfc4303][rfc3948]") {
  Pair pair;
  check_both_ways(pair);
  CHECK(pair.client_counters.outbound->packets == 2);
  CHECK(pair.client_counters.inbound->packets == 2);
  CHECK(pair.headend_counters.inbound->packets == 2);
  CHECK(pair.headend_counters.activity->last_inbound() > Instant{});
}

TEST_CASE("inner packets of both families go both ways over an IPv6 path", "[dataplane]") {
  EndOptions six;
  six.local = {kAny6};
  Pair pair{six, six};
  check_both_ways(pair);
}

TEST_CASE("packets pass with every offload off", "[dataplane]") {
  EndOptions plain;
  plain.transport_offload = false;
  plain.tun_header = false;
  Pair pair{plain, plain};
  check_both_ways(pair);
  for (int i = 0; i < 200; ++i) {
    auto spec = outward();
    spec.seq = 1000U + static_cast<std::uint32_t>(i) * 1000U;
    spec.payload = counting(1000, static_cast<std::uint8_t>(i));
    const auto sent = make_tcp(spec);
    pair.client.route(sent);
    const auto got = pair.headend.delivered();
    REQUIRE(got);
    REQUIRE(got->packet == sent);
  }
}

TEST_CASE("only one end has offloads", "[dataplane]") {
  EndOptions plain;
  plain.transport_offload = false;
  plain.tun_header = false;
  Pair pair{{}, plain};
  const auto sent = super_packet(outward(), 20 * 1000, 1000);
  pair.client.route(sent.packet, sent.header);
  Bytes received;
  for (int i = 0; i < 20; ++i) {
    const auto got = pair.headend.delivered();
    REQUIRE(got);
    CHECK(transport_checksum_right(got->packet, 6));
    append(received, tcp_payload(*got));
  }
  CHECK(received == tcp_payload(sent));
}

TEST_CASE("a super-packet crosses as few messages and comes out whole", "[dataplane]") {
  for (const bool v6 : {false, true}) {
    Pair pair;
    const auto sent = super_packet(outward(v6), 60'000, 1300);
    pair.client.route(sent.packet, sent.header);
    Bytes received;
    std::size_t writes = 0;
    while (received.size() < 60'000) {
      const auto got = pair.headend.delivered();
      REQUIRE(got);
      ++writes;
      if (got->header.gso_type != packet::kVirtioGsoNone) CHECK(got->header.gso_size == 1300);
      append(received, tcp_payload(*got));
    }
    CHECK(received == tcp_payload(sent));
    pair.client.plane->stop();
    const auto counters = pair.client.plane->counters();
    CHECK(counters.inner_sent == 47);
    CHECK(counters.transports[0]->sent_packets == 47);
    // Without UDP_SEGMENT in the kernel there would be 47 of them: everything this runs on has it.
    CHECK(counters.transports[0]->send_calls <= 3);
    CHECK(writes <= 4);
  }
}

TEST_CASE("many super-packets at once arrive complete and in order", "[dataplane]") {
  Pair pair;
  Bytes received;
  std::size_t sent_octets = 0;
  auto spec = outward();
  for (int burst = 0; burst < 20; ++burst) {
    for (int i = 0; i < 4; ++i) {
      spec.seq = 1000U + static_cast<std::uint32_t>(sent_octets);
      const auto sent = super_packet(spec, 40'000, 1000);
      pair.client.route(sent.packet, sent.header);
      sent_octets += 40'000;
    }
    while (received.size() < sent_octets) {
      const auto got = pair.headend.delivered();
      REQUIRE(got);
      const auto seq = load_be<std::uint32_t>(&got->packet[24]);
      REQUIRE(seq == 1000U + received.size());
      append(received, tcp_payload(*got));
    }
  }
  CHECK(pair.headend_counters.inbound->packets == 20 * 4 * 40);
  CHECK(pair.headend_counters.inbound->replayed == 0);
}

namespace {

/// Takes packets while it has room, as a socket with a small buffer does.
struct Valve {
  std::atomic<std::size_t> room{0};
  std::atomic<std::size_t> taken{0}, refused{0};
  Mailbox<int> wake;
};
Valve* valve = nullptr;

class ValveTransport final : public Transport {
 public:
  [[nodiscard]] const TransportTraits& traits() const noexcept override { return traits_; }
  [[nodiscard]] const TransportCounters& counters() const noexcept override { return counters_; }
  [[nodiscard]] Result<std::size_t> send(std::span<packet::Packet> batch, Instant) override {
    const auto count = std::min(batch.size(), valve->room.load());
    for (auto& packet : batch.first(count)) packet.reset();
    valve->room -= count;
    valve->taken += count;
    if (count < batch.size()) ++valve->refused;
    return count;
  }
  [[nodiscard]] Result<std::size_t> receive(std::span<packet::Packet>, Instant) override {
    std::vector<int> drained;
    valve->wake.take(drained);
    return std::size_t{0};
  }
  [[nodiscard]] std::optional<PathReport> poll_report() override { return std::nullopt; }
  void open_path(const PathRequest&, Instant) override {}
  void close_path(const AddressPair&, Instant) override {}
  void set_inbound_spis(const AddressPair&, std::span<const Spi>) override {}
  [[nodiscard]] std::optional<Instant> next_deadline() const override { return std::nullopt; }
  void handle_deadline(Instant) override {}
  [[nodiscard]] int wait_fd() const noexcept override { return valve->wake.fd(); }
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const override { return {kAny4}; }
  [[nodiscard]] Result<void, UserError> rebind(std::span<const Endpoint>) override { return {}; }

 private:
  TransportTraits traits_{"valve", 28, 48, 64};
  TransportCounters counters_;
};

}  // namespace

TEST_CASE("a full socket stops the reading of the TUN, and nothing is lost", "[dataplane]") {
  Valve here;
  valve = &here;
  TransportRegistry registry;
  registry.add("udp", [](const TransportConfig&, packet::PacketPool&) -> Result<std::unique_ptr<Transport>, UserError> {
    return std::make_unique<ValveTransport>();
  });
  EndOptions options;
  options.registry = &registry;
  End end{options};
  StaticChild child;
  end.plane->install(child.make({kAny4, kAny4}));
  end.plane->start();
  auto spec = outward();
  spec.payload = counting(1200);
  const auto packet = make_udp(spec);
  end.route(packet);
  REQUIRE(until([&] { return here.refused != 0; }));
  // The data plane sits on one packet and reads no more: what follows stays with the kernel.
  std::size_t routed = 1;
  while (end.try_route(packet)) REQUIRE(++routed < 5000);
  CHECK(end.plane->counters().inner_sent == 1);
  here.room = 10;
  here.wake.post(0);
  REQUIRE(until([&] { return here.taken == 10; }));
  here.room = 5000;
  here.wake.post(0);
  REQUIRE(until([&] { return here.taken == routed; }));
  end.plane->stop();
  CHECK(end.plane->counters().inner_sent == routed);
}

TEST_CASE("IKE messages reach the other control thread with their path, and their answer comes back",
          "[dataplane][rfc3948]") {
  // The IKE port of the headend has no marker, the other one has.
  EndOptions headend;
  const auto address = "127.45." + std::to_string(::getpid() % 250) + "." + std::to_string(::getpid() / 250 % 250 + 1);
  headend.local = {*Endpoint::parse(address + ":20500"), *Endpoint::parse(address + ":24500")};
  headend.ike_port = 20500;
  EndOptions client;
  client.ike_port = 20500;
  client.local = {*Endpoint::parse("0.0.0.0:0")};
  Pair pair{client, headend};
  for (const auto& there : headend.local) {
    const Bytes question = counting(60, 1), answer = counting(300, 9);
    pair.client.plane->send_ike({pair.client.local[0], there}, question);
    const auto received = pair.headend.event<IkeReceived>();
    REQUIRE(received);
    CHECK(received->message == question);
    CHECK(received->path.local == there);
    CHECK(received->path.remote.port == pair.client.local[0].port);
    pair.headend.plane->send_ike(received->path, answer);
    const auto answered = pair.client.event<IkeReceived>();
    REQUIRE(answered);
    CHECK(answered->message == answer);
    CHECK(answered->path.remote == there);
    CHECK_FALSE(answered->path.local.address.is_unspecified());
  }
}

TEST_CASE("the control thread being slow costs IKE messages, not memory", "[dataplane]") {
  Pair pair;
  for (int i = 0; i < 3000; ++i) pair.client.plane->send_ike(pair.up, counting(1000, 1));
  pair.client.plane->stop();
  REQUIRE(until([&] { return pair.headend.plane->counters().ike_dropped != 0; }));
  pair.headend.plane->stop();
  const auto counters = pair.headend.plane->counters();
  CHECK(counters.ike_received <= 1024);
  std::vector<DataPlaneEvent> events;
  pair.headend.plane->drain_events(events);
  CHECK(events.size() <= 1030);
}

TEST_CASE("ESP with an SPI of nobody is counted and told, and a forged packet is only counted", "[dataplane]") {
  Pair pair;
  auto stranger = pair.child;
  stranger.spi_in = 0x3001;
  stranger.spi_out = 0x4001;  // the headend does not have it
  stranger.remote = {"10.77.0.0/16"};
  pair.client.plane->install(stranger.make(pair.up));
  auto spec = outward();
  spec.destination = "10.77.1.1";
  spec.payload = counting(100);
  pair.client.route(make_udp(spec));
  const auto unknown = pair.headend.event<UnknownSpi>();
  REQUIRE(unknown);
  CHECK(unknown->spi == Spi{0x4001});
  CHECK(unknown->octets > 100);
  CHECK(unknown->path.remote == pair.client.local[0]);

  auto forger = pair.child;
  forger.key_out = 99;
  pair.client.plane->install(forger.make(pair.up));
  spec = outward();
  spec.payload = counting(100);
  pair.client.route(make_udp(spec));
  REQUIRE(until([&] { return pair.headend_counters.inbound->forged != 0; }));
  pair.client.plane->install(pair.child.make(pair.up));
  // Sequence number 1 is still fresh, since the forged one never counted.
  pair.client.route(make_udp(spec));
  REQUIRE(pair.headend.delivered());
  CHECK(pair.headend_counters.inbound->forged == 1);
  pair.headend.plane->stop();
  CHECK(pair.headend.plane->counters().unknown_spi == 1);
  CHECK(pair.headend.plane->counters().esp_forged == 1);
}

TEST_CASE("a peer that moved is told of and followed only on command", "[dataplane][rfc4555]") {
  Pair pair;
  check_both_ways(pair);
  REQUIRE(pair.client.plane->rebind(0, {kAny4}));
  const auto moved_to = pair.client.plane->local_endpoints(0).front();
  CHECK(moved_to != pair.client.local[0]);
  pair.client.plane->use_paths(SessionTag{7}, {moved_to, pair.headend.local[0]});
  auto spec = outward();
  spec.payload = counting(50);
  pair.client.route(make_udp(spec));
  REQUIRE(pair.headend.delivered());
  const auto moved = pair.headend.event<PeerMoved>();
  REQUIRE(moved);
  CHECK(moved->session == SessionTag{7});
  CHECK(moved->child == Spi{0x2001});
  CHECK(moved->path == AddressPair{pair.headend.local[0], moved_to});
  pair.headend.plane->use_paths(moved->session, moved->path);
  pair.headend.route(make_udp(reversed(spec)));
  CHECK(pair.client.delivered());
}

TEST_CASE("the responder of a rekey sends by the old SA until it is told to switch", "[dataplane][rfc7296]") {
  Pair pair;
  StaticChild next = pair.child;
  next.spi_in = 0x1002;
  next.spi_out = 0x2002;
  auto armed = next.mirrored().make(pair.down);
  armed.activation = Activation::on_command;
  armed.replaces = Spi{0x2001};
  const auto headend = pair.headend.plane->install(std::move(armed));
  auto spec = outward();
  spec.payload = counting(10);
  pair.headend.route(make_udp(reversed(spec)));
  REQUIRE(pair.client.delivered());
  CHECK(headend.outbound->packets == 0);

  const auto client = pair.client.plane->install(next.make(pair.up));
  pair.client.route(make_udp(spec));
  REQUIRE(pair.headend.delivered());
  CHECK(client.outbound->packets == 1);  // the newest with equal selectors
  for (;;) {
    const auto first = pair.headend.event<FirstInbound>();
    REQUIRE(first);
    if (first->child != Spi{0x2002}) continue;
    break;
  }
  pair.headend.route(make_udp(reversed(spec)));
  REQUIRE(pair.client.delivered());
  CHECK(headend.outbound->packets == 0);  // a first packet alone switches nothing: rekeys may collide
  pair.headend.plane->switch_outbound(Spi{0x2002});
  pair.headend.route(make_udp(reversed(spec)));
  REQUIRE(pair.client.delivered());
  CHECK(headend.outbound->packets == 1);

  // Taken away again, the old one carries on where the session says so.
  pair.headend.plane->switch_outbound(Spi{0x2001});
  pair.headend.plane->remove(Spi{0x2002});
  pair.headend.route(make_udp(reversed(spec)));
  REQUIRE(pair.client.delivered());
  CHECK(headend.outbound->packets == 1);
  CHECK(pair.headend_counters.outbound->packets == 3);
}

TEST_CASE("soft and hard lifetimes are told, and nothing passes beyond the hard one", "[dataplane][rfc4301]") {
  Pair pair;
  auto limited = pair.child.make(pair.up);
  limited.outbound.lifetime.soft_packets = 2;
  limited.outbound.lifetime.hard_packets = 4;
  const auto counters = pair.client.plane->install(std::move(limited));
  auto spec = outward();
  spec.payload = counting(10);
  std::size_t delivered = 0;
  for (; delivered < 4; ++delivered) {
    pair.client.route(make_udp(spec));
    REQUIRE(pair.headend.delivered());
  }
  for (int i = 0; i < 3; ++i) pair.client.route(make_udp(spec));
  const auto soft = pair.client.event<LifetimeReached>();
  REQUIRE(soft);
  CHECK_FALSE(soft->hard);
  CHECK(soft->outbound);
  CHECK(soft->child == Spi{0x1001});
  const auto hard = pair.client.event<LifetimeReached>();
  REQUIRE(hard);
  CHECK(hard->hard);
  REQUIRE(until([&] { return counters.outbound->expired == 3; }));
  CHECK(counters.outbound->packets == 4);
}

TEST_CASE("a packet beyond the tunnel's MTU is answered by ICMP, and a SYN is clamped to it", "[dataplane][rfc1191]") {
  Pair pair;
  pair.client.plane->set_inner_mtu(SessionTag{7}, 1280);
  auto spec = outward();
  spec.dont_fragment = true;
  spec.payload = counting(1300);
  const auto large = make_udp(spec);
  pair.client.route(large);
  const auto icmp = pair.client.delivered();
  REQUIRE(icmp);
  REQUIRE(icmp->packet.size() > 28);
  CHECK(ip_checksum_right(icmp->packet));
  CHECK(icmp->packet[9] == 1);
  CHECK(icmp->packet[20] == 3);
  CHECK(icmp->packet[21] == 4);
  CHECK(load_be<std::uint16_t>(&icmp->packet[26]) == 1280);

  const auto super = super_packet(outward(true), 13'000, 1300);
  pair.client.route(super.packet, super.header);
  const auto icmp6 = pair.client.delivered();
  REQUIRE(icmp6);
  CHECK(icmp6->packet[6] == 58);
  CHECK(icmp6->packet[40] == 2);
  CHECK(load_be<std::uint32_t>(&icmp6->packet[44]) == 1280);
  CHECK(pair.client_counters.activity->too_big == 2);

  auto syn = outward();
  syn.flags = 0x02;
  syn.options = {2, 4, 0x05, 0xB4};  // MSS 1460
  pair.client.route(make_tcp(syn));
  const auto clamped = pair.headend.delivered();
  REQUIRE(clamped);
  CHECK(load_be<std::uint16_t>(&clamped->packet[42]) == 1240);
  CHECK(transport_checksum_right(clamped->packet, 6));
}

TEST_CASE("an IPv4 packet that may be cut goes in fragments that fit the path", "[dataplane][rfc791]") {
  Pair pair;
  pair.client.plane->set_inner_mtu(SessionTag{7}, 1218);
  auto spec = outward();
  spec.payload = counting(1300);
  const auto large = make_udp(spec);
  pair.client.route(large);
  Bytes payload;
  for (int i = 0; i < 2; ++i) {
    const auto fragment = pair.headend.delivered();
    REQUIRE(fragment);
    CHECK(fragment->packet.size() <= 1218);
    CHECK(ip_checksum_right(fragment->packet));
    append(payload, ByteView{fragment->packet}.subspan(20));
  }
  CHECK(payload == Bytes(large.begin() + 20, large.end()));
  pair.client.plane->stop();
  CHECK(pair.client.plane->counters().inner_sent == 2);
}

TEST_CASE("a dummy packet proves the peer and reaches no TUN", "[dataplane][rfc4303]") {
  Pair pair;
  pair.client.plane->send_control(SessionTag{7}, pair.up, counting(40));
  const auto first = pair.headend.event<FirstInbound>();
  REQUIRE(first);
  CHECK(first->child == Spi{0x2001});
  pair.headend.plane->stop();
  CHECK(pair.headend.plane->counters().esp_dummy == 1);
  CHECK(pair.headend.plane->counters().tun_written_packets == 0);
}

TEST_CASE("a packet that no SA is for, or from a foreign source, does not leave", "[dataplane][rfc4301]") {
  Pair pair;
  auto elsewhere = outward();
  elsewhere.destination = "10.9.0.3";
  pair.client.route(make_udp(elsewhere));
  auto foreign = outward();
  foreign.source = "10.9.0.7";
  pair.client.route(make_udp(foreign));
  pair.client.route(Bytes{0x12, 0x34, 0x56});
  pair.client.route(make_udp(outward()));
  REQUIRE(pair.headend.delivered());
  pair.client.plane->stop();
  const auto counters = pair.client.plane->counters();
  CHECK(counters.no_outbound == 2);
  CHECK(counters.inner_malformed == 1);
  CHECK(counters.inner_sent == 1);
}

TEST_CASE("an idle path is kept open by keepalives of one octet", "[dataplane][rfc3948]") {
  Pair pair;
  auto idle = pair.child.make(pair.up);
  idle.nat_keepalive = std::chrono::milliseconds{1};
  pair.client.plane->install(std::move(idle));
  // The first tick comes within a second of the install.
  CHECK(until([&] { return pair.headend.plane->counters().keepalives_received != 0; }));
}

TEST_CASE("the packet capture holds inner packets of both directions", "[dataplane]") {
  const auto file = "/tmp/sb-pump-" + std::to_string(::getpid()) + ".pcap";
  EndOptions client;
  client.pcap_file = file;
  auto spec = outward();
  spec.payload = counting(99);
  {
    Pair pair{client};
    pair.client.route(make_udp(spec));
    REQUIRE(pair.headend.delivered());
    pair.headend.route(make_udp(reversed(spec)));
    REQUIRE(pair.client.delivered());
  }
  struct stat status {};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0600U);
  std::ifstream in{file, std::ios::binary};
  const std::vector<char> text{std::istreambuf_iterator<char>{in}, {}};
  const Bytes octets(text.begin(), text.end());
  ::unlink(file.c_str());
  REQUIRE(octets.size() == 24 + 2 * (16 + 127));
  CHECK(octets[20] == 101);  // LINKTYPE_RAW, little-endian machines
  const auto out = make_udp(spec), in_packet = make_udp(reversed(spec));
  CHECK(same_bytes(ByteView{octets}.subspan(40, 127), out));
  CHECK(same_bytes(ByteView{octets}.subspan(40 + 127 + 16, 127), in_packet));
}

TEST_CASE("every cipher carries packets", "[dataplane]") {
  for (const auto algorithm : {crypto::AeadAlgorithm::aes128_gcm, crypto::AeadAlgorithm::aes256_gcm,
                               crypto::AeadAlgorithm::chacha20_poly1305}) {
    StaticChild child;
    child.algorithm = algorithm;
    Pair pair{{}, {}, child};
    check_both_ways(pair);
  }
}
