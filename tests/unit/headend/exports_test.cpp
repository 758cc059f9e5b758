// init, user add and the exports, with the openssl command as the judge of what was made.
#include "headend/exports.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <pugixml.hpp>

#include "common/crypto/pki.h"
#include "common/crypto/random.h"
#include "common/profile/profile.h"
#include "headend/init.h"
#include "headend/users.h"
#include "tests/unit/headend/temporary_directory.h"

using namespace switchback;
using namespace switchback::headend;
using test::read_text;
using test::TemporaryDirectory;

namespace {

/// Exit code and output of a shell command.
std::pair<int, std::string> shell(const std::string& command) {
  std::string output;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  char chunk[4096];
  while (const auto count = std::fread(chunk, 1, sizeof chunk, pipe)) output.append(chunk, count);
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

unsigned mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A headend's directory, with its configuration and store open.
struct Headend {
  explicit Headend(crypto::KeyType type = crypto::KeyType::ecdsa_p256) {
    InitOptions options;
    options.directory = directory.file("vpn");
    options.addresses = {"192.0.2.1", "vpn.example.org", "2001:db8::1"};
    options.dns = {"192.0.2.53"};
    options.key_type = type;
    const auto made = init_headend(options, wall_now());
    if (!made) FAIL(made.error().message);
    config = load_config(options.directory).value();
    store.emplace(Store::open(config.layout.database()).value());
  }
  Result<void, UserError> add(const std::string& name, ExportFormat format = ExportFormat::switchback, bool psk = false,
                              crypto::KeyType type = crypto::KeyType::ecdsa_p256) {
    AddUserOptions options;
    options.name = name;
    options.out = out();
    options.format = format;
    options.pre_shared_key = psk;
    options.key_type = type;
    return add_user(config, *store, options, wall_now());
  }
  [[nodiscard]] std::string out() const { return directory.file("out"); }
  [[nodiscard]] std::string pki(const std::string& name) const { return directory.file("vpn/pki/" + name); }

  TemporaryDirectory directory;
  Config config;
  std::optional<Store> store;
};

}  // namespace

TEST_CASE("init makes a directory in which keys are the owner's alone", "[headend][init]") {
  const Headend headend;
  CHECK(mode_of(headend.directory.file("vpn")) == 0700U);
  CHECK(mode_of(headend.pki("ca.key")) == 0600U);
  CHECK(mode_of(headend.pki("headend.key")) == 0600U);
  CHECK(mode_of(headend.directory.file("vpn/headend.toml")) == 0600U);
  CHECK(mode_of(headend.directory.file("vpn/state.db")) == 0600U);
  CHECK(headend.config.identity == "vpn.example.org");
  CHECK(headend.config.pool6->contains(*IpAddress::parse(headend.config.pool6->first().to_string())));
  CHECK(headend.config.pool6->first().bytes()[0] == 0xFD);
}

TEST_CASE("openssl verifies the headend's certificate and finds its names", "[headend][init]") {
  const auto type = GENERATE(crypto::KeyType::ecdsa_p256, crypto::KeyType::ed25519);
  const Headend headend{type};
  const auto verified = shell("openssl verify -x509_strict -purpose sslserver -CAfile " + headend.pki("ca.crt") + " " +
                              headend.pki("headend.crt"));
  INFO(verified.second);
  CHECK(verified.first == 0);
  const auto text = shell("openssl x509 -noout -text -in " + headend.pki("headend.crt")).second;
  CHECK(has(text, "DNS:vpn.example.org"));
  CHECK(has(text, "IP Address:192.0.2.1"));
  CHECK(has(text, "IP Address:2001:DB8:0:0:0:0:0:1"));
  CHECK(has(text, "TLS Web Server Authentication"));
  CHECK(shell("openssl pkey -noout -in " + headend.pki("headend.key")).first == 0);
}

TEST_CASE("init refuses an existing directory and leaves nothing when it fails", "[headend][init]") {
  const TemporaryDirectory directory;
  InitOptions options;
  options.directory = directory.file("vpn");
  options.addresses = {"vpn.example.org"};
  std::filesystem::create_directory(options.directory);
  const auto made = init_headend(options, wall_now());
  REQUIRE_FALSE(made);
  CHECK(has(made.error().message, "exists already"));
  CHECK(std::filesystem::is_empty(options.directory));
  std::filesystem::remove(options.directory);

  const auto refused = [&](auto change, const std::string& part) {
    auto wrong = options;
    change(wrong);
    const auto result = init_headend(wrong, wall_now());
    REQUIRE_FALSE(result);
    INFO(result.error().message);
    CHECK(has(result.error().message, part));
  };
  refused([](InitOptions& o) { o.addresses = {}; }, "--address");
  refused([](InitOptions& o) { o.addresses = {"192.0.2.300"}; }, "192.0.2.300");
  refused([](InitOptions& o) { o.addresses = {"0.0.0.0"}; }, "no place");
  refused([](InitOptions& o) { o.pool = "10.0.0.0/31"; }, "--pool");
  refused([](InitOptions& o) { o.pool6 = "10.0.0.0/8"; }, "--pool6");
  refused([](InitOptions& o) { o.pool = o.pool6 = "none"; }, "both none");
  refused([](InitOptions& o) { o.dns = {"dns"}; }, "--dns");
  refused([](InitOptions& o) { o.routes = {"10.0.0.0/99"}; }, "--route");
  refused([&](InitOptions& o) { o.directory = directory.file("no/such/parent"); }, "cannot create");
  CHECK(std::filesystem::is_empty(directory.path()));
}

TEST_CASE("the profile is what the client reads, and only its owner may", "[headend][users]") {
  Headend headend;
  REQUIRE(headend.add("alice"));
  CHECK(mode_of(headend.out()) == 0600U);
  const auto profile = profile::load(headend.out());
  if (!profile) FAIL(profile.error().message);
  CHECK(profile->name == "alice");
  CHECK(profile->headend.addresses == headend.config.addresses);
  CHECK(profile->headend.identity == "vpn.example.org");
  CHECK(profile->transports == profile::Transports{});  // the headend's defaults are the client's
  CHECK(profile->authentication.identity == "alice");
  const auto certificate = crypto::Certificate::parse_pem(profile->authentication.certificate, "profile").value();
  const auto& fingerprint = certificate.front().fingerprint();
  CHECK(headend.store->certificate_owner(fingerprint).value()->name == "alice");
  CHECK(crypto::PrivateKey::parse_pem(profile->authentication.private_key.view(), "profile")
            .value()
            .belongs_to(certificate.front()));

  test::write_text(headend.directory.file("alice.crt"), profile->authentication.certificate);
  const auto verified = shell("openssl verify -x509_strict -purpose sslclient -CAfile " + headend.pki("ca.crt") + " " +
                              headend.directory.file("alice.crt"));
  INFO(verified.second);
  CHECK(verified.first == 0);
}

TEST_CASE("a user with a pre-shared key gets a long one, known to the store", "[headend][users]") {
  Headend headend;
  REQUIRE(headend.add("bob", ExportFormat::switchback, true));
  const auto profile = profile::load(headend.out()).value();
  CHECK(profile.authentication.method == profile::Method::psk);
  CHECK(profile.authentication.psk.size() == 44);
  CHECK(headend.store->pre_shared_keys().value().front().key.equals(profile.authentication.psk.view()));
}

TEST_CASE("a user whose file cannot be written is not entered", "[headend][users]") {
  Headend headend;
  test::write_text(headend.out(), "precious");
  for (const auto format :
       {ExportFormat::switchback, ExportFormat::strongswan, ExportFormat::mobileconfig, ExportFormat::p12}) {
    const auto added = headend.add("alice", format);
    REQUIRE_FALSE(added);
    CHECK(has(added.error().message, "exist"));
  }
  CHECK(read_text(headend.out()) == "precious");
  CHECK(headend.store->users(true).value().empty());
}

TEST_CASE("names that do not belong into certificates and paths are refused", "[headend][users]") {
  Headend headend;
  for (const char* name : {"", "a/b", "../x", "a b", "a\nb", "a=b", "@x"}) {
    INFO(name);
    CHECK_FALSE(headend.add(name));
  }
  REQUIRE(headend.add("alice"));
  std::filesystem::remove(headend.out());
  CHECK(has(headend.add("alice").error().message, "exists already"));
}

TEST_CASE("strongSwan gets a directory that swanctl understands", "[headend][exports]") {
  Headend headend;
  REQUIRE(headend.add("alice", ExportFormat::strongswan, false, crypto::KeyType::ecdsa_p384));
  const auto conf = read_text(headend.out() + "/swanctl.conf");
  CHECK(has(conf, "remote_addrs = 192.0.2.1, vpn.example.org, 2001:db8::1"));
  CHECK(has(conf, "id = \"vpn.example.org\""));
  CHECK(has(conf, "vips = 0.0.0.0, ::"));
  CHECK(has(conf, "certs = alice.crt"));
  CHECK(mode_of(headend.out()) == 0700U);
  CHECK(mode_of(headend.out() + "/private/alice.key") == 0600U);
  const auto verified = shell("openssl verify -CAfile " + headend.out() + "/x509ca/switchback-ca.crt " + headend.out() +
                              "/x509/alice.crt");
  CHECK(verified.first == 0);
  CHECK(shell("openssl pkey -noout -in " + headend.out() + "/private/alice.key").first == 0);
}

TEST_CASE("strongSwan's file holds the pre-shared key, and nobody else may read it", "[headend][exports]") {
  Headend headend;
  REQUIRE(headend.add("bob", ExportFormat::strongswan, true));
  const auto conf = read_text(headend.out() + "/swanctl.conf");
  const auto key = std::move(headend.store->pre_shared_keys().value().front().key);
  CHECK(has(conf, "secret = \"" + std::string{as_text(key.view())} + "\""));
  CHECK(mode_of(headend.out() + "/swanctl.conf") == 0600U);
  CHECK_FALSE(std::filesystem::exists(headend.out() + "/private"));
}

TEST_CASE("a file of names becomes a directory of profiles, all of them or none", "[headend][users]") {
  Headend headend;
  AddUsersOptions options;
  options.from = headend.directory.file("names");
  options.each.out = headend.directory.file("profiles");
  test::write_text(options.from, "# the sales people\nalice\n\nbob@example.org  \n");
  const auto added = add_users(headend.config, *headend.store, options, wall_now());
  REQUIRE(added);
  CHECK(*added == 2);
  for (const char* name : {"alice", "bob@example.org"}) {
    const auto file = options.each.out + "/" + name + ".toml";
    CHECK(mode_of(file) == 0600U);
    CHECK(profile::load(file));
    CHECK(headend.store->find_user(name).value());
  }
  // Bob is there already: nobody comes in, and no directory is left.
  options.each.out = headend.directory.file("more");
  test::write_text(options.from, "carol\nBob@example.org\n");
  const auto again = add_users(headend.config, *headend.store, options, wall_now());
  REQUIRE_FALSE(again);
  CHECK(has(again.error().message, "Bob@example.org"));
  CHECK_FALSE(headend.store->find_user("carol").value());
  CHECK_FALSE(std::filesystem::exists(options.each.out));
}

TEST_CASE("a file of names is read with its faults told by line", "[headend][users]") {
  CHECK(parse_names("a\r\n  \n# b\nc", "names").value() == std::vector<std::string>{"a", "c"});
  CHECK(has(parse_names("alice\nnot a name\n", "names").error().message, "names:2:"));
  CHECK(has(parse_names("\n# nobody\n", "names").error().message, "names names nobody"));
}

TEST_CASE("the PKCS#12 file opens with the password and holds the user's key", "[headend][exports]") {
  Headend headend;
  test::write_text(headend.directory.file("password"), "open sesame\nnot this\n");
  AddUserOptions options;
  options.name = "alice";
  options.out = headend.out();
  options.format = ExportFormat::p12;
  options.password_file = headend.directory.file("password");
  REQUIRE(add_user(headend.config, *headend.store, options, wall_now()));
  CHECK(mode_of(headend.out()) == 0600U);
  CHECK(shell("openssl pkcs12 -in " + headend.out() + " -passin 'pass:open sesame' -nodes -out " +
              headend.directory.file("all.pem"))
            .first == 0);
  CHECK(shell("openssl verify -CAfile " + headend.pki("ca.crt") + " " + headend.directory.file("all.pem")).first == 0);
  CHECK(shell("openssl pkcs12 -in " + headend.out() + " -passin pass:wrong -nokeys").first != 0);
  CHECK(has(headend.add("bob", ExportFormat::p12, true).error().message, "PKCS#12"));
}

TEST_CASE("the Apple profile is a property list with authority, identity and VPN", "[headend][exports]") {
  Headend headend;
  REQUIRE(headend.add("alice@example.org", ExportFormat::mobileconfig));
  pugi::xml_document document;
  REQUIRE(document.load_file(headend.out().c_str()));
  const auto content = document.select_node("/plist/dict/key[.='PayloadContent']/following-sibling::array[1]").node();
  std::vector<std::string> types;
  for (const auto& type : content.select_nodes("dict/key[.='PayloadType']/following-sibling::string[1]")) {
    types.emplace_back(type.node().text().get());
  }
  CHECK(types ==
        std::vector<std::string>{"com.apple.security.root", "com.apple.security.pkcs12", "com.apple.vpn.managed"});
  const auto vpn = content.select_node("dict/key[.='IKEv2']/following-sibling::dict[1]").node();
  const auto value = [&](const char* key) {
    return std::string{
        vpn.select_node(("key[.='" + std::string{key} + "']/following-sibling::*[1]").c_str()).node().text().get()};
  };
  CHECK(value("RemoteIdentifier") == "vpn.example.org");
  CHECK(value("LocalIdentifier") == "alice@example.org");
  CHECK(value("AuthenticationMethod") == "Certificate");
  CHECK(value("PayloadCertificateUUID") ==
        content.select_node("dict[2]/key[.='PayloadUUID']/following-sibling::string[1]").node().text().get());
  CHECK(mode_of(headend.out()) == 0600U);

  const std::string p12 =
      content.select_node("dict[2]/key[.='PayloadContent']/following-sibling::data[1]").node().text().get();
  const std::string password =
      content.select_node("dict[2]/key[.='Password']/following-sibling::string[1]").node().text().get();
  test::write_text(headend.directory.file("p12.txt"), p12 + "\n");
  CHECK(shell("openssl base64 -d -A -in " + headend.directory.file("p12.txt") + " -out " +
              headend.directory.file("x.p12") + " && openssl pkcs12 -legacy -in " + headend.directory.file("x.p12") +
              " -passin 'pass:" + password + "' -nokeys")
            .first == 0);
}

TEST_CASE("base64 agrees with RFC 4648", "[headend][exports]") {
  CHECK(base64(as_bytes("")).empty());
  CHECK(base64(as_bytes("f")) == "Zg==");
  CHECK(base64(as_bytes("fo")) == "Zm8=");
  CHECK(base64(as_bytes("foo")) == "Zm9v");
  CHECK(base64(as_bytes("foobar")) == "Zm9vYmFy");
}

TEST_CASE("the user list tells names, kinds and removals", "[headend][users]") {
  Headend headend;
  REQUIRE(headend.add("alice"));
  std::filesystem::remove(headend.out());
  REQUIRE(headend.add("bob", ExportFormat::switchback, true));
  REQUIRE(headend.store->remove_user("alice", wall_now()));
  const auto text = user_list_text(headend.store->users(true).value());
  CHECK(has(text, "alice  removed "));
  CHECK(has(text, "bob  pre-shared key"));
  CHECK(has(user_list_json(headend.store->users(false).value()), "\"name\":\"bob\""));
}
