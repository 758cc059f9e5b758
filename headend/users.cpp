#include "headend/users.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "common/crypto/pki.h"
#include "common/crypto/random.h"
#include "headend/exports.h"
#include "headend/files.h"

namespace switchback::headend {
namespace {

/// 256 bits as text, so that it can be typed into other people's clients.
Secret make_pre_shared_key(RandomSource& random) {
  Secret octets{33};  // a multiple of three: no padding in base64
  random.secret_fill(octets.span());
  auto text = base64(octets.view());
  Secret key{as_bytes(text)};
  wipe({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  return key;
}

Result<crypto::CertificateAuthority, UserError> load_authority(const Config& config) {
  SB_TRY(const auto certificate, read_file(config.ca_file, "the CA certificate"));
  SB_TRY(auto key_text, read_file(config.ca_key_file, "the CA key"));
  const Secret key{as_bytes(key_text)};
  wipe({reinterpret_cast<std::uint8_t*>(key_text.data()), key_text.size()});
  return crypto::CertificateAuthority::load(certificate, key.view(), config.ca_file);
}

Result<void, UserError> write_export(const Config& config, const UserCredentials& user, const AddUserOptions& options,
                                     RandomSource& random) {
  switch (options.format) {
    case ExportFormat::switchback: return export_switchback(config, user, options.out);
    case ExportFormat::strongswan: return export_strongswan(config, user, options.out);
    case ExportFormat::mobileconfig: return export_mobileconfig(config, user, options.out, random);
    case ExportFormat::p12: break;
  }
  std::string password;
  if (!options.password_file.empty()) {
    SB_TRY(const auto text, read_file(options.password_file, "the password file"));
    password = text.substr(0, text.find_first_of("\r\n"));
    if (password.empty()) return fail_user(options.password_file + " has no password in its first line");
  }
  return export_p12(user, options.out, password);
}

}  // namespace

Result<ExportFormat, UserError> parse_export_format(std::string_view text) {
  if (text == "switchback") return ExportFormat::switchback;
  if (text == "strongswan") return ExportFormat::strongswan;
  if (text == "mobileconfig") return ExportFormat::mobileconfig;
  if (text == "p12") return ExportFormat::p12;
  return fail_user("unknown --format \"" + std::string{text} + "\": use switchback, strongswan, mobileconfig or p12");
}

Result<crypto::KeyType, UserError> parse_key_type(std::string_view text) {
  if (text == "ecdsa-p256") return crypto::KeyType::ecdsa_p256;
  if (text == "ecdsa-p384") return crypto::KeyType::ecdsa_p384;
  if (text == "ed25519") return crypto::KeyType::ed25519;
  if (text == "rsa-3072") return crypto::KeyType::rsa;
  return fail_user("unknown --key-type \"" + std::string{text} + "\": use ecdsa-p256, ecdsa-p384, ed25519 or rsa-3072");
}

Result<void, UserError> add_user(const Config& config, Store& store, const AddUserOptions& options, WallTime now) {
  SB_CHECK(crypto::check_user_name(options.name));
  if (options.out.empty()) return fail_user("--out is missing: the file that the user's credentials go to");
  SB_TRY(const auto present, store.find_user(options.name));
  if (present) {
    return fail_user("user \"" + options.name + "\" exists already: remove it first, or choose another name");
  }
  if (options.pre_shared_key && options.format == ExportFormat::p12) {
    return fail_user("a PKCS#12 file holds a certificate: leave out --psk, or choose another --format");
  }

  crypto::SystemRandom random;
  UserCredentials user;
  user.name = options.name;
  UserId id;
  if (options.pre_shared_key) {
    user.pre_shared_key = make_pre_shared_key(random);
    SB_TRY(const auto entered, store.add_user(user.name, user.pre_shared_key, now));
    id = entered;
  } else {
    SB_TRY(const auto authority, load_authority(config));
    SB_TRY(auto issued, authority.issue_user({options.name, options.key_type}, now));
    const auto& fingerprint = issued.certificate.fingerprint();
    const CertificateRecord record{
        {fingerprint.begin(), fingerprint.end()}, to_hex(issued.certificate.serial()), issued.certificate.not_after()};
    user.certificate.push_back(issued.certificate);
    user.key.push_back(std::move(issued.key));
    user.authorities.push_back(authority.certificate());
    SB_TRY(const auto entered, store.add_user(user.name, record, now));
    id = entered;
  }
  if (auto written = write_export(config, user, options, random); !written) {
    (void)store.discard_user(id);
    return written;
  }
  return {};
}

std::string iso_time(WallTime time) {
  const std::time_t seconds = time.time_since_epoch().count();
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  const auto length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), length};
}

std::string user_list_text(const std::vector<UserRecord>& users) {
  if (users.empty()) return "no users; `switchback-headend user add NAME --dir DIR --out FILE.toml` adds one\n";
  std::string out;
  for (const auto& user : users) {
    out += user.name;
    out += user.revoked ? "  removed " + iso_time(*user.revoked)
           : user.credential == Credential::pre_shared_key
               ? "  pre-shared key"
               : "  certificate until " + (user.certificate_expires ? iso_time(*user.certificate_expires) : "?");
    for (const auto& address : user.addresses) out += "  " + address.to_string();
    out += '\n';
  }
  return out;
}

std::string user_list_json(const std::vector<UserRecord>& users) {
  auto list = nlohmann::json::array();
  for (const auto& user : users) {
    nlohmann::json entry{{"name", user.name},
                         {"created", iso_time(user.created)},
                         {"revoked", nullptr},
                         {"credential", user.credential == Credential::certificate ? "certificate" : "psk"},
                         {"certificate_expires", nullptr},
                         {"addresses", nlohmann::json::array()}};
    if (user.revoked) entry["revoked"] = iso_time(*user.revoked);
    if (user.certificate_expires) entry["certificate_expires"] = iso_time(*user.certificate_expires);
    for (const auto& address : user.addresses) entry["addresses"].push_back(address.to_string());
    list.push_back(std::move(entry));
  }
  return nlohmann::json{{"users", std::move(list)}}.dump();
}

}  // namespace switchback::headend
