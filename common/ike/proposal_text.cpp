// Proposals as people write them: strongSwan's keywords, joined by '-'.
#include <algorithm>
#include <array>
#include <utility>

#include "common/ike/proposal.h"

namespace switchback::ike {

namespace {

using crypto::AeadAlgorithm;
using crypto::KeyExchangeMethod;
using crypto::PrfAlgorithm;

template <class Value>
struct Keyword {
  std::string_view text;
  Value value;
};

// The first keyword of a value is the one written; the others are strongSwan's aliases.
constexpr std::array kEncryption{
    Keyword<AeadAlgorithm>{"aes128gcm16", AeadAlgorithm::aes128_gcm},
    Keyword<AeadAlgorithm>{"aes128gcm128", AeadAlgorithm::aes128_gcm},
    Keyword<AeadAlgorithm>{"aes128gcm", AeadAlgorithm::aes128_gcm},
    Keyword<AeadAlgorithm>{"aes256gcm16", AeadAlgorithm::aes256_gcm},
    Keyword<AeadAlgorithm>{"aes256gcm128", AeadAlgorithm::aes256_gcm},
    Keyword<AeadAlgorithm>{"aes256gcm", AeadAlgorithm::aes256_gcm},
    Keyword<AeadAlgorithm>{"chacha20poly1305", AeadAlgorithm::chacha20_poly1305},
};
constexpr std::array kPrf{
    Keyword<PrfAlgorithm>{"prfsha256", PrfAlgorithm::hmac_sha2_256},
    Keyword<PrfAlgorithm>{"prfsha384", PrfAlgorithm::hmac_sha2_384},
    Keyword<PrfAlgorithm>{"prfsha512", PrfAlgorithm::hmac_sha2_512},
};
constexpr std::array kKeyExchange{
    Keyword<KeyExchangeMethod>{"x25519", KeyExchangeMethod::curve25519},
    Keyword<KeyExchangeMethod>{"curve25519", KeyExchangeMethod::curve25519},
    Keyword<KeyExchangeMethod>{"ecp256", KeyExchangeMethod::ecp_256},
    Keyword<KeyExchangeMethod>{"ecp384", KeyExchangeMethod::ecp_384},
    Keyword<KeyExchangeMethod>{"modp2048", KeyExchangeMethod::modp_2048},
};
constexpr std::array kEsn{Keyword<bool>{"esn", true}, Keyword<bool>{"noesn", false}};

constexpr std::string_view kEncryptionHelp = "aes128gcm16, aes256gcm16, chacha20poly1305";
constexpr std::string_view kPrfHelp = "prfsha256, prfsha384, prfsha512";
constexpr std::string_view kKeyExchangeHelp = "x25519, ecp256, ecp384, modp2048";

/// Adds the keyword's value to `to`, once. False if it is none of the table's.
template <class Value, std::size_t size>
bool take(const std::array<Keyword<Value>, size>& table, std::string_view word, std::vector<Value>& to) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const auto& entry) { return entry.text == word; });
  if (found == table.end()) return false;
  if (std::find(to.begin(), to.end(), found->value) == to.end()) to.push_back(found->value);
  return true;
}

template <class Value, std::size_t size>
std::string_view write(const std::array<Keyword<Value>, size>& table, Value value) noexcept {
  const auto found = std::find_if(table.begin(), table.end(), [&](const auto& entry) { return entry.value == value; });
  return found == table.end() ? "?" : found->text;
}

template <class Value, std::size_t size>
void append_words(std::string& text, const std::array<Keyword<Value>, size>& table, const std::vector<Value>& values) {
  for (const Value value : values) {
    if (!text.empty()) text += '-';
    text += write(table, value);
  }
}

/// A keyword of a configuration file for an error message: bounded, and without control characters.
std::string quoted(std::string_view word) {
  constexpr std::size_t kMaxShown = 64;
  std::string out = "\"";
  for (const char c : word.substr(0, kMaxShown)) out += c >= ' ' && c <= '~' ? c : '?';
  if (word.size() > kMaxShown) out += "...";
  return out + '"';
}

