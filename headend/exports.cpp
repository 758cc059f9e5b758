#include "headend/exports.h"

#include "common/crypto/ike_identity.h"
#include "common/crypto/pki.h"
#include "common/profile/profile.h"
#include "headend/files.h"

namespace switchback::headend {
namespace {

std::string pem_of(const std::vector<crypto::Certificate>& certificates) {
  std::string text;
  for (const auto& certificate : certificates) text += certificate.to_pem();
  return text;
}

template <class List, class ToText>
std::string joined(const List& list, ToText to_text) {
  std::string out;
  for (const auto& element : list) {
    if (!out.empty()) out += ", ";
    out += to_text(element);
  }
  return out;
}

/// swanctl takes anything in double quotes; what needs escaping there does not occur in validated names and base64.
std::string in_quotes(std::string_view text) { return "\"" + std::string{text} + "\""; }

/// Text that is wiped when it goes, whatever std::string's buffers it grew through.
class SecretText {
 public:
  SecretText() = default;
  SecretText(const SecretText&) = delete;
  SecretText& operator=(const SecretText&) = delete;
  ~SecretText() { wipe({reinterpret_cast<std::uint8_t*>(text_.data()), text_.size()}); }
  void operator+=(std::string_view more) {
    if (text_.size() + more.size() > text_.capacity()) {
      std::string larger;
      larger.reserve(2 * (text_.size() + more.size()) + 256);
      larger = text_;
      wipe({reinterpret_cast<std::uint8_t*>(text_.data()), text_.size()});
      text_ = std::move(larger);
    }
    text_ += more;
  }
  [[nodiscard]] Secret take() const { return Secret{as_bytes(text_)}; }

 private:
  std::string text_;
};

}  // namespace

std::string base64(ByteView octets) {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((octets.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < octets.size(); i += 3) {
    const auto left = octets.size() - i;
    const std::uint32_t group = static_cast<std::uint32_t>(octets[i]) << 16U |
                                (left > 1 ? static_cast<std::uint32_t>(octets[i + 1]) << 8U : 0U) |
                                (left > 2 ? static_cast<std::uint32_t>(octets[i + 2]) : 0U);
    out += kAlphabet[group >> 18U & 63U];
    out += kAlphabet[group >> 12U & 63U];
    out += left > 1 ? kAlphabet[group >> 6U & 63U] : '=';
    out += left > 2 ? kAlphabet[group & 63U] : '=';
  }
  return out;
}

Result<void, UserError> export_switchback(const Config& config, const UserCredentials& user, const std::string& out,
                                          bool sync) {
  profile::Profile made;
  made.name = user.name;
  made.headend.addresses = config.addresses;
  made.headend.identity = config.identity;
  made.headend.ike_port = config.ike_port;
  made.headend.nat_t_port = config.nat_t_port;
  const auto& transports = config.transports;
  made.transports.order = transports.enabled;
  made.transports.ctcp_ports = transports.ctcp_ports;
  made.transports.ctcp_mode = transports.ctcp_modes.front();
  made.transports.tcp_port = transports.tcp_port;
  made.transports.tls_port = transports.tls_port;
  made.authentication.identity = user.name;
  if (user.key.empty()) {
    made.authentication.method = profile::Method::psk;
    made.authentication.psk = user.pre_shared_key.clone();
  } else {
    made.authentication.method = profile::Method::certificate;
    made.authentication.certificate = pem_of(user.certificate);
    SB_TRY(auto key, user.key.front().to_pem());
    made.authentication.private_key = std::move(key);
    made.authentication.ca = pem_of(user.authorities);
  }
  return profile::save(made, out, false, sync);
}

Secret swanctl_conf(const Config& config, const UserCredentials& user) {
  const auto routes = joined(config.routes, [](const IpPrefix& prefix) { return prefix.to_string(); });
  const auto id = in_quotes(user.name);
  SecretText text;
  text += "# strongSwan's configuration for " + user.name +
          ". Copy this directory's content to /etc/swanctl, then:\n"
          "#   swanctl --load-all && swanctl --initiate --child switchback\n";
  text += "connections {\n  switchback {\n    version = 2\n    remote_addrs = " +
          joined(config.addresses, [](const std::string& address) { return address; }) + "\n";
  if (config.ike_port != 500) text += "    remote_port = " + std::to_string(config.ike_port) + "\n";
  std::string vips;
  if (config.pool) vips += "0.0.0.0";
  if (config.pool6) vips += vips.empty() ? "::" : ", ::";
  text += "    vips = " + vips + "\n    proposals = " +
          joined(config.ike_proposals, [](const auto& proposal) { return ike::to_string(proposal); }) +
          "\n    dpd_delay = 30s\n    encap = yes\n";
  if (user.key.empty()) {
    text += "    local {\n      auth = psk\n      id = " + id + "\n    }\n    remote {\n      auth = psk\n";
  } else {
    text += "    local {\n      auth = pubkey\n      certs = " + user.name + ".crt\n      id = " + id +
            "\n    }\n    remote {\n      auth = pubkey\n      cacerts = switchback-ca.crt\n";
  }
  text += "      id = " + in_quotes(config.identity) +
          "\n    }\n    children {\n      switchback {\n        remote_ts = " + routes + "\n        esp_proposals = " +
          joined(config.esp_proposals, [](const auto& proposal) { return ike::to_string(proposal); }) +
          "\n        dpd_action = restart\n      }\n    }\n  }\n}\n";
  if (user.key.empty()) {
    text += "secrets {\n  ike-switchback {\n    id-1 = " + id + "\n    id-2 = " + in_quotes(config.identity) +
            "\n    secret = \"";
    text += as_text(user.pre_shared_key.view());
    text += "\"\n  }\n}\n";
  }
  return text.take();
}

Result<void, UserError> export_strongswan(const Config& config, const UserCredentials& user, const std::string& out) {
  SB_TRY(auto staged, StagedDirectory::create(out));
  SB_CHECK(write_new_file(staged.path() + "/swanctl.conf", swanctl_conf(config, user).view(), 0600));
  if (!user.key.empty()) {
    for (const char* name : {"x509", "x509ca", "private"}) SB_CHECK(staged.make_directory(name));
    SB_TRY(const auto key, user.key.front().to_pem());
    SB_CHECK(write_new_file(staged.path() + "/private/" + user.name + ".key", key.view(), 0600));
    SB_CHECK(write_new_file(staged.path() + "/x509/" + user.name + ".crt", as_bytes(pem_of(user.certificate)), 0644));
    SB_CHECK(write_new_file(staged.path() + "/x509ca/switchback-ca.crt", as_bytes(pem_of(user.authorities)), 0644));
  }
  return staged.commit();
}

Result<void, UserError> export_mobileconfig(const Config& config, const UserCredentials& user, const std::string& out,
                                            RandomSource& random) {
  SB_TRY(const auto text, mobileconfig_text(config, user, random));
  return write_new_file(out, text.view(), 0600);
}

Result<void, UserError> export_p12(const UserCredentials& user, const std::string& out, std::string_view password) {
  if (user.key.empty()) {
    return fail_user("a PKCS#12 file holds a certificate: leave out --psk, or choose another --format");
  }
  SB_TRY(const auto file,
         crypto::make_pkcs12(user.certificate.front(), user.key.front(), user.authorities, user.name, password));
  return write_new_file(out, file.view(), 0600);
}

}  // namespace switchback::headend
