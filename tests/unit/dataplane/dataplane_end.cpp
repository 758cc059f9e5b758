// One end of a tunnel with fixed keys, for measuring the data plane without IKE: see dataplane_bench. Not for use.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/io/tun_device.h"
#include "tests/unit/dataplane/ends.h"

using namespace switchback;

namespace {

[[noreturn]] void usage() {
  std::fprintf(stderr,
               "usage: dataplane_end client|headend TUN LOCAL:PORT REMOTE:PORT [aes128|aes256|chacha] [plain]\n"
               "       plain: without segmentation and receive offloads\n");
  std::exit(2);
}

template <class T>
T require(Result<T, UserError> result) {
  if (result) return *std::move(result);
  std::fprintf(stderr, "dataplane_end: %s\n", result.error().message.c_str());
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) usage();
  const bool headend = std::strcmp(argv[1], "headend") == 0;
  const auto local = Endpoint::parse(argv[3]), remote = Endpoint::parse(argv[4]);
  if (!local || !remote) usage();
  bool offload = true;
  testing::StaticChild child;
  for (int i = 5; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "plain") {
      offload = false;
    } else if (word == "aes256") {
      child.algorithm = crypto::AeadAlgorithm::aes256_gcm;
    } else if (word == "chacha") {
      child.algorithm = crypto::AeadAlgorithm::chacha20_poly1305;
    } else if (word != "aes128") {
      usage();
    }
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  auto device = require(io::TunDevice::create({argv[2], 1, offload}));
  if (!device.set_mtu(1400) || !device.set_up(true)) return 1;
  transports::TransportConfig udp;
  udp.local = {*local};
  udp.headend = headend;
  udp.offload = offload;
  transports::DataPlaneConfig config;
  config.transports = {udp};
  config.tun_offloads = device.offloads();
  config.tun = device.take_queues();
  const auto plane = require(transports::DataPlane::create(std::move(config)));
  if (headend) child = child.mirrored();
  (void)plane->install(child.make({*local, *remote}));
  plane->start();
  std::printf("ready\n");
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  plane->stop();
  const auto counters = plane->counters();
  const auto& wire = *counters.transports[transports::kUdpTransport];
  std::printf(
      "turns %llu; TUN reads %llu, writes %llu; inner sent %llu, received %llu; sendmsg %llu, recvmsg %llu; "
      "blocked %llu, dropped %llu, replayed %llu, pool empty %llu\n",
      static_cast<unsigned long long>(counters.loop_turns), static_cast<unsigned long long>(counters.tun_read_packets),
      static_cast<unsigned long long>(counters.tun_written_packets),
      static_cast<unsigned long long>(counters.inner_sent), static_cast<unsigned long long>(counters.inner_received),
      static_cast<unsigned long long>(wire.send_calls), static_cast<unsigned long long>(wire.receive_calls),
      static_cast<unsigned long long>(wire.send_blocked), static_cast<unsigned long long>(wire.send_dropped),
      static_cast<unsigned long long>(counters.esp_replayed), static_cast<unsigned long long>(counters.pool_empty));
  return 0;
}
