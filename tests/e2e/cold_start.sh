#!/usr/bin/env bash
# UDP and IP protocol 50 are black holes before the client starts: how long from starting it to the first answered ping
# inside. The client knows nothing of the network from before.
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#                                drops UDP and ESP
#
# usage: cold_start.sh [--runs N] [--family 4|6|both] [--without 4|6] [--cut "udp esp"] [--limit MS]
#   3 runs, IPv4. With --without a family is a black hole altogether. With --limit the script fails where a run takes longer.
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

runs=3 family=4 without='' cuts=(udp esp) limit=''
while (( $# )); do
  case $1 in
    --runs) runs=$2; shift ;;
    --family) family=$2; shift ;;
    --without) without=$2; shift ;;
    --cut) read -ra cuts <<< "$2"; shift ;;
    --limit) limit=$2; shift ;;
    *) printf 'cold_start.sh: unknown option %s\n' "$1" >&2; exit 2 ;;
  esac
  shift
done

e2e_begin
use_switchback
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"
[[ $family != both ]] || family=
for transport in "${cuts[@]}"; do cut_path "$transport"; done
if [[ $without ]]; then
  on router nft "add table inet sbfamily; add chain inet sbfamily forward { type filter hook forward priority -10; }
    add rule inet sbfamily forward meta nfproto ipv$without drop"
fi

# first_answer: wall clock of the first answer that ping's log has, in ms.
first_answer() { sed -nE '/bytes from/{s/^\[([0-9]+)\.([0-9]{3}).*/\1\2/p;q}' "$WORK/ping.log"; }
times=()
for (( run = 1; run <= runs; run++ )); do
  forget_networks
  : > "$WORK/ping.log"
  spawn ping client ping -D -n -i 0.005 -W 1 10.20.0.2
  started=$(now_ms)
  client_spawn client client "$WORK/alice$family.toml"
  wait_for 15 "a ping to be answered" log_has ping 'bytes from'
  took=$(( $(first_answer) - started ))
  client_wait_up client
  times+=("$took")
  transport=$(client_transport)
  [[ " ${cuts[*]} " != *" $transport "* && $transport == @(udp|esp|ctcp|tls|tcp) ]] || fail "the client says that it runs over $transport"
  step "run $run: first answer after $took ms; $(grep '^up:' "$WORK/client.log")"
  [[ -z $limit ]] || (( took <= limit )) || fail "more than $limit ms"
  stop ping
  stop client
  wait_for 5 "the headend to hear that alice has gone" has_sessions alice 0
done
mapfile -t sorted < <(printf '%s\n' "${times[@]}" | sort -n)
e2e_end "$runs starts without ${cuts[*]}${without:+ and IPv$without}: first answer after ${sorted[0]} to ${sorted[-1]} ms, median ${sorted[$(( runs / 2 ))]} ms"
