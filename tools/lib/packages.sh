# The Debian 12 packages that building, testing and measuring need, and how they are installed. Sourced by tools/demo,
# tools/check and tools/bench: the only place where a package is named.
# shellcheck shell=bash disable=SC2034  # the lists are for the scripts that source this

# Compiler, build system, libraries.
readonly PACKAGES_BUILD=(
  build-essential cmake ninja-build ccache pkg-config
  libssl-dev libsodium-dev libipsec-mb-dev
  libasio-dev libcli11-dev libexpected-dev libtomlplusplus-dev libspdlog-dev libfmt-dev nlohmann-json3-dev
  libnl-3-dev libnl-route-3-dev libnftables-dev libsystemd-dev
  libsqlite3-dev libsqlitecpp-dev libpugixml-dev uuid-dev catch2
)
# Namespaces, traffic, and a look at it.
readonly PACKAGES_NET=(iproute2 iputils-ping iperf3 nftables procps util-linux jq)
# The rest of the test suite: test framework, static checks, peers that nobody here wrote, a protocol analyser.
readonly PACKAGES_CHECK=(
  clang-format-14 python3 git openssl
  strongswan-charon strongswan-swanctl libcharon-extra-plugins libcharon-extauth-plugins
  libstrongswan-extra-plugins libstrongswan-standard-plugins
  tshark tcpdump conntrack curl haproxy
)
# Compilers of the presets fuzz and tidy, which tools/check does not build.
readonly PACKAGES_DEVELOP=(clang-14 clang-tidy-14 libclang-rt-14-dev shellcheck)
# What tools/bench measures with and compares with.
readonly PACKAGES_BENCH=(
  python3 ethtool libbenchmark-dev openssl
  openvpn wireguard-go wireguard-tools ocserv openconnect
  strongswan-charon strongswan-swanctl libcharon-extra-plugins libcharon-extauth-plugins
  libstrongswan-extra-plugins libstrongswan-standard-plugins
)

# Services that some of these packages would start and enable. Nobody asked for them, so they are kept off.
readonly UNWANTED_SERVICES=(strongswan-starter ipsec openvpn iperf3 haproxy ocserv)

# missing_packages NAME…: prints those that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || printf '%s\n' "$name"
  done
}

# install_packages NAME…: installs what is missing, quietly, without recommended packages, without starting a service.
install_packages() {
  local missing policy=/usr/sbin/policy-rc.d made_policy='' log status=0 service
  mapfile -t missing < <(missing_packages "$@")
  (( ${#missing[@]} )) || return 0
  if ! command -v apt-get >/dev/null; then
    printf 'these packages are missing and apt-get is not here to install them: %s\n' "${missing[*]}" >&2
    return 1
  fi
  if (( EUID != 0 )); then
    printf 'these packages are missing; run this again with sudo to install them: %s\n' "${missing[*]}" >&2
    return 1
  fi
  printf 'installing %d packages: %s\n' "${#missing[@]}" "${missing[*]}"
  log=$(mktemp)
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod 755 "$policy" && made_policy=1
  fi
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
    > "$log" 2>&1 || status=$?
  [[ -z $made_policy ]] || rm -f "$policy"
  if (( status )); then
    tail -n 30 "$log" >&2
    printf 'apt-get failed; its last lines are above\n' >&2
  elif [[ -n $made_policy && -d /run/systemd/system ]]; then
    # They are new on this machine only if their package was among the missing ones.
    for service in "${UNWANTED_SERVICES[@]}"; do
      [[ " ${missing[*]} " == *"${service%%-*}"* ]] || continue
      systemctl disable --now "$service.service" >> "$log" 2>&1 || printf '%s: no such service here\n' "$service" >> "$log"
    done
  fi
  rm -f "$log"
  return "$status"
}
