#!/usr/bin/env bash
# Each transport forced by --transport: traffic of both families both ways, both ends say what carries it, no RST tells
# the network of a flow that the kernel does not know, and nothing is left on either host, after a clean end and after
# kill -9.
#
#   client eth0 198.51.100.2 ─── 198.51.100.1 in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── server
#       2001:db8:2::2              counts RST                             2001:db8:1::1       10.20.0.2, fd20::2
#
# usage: transports.sh [--family 4|6] [--seconds N] [--rate UDP_RATE] [TRANSPORT…]
#   transports: udp esp ctcp ctcp-classic tls tcp (all). Outer family: both. Each iperf3 run: 1 s. UDP: 20M.
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

families=(4 6) seconds=1 rate=20M transports=()
while (( $# )); do
  case $1 in
    --family) families=("$2"); shift ;;
    --seconds) seconds=$2; shift ;;
    --rate) rate=$2; shift ;;
    *) transports+=("$1") ;;
  esac
  shift
done
(( ${#transports[@]} )) || transports=(udp esp ctcp ctcp-classic tls tcp)

e2e_begin
use_switchback
need iperf3
paths_topology
paths_prepare
client_before=$(routes_of client)
headend_before=$(routes_of headend)
headend_start headend "$HEADEND_DIR"
iperf_server server
row transport outside ping4 ping6 'TCP up' 'TCP down' 'UDP up' 'UDP down'

few_lost() { awk -v lost="$UDP_LOST" 'BEGIN { exit !(lost < 5) }'; }
# up_and_down FAMILY_INSIDE: TCP and UDP both ways to the server; figures in FIGURES.
up_and_down() {
  local address=${INNER_ADDRESS[$1]} direction try
  FIGURES=()
  for direction in '' --reverse; do
    FIGURES+=("$(iperf_mbits client "$address" "$seconds" ${direction:+"$direction"}) Mbit/s")
  done
  for direction in '' --reverse; do
    # A machine that is busy with other things makes iperf3 lose what it has no time to read: the best of three counts.
    for try in 1 2 3; do
      iperf_udp client "$address" "$seconds" "$rate" ${direction:+"$direction"}
      few_lost && break
      (( try < 3 )) || fail "UDP at $rate ${direction:-up} lost $UDP_LOST %"
    done
    FIGURES+=("$UDP_MBITS Mbit/s, $UDP_LOST % lost")
  done
}

# one TRANSPORT FAMILY_OUTSIDE
one() {
  local transport=$1 family=$2 name=${1%%-*} ping4 ping6 inner=4
  transport_options "$transport"
  client_start client client "$WORK/alice$family.toml" "${OPTIONS[@]}"
  grep -q "^up: transport $name " "$WORK/client.log" || fail "$transport: the client came up otherwise: $(grep '^up:' "$WORK/client.log")"
  # Flows of clients that were killed before end as they must: their kernel answers for a socket that is no more.
  watch_flow "$(session_field remote | sed -E 's/.*:([0-9]+)$/\1/')"
  ping4=$(ping_ms client "${INNER_ADDRESS[4]}")
  ping6=$(ping_ms client "${INNER_ADDRESS[6]}")
  [[ $family == 4 ]] && inner=6  # the family inside is the other one, so that all four pairs are seen by the suite
  both_run_over "$name" || fail "$transport: the client says $(client_transport), the headend $(headend_transport)"
  [[ $(session_field remote) == *"$([[ $family == 4 ]] && printf 198.51.100.2 || printf 2001:db8:2::2)"* ]] ||
    fail "$transport: the session of the IPv$family profile runs from $(session_field remote)"
  up_and_down "$inner"
  row "$transport" "IPv$family" "$ping4 ms" "$ping6 ms" "${FIGURES[@]}"
  both_run_over "$name" || fail "$transport: the session has left its transport"
  (( $(flow_resets) == 0 )) || fail "$transport: $(flow_resets) RST while it ran"
  no_rules client || fail "$transport: the client set firewall rules: $(on client nft list ruleset | head -n 3)"
  stop client
  (( STOP_STATUS == 0 )) || fail "$transport: the client ended with status $STOP_STATUS"
  no_trace client
  [[ $(routes_of client) == "$client_before" ]] ||
    fail "$transport: the client left something behind: $(diff <(printf '%s\n' "$client_before") <(routes_of client) | tr '\n' ' ')"
  wait_for 5 "$transport: the headend to hear that alice has gone" has_sessions alice 0

  # Killed: what the kernel holds for a process goes with it. The undo journal is another script's matter.
  client_start client client "$WORK/alice$family.toml" "${OPTIONS[@]}"
  ping_ok client "${INNER_ADDRESS[$inner]}" || fail "$transport: no traffic the second time"
  stop client KILL
  no_trace client
  step "$transport over IPv$family: ${FIGURES[*]}"
}

for family in "${families[@]}"; do
  for transport in "${transports[@]}"; do one "$transport" "$family"; done
done

# The last killed client left its journal: another one undoes it.
client_start client client "$WORK/alice.toml" --transport udp
stop client
[[ $(routes_of client) == "$client_before" ]] ||
  fail "after kill -9 and another start the client's host differs: $(diff <(printf '%s\n' "$client_before") <(routes_of client) | tr '\n' ' ')"
stop headend
no_trace headend
[[ $(routes_of headend) == "$headend_before" ]] || fail "the headend left something behind: $(diff <(printf '%s\n' "$headend_before") <(routes_of headend) | tr '\n' ' ')"
headend_start headend "$HEADEND_DIR"
transport_options "${transports[-1]}"
client_start client client "$WORK/alice4.toml" "${OPTIONS[@]}"
stop headend KILL
no_trace headend
stop client
show_table
e2e_end "${transports[*]} over IPv${families[*]}"
