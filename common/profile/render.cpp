#include <cstdio>

#include "common/profile/profile.h"

namespace switchback::profile {
namespace {

/// Text that grows in wiped memory: a std::string would leave copies of the key behind each time it grows.
class SecretText {
 public:
  SecretText& operator<<(std::string_view more) {
    if (used_ + more.size() > memory_.size()) {
      Secret larger{(used_ + more.size()) * 2};
      std::copy_n(memory_.view().begin(), used_, larger.span().begin());
      memory_ = std::move(larger);
    }
    std::copy(more.begin(), more.end(), reinterpret_cast<char*>(memory_.span().data()) + used_);
    used_ += more.size();
    return *this;
  }
  [[nodiscard]] Secret take() const { return Secret{memory_.view().first(used_)}; }

 private:
  Secret memory_{4096};
  std::size_t used_ = 0;
};

/// A TOML basic string; `lines` keeps line breaks as they are, in a multi-line string.
void quote(SecretText& out, std::string_view text, bool lines = false) {
  out << (lines ? "\"\"\"\n" : "\"");
  for (const char& c : text) {
    const auto octet = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out << "\\" << std::string_view{&c, 1};
    } else if (c == '\n' && lines) {
      out << "\n";
    } else if (octet < 0x20 || octet == 0x7F) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04X", static_cast<unsigned>(octet));
      out << escape.data();
    } else {
      out << std::string_view{&c, 1};
    }
  }
  out << (lines ? "\"\"\"" : "\"");
}

void quote_list(SecretText& out, const std::vector<std::string>& entries) {
  out << "[";
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i != 0) out << ", ";
    quote(out, entries[i]);
  }
  out << "]";
}

}  // namespace

Secret render(const Profile& profile) {
  SecretText out;
  const auto text = [&](std::string_view key, std::string_view value) {
    out << key << " = ";
    quote(out, value);
    out << "\n";
  };
  const auto pem = [&](std::string_view key, std::string_view value) {
    out << key << " = ";
    quote(out, value, true);
    out << "\n";
  };
  const auto list = [&](std::string_view key, const std::vector<std::string>& entries) {
    out << key << " = ";
    quote_list(out, entries);
    out << "\n";
  };

  out << "# Switchback profile. It holds a secret key: keep it readable by you alone (mode 0600).\n"
         "# Every key is described in docs/client.md.\n"
      << "version = " << std::to_string(kVersion) << "\n";
  if (!profile.name.empty()) text("name", profile.name);

  out << "\n[headend]\n";
  list("addresses", profile.headend.addresses);
  text("identity", profile.headend.identity);
  out << "ike_port = " << std::to_string(profile.headend.ike_port) << "\n"
      << "nat_t_port = " << std::to_string(profile.headend.nat_t_port) << "\n";

  const auto& auth = profile.authentication;
  out << "\n[authentication]\n";
  text("method", auth.method == Method::certificate ? "certificate" : "psk");
  text("identity", auth.identity);
  if (!auth.certificate.empty()) pem("certificate", auth.certificate);
  if (!auth.private_key.empty()) pem("private_key", as_text(auth.private_key.view()));
  if (!auth.ca.empty()) pem("ca", auth.ca);
  if (!auth.psk.empty()) text("psk", as_text(auth.psk.view()));

  const auto& tunnel = profile.tunnel;
  out << "\n[tunnel]\n";
  if (tunnel.routes) {
    std::vector<std::string> routes;
    for (const auto& route : *tunnel.routes) routes.push_back(route.to_string());
    list("routes", routes);
  } else {
    out << "# routes = [\"0.0.0.0/0\", \"::/0\"]   # absent: what the headend pushes\n";
  }
  out << "dns = " << (tunnel.dns ? "true" : "false") << "\n";
  if (tunnel.mtu) out << "mtu = " << std::to_string(*tunnel.mtu) << "\n";
  out << "block_leaks = " << (tunnel.block_leaks ? "true" : "false") << "\n";

  if (!profile.crypto.ike.empty() || !profile.crypto.esp.empty()) {
    out << "\n[crypto]\n";
    if (!profile.crypto.ike.empty()) list("ike", profile.crypto.ike);
    if (!profile.crypto.esp.empty()) list("esp", profile.crypto.esp);
  }

  if (profile.timers.ike_rekey || profile.timers.child_rekey) {
    out << "\n[timers]\n";
    if (profile.timers.ike_rekey) out << "ike_rekey = " << std::to_string(profile.timers.ike_rekey->count()) << "\n";
    if (profile.timers.child_rekey)
      out << "child_rekey = " << std::to_string(profile.timers.child_rekey->count()) << "\n";
  }

  out << "\n# What may carry the session, by preference, and where the headend listens for it.\n[transports]\n";
  const auto& transports = profile.transports;
  list("order", transports.order);
  out << "ctcp_ports = [";
  for (std::size_t i = 0; i < transports.ctcp_ports.size(); ++i) {
    out << (i == 0 ? "" : ", ") << std::to_string(transports.ctcp_ports[i]);
  }
  out << "]\n";
  text("ctcp_mode", transports.ctcp_mode);
  out << "tcp_port = " << std::to_string(transports.tcp_port) << "\n"
      << "tls_port = " << std::to_string(transports.tls_port) << "\n";
  if (transports.tls_server_name) {
    text("tls_server_name", *transports.tls_server_name);
  } else {
    out << "# tls_server_name = \"vpn.example.org\"   # absent: the headend's host name\n";
  }
  return out.take();
}

}  // namespace switchback::profile
