#include "common/keylog/keylog.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "headend/session_setup.h"
#include "tests/unit/headend/temporary_directory.h"

using namespace switchback;
using namespace switchback::headend;
using namespace switchback::keylog;

namespace {

Secret secret(std::size_t size, std::uint8_t octet) { return Secret{Bytes(size, octet)}; }

ike::IkeKeylog ike_keys(crypto::AeadAlgorithm algorithm) {
  const auto size = crypto::aead_key_octets(algorithm) + crypto::kAeadSaltOctets;
  return {IkeSpi{0x0102030405060708}, IkeSpi{0x1112131415161718}, algorithm, secret(size, 0xAA), secret(size, 0xBB)};
}

std::string repeat(const std::string& text, int count) {
  std::string out;
  while (count-- > 0) out += text;
  return out;
}

}  // namespace

TEST_CASE("IKE keys are written as Wireshark's ikev2_decryption_table has them", "[headend][keylog]") {
  const auto line = keylog_line(ike_keys(crypto::AeadAlgorithm::aes128_gcm));
  CHECK(as_text(line.view()) == "0102030405060708,1112131415161718," + repeat("aa", 20) + "," + repeat("bb", 20) +
                                    ",\"AES-GCM-128 with 16 octet ICV [RFC5282]\",,,\"NONE [RFC4306]\"\n");
}

TEST_CASE("ESP keys are written as Wireshark's esp_sa has them, one line for each direction", "[headend][keylog]") {
  ike::ChildInstalled child;
  child.inbound = Spi{0x11223344};
  child.outbound = Spi{0x55667788};
  child.inbound_key = {crypto::AeadAlgorithm::aes256_gcm, secret(36, 0xCC)};
  child.outbound_key = {crypto::AeadAlgorithm::aes256_gcm, secret(36, 0xDD)};
  child.path.remote = {*IpAddress::parse("198.51.100.1"), 4500};
  const auto lines = keylog_lines(child);
  CHECK(as_text(lines.view()) ==
        "\"IPv4\",\"*\",\"*\",\"0x11223344\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x" + repeat("cc", 36) +
            "\",\"NULL\",\"\"\n\"IPv4\",\"*\",\"*\",\"0x55667788\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x" +
            repeat("dd", 36) + "\",\"NULL\",\"\"\n");
}

TEST_CASE("what Wireshark cannot decrypt becomes a comment, since a bad line spoils its table", "[headend][keylog]") {
  const auto line = keylog_line(ike_keys(crypto::AeadAlgorithm::chacha20_poly1305));
  CHECK(as_text(line.view()).front() == '#');
}

TEST_CASE("key logs go into a directory of one's own only", "[headend][keylog]") {
  const test::TemporaryDirectory directory;
  const auto path = directory.file("keys");
  auto keylog = Keylog::open(path);
  REQUIRE(keylog);
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0700U);
  REQUIRE(::stat((path + "/esp_sa").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0600U);
  keylog->write(ike_keys(crypto::AeadAlgorithm::aes256_gcm));
  CHECK(test::read_text(path + "/ikev2_decryption_table").size() > 100);

  REQUIRE(::chmod(path.c_str(), 0755) == 0);
  CHECK_FALSE(Keylog::open(path));
}

TEST_CASE("the inner MTU leaves room for the worst padding", "[headend][mtu]") {
  // Outer 20 + 8, ESP 8 + 8, inner + padding + 2 in steps of 4, tag 16.
  CHECK(inner_mtu_for(1500, 28) == 1438);
  CHECK(inner_mtu_for(1500, 48) == 1418);
  CHECK(inner_mtu_for(1280, 48) == 1198);
  CHECK(inner_mtu_for(60, 48) == 0);
  for (unsigned mtu = 100; mtu < 2000; ++mtu) {
    const auto inner = inner_mtu_for(mtu, 28);
    const auto sealed = 28 + 16 + (inner + 2 + 3) / 4 * 4 + 16;
    CHECK(sealed <= mtu);
    CHECK(sealed + 4 > mtu);
  }
}
