#include "client/history_file.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "tests/unit/client/temporary_directory.h"

namespace switchback::client {
namespace {

using path::Candidate;
using path::NetworkId;
using path::TransportKind;

}  // namespace

TEST_CASE("what worked on a network is remembered between runs, by nobody but us", "[paths]") {
  const TemporaryDirectory directory;
  const auto file = history_path(directory.path.string(), "alice", "vpn.example.org");
  CHECK(load_history(file).size() == 0);
  path::History history;
  history.worked(NetworkId{7}, Candidate{TransportKind::ctcp, IpFamily::v6});
  save_history(file, history);
  history.worked(NetworkId{8}, Candidate{TransportKind::tls, IpFamily::v4});
  save_history(file, history);
  const auto read = load_history(file);
  CHECK(read.size() == 2);
  CHECK(read.last_good(NetworkId{7}) == Candidate{TransportKind::ctcp, IpFamily::v6});
  CHECK(read.last_good(NetworkId{8}) == Candidate{TransportKind::tls, IpFamily::v4});
  struct stat info {};
  REQUIRE(::stat(file.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0600U);
}

TEST_CASE("each profile has a file of its own whose name tells nothing", "[paths]") {
  const auto alice = history_path("/run", "alice", "vpn.example.org");
  CHECK(alice != history_path("/run", "bob", "vpn.example.org"));
  CHECK(alice != history_path("/run", "alice", "other.example.org"));
  CHECK(alice == history_path("/run", "alice", "vpn.example.org"));
  CHECK(alice.find("alice") == std::string::npos);
  CHECK(history_path("/run", "../../etc/passwd", "x").substr(0, 13) == "/run/history-");
}

TEST_CASE("a history that is damaged, far too long or no file costs a memory and nothing else", "[paths]") {
  const TemporaryDirectory directory;
  const auto file = (directory.path / "networks").string();
  std::ofstream{file} << "not a history\n\xFF\xFE\n";
  CHECK(load_history(file).size() == 0);
  {
    path::History history;
    history.worked(NetworkId{7}, Candidate{TransportKind::ctcp, IpFamily::v6});
    std::ofstream{file} << history.render() << std::string(1U << 20U, '\n');
  }
  CHECK(load_history(file).size() == 0);
  CHECK(load_history(directory.path.string()).size() == 0);
  save_history((directory.path / "absent" / "networks").string(), {});  // says so in the log, and that is all
}

}  // namespace switchback::client
