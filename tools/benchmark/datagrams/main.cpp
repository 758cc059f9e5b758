// bench-datagrams: how many UDP packets a path carries. iperf3's UDP mode is itself the bottleneck above 0.5 Gbit/s.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/benchmark/datagrams/receiver.h"
#include "tools/benchmark/datagrams/sender.h"
#include "tools/benchmark/datagrams/wire.h"

namespace switchback::bench {
namespace {

int complain(const UserError& error) {
  std::fprintf(stderr, "bench-datagrams: %s\n", error.message.c_str());
  return 1;
}

int search(const SenderConfig& config, const RateSearchLimits& limits) {
  auto sender = Sender::open(config);
  if (!sender) return complain(sender.error());
  RateSearch search{limits};
  auto steps = nlohmann::json::array();
  while (const auto rate = search.next()) {
    const auto step = sender->step(*rate);
    if (!step) return complain(step.error());
    search.handle(*step);
    steps.push_back({{"offered", std::round(step->offered)}, {"delivered", std::round(step->delivered)}});
  }
  const auto& best = search.best();
  const auto bits = static_cast<double>(config.packet_bytes) * 8;
  const nlohmann::json result{{"packet_bytes", config.packet_bytes},
                              {"packets_per_s", std::round(best.delivered)},
                              {"mbit_per_s", std::round(best.delivered * bits / 1e5) / 10},
                              {"loss", best.offered > 0 ? best.loss() : 1},
                              {"steps", steps}};
  std::puts(result.dump().c_str());
  return 0;
}

int run(int argc, char** argv) {
  CLI::App app{"Finds the highest rate of UDP packets that a path carries with little loss."};
  app.require_subcommand(1);
  std::uint16_t port = 5301;
  auto* const serving = app.add_subcommand("serve", "count what arrives, until killed");
  serving->add_option("--port", port, "UDP port")->capture_default_str();

  SenderConfig config;
  RateSearchLimits limits;
  std::string address;
  auto* const searching = app.add_subcommand("search", "send to a receiver, and print what was found as JSON");
  searching->add_option("address", address, "IPv4 address of the receiver")->required();
  searching->add_option("--port", port, "its UDP port")->capture_default_str();
  searching->add_option("--size", config.packet_bytes, "octets of each IP packet, headers included")
      ->capture_default_str();
  searching->add_option("--segments", config.segments, "packets given to the kernel as one, by UDP_SEGMENT")
      ->capture_default_str();
  searching->add_option("--step", config.step_ms, "milliseconds at each rate")->capture_default_str();
  searching->add_option("--steps", limits.most_steps, "most rates to try")->capture_default_str();
  searching->add_option("--loss", limits.most_loss, "largest share that may be lost")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  if (serving->parsed()) {
    const auto served = serve(port);
    return served ? 0 : complain(served.error());
  }
  const auto parsed = IpAddress::parse(address);
  if (!parsed) return complain({"not an IP address: " + address});
  config.remote = {*parsed, port};
  return search(config, limits);
}

}  // namespace
}  // namespace switchback::bench

int main(int argc, char** argv) { return switchback::bench::run(argc, argv); }
