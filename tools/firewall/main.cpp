// switchback-firewall: what to paste into a firewall between clients and headend. Prints, never applies.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "tools/firewall/command.h"
#include "tools/firewall/vendors.h"

namespace switchback::firewall {
namespace {

int run(int argc, char** argv) {
  std::string known;
  for (const auto& vendor : vendors())
    known += cat("\n  ", vendor.name, std::string(12 - vendor.name.size(), ' '), vendor.product);
  CLI::App app{
      "What to paste into a firewall between Switchback's clients and a headend: rules that permit its transports, and "
      "that\n"
      "exempt cTCP from TCP checks where UDP and ESP cannot be had. Prints only, never applies anything.",
      "switchback-firewall"};
  app.footer(
      cat("Vendors:", known, "\nExit status: 0, 1 an address cannot be had, 2 wrong usage, profile or configuration."));
  app.set_version_flag("--version", SB_VERSION);
  Options options;
  app.add_option("vendor", options.vendor, "Whose language; see below")->required()->type_name("VENDOR");
  auto* profile =
      app.add_option("--profile", options.profile, "Addresses and ports of a client's profile")->type_name("FILE.toml");
  app.add_option("--headend-dir", options.headend_directory, "Addresses and ports of a headend's configuration")
      ->type_name("DIR")
      ->excludes(profile);
  app.add_option("--address", options.addresses,
                 "The headend's address or name; may repeat; in place of those of a file")
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("ADDR");
  app.add_option("--port", options.ports, "TCP port of cTCP; may repeat; in place of those of a file [10000]")
      ->take_all()
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 65535))
      ->type_name("PORT");
  app.add_option("--mode", options.mode,
                 "permit: only let through; bypass: no TCP checks for cTCP; tolerant: milder ones")
      ->check(CLI::IsMember({"permit", "bypass", "tolerant"}))
      ->capture_default_str()
      ->type_name("MODE");
  app.add_option("--clients", options.clients, "Only for clients of this prefix; may repeat [any]")
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("PREFIX");
  app.add_option("--interface", options.request.interface,
                 "Interface or zone towards the headend, as the device calls it")
      ->type_name("NAME");
  app.add_option("--inside", options.request.inside, "Interface or zone towards the clients")->type_name("NAME");
  app.add_option("--chain", options.request.chain,
                 "nftables: \"TABLE CHAIN\" of family inet [filter forward]; iptables: chain [FORWARD]")
      ->type_name("CHAIN");
  app.add_option("--part", options.part,
                 "Only the commands of permit, rule, check or rollback, without a word around them")
      ->check(CLI::IsMember({"all", "permit", "rule", "check", "rollback"}))
      ->capture_default_str()
      ->type_name("PART");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitStatus::usage);
  }
  return print(options);
}

}  // namespace
}  // namespace switchback::firewall

int main(int argc, char** argv) {
  try {
    return switchback::firewall::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "switchback-firewall: %s\n", error.what());
    return 1;
  }
}
