#include <catch2/catch.hpp>

#include "common/ike/session_config.h"

using namespace switchback;
using namespace switchback::ike;

namespace {

crypto::IkeIdentity identity(std::string_view text) { return crypto::IkeIdentity::parse(text).value(); }

SessionConfig with_keys(std::initializer_list<const char*> names) {
  SessionConfig config;
  for (const auto* name : names) config.peer_keys.push_back({identity(name), Secret{as_bytes(name)}});
  return config;
}

}  // namespace

TEST_CASE("a peer's key is found by identity, with and without an index", "[ike]") {
  auto config = with_keys({"alice", "bob@example.org", "192.0.2.7", "C=CH, CN=carol", "ALICE", "keyid:Dave"});
  const bool indexed = GENERATE(false, true);
  if (indexed) index_peer_keys(config);
  CAPTURE(indexed);
  const auto found = [&](std::string_view text) { return find_peer_key(config, identity(text)); };
  CHECK(found("alice") == &config.peer_keys[0]);
  CHECK(found("Alice") == &config.peer_keys[0]);  // names have no case; the first counts
  CHECK(found("BOB@example.org") == &config.peer_keys[1]);
  CHECK(found("192.0.2.7") == &config.peer_keys[2]);
  CHECK(found("C=CH, CN=carol") == &config.peer_keys[3]);
  CHECK(found("keyid:Dave") == &config.peer_keys[5]);
  CHECK(found("keyid:dave") == nullptr);  // a key ID is octets
  CHECK(found("keyid:alice") == nullptr);
  CHECK(found("erin") == nullptr);
}
