#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "client/dns.h"
#include "client/instance_lock.h"
#include "client/resolv_conf.h"
#include "client/undo_journal.h"

namespace switchback::client {
namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "sb-undo-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  [[nodiscard]] std::string file(std::string_view name) const { return (path / name).string(); }
  fs::path path;
};

void put(const std::string& path, std::string_view text) { std::ofstream{path} << text; }
std::string get(const std::string& path) {
  std::ifstream in{path};
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}
struct stat look(const std::string& path) {
  struct stat info {};
  REQUIRE(::lstat(path.c_str(), &info) == 0);
  return info;
}

const DnsSettings kSettings{{*IpAddress::parse("10.0.0.53"), *IpAddress::parse("fd00::53")}, {"corp.example"}, true};
constexpr std::string_view kOriginal = "# mine\nsearch home\nnameserver 192.168.1.1\noptions edns0 trust-ad\n";

std::vector<UndoStep> some_steps() {
  io::Rule rule;
  rule.family = IpFamily::v6;
  rule.priority = 20003;
  rule.table = 52000;
  rule.mark = 52000;
  rule.invert = true;
  rule.suppress_prefix_length = 15;
  io::Rule bypass;
  bypass.priority = 20000;
  bypass.to = IpPrefix::parse("192.0.2.1/32");
  bypass.ip_protocol = 17;
  bypass.destination_port = 4500;
  io::Route route;
  route.destination = *IpPrefix::parse("::/0");
  route.kind = io::RouteKind::unreachable;
  route.table = 52000;
  ResolvConfBackup backup{
      ResolvConfBackup::Kind::copied, "/etc/resolv.conf", "", "swb0", std::string{"nameserver 1\n\xff\0x", 16}, 0755,
      1'700'000'000'123'456'789};
  return {RuleStep{rule}, RuleStep{bypass}, RouteStep{route}, ResolvConfStep{backup}};
}

}  // namespace

TEST_CASE("the journal's text holds every step, whatever octets a file had", "[journal]") {
  const auto steps = some_steps();
  CHECK(steps_from_json(to_json(steps, "swb0")).value() == steps);
  CHECK(steps_from_json(to_json({}, "swb0")).value().empty());
}

TEST_CASE("what is no journal is refused rather than half understood", "[journal]") {
  CHECK_FALSE(steps_from_json("").has_value());
  CHECK_FALSE(steps_from_json("[]").has_value());
  CHECK_FALSE(steps_from_json(R"({"version":2,"steps":[]})").has_value());
  CHECK_FALSE(steps_from_json(R"({"version":1,"steps":[{"rule":{}}]})").has_value());
  CHECK_FALSE(steps_from_json(R"({"version":1,"steps":[{"route":{"destination":"x","kind":0,"table":1,"metric":0}}]})")
                  .has_value());
  CHECK_FALSE(
      steps_from_json(R"({"version":1,"steps":[{"route":{"destination":"::/0","kind":9,"table":1,"metric":0}}]})")
          .has_value());
}

TEST_CASE("the journal is on disk when record returns, and gone with its last step", "[journal]") {
  const Folder folder;
  const auto directory = folder.file("run");
  UndoJournal journal{directory, "swb0"};
  CHECK(journal.read().value().empty());
  const auto steps = some_steps();
  REQUIRE(journal.record({steps[0], steps[1]}).has_value());
  REQUIRE(journal.record({steps[2]}).has_value());
  CHECK(UndoJournal(directory, "swb0").read().value() == std::vector<UndoStep>{steps[0], steps[1], steps[2]});
  CHECK((look(journal.path()).st_mode & 07777U) == 0600U);
  CHECK((look(directory).st_mode & 07777U) == 0700U);
  CHECK(UndoJournal(directory, "swb1").read().value().empty());

  journal.forget(steps[1]);
  CHECK(UndoJournal(directory, "swb0").read().value() == std::vector<UndoStep>{steps[0], steps[2]});
  journal.forget(steps[0]);
  journal.forget(steps[2]);
  CHECK_FALSE(fs::exists(journal.path()));
}

TEST_CASE("a damaged journal is named with what to do", "[journal]") {
  const Folder folder;
  UndoJournal journal{folder.path.string(), "swb0"};
  put(journal.path(), "{\"version\":1,");
  const auto read = journal.read();
  REQUIRE_FALSE(read.has_value());
  CHECK(read.error().message.find(journal.path()) != std::string::npos);
  CHECK(read.error().message.find("remove it") != std::string::npos);
}

