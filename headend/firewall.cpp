#include "headend/firewall.h"

#include <nftables/libnftables.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <optional>

#include "common/base/log.h"

namespace switchback::headend {
namespace {

struct FreeContext {
  void operator()(nft_ctx* context) const noexcept { nft_ctx_free(context); }
};
using Context = std::unique_ptr<nft_ctx, FreeContext>;

Context make_context() {
  Context context{nft_ctx_new(NFT_CTX_DEFAULT)};
  if (context) {
    nft_ctx_buffer_error(context.get());
    nft_ctx_buffer_output(context.get());
  }
  return context;
}

bool run(const Context& context, const std::string& commands) {
  return nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0;
}

/// The first line of what libnftables complained about.
std::string complaint(const Context& context) {
  const char* text = nft_ctx_get_error_buffer(context.get());
  std::string line = text == nullptr ? "" : text;
  line.erase(std::find(line.begin(), line.end(), '\n'), line.end());
  return line.empty() ? "no reason given" : line;
}

std::string table_name(std::string_view tun) {
  std::string name = "switchback_";
  for (const char c : tun) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

std::optional<std::string> read_value(const std::string& path) {
  std::ifstream in{path};
  std::string value;
  if (!in || !std::getline(in, value)) return std::nullopt;
  return value;
}

bool write_value(const std::string& path, std::string_view value) {
  std::ofstream out{path};
  out << value << '\n';
  out.close();
  return !out.fail();
}

/// What enable_forwarding() writes to a sysctl, by its name.
std::string_view wanted_value(std::string_view path) { return path.ends_with("accept_ra") ? "2" : "1"; }

constexpr std::string_view kForwardingV4 = "net/ipv4/ip_forward";
constexpr std::string_view kForwardingV6 = "net/ipv6/conf/all/forwarding";

}  // namespace

struct NatTable::Impl {
  Impl(Context c, std::string n, TableOwnership o) : context{std::move(c)}, name{std::move(n)}, ownership{o} {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { (void)run(context, "delete table inet " + name); }

  Context context;  // its netlink socket is what owns the table
  std::string name;
  TableOwnership ownership;
};

NatTable::NatTable(std::unique_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
NatTable::NatTable(NatTable&&) noexcept = default;
NatTable& NatTable::operator=(NatTable&&) noexcept = default;
NatTable::~NatTable() = default;
TableOwnership NatTable::ownership() const noexcept { return impl_->ownership; }
const std::string& NatTable::name() const noexcept { return impl_->name; }

std::string nat_ruleset(std::string_view table, std::string_view tun, const std::vector<IpPrefix>& pools,
                        TableOwnership ownership) {
  std::string text = "table inet " + std::string{table} + " {\n";
  if (ownership == TableOwnership::process) text += "  flags owner;\n";
  text += "  chain postrouting {\n    type nat hook postrouting priority srcnat; policy accept;\n";
  for (const auto& pool : pools) {
    const auto prefix = IpPrefix{pool.first(), pool.length}.to_string();
    text += std::string{pool.address.is_v4() ? "    ip" : "    ip6"} + " saddr " + prefix + " oifname != \"" +
            std::string{tun} + "\" masquerade;\n";
  }
  return text + "  }\n}\n";
}

Result<NatTable, UserError> NatTable::install(const std::string& tun, const std::vector<IpPrefix>& pools) {
  auto context = make_context();
  if (!context) return fail_user("cannot use nftables: libnftables does not start; set nat = false in headend.toml");
  const auto name = table_name(tun);
  // A plain table that a killed process left. One with an owner went with it; one whose owner lives will not go.
  (void)run(context, "delete table inet " + name);
  for (const auto ownership : {TableOwnership::process, TableOwnership::plain}) {
    if (run(context, nat_ruleset(name, tun, pools, ownership))) {
      return NatTable{std::make_unique<Impl>(std::move(context), name, ownership)};
    }
  }
  return fail_user("cannot set up NAT in nftables table inet " + name + ": " + complaint(context) +
                   "; run as root on a kernel with nf_tables, or set nat = false in headend.toml");
}

Result<std::vector<ChangedSysctl>, UserError> enable_forwarding(bool v4, bool v6, const std::string& root) {
  std::vector<ChangedSysctl> changed;
  const auto change = [&](const std::string& path, const std::string& before) {
    if (!write_value(root + "/" + path, wanted_value(path))) return false;
    changed.push_back({path, before});
    return true;
  };
  const auto refuse = [&](std::string_view path) {
    restore_sysctls(changed, root);
    return fail_user("cannot set " + root + "/" + std::string{path} +
                     " to 1: set it from outside (a container's runtime has an option for it), or set forwarding = "
                     "false in headend.toml");
  };
  if (v4) {
    const auto before = read_value(root + "/" + std::string{kForwardingV4});
    if (!before) return refuse(kForwardingV4);
    if (*before == "0" && !change(std::string{kForwardingV4}, *before)) return refuse(kForwardingV4);
  }
  if (v6) {
    const auto before = read_value(root + "/" + std::string{kForwardingV6});
    if (!before) return refuse(kForwardingV6);
    if (*before == "0") {
      // Linux ignores router advertisements on a forwarding interface unless accept_ra is 2.
      std::error_code ignored;
      std::vector<std::string> interfaces;
      for (const auto& entry : std::filesystem::directory_iterator{root + "/net/ipv6/conf", ignored}) {
        if (const auto name = entry.path().filename().string(); name != "all") interfaces.push_back(name);
      }
      std::sort(interfaces.begin(), interfaces.end());
      for (const auto& interface : interfaces) {
        const auto path = "net/ipv6/conf/" + interface + "/accept_ra";
        if (const auto value = read_value(root + "/" + path); value == "1") (void)change(path, *value);
      }
      if (!change(std::string{kForwardingV6}, *before)) return refuse(kForwardingV6);
    }
  }
  return changed;
}

void restore_sysctls(const std::vector<ChangedSysctl>& changed, const std::string& root) {
  for (auto entry = changed.rbegin(); entry != changed.rend(); ++entry) {
    const auto path = root + "/" + entry->path;
    const auto present = read_value(path);
    if (!present) continue;  // an interface that is gone
    if (*present != wanted_value(entry->path)) continue;
    if (!write_value(path, entry->value))
      log::warning("sysctl_not_restored", {{"path", path}, {"value", entry->value}});
  }
}

std::string to_line(const std::vector<ChangedSysctl>& changed) {
  std::string line;
  for (const auto& entry : changed) line += entry.path + "=" + entry.value + ";";
  return line;
}

std::vector<ChangedSysctl> sysctls_from_line(std::string_view line) {
  std::vector<ChangedSysctl> changed;
  while (!line.empty()) {
    const auto end = std::min(line.find(';'), line.size());
    const auto entry = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    const auto equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    const auto path = entry.substr(0, equals);
    // Only what enable_forwarding() may have written: the line comes from a file.
    if (!path.starts_with("net/ipv") || path.find("..") != std::string_view::npos) continue;
    changed.push_back({std::string{path}, std::string{entry.substr(equals + 1)}});
  }
  return changed;
}

}  // namespace switchback::headend
