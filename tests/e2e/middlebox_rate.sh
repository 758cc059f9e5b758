#!/usr/bin/env bash
# What switchback-middlebox carries, beside the kernel's own forwarding on the same router: one TCP stream each way.
# Not a test of ctest, since a busy machine says nothing about it.
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend
#
# usage: middlebox_rate.sh [--seconds N] [--least MBIT] [PROFILES…]
#   4 s each; fails unless the box without any profile carries 1000 Mbit/s. PROFILES: devices to measure as well, for
#   the stream's port; without any conntrack, inspect and proxy
# shellcheck source=tests/e2e/devices_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/devices_lib.sh"

seconds=4 least=1000 profiles=()
while (( $# )); do
  case $1 in
    --seconds) seconds=$2; shift ;;
    --least) least=$2; shift ;;
    -*) printf 'middlebox_rate.sh: unknown option %s\n' "$1" >&2; exit 2 ;;
    *) profiles+=("$1") ;;
  esac
  shift
done
(( ${#profiles[@]} )) || profiles=(conntrack inspect proxy)

e2e_begin
need iperf3 jq python3
find_middlebox
topology_routed
iperf_server headend

# cpu_seconds NAME: what a program has used.
cpu_seconds() { awk -v tick="$(getconf CLK_TCK)" '{ print ($14 + $15) / tick }' "/proc/${SPAWNED[$1]}/stat"; }

offloads() {
  local pair
  for pair in client:eth0 router:in0 router:out0 headend:eth0; do
    on "${pair%:*}" "$E2E_SOURCE/tests/e2e/programs/offloads.py" "${pair#*:}" tx="$1" tso="$1" gso="$1" gro="$1"
  done
}

# measured NAME [OPTION…]: one row; FORWARDED is what the client sent.
measured() {
  local name=$1 there back cpu=- ratio
  shift
  if [[ $name != kernel ]]; then
    on router sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
    : > "$WORK/box.log"
    spawn box router "$SB_MIDDLEBOX" --inner in0 --outer out0 "$@"
    wait_log 10 box '^ready'
  fi
  there=$(iperf_mbits client 192.0.2.1 "$seconds")
  back=$(iperf_mbits client 192.0.2.1 "$seconds" --reverse)
  if [[ $name == kernel ]]; then
    KERNEL=$there
  else
    cpu=$(awk -v used="$(cpu_seconds box)" -v time="$seconds" 'BEGIN { printf "%.0f %%", used / (2 * time) * 100 }')
    stop box
    on router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  fi
  ratio=$(awk -v a="$there" -v b="$KERNEL" 'BEGIN { printf "%.2f", b ? a / b : 0 }')
  row "$OFFLOADS" "$name" "$there" "$back" "$ratio" "$cpu"
  FORWARDED=$there
}

row offloads 'router' 'there Mbit/s' 'back Mbit/s' 'of the kernel' 'processor'
short=()
for OFFLOADS in on off; do
  offloads "$OFFLOADS"
  measured kernel
  measured box
  [[ $OFFLOADS == off ]] || (( FORWARDED >= least )) || short+=("the box carries only $FORWARDED Mbit/s")
  [[ $OFFLOADS == on ]] || continue
  for profile in "${profiles[@]}"; do measured "$profile" --profile "$profile:tcp/5201"; done
done
show_table
(( ${#short[@]} == 0 )) || fail "${short[*]}"
e2e_end "at least $least Mbit/s with no impairment"
