#include "headend/init.h"

#include <algorithm>

#include "common/crypto/pki.h"
#include "common/crypto/random.h"
#include "headend/address_pool.h"
#include "headend/config.h"
#include "headend/files.h"
#include "headend/store.h"

namespace switchback::headend {
namespace {

/// fd00::/8 with 40 random bits and subnet 0, RFC 4193 §3.2.
IpPrefix random_ula() {
  crypto::SystemRandom random;
  std::array<std::uint8_t, 16> octets{};
  random.public_fill(ByteSpan{octets}.subspan(1, 5));
  octets[0] = 0xFD;
  return {IpAddress::from_bytes(octets), 64};
}

Result<std::optional<IpPrefix>, UserError> parse_pool(const std::string& text, IpFamily family,
                                                      std::string_view option) {
  if (text == "none") return std::nullopt;
  const auto prefix = IpPrefix::parse(text);
  if (!prefix || prefix->address.family() != family || prefix->length < 8 || !AddressPool::usable(*prefix)) {
    return fail_user(std::string{option} + " \"" + text + "\" is not a prefix for clients: give one such as " +
                     (family == IpFamily::v4 ? "10.99.0.0/16" : "fd12:3456:789a::/64") + ", or none");
  }
  return IpPrefix{prefix->first(), prefix->length};
}

Result<ConfigChoices, UserError> choose(const InitOptions& options) {
  ConfigChoices choices;
  if (options.addresses.empty()) return fail_user("--address is missing: where clients find this headend");
  for (const auto& text : options.addresses) {
    const auto address = IpAddress::parse(text);
    if (!address && !valid_host_name(text)) {
      return fail_user("--address \"" + text + "\" is neither an IP address nor a host name");
    }
    if (address && address->is_unspecified()) {
      return fail_user("--address " + text + " is no place that clients could reach: give the server's own address");
    }
    choices.addresses.push_back(address ? address->to_string() : text);
  }
  choices.identity = options.identity;
  if (choices.identity.empty()) {
    const auto name = std::find_if(choices.addresses.begin(), choices.addresses.end(),
                                   [](const std::string& text) { return !IpAddress::parse(text); });
    choices.identity = name != choices.addresses.end() ? *name : choices.addresses.front();
  } else if (!IpAddress::parse(choices.identity) && !valid_host_name(choices.identity)) {
    return fail_user("--identity \"" + choices.identity + "\" is neither a host name nor an IP address");
  }
  SB_TRY(const auto pool, parse_pool(options.pool, IpFamily::v4, "--pool"));
  choices.pool = pool;
  if (options.pool6.empty()) {
    choices.pool6 = random_ula();
  } else {
    SB_TRY(const auto pool6, parse_pool(options.pool6, IpFamily::v6, "--pool6"));
    choices.pool6 = pool6;
  }
  if (!choices.pool && !choices.pool6) return fail_user("--pool and --pool6 are both none: clients need one of them");
  for (const auto& text : options.dns) {
    const auto address = IpAddress::parse(text);
    if (!address) return fail_user("--dns \"" + text + "\" is not an IP address");
    choices.dns.push_back(*address);
  }
  for (const auto& text : options.routes) {
    const auto prefix = IpPrefix::parse(text);
    if (!prefix) return fail_user("--route \"" + text + "\" is not a prefix such as 192.168.0.0/16");
    choices.routes.push_back({prefix->first(), prefix->length});
  }
  return choices;
}

}  // namespace

Result<InitSummary, UserError> init_headend(const InitOptions& options, WallTime now) {
  SB_TRY(const auto choices, choose(options));
  SB_TRY(auto staged, StagedDirectory::create(options.directory));
  SB_CHECK(staged.make_directory("pki"));

  SB_TRY(const auto authority,
         crypto::CertificateAuthority::create("Switchback CA of " + choices.identity, now, options.key_type));
  crypto::HeadendRequest request;
  request.key_type = options.key_type;
  const auto name = [&](const std::string& text) {
    if (const auto address = IpAddress::parse(text)) {
      if (std::find(request.addresses.begin(), request.addresses.end(), *address) == request.addresses.end()) {
        request.addresses.push_back(*address);
      }
    } else if (std::find(request.dns_names.begin(), request.dns_names.end(), text) == request.dns_names.end()) {
      request.dns_names.push_back(text);
    }
  };
  name(choices.identity);
  for (const auto& address : choices.addresses) name(address);
  SB_TRY(const auto headend, authority.issue_headend(request, now));

  const auto write_key = [&](const char* file, const crypto::PrivateKey& key) -> Result<void, UserError> {
    SB_TRY(const auto pem, key.to_pem());
    return write_new_file(staged.path() + file, pem.view(), 0600);
  };
  SB_CHECK(write_key("/pki/ca.key", authority.key()));
  SB_CHECK(write_new_file(staged.path() + "/pki/ca.crt", as_bytes(authority.certificate().to_pem()), 0644));
  SB_CHECK(write_key("/pki/headend.key", headend.key));
  SB_CHECK(write_new_file(staged.path() + "/pki/headend.crt", as_bytes(headend.certificate.to_pem()), 0644));
  SB_CHECK(write_new_file(staged.path() + "/headend.toml", as_bytes(render_config(choices)), 0600));
  SB_CHECK(load_config(staged.path()));  // what was rendered must be what `run` accepts
  SB_CHECK(Store::create(staged.path() + "/state.db"));
  SB_CHECK(staged.commit());
  return InitSummary{choices.identity, choices.pool, choices.pool6};
}

}  // namespace switchback::headend