TEST_CASE("a TUN name has one client at a time", "[lock]") {
  const Folder folder;
  auto first = InstanceLock::acquire(folder.path.string(), "swb0");
  REQUIRE(first.has_value());
  const auto second = InstanceLock::acquire(folder.path.string(), "swb0");
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().message.find("process " + std::to_string(::getpid())) != std::string::npos);
  CHECK(second.error().message.find("disconnect --tun swb0") != std::string::npos);
  CHECK(InstanceLock::acquire(folder.path.string(), "swb1").has_value());
  first = fail_user("released");
  CHECK(InstanceLock::acquire(folder.path.string(), "swb0").has_value());
}

TEST_CASE("resolv.conf gets the tunnel's servers and keeps the host's options", "[dns]") {
  CHECK(render_resolv_conf(kSettings, "swb0", kOriginal) ==
        "# switchback-client swb0 has taken over this file; the original comes back with its end.\n"
        "search corp.example\nnameserver 10.0.0.53\nnameserver fd00::53\noptions edns0 trust-ad\n");
  SECTION("no more servers than the C library reads") {
    DnsSettings many;
    for (std::uint32_t i = 1; i <= 5; ++i) many.servers.push_back(IpAddress::v4(i));
    const auto text = render_resolv_conf(many, "swb0", "");
    CHECK(text.find("nameserver 0.0.0.3") != std::string::npos);
    CHECK(text.find("nameserver 0.0.0.4") == std::string::npos);
    CHECK(text.find("search") == std::string::npos);
  }
  SECTION("a domain that would smuggle in a line is left out") {
    const DnsSettings hostile{{IpAddress::v4(1)}, {"a\nnameserver 6.6.6.6", "fine.example", "-o evil x"}, true};
    const auto text = render_resolv_conf(hostile, "swb0", "");
    CHECK(text.find("6.6.6.6") == std::string::npos);
    CHECK(text.find("search fine.example\n") != std::string::npos);
  }
}

TEST_CASE("the owner of a resolv.conf is read from its first line", "[dns]") {
  CHECK(resolv_conf_owner(render_resolv_conf(kSettings, "swb7", "")) == "swb7");
  CHECK(resolv_conf_owner(kOriginal).empty());
  CHECK(resolv_conf_owner("").empty());
  CHECK(is_torn_resolv_conf("", "swb0"));
  CHECK(is_torn_resolv_conf("# switchback-cl", "swb0"));
  CHECK_FALSE(is_torn_resolv_conf("nameserver 1.1.1.1\n", "swb0"));
}

