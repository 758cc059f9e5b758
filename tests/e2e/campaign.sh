#!/usr/bin/env bash
# The long form of the scripts about transports and moves, one after another: the figures for a release or a note. Prints
# what each has found, tables included, and ends with a list of what passed. Alone on the machine: about 25 minutes.
#
# usage: sudo SB_BIN=build/release tests/e2e/campaign.sh [--out DIR] [PART…]
#   DIR gets the whole output of each part; without it a new directory under /tmp
#   parts: transports decode kernel tls cold drop reject moves mtu traces (all)
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out='' parts=()
while (( $# )); do
  case $1 in
    --out) out=${2:-}; shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) parts+=("$1") ;;
  esac
  shift
done
(( ${#parts[@]} )) || parts=(transports decode kernel tls cold drop reject moves mtu traces)
[[ -n $out ]] || out=$(mktemp -d /tmp/switchback-campaign-XXXXXX)
mkdir -p "$out"

results=() failed=0
# run NAME SCRIPT ARGUMENT…
run() {
  local name=$1 status=0
  shift
  printf '\n## %s: %s\n\n' "$name" "$*"
  "$HERE/$1" "${@:2}" 2>&1 | tee "$out/$name.out" || status=$?
  case $status in
    0) results+=("passed   $name") ;;
    77) results+=("skipped  $name") ;;
    *) results+=("FAILED   $name"); failed=1 ;;
  esac
}

for part in "${parts[@]}"; do
  case $part in
    transports) for family in 4 6; do run "transports-v$family" transports.sh --family "$family" --seconds 5 --rate 200M; done ;;
    decode) run decode ctcp_decode.sh --seconds 20 --rate 15M ;;
    kernel) run kernel ctcp_kernel_peer.sh --bytes 1000000000 ;;
    tls) run tls tls_decoy.sh --seconds 10 --idle 500 ;;
    cold)
      for family in 4 6; do
        run "cold-v$family" cold_start.sh --runs 10 --family "$family"
        run "cold-without-v$family" cold_start.sh --runs 10 --family both --without "$family" --cut ""
      done
      ;;
    drop) for family in 4 6; do run "drop-v$family" cuts.sh --how drop --return 400 --family "$family"; done ;;
    reject) for family in 4 6; do run "reject-v$family" cuts.sh --how reject --return 400 --family "$family"; done ;;
    moves) run moves moves.sh --moves 50 --stay 2 ;;
    mtu)
      for family in 4 6; do
        run "mtu-icmp-v$family" mtu.sh --family "$family" --icmp yes --mtu 1280 --mtu 1400 --mtu 1500 --mtu 9000
        run "mtu-quiet-v$family" mtu.sh --family "$family" --icmp no --mtu 1280 --mtu 1400 --mtu 1500 --mtu 9000
        run "mtu-change-v$family" mtu.sh --family "$family" --icmp no --change
      done
      ;;
    traces) run traces ctcp_traces.sh --forged 60000 ;;
    *) printf 'campaign.sh: no part %s; --help lists them\n' "$part" >&2; exit 2 ;;
  esac
done
printf '\n## Summary (%s)\n\n' "$out"
printf '%s\n' "${results[@]}"
exit "$failed"
