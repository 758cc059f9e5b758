// Apple's configuration profile: a property list with a root certificate, an identity and an IKEv2 VPN. Keys are those
// of Apple's "Device Management: VPN.IKEv2" reference.
#include <pugixml.hpp>
#include <sstream>

#include "common/crypto/pki.h"
#include "headend/exports.h"

namespace switchback::headend {
namespace {

/// A random UUID, RFC 4122 §4.4.
std::string uuid(RandomSource& random) {
  std::array<std::uint8_t, 16> octets{};
  random.public_fill(octets);
  octets[6] = static_cast<std::uint8_t>((octets[6] & 0x0FU) | 0x40U);
  octets[8] = static_cast<std::uint8_t>((octets[8] & 0x3FU) | 0x80U);
  const auto hex = to_hex(octets);
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" + hex.substr(16, 4) + "-" +
         hex.substr(20);
}

/// A plist dictionary under construction.
class Dictionary {
 public:
  explicit Dictionary(pugi::xml_node parent) : node_{parent.append_child("dict")} {}

  void text(const char* key, const std::string& value) { leaf(key, "string").text().set(value.c_str()); }
  void integer(const char* key, int value) { leaf(key, "integer").text().set(value); }
  void data(const char* key, ByteView octets) { leaf(key, "data").text().set(base64(octets).c_str()); }
  Dictionary dictionary(const char* key) {
    node_.append_child("key").text().set(key);
    return Dictionary{node_};
  }
  pugi::xml_node array(const char* key) { return leaf(key, "array"); }

 private:
  pugi::xml_node leaf(const char* key, const char* type) {
    node_.append_child("key").text().set(key);
    return node_.append_child(type);
  }
  pugi::xml_node node_;
};

void payload_header(Dictionary& payload, const char* type, const std::string& id, const std::string& uuid_text,
                    const std::string& label) {
  payload.text("PayloadType", type);
  payload.integer("PayloadVersion", 1);
  payload.text("PayloadIdentifier", id);
  payload.text("PayloadUUID", uuid_text);
  payload.text("PayloadDisplayName", label);
}

const char* certificate_type(crypto::KeyType type) {
  switch (type) {
    case crypto::KeyType::ecdsa_p256: return "ECDSA256";
    case crypto::KeyType::ecdsa_p384: return "ECDSA384";
    case crypto::KeyType::ecdsa_p521: return "ECDSA521";
    case crypto::KeyType::ed25519: return "Ed25519";
    case crypto::KeyType::rsa: return "RSA";
  }
  return "ECDSA256";
}

void suite(Dictionary parameters, int lifetime_minutes) {
  parameters.text("EncryptionAlgorithm", "AES-256-GCM");
  parameters.text("IntegrityAlgorithm", "SHA2-256");  // with AES-GCM it chooses the PRF
  parameters.integer("DiffieHellmanGroup", 19);
  parameters.integer("LifeTimeInMinutes", lifetime_minutes);
}

}  // namespace

Result<Secret, UserError> mobileconfig_text(const Config& config, const UserCredentials& user, RandomSource& random) {
  const std::string root_id = "net.switchback." + config.identity;
  const auto vpn_uuid = uuid(random);
  const auto identity_uuid = uuid(random);

  pugi::xml_document document;
  auto declaration = document.append_child(pugi::node_declaration);
  declaration.append_attribute("version") = "1.0";
  declaration.append_attribute("encoding") = "UTF-8";
  document.append_child(pugi::node_doctype)
      .set_value("plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\"");
  auto plist = document.append_child("plist");
  plist.append_attribute("version") = "1.0";
  Dictionary root{plist};
  payload_header(root, "Configuration", root_id, uuid(random), "Switchback VPN " + config.identity);
  auto content = root.array("PayloadContent");

  if (!user.key.empty()) {
    for (const auto& authority : user.authorities) {
      Dictionary ca{content};
      const auto id = uuid(random);
      payload_header(ca, "com.apple.security.root", root_id + ".ca." + id, id, authority.common_name());
      ca.data("PayloadContent", authority.der());
    }
    // Devices refuse a PKCS#12 without a password. This one protects nothing: the file itself is the secret.
    std::array<std::uint8_t, 18> password_octets{};
    random.secret_fill(password_octets);
    const auto password = base64(password_octets);
    SB_TRY(const auto p12, crypto::make_pkcs12(user.certificate.front(), user.key.front(), user.authorities, user.name,
                                               password, true));
    Dictionary identity{content};
    payload_header(identity, "com.apple.security.pkcs12", root_id + ".identity." + identity_uuid, identity_uuid,
                   user.name);
    identity.text("Password", password);
    identity.data("PayloadContent", p12.view());
  }

  Dictionary vpn{content};
  payload_header(vpn, "com.apple.vpn.managed", root_id + ".vpn." + vpn_uuid, vpn_uuid, "VPN " + config.identity);
  vpn.text("UserDefinedName", "Switchback " + config.identity);
  vpn.text("VPNType", "IKEv2");
  auto ike = vpn.dictionary("IKEv2");
  ike.text("RemoteAddress", config.addresses.front());
  ike.text("RemoteIdentifier", config.identity);
  ike.text("LocalIdentifier", user.name);
  ike.integer("ExtendedAuthEnabled", 0);
  if (user.key.empty()) {
    ike.text("AuthenticationMethod", "SharedSecret");
    ike.text("SharedSecret", std::string{as_text(user.pre_shared_key.view())});
  } else {
    ike.text("AuthenticationMethod", "Certificate");
    ike.text("PayloadCertificateUUID", identity_uuid);
    ike.text("CertificateType", certificate_type(user.certificate.front().key_type()));
    ike.text("ServerCertificateIssuerCommonName", user.authorities.front().common_name());
  }
  ike.text("DeadPeerDetectionRate", "Medium");
  ike.integer("DisableMOBIKE", 0);
  ike.integer("DisableRedirect", 1);
  ike.integer("EnableCertificateRevocationCheck", 0);
  ike.integer("EnablePFS", 1);
  ike.integer("UseConfigurationAttributeInternalIPSubnet", 1);
  suite(ike.dictionary("IKESecurityAssociationParameters"), 1440);
  suite(ike.dictionary("ChildSecurityAssociationParameters"), 60);

  std::ostringstream out;
  document.save(out, "  ", pugi::format_default, pugi::encoding_utf8);
  auto text = out.str();
  Secret secret{as_bytes(text)};
  wipe({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  return secret;
}

}  // namespace switchback::headend
