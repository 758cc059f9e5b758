#!/usr/bin/env bash
# Moves on demand, one after another around all transports, under an inner iperf3 and a connection of numbered lines: no
# inner connection is lost, and between the moves the throughput is that of the transport alone.
#
#   client eth0 198.51.100.2 ─── router ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#
# usage: moves.sh [--moves N] [--stay SECONDS] [--family 4|6] [TRANSPORT…]
#   10 moves, 1 s on each, all transports. Throughput is read from the counters of the tunnel's interface.
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

moves=10 stay=1 family=4 ring=()
while (( $# )); do
  case $1 in
    --moves) moves=$2; shift ;;
    --stay) stay=$2; shift ;;
    --family) family=$2; shift ;;
    *) ring+=("$1") ;;
  esac
  shift
done
(( ${#ring[@]} )) || ring=(udp esp ctcp tls tcp)

e2e_begin
use_switchback
need iperf3 python3
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"

# sent_octets: what the client's tunnel has taken from inner connections.
sent_octets() { on client ip -s -j link show dev swb0 | jq '.[0].stats64.tx.bytes'; }
# rate_over SECONDS: Mbit/s into the tunnel meanwhile, in RATE.
rate_over() {
  local before started
  before=$(sent_octets) started=$(now_ms)
  let_pass "$1"
  RATE=$(( ($(sent_octets) - before) * 8 / 1000 / ($(now_ms) - started) ))
}
# Each on a port of its own: a server does not hear of the end of a client whose tunnel is gone, and would be busy.
load_port=5201
load_start() {
  iperf_server server "$(( ++load_port ))"
  : > "$WORK/load.log"
  spawn load client iperf3 --client 10.20.0.2 --port "$load_port" --time 3600 --forceflush --interval 1
  wait_for 5 "iperf3 to send" log_has load ' sec .*bits/sec'
}

declare -A alone=() least=() most=() visits=()
for transport in "${ring[@]}"; do
  transport_options "$transport"
  client_start client client "$WORK/alice$family.toml" "${OPTIONS[@]}"
  load_start
  rate_over "$stay"
  running load || fail "$transport alone: iperf3 ended: $(tail -n 2 "$WORK/load.log")"
  alone[$transport]=$RATE
  stop load
  stop client
  wait_for 5 "the headend to hear that alice has gone" has_sessions alice 0
done

client_start client client "$WORK/alice$family.toml" --order "$(IFS=,; printf '%s' "${ring[*]}")"
inner=$(inner_address client swb0 4)
session=$(session_field id)
lines_start lines client server 10.20.0.2 7000
load_start
lines_gap lines
worst=0
for (( move = 1; move <= moves; move++ )); do
  transport=${ring[move % ${#ring[@]}]}
  on client "$SB_CLIENT" use "$transport" > "$WORK/use.out" 2>&1 || fail "use $transport: $(tail -n 1 "$WORK/use.out")"
  wait_for 10 "move $move, to $transport" both_run_over "$transport"
  rate_over "$stay"
  running load || fail "move $move to $transport ended iperf3: $(tail -n 2 "$WORK/load.log")"
  lines_gap lines
  (( LINES_GAP > worst )) && worst=$LINES_GAP
  (( visits[$transport] = ${visits[$transport]:-0} + 1 ))
  if (( RATE < ${least[$transport]:-999999999} )); then least[$transport]=$RATE; fi
  if (( RATE > ${most[$transport]:-0} )); then most[$transport]=$RATE; fi
  both_run_over "$transport" || fail "move $move: the session did not stay on $transport but runs over $(client_transport)"
  (( RATE > 0 )) || fail "move $move: nothing flows over $transport"
done
[[ $(inner_address client swb0 4) == "$inner" && $(session_field id) == "$session" ]] || fail "it is not the same session"
lines_stop lines
row transport alone 'between moves, least' most visits
for transport in "${ring[@]}"; do
  row "$transport" "${alone[$transport]} Mbit/s" "${least[$transport]:--} Mbit/s" "${most[$transport]:--} Mbit/s" "${visits[$transport]:-0}"
done
show_table
step "longest silence of the lines over all moves: $worst ms; $LINES_SENT lines, none lost"
e2e_end "$moves moves around ${ring[*]}"