std::string both(std::string_view a, std::string_view b) { return std::string{a} + std::string{b}; }

/// Calls take_word(word) for each keyword, in lower case; the first error ends it.
template <class TakeWord>
Result<void, UserError> for_each_word(std::string_view text, TakeWord&& take_word) {
  constexpr std::size_t kMaxText = 512;
  if (text.size() > kMaxText) return fail_user("proposal " + quoted(text) + " is too long");
  std::string lower{text};
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  std::string_view rest{lower};
  for (;;) {
    const auto dash = rest.find('-');
    SB_CHECK(take_word(rest.substr(0, dash)));
    if (dash == std::string_view::npos) return {};
    rest.remove_prefix(dash + 1);
  }
}

}  // namespace

Result<IkeProposal, UserError> parse_ike_proposal(std::string_view text) {
  IkeProposal proposal;
  SB_CHECK(for_each_word(text, [&](std::string_view word) -> Result<void, UserError> {
    if (take(kEncryption, word, proposal.encryption) || take(kPrf, word, proposal.prf) ||
        take(kKeyExchange, word, proposal.key_exchange)) {
      return {};
    }
    std::string help = "use " + both(kEncryptionHelp, ", ") + both(kPrfHelp, ", ") + std::string{kKeyExchangeHelp};
    if (word == "sha256" || word == "sha384" || word == "sha512") help = "write prf" + std::string{word} + " instead";
    return fail_user("unknown keyword " + quoted(word) + " in IKE proposal " + quoted(text) + ": " + help);
  }));
  const auto missing = [&](std::string_view what, std::string_view help) {
    return fail_user("IKE proposal " + quoted(text) + " names no " + std::string{what} + ": add one of " +
                     std::string{help});
  };
  if (proposal.encryption.empty()) return missing("cipher", kEncryptionHelp);
  if (proposal.prf.empty()) return missing("PRF", kPrfHelp);
  if (proposal.key_exchange.empty()) return missing("key exchange", kKeyExchangeHelp);
  return proposal;
}

Result<EspProposal, UserError> parse_esp_proposal(std::string_view text) {
  EspProposal proposal;
  SB_CHECK(for_each_word(text, [&](std::string_view word) -> Result<void, UserError> {
    if (take(kEncryption, word, proposal.encryption) || take(kKeyExchange, word, proposal.key_exchange) ||
        take(kEsn, word, proposal.esn)) {
      return {};
    }
    if (word == "none" || word == "modpnone") {
      proposal.key_exchange_optional = true;
      return {};
    }
    return fail_user("unknown keyword " + quoted(word) + " in ESP proposal " + quoted(text) + ": use " +
                     both(kEncryptionHelp, ", ") + both(kKeyExchangeHelp, ", none, esn, noesn"));
  }));
  if (proposal.encryption.empty()) {
    return fail_user("ESP proposal " + quoted(text) + " names no cipher: add one of " + std::string{kEncryptionHelp});
  }
  if (proposal.key_exchange.empty()) proposal.key_exchange_optional = false;
  if (proposal.esn.empty()) proposal.esn.push_back(false);  // as strongSwan takes it
  return proposal;
}

std::string to_string(const IkeProposal& proposal) {
  std::string text;
  append_words(text, kEncryption, proposal.encryption);
  append_words(text, kPrf, proposal.prf);
  append_words(text, kKeyExchange, proposal.key_exchange);
  return text;
}

std::string to_string(const EspProposal& proposal) {
  std::string text;
  append_words(text, kEncryption, proposal.encryption);
  append_words(text, kKeyExchange, proposal.key_exchange);
  if (proposal.key_exchange_optional) text += "-none";
  append_words(text, kEsn, proposal.esn);
  return text;
}

std::string to_string(const IkeSuite& suite) {
  return to_string(IkeProposal{{suite.encryption}, {suite.prf}, {suite.key_exchange}});
}

std::string to_string(const EspSuite& suite) {
  EspProposal proposal{{suite.encryption}, {}, false, {suite.esn}};
  if (suite.key_exchange) proposal.key_exchange.push_back(*suite.key_exchange);
  return to_string(proposal);
}

}  // namespace switchback::ike