TEST_CASE("a plain resolv.conf comes back with its inode, mode and time", "[dns]") {
  const Folder folder;
  const auto path = folder.file("resolv.conf");
  put(path, kOriginal);
  REQUIRE(::chmod(path.c_str(), 0640) == 0);
  const auto before = look(path);

  const auto backup = back_up_resolv_conf(path, "swb0").value();
  CHECK(backup.kind == ResolvConfBackup::Kind::aside);
  CHECK(get(path) == kOriginal);
  REQUIRE(replace_resolv_conf(backup, render_resolv_conf(kSettings, "swb0", kOriginal)).has_value());
  CHECK(get(path).find("nameserver 10.0.0.53") != std::string::npos);
  CHECK((look(path).st_mode & 07777U) == 0644U);

  CHECK(restore_resolv_conf(backup).value());
  const auto after = look(path);
  CHECK(get(path) == kOriginal);
  CHECK(after.st_ino == before.st_ino);
  CHECK(after.st_mode == before.st_mode);
  CHECK(after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
  CHECK(after.st_nlink == 1);
  CHECK(std::distance(fs::directory_iterator{folder.path}, fs::directory_iterator{}) == 1);
}

TEST_CASE("a symbolic link comes back as one, and its target is never touched", "[dns]") {
  const Folder folder;
  const auto path = folder.file("resolv.conf");
  const auto target = folder.file("target");
  put(target, kOriginal);
  fs::create_symlink("target", path);
  const auto backup = back_up_resolv_conf(path, "swb0").value();
  REQUIRE(replace_resolv_conf(backup, render_resolv_conf(kSettings, "swb0", kOriginal)).has_value());
  CHECK_FALSE(fs::is_symlink(path));
  CHECK(get(target) == kOriginal);
  CHECK(restore_resolv_conf(backup).value());
  CHECK(fs::read_symlink(path) == "target");
  CHECK(get(path) == kOriginal);
}

TEST_CASE("a dangling link and a missing file come back as such", "[dns]") {
  const Folder folder;
  const auto path = folder.file("resolv.conf");
  SECTION("dangling") { fs::create_symlink("/nonexistent/stub", path); }
  SECTION("missing") {}
  const bool link = fs::is_symlink(path);
  const auto backup = back_up_resolv_conf(path, "swb0").value();
  REQUIRE(replace_resolv_conf(backup, render_resolv_conf(kSettings, "swb0", "")).has_value());
  CHECK(get(path).find("nameserver") != std::string::npos);
  CHECK(restore_resolv_conf(backup).value());
  CHECK(fs::is_symlink(path) == link);
  CHECK(std::distance(fs::directory_iterator{folder.path}, fs::directory_iterator{}) == (link ? 1 : 0));
}

TEST_CASE("a resolv.conf that somebody else wrote meanwhile stays theirs", "[dns]") {
  const Folder folder;
  const auto path = folder.file("resolv.conf");
  put(path, kOriginal);
  const auto backup = back_up_resolv_conf(path, "swb0").value();
  REQUIRE(replace_resolv_conf(backup, render_resolv_conf(kSettings, "swb0", kOriginal)).has_value());
  put(path, "nameserver 192.168.77.1\n");
  CHECK_FALSE(restore_resolv_conf(backup).value());
  CHECK(get(path) == "nameserver 192.168.77.1\n");
  CHECK(std::distance(fs::directory_iterator{folder.path}, fs::directory_iterator{}) == 1);
}

TEST_CASE("two tunnels do not fight over one resolv.conf", "[dns]") {
  const Folder folder;
  const auto path = folder.file("resolv.conf");
  put(path, kOriginal);
  const auto backup = back_up_resolv_conf(path, "swb0").value();
  REQUIRE(replace_resolv_conf(backup, render_resolv_conf(kSettings, "swb0", kOriginal)).has_value());
  const auto other = back_up_resolv_conf(path, "swb1");
  REQUIRE_FALSE(other.has_value());
  CHECK(other.error().message.find("belong to the tunnel swb0") != std::string::npos);
}

TEST_CASE("a crash that took the journal too leaves enough to recover by", "[dns]") {
  const Folder folder;
  const auto path = folder.file("resolv.conf");
  put(path, kOriginal);
  const auto backup = back_up_resolv_conf(path, "swb0").value();
  SECTION("before the file was replaced") { CHECK_FALSE(recover_resolv_conf(path, "swb0")); }
  SECTION("after it was") {
    REQUIRE(replace_resolv_conf(backup, render_resolv_conf(kSettings, "swb0", kOriginal)).has_value());
    CHECK(recover_resolv_conf(path, "swb0"));
  }
  CHECK(get(path) == kOriginal);
  CHECK_FALSE(fs::exists(backup.aside_path));
  CHECK_FALSE(recover_resolv_conf(path, "swb0"));
}

TEST_CASE("a torn in-place write is recognised as ours and undone", "[dns]") {
  const Folder folder;
  const auto path = folder.file("resolv.conf");
  put(path, "# switchback-client sw");
  const ResolvConfBackup backup{ResolvConfBackup::Kind::copied, path, "", "swb0", std::string{kOriginal}, 0600, 5};
  CHECK(restore_resolv_conf(backup).value());
  CHECK(get(path) == kOriginal);
  CHECK((look(path).st_mode & 07777U) == 0600U);
  CHECK(look(path).st_mtim.tv_nsec == 5);
}

TEST_CASE("resolvectl is told servers, domains and whether the link is for everything", "[dns]") {
  using Calls = std::vector<std::vector<std::string>>;
  CHECK(resolvectl_calls(kSettings, "swb0") == Calls{{"dns", "swb0", "10.0.0.53", "fd00::53"},
                                                     {"domain", "swb0", "corp.example", "~."},
                                                     {"default-route", "swb0", "yes"}});
  auto split = kSettings;
  split.all_names = false;
  split.search_domains.push_back("--help");
  CHECK(resolvectl_calls(split, "swb0") == Calls{{"dns", "swb0", "10.0.0.53", "fd00::53"},
                                                 {"domain", "swb0", "corp.example"},
                                                 {"default-route", "swb0", "no"}});
}

TEST_CASE("systemd-resolved is used only where programs ask it", "[dns]") {
  const Folder folder;
  fs::create_directories(folder.path / "run/systemd/resolve");
  put(folder.file("run/systemd/resolve/stub-resolv.conf"), "nameserver 127.0.0.53\n");
  put(folder.file("resolvectl"), "#!/bin/sh\n");
  fs::permissions(folder.path / "resolvectl", fs::perms::owner_all);
  DnsPaths paths{folder.file("resolv.conf"), folder.file("run/systemd/resolve"), {folder.file("resolvectl")}};

  SECTION("resolv.conf is its link") {
    fs::create_symlink("run/systemd/resolve/stub-resolv.conf", paths.resolv_conf);
    CHECK(find_resolved(paths) == folder.file("resolvectl"));
    SECTION("but resolvectl is not installed") {
      paths.resolvectl = {folder.file("absent")};
      CHECK_FALSE(find_resolved(paths).has_value());
    }
    SECTION("but it does not run") {
      paths.resolved_directory = folder.file("absent");
      CHECK_FALSE(find_resolved(paths).has_value());
    }
  }
  SECTION("resolv.conf is a copy of its stub") {
    put(paths.resolv_conf, "options edns0\nnameserver 127.0.0.53\n");
    CHECK(find_resolved(paths).has_value());
  }
  SECTION("resolv.conf is somebody else's") {
    put(paths.resolv_conf, "nameserver 192.168.1.1\n");
    CHECK_FALSE(find_resolved(paths).has_value());
  }
}

TEST_CASE("DNS through resolvectl passes its arguments whole and reverts", "[dns]") {
  const Folder folder;
  fs::create_directories(folder.path / "systemd/resolve");
  put(folder.file("resolv.conf"), "nameserver 127.0.0.53\n");
  put(folder.file("resolvectl"),
      "#!/bin/sh\nprintf '%s|' \"$@\" >> " + folder.file("calls") + "\necho >> " + folder.file("calls") + "\n");
  fs::permissions(folder.path / "resolvectl", fs::perms::owner_all);
  UndoJournal journal{folder.file("run"), "swb0"};
  {
    Dns dns{journal, "swb0", {folder.file("resolv.conf"), folder.file("systemd/resolve"), {folder.file("resolvectl")}}};
    REQUIRE(dns.apply(kSettings).has_value());
    CHECK(dns.method() == "resolved");
  }
  CHECK(get(folder.file("calls")) ==
        "dns|swb0|10.0.0.53|fd00::53|\ndomain|swb0|corp.example|~.|\ndefault-route|swb0|yes|\nrevert|swb0|\n");
  CHECK(get(folder.file("resolv.conf")) == "nameserver 127.0.0.53\n");
  CHECK(journal.steps().empty());
}

TEST_CASE("a program that fails is quoted, one that is missing is named", "[dns]") {
  const auto failed = run_program("/bin/sh", {"-c", "echo went wrong >&2; exit 3"});
  REQUIRE_FALSE(failed.has_value());
  CHECK(failed.error().message.find("went wrong") != std::string::npos);
  CHECK(run_program("/bin/true", {}).has_value());
  const auto missing = run_program("/nonexistent/resolvectl", {});
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().message.find("/nonexistent/resolvectl") != std::string::npos);
}

TEST_CASE("DNS by resolv.conf is journalled before and forgotten after", "[dns]") {
  const Folder folder;
  const auto path = folder.file("resolv.conf");
  put(path, kOriginal);
  UndoJournal journal{folder.file("run"), "swb0"};
  Dns dns{journal, "swb0", {path, folder.file("absent"), {}}};
  REQUIRE(dns.apply(kSettings).has_value());
  CHECK(dns.method() == "resolv.conf");
  CHECK(journal.read().value().size() == 1);
  auto changed = kSettings;
  changed.servers.pop_back();
  REQUIRE(dns.apply(changed).has_value());
  CHECK(get(path).find("fd00::53") == std::string::npos);
  CHECK(get(path).find("options edns0") != std::string::npos);
  CHECK(journal.read().value().size() == 1);
  dns.revert();
  CHECK(get(path) == kOriginal);
  CHECK_FALSE(fs::exists(journal.path()));
}

}  // namespace switchback::client
