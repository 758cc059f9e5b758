#include "common/profile/profile.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

namespace switchback::profile {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCertificate = "-----BEGIN CERTIFICATE-----\nTUlJQg==\n-----END CERTIFICATE-----\n";
constexpr std::string_view kKey = "-----BEGIN PRIVATE KEY-----\nTUlJQg==\n-----END PRIVATE KEY-----\n";

std::string minimal(std::string_view more = "") {
  std::string text =
      "version = 1\n"                     // 1
      "[headend]\n"                       // 2
      "addresses = [\"192.0.2.1\"]\n"     // 3
      "identity = \"vpn.example.org\"\n"  // 4
      "[authentication]\n"                // 5
      "method = \"psk\"\n"                // 6
      "identity = \"alice\"\n"            // 7
      "psk = \"correct horse\"\n";        // 8
  return text + std::string{more};        // 9 and on
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string error_of(std::string_view text) {
  const auto result = parse(text, "alice.toml");
  REQUIRE_FALSE(result.has_value());
  return result.error().message;
}

struct TemporaryDirectory {
  TemporaryDirectory() {
    std::string name = (fs::temp_directory_path() / "sb-profile-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path path;
};

Profile complete() {
  Profile profile;
  profile.name = "Alice \"the\\first\"\t";
  profile.headend = {{"192.0.2.1", "2001:db8::1", "vpn.example.org"}, "vpn.example.org", 1500, 14500};
  profile.authentication.identity = "alice@example.org";
  profile.authentication.certificate = std::string{kCertificate} + std::string{kCertificate};
  profile.authentication.private_key = Secret{as_bytes(kKey)};
  profile.authentication.ca = kCertificate;
  profile.tunnel = {std::vector{*IpPrefix::parse("10.0.0.0/8"), *IpPrefix::parse("::/0")}, false, std::uint16_t{1380},
                    false};
  profile.crypto = {{"aes128gcm16-prfsha256-x25519"}, {"aes128gcm16-esn", "chacha20poly1305"}};
  profile.transports = {{"udp", "tls", "ctcp"}, {10000, 443}, "classic", 4501, 8443, "www.example.org"};
  return profile;
}

}  // namespace

TEST_CASE("the smallest profile gets every default", "[profile]") {
  const auto profile = parse(minimal(), "alice.toml").value();
  CHECK(profile.headend.ike_port == 500);
  CHECK(profile.headend.nat_t_port == 4500);
  CHECK(profile.authentication.method == Method::psk);
  CHECK(as_text(profile.authentication.psk.view()) == "correct horse");
  CHECK_FALSE(profile.tunnel.routes.has_value());
  CHECK(profile.tunnel.dns);
  CHECK(profile.tunnel.block_leaks);
  CHECK_FALSE(profile.tunnel.mtu.has_value());
  CHECK(profile.transports.order == std::vector<std::string>{"udp", "esp", "ctcp", "tls", "tcp"});
  CHECK(profile.transports.ctcp_ports == std::vector<std::uint16_t>{10000});
  CHECK(profile.transports.ctcp_mode == "resilient");
  CHECK(profile.transports.tcp_port == 4500);
  CHECK(profile.transports.tls_port == 443);
  CHECK_FALSE(profile.transports.tls_server_name.has_value());
}

TEST_CASE("a profile of the time when there was only udp stays with udp", "[profile]") {
  const auto profile = parse(minimal("[transports]\norder = [\"udp\"]\n"), "alice.toml").value();
  CHECK(profile.transports.order == std::vector<std::string>{"udp"});
}

TEST_CASE("what is rendered parses back to the same profile", "[profile]") {
  const auto before = complete();
  const auto text = render(before);
  const auto after = parse(as_text(text.view()), "alice.toml").value();
  CHECK(after.name == before.name);
  CHECK(after.headend.addresses == before.headend.addresses);
  CHECK(after.headend.identity == before.headend.identity);
  CHECK(after.headend.ike_port == 1500);
  CHECK(after.headend.nat_t_port == 14500);
  CHECK(after.authentication.method == Method::certificate);
  CHECK(after.authentication.identity == before.authentication.identity);
  CHECK(after.authentication.certificate == before.authentication.certificate);
  CHECK(after.authentication.private_key.equals(before.authentication.private_key.view()));
  CHECK(after.authentication.ca == before.authentication.ca);
  CHECK(after.tunnel.routes == before.tunnel.routes);
  CHECK_FALSE(after.tunnel.dns);
  CHECK_FALSE(after.tunnel.block_leaks);
  CHECK(after.tunnel.mtu == before.tunnel.mtu);
  CHECK(after.crypto.ike == before.crypto.ike);
  CHECK(after.crypto.esp == before.crypto.esp);
  CHECK(after.transports == before.transports);
}

TEST_CASE("a pre-shared key with quotes, control characters and umlauts survives", "[profile]") {
  Profile profile;
  profile.headend = {{"vpn.example.org"}, "vpn.example.org", 500, 4500};
  profile.authentication.method = Method::psk;
  profile.authentication.identity = "alice";
  const std::string psk = "a\"b\\c\nd\x01\x7f\u00fc";
  profile.authentication.psk = Secret{as_bytes(psk)};
  const auto text = render(profile);
  const auto after = parse(as_text(text.view()), "alice.toml").value();
  CHECK(after.authentication.psk.equals(as_bytes(psk)));
}

TEST_CASE("errors name file, line, key and remedy", "[profile]") {
  SECTION("a mistyped key is shown the nearest one") {
    CHECK(error_of(minimal("[tunnel]\nmtuu = 1400\n")) ==
          "alice.toml:10: tunnel.mtuu: there is no such key: did you mean mtu?");
  }
  SECTION("a key like no other is shown those that exist") {
    CHECK(error_of(minimal("[crypto]\nwhatever = 1\n")) ==
          "alice.toml:10: crypto.whatever: there is no such key: known in [crypto] are ike, esp");
  }
  SECTION("a mistyped section") {
    CHECK(error_of(minimal("[tunel]\n")).find("alice.toml:9: tunel: there is no such key: did you mean tunnel?") == 0);
  }
  SECTION("a missing key names its section's line") {
    CHECK(error_of(replaced(minimal(), "identity = \"alice\"\n", "")) ==
          "alice.toml:5: authentication.identity: is missing: add it to [authentication], for example identity = "
          "\"alice\"");
  }
  SECTION("a wrong type") {
    CHECK(error_of(minimal("[tunnel]\nmtu = \"1400\"\n")) ==
          "alice.toml:10: tunnel.mtu: must be a whole number from 576 to 65535, without quotes");
  }
  SECTION("a number out of range") {
    CHECK(error_of(replaced(minimal(), "identity = \"vpn", "ike_port = 70000\nidentity = \"vpn"))
              .find("alice.toml:4: headend.ike_port") == 0);
  }
  SECTION("an address with a port") {
    CHECK(error_of(replaced(minimal(), "192.0.2.1", "192.0.2.1:500"))
              .find("alice.toml:3: headend.addresses: \"192.0.2.1:500\" is neither") == 0);
  }
  SECTION("an address with an octet too large is not taken for a host name") {
    CHECK(error_of(replaced(minimal(), "192.0.2.1", "192.0.2.256")).find("is neither an IP address") !=
          std::string::npos);
  }
  SECTION("a route with host bits is corrected") {
    CHECK(error_of(minimal("[tunnel]\nroutes = [\"10.1.2.3/8\"]\n")) ==
          "alice.toml:10: tunnel.routes: \"10.1.2.3/8\" has bits beyond its length: write \"10.0.0.0/8\"");
  }
  SECTION("what is not TOML") { CHECK(error_of("version = 1\n[headend\n").find("alice.toml:2: is not TOML (") == 0); }
  SECTION("a version of the future") {
    CHECK(error_of(replaced(minimal(), "version = 1", "version = 2")).find("alice.toml:1: version: ") == 0);
  }
  SECTION("a transport that does not exist") {
    CHECK(error_of(minimal("[transports]\norder = [\"quic\"]\n")) ==
          "alice.toml:10: transports.order: \"quic\" is no transport: there are udp, esp, ctcp, tcp and tls");
  }
  SECTION("a transport that stands there twice") {
    CHECK(error_of(minimal("[transports]\norder = [\"udp\", \"tls\", \"udp\"]\n")) ==
          "alice.toml:10: transports.order: \"udp\" stands there twice: name each transport once");
  }
  SECTION("a mode that does not exist") {
    CHECK(error_of(minimal("[transports]\nctcp_mode = \"fast\"\n")) ==
          "alice.toml:10: transports.ctcp_mode: \"fast\" is unknown: use \"resilient\" or \"classic\"");
  }
  SECTION("ports that are none, too many, or twice there") {
    CHECK(error_of(minimal("[transports]\nctcp_ports = [0]\n")) ==
          "alice.toml:10: transports.ctcp_ports: must be a list of whole numbers from 1 to 65535, for example [1]");
    CHECK(error_of(minimal("[transports]\nctcp_ports = []\n")).find("is empty: name at least one") !=
          std::string::npos);
    CHECK(error_of(minimal("[transports]\nctcp_ports = [1,2,3,4,5,6,7,8,9,10,11]\n")).find("more than 10 entries") !=
          std::string::npos);
    CHECK(error_of(minimal("[transports]\nctcp_ports = [80, 80]\n")).find("80 stands there twice") !=
          std::string::npos);
  }
  SECTION("one port for two transports over TCP") {
    CHECK(error_of(minimal("[transports]\ntcp_port = 443\n")).find("transports.tls_port: must differ from tcp_port") !=
          std::string::npos);
    CHECK(error_of(minimal("[transports]\nctcp_ports = [10000, 4500]\n"))
              .find("transports.tcp_port: must not be one of ctcp_ports") != std::string::npos);
  }
  SECTION("an address as server name") {
    CHECK(error_of(minimal("[transports]\ntls_server_name = \"192.0.2.1\"\n")) ==
          "alice.toml:10: transports.tls_server_name: \"192.0.2.1\" is no host name: write for example "
          "\"vpn.example.org\"");
  }
  SECTION("equal ports") {
    CHECK(error_of(replaced(minimal(), "identity = \"vpn", "nat_t_port = 500\nidentity = \"vpn"))
              .find("alice.toml:4: headend.nat_t_port: must differ") == 0);
  }
  SECTION("a key of the other method") {
    CHECK(error_of(replaced(minimal(), "psk = ", "ca = \"x\"\npsk = "))
              .find("alice.toml:8: authentication.ca: has no meaning") == 0);
  }
}

TEST_CASE("PEM faults are named at their key", "[profile]") {
  const auto with = [](std::string_view certificate, std::string_view key) {
    return "version = 1\n[headend]\naddresses = [\"192.0.2.1\"]\nidentity = \"h\"\n[authentication]\nidentity = \"a\"\n"
           "certificate = \"\"\"\n" +
           std::string{certificate} + "\"\"\"\nprivate_key = \"\"\"\n" + std::string{key} + "\"\"\"\nca = \"\"\"\n" +
           std::string{kCertificate} + "\"\"\"\n";
  };
  CHECK(parse(with(kCertificate, kKey), "alice.toml").has_value());
  CHECK(error_of(with("nonsense", kKey)).find("alice.toml:7: authentication.certificate: is not PEM") == 0);
  CHECK(error_of(with(kKey, kKey)).find("alice.toml:7: authentication.certificate: holds another kind of PEM") == 0);
  CHECK(error_of(with(kCertificate, kCertificate)).find("authentication.private_key: holds another kind") !=
        std::string::npos);
  const auto encrypted =
      replaced(replaced(std::string{kKey}, "BEGIN PRIV", "BEGIN ENCRYPTED PRIV"), "END PRIV", "END ENCRYPTED PRIV");
  CHECK(error_of(with(kCertificate, encrypted)).find("is encrypted with a passphrase") != std::string::npos);
}

TEST_CASE("a secret is never quoted in an error", "[profile]") {
  const auto message = error_of(replaced(minimal(), "\"correct horse\"", "[\"correct horse\"]"));
  CHECK(message.find("authentication.psk") != std::string::npos);
  CHECK(message.find("correct horse") == std::string::npos);
}

TEST_CASE("lists and files are bounded", "[profile]") {
  std::string routes;
  for (std::size_t i = 0; i <= toml::kMaxListEntries; ++i) routes += "\"10.0.0.0/8\",";
  CHECK(error_of(minimal("[tunnel]\nroutes = [" + routes + "]\n")).find("has more than 256 entries") !=
        std::string::npos);
  CHECK(error_of(std::string(toml::kMaxFileOctets + 1, '#')).find("larger than 1 MiB") != std::string::npos);
}

TEST_CASE("later checks point at a key's line", "[profile]") {
  const auto profile = parse(minimal("[crypto]\nesp = [\"rot13\"]\n"), "alice.toml").value();
  CHECK(profile.where.error_at("crypto.esp", "unknown algorithm").message ==
        "alice.toml:10: crypto.esp: unknown algorithm");
  CHECK(profile.where.error_at("crypto.ike", "absent").message == "alice.toml:9: crypto.ike: absent");
}

TEST_CASE("a profile is saved for its owner alone, and loads", "[profile]") {
  const TemporaryDirectory directory;
  const auto path = (directory.path / "alice.toml").string();
  REQUIRE(save(complete(), path).has_value());
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777U) == 0600U);
  CHECK(info.st_nlink == 1);
  CHECK(load(path).value().headend.identity == "vpn.example.org");

  SECTION("nothing is overwritten unasked, and no temporary file stays") {
    const auto again = save(complete(), path);
    REQUIRE_FALSE(again.has_value());
    CHECK(again.error().message.find("exists already") != std::string::npos);
    CHECK(save(complete(), path, true).has_value());
    CHECK(std::distance(fs::directory_iterator{directory.path}, fs::directory_iterator{}) == 1);
  }
  SECTION("a file that others may read is refused, with the command that helps") {
    REQUIRE(::chmod(path.c_str(), 0640) == 0);
    const auto refused = load(path);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message.find("has mode 0640") != std::string::npos);
    CHECK(refused.error().message.find("chmod 600 " + path) != std::string::npos);
  }
}

TEST_CASE("a profile that is not there is said to be missing", "[profile]") {
  const auto missing = load("/nonexistent/alice.toml");
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().message.find("No such file or directory") != std::string::npos);
  const auto folder = load("/");
  REQUIRE_FALSE(folder.has_value());
  CHECK(folder.error().message.find("not a regular file") != std::string::npos);
}

}  // namespace switchback::profile
