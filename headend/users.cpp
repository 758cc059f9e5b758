#include "headend/users.h"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

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
                                     RandomSource& random, bool sync = true) {
  switch (options.format) {
    case ExportFormat::switchback: return export_switchback(config, user, options.out, sync);
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

namespace {

/// What a user has, and what the store has to know of it.
struct Issued {
  UserCredentials credentials;
  NewUser entry;
};

/// @param authority  null: a pre-shared key
Result<Issued, UserError> issue(const std::string& name, const crypto::CertificateAuthority* authority,
                                crypto::KeyType key_type, RandomSource& random, WallTime now) {
  Issued made;
  made.credentials.name = made.entry.name = name;
  if (authority == nullptr) {
    made.credentials.pre_shared_key = make_pre_shared_key(random);
    made.entry.pre_shared_key = made.credentials.pre_shared_key.clone();
    return made;
  }
  SB_TRY(auto issued, authority->issue_user({name, key_type}, now));
  const auto& fingerprint = issued.certificate.fingerprint();
  made.entry.certificate = CertificateRecord{
      {fingerprint.begin(), fingerprint.end()}, to_hex(issued.certificate.serial()), issued.certificate.not_after()};
  made.credentials.certificate.push_back(issued.certificate);
  made.credentials.key.push_back(std::move(issued.key));
  made.credentials.authorities.push_back(authority->certificate());
  return made;
}

/// What a user's file is called in a directory of many.
std::string file_name(const std::string& user, ExportFormat format) {
  switch (format) {
    case ExportFormat::switchback: return user + ".toml";
    case ExportFormat::mobileconfig: return user + ".mobileconfig";
    case ExportFormat::p12: return user + ".p12";
    case ExportFormat::strongswan: break;
  }
  return user;
}

}  // namespace

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
  std::optional<crypto::CertificateAuthority> authority;
  if (!options.pre_shared_key) {
    SB_TRY(auto loaded, load_authority(config));
    authority.emplace(std::move(loaded));
  }
  SB_TRY(const auto user, issue(options.name, authority ? &*authority : nullptr, options.key_type, random, now));
  SB_TRY(const auto id, user.entry.certificate ? store.add_user(options.name, *user.entry.certificate, now)
                                               : store.add_user(options.name, user.entry.pre_shared_key, now));
  if (auto written = write_export(config, user.credentials, options, random); !written) {
    (void)store.discard_user(id);
    return written;
  }
  return {};
}

Result<std::vector<std::string>, UserError> parse_names(std::string_view text, std::string_view file) {
  std::vector<std::string> names;
  for (std::size_t number = 1; !text.empty(); ++number) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const auto end = line.find_last_not_of(" \t\r");
    line = end == std::string_view::npos ? std::string_view{} : line.substr(0, end + 1);
    if (line.empty() || line.front() == '#') continue;
    if (const auto valid = crypto::check_user_name(line); !valid) {
      return fail_user(std::string{file} + ":" + std::to_string(number) + ": " + valid.error().message);
    }
    names.emplace_back(line);
  }
  if (names.empty()) return fail_user(std::string{file} + " names nobody: write one user's name in each line");
  return names;
}

Result<std::size_t, UserError> add_users(const Config& config, Store& store, const AddUsersOptions& options,
                                         WallTime now) {
  // The store's lock is held for a group: the running headend does not wait for long.
  constexpr std::size_t kGroup = 500;
  SB_TRY(const auto text, read_file(options.from, "the file of names"));
  SB_TRY(const auto names, parse_names(text, options.from));
  if (options.each.out.empty()) return fail_user("--out is missing: the directory that the users' files go to");
  if (options.each.pre_shared_key && options.each.format == ExportFormat::p12) {
    return fail_user("a PKCS#12 file holds a certificate: leave out --psk, or choose another --format");
  }
  SB_TRY(auto staged, StagedDirectory::create(options.each.out));
  crypto::SystemRandom random;
  std::optional<crypto::CertificateAuthority> authority;
  if (!options.each.pre_shared_key) {
    SB_TRY(auto loaded, load_authority(config));
    authority.emplace(std::move(loaded));
  }

  std::vector<UserId> entered;
  const auto add_group = [&](std::size_t first, std::size_t end) -> Result<void, UserError> {
    std::vector<NewUser> group;
    for (auto i = first; i < end; ++i) {
      SB_TRY(auto user, issue(names[i], authority ? &*authority : nullptr, options.each.key_type, random, now));
      auto each = options.each;
      each.out = staged.path() + "/" + file_name(names[i], each.format);
      SB_CHECK(write_export(config, user.credentials, each, random, false));
      group.push_back(std::move(user.entry));
    }
    SB_TRY(const auto ids, store.add_users(group, now));
    entered.insert(entered.end(), ids.begin(), ids.end());
    return {};
  };
  const auto add_all = [&]() -> Result<void, UserError> {
    for (std::size_t first = 0; first < names.size(); first += kGroup) {
      SB_CHECK(add_group(first, std::min(names.size(), first + kGroup)));
    }
    return staged.commit();
  };
  if (auto added = add_all(); !added) {
    for (const auto id : entered) (void)store.discard_user(id);
    return tl::unexpected(added.error());
  }
  return names.size();
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
