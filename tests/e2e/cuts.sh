#!/usr/bin/env bash
# The main show: one transport after another is cut in the middle of a session. Each time the session moves, the inner
# connections live on at the same inner address, and the longest silence is measured. Then all is restored: nothing was
# lost, and the session returns to the best transport.
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#        lines, iperf3                cuts                                                    lines, iperf3
#
# usage: cuts.sh [--how drop|reject] [--udp all|4500] [--return SECONDS] [--rate RATE] [--family 4|6] [TRANSPORT…]
#   --how     drop: silence; reject: ICMP for udp and esp, a TCP reset for the rest (drop)
#   --udp     4500: the port of the data; all: also that of IKE for native ESP, which then is of no use either (4500)
#   --return  how long to wait for the return to the best transport; 0 leaves that part out (0)
#   --rate    of the inner iperf3, one way (20M)
#   the transports in the client's order; whichever is in use is cut, until the last of them is (udp esp ctcp tls tcp)
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

how=drop udp=4500 back=0 rate=20M family=4 order=()
while (( $# )); do
  case $1 in
    --how) how=$2; shift ;;
    --udp) udp=$2; shift ;;
    --return) back=$2; shift ;;
    --rate) rate=$2; shift ;;
    --family) family=$2; shift ;;
    *) order+=("$1") ;;
  esac
  shift
done
(( ${#order[@]} > 1 )) || order=(udp esp ctcp tls tcp)
best=${order[0]}

e2e_begin
use_switchback
need iperf3 python3
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"
client_start client client "$WORK/alice$family.toml" --order "$(IFS=,; printf '%s' "${order[*]}")"
wait_for 20 "the session to run over $best" both_run_over "$best"
inner4=$(inner_address client swb0 4) inner6=$(inner_address client swb0 6)
session=$(session_field id)
iperf_server server
spawn iperf client iperf3 --client 10.20.0.2 --bitrate "$rate" --time 3600 --forceflush --interval 1
lines_start lines client server 10.20.0.2 7000
let_pass 1
lines_gap lines
step "undisturbed over $best: longest silence of the lines $LINES_GAP ms"
row cut how 'moved to' 'ends agree after' 'silence of the lines' 'silence of pings' 'pings lost'

ends_agree_off() { local now; now=$(client_transport); [[ $now == @(udp|esp|ctcp|tls|tcp) && $now != "$1" && $(headend_transport) == "$now" ]]; }
same_session() {
  [[ $(inner_address client swb0 4) == "$inner4" && $(inner_address client swb0 6) == "$inner6" && $(session_field id) == "$session" ]]
}
# lines_flow: both ends have seen lines since the last look. The longest silence of all looks is kept in worst.
lines_flow() {
  local there=$LINES_THERE back=$LINES_BACK
  lines_gap lines
  (( LINES_GAP > worst )) && worst=$LINES_GAP
  (( LINES_THERE > there + 5 && LINES_BACK > back + 5 ))
}
# said_since LINE: what the client has told people since that line of its output.
said_since() { tail -n +"$(( $1 + 1 ))" "$WORK/client.log" | grep -vE '^(error|warning|info|debug) ' | sed 's/^/      /' || [[ $? == 1 ]]; }

# lose_transport TRANSPORT: cuts it, and looks at everything.
lose_transport() {
  local transport=$1 match=$1 told started took
  [[ $transport == udp && $udp == 4500 ]] && match=udp4500
  told=$(wc -l < "$WORK/client.log")
  lines_gap lines
  worst=0
  ping_start ping client 10.20.0.2
  let_pass 0.3
  cut_path "$match" "$how"
  started=$(now_ms)
  wait_for 20 "the session to leave $transport" ends_agree_off "$transport"
  took=$(( $(now_ms) - started ))
  wait_for 20 "lines after $transport was cut" lines_flow
  let_pass 1.5  # so that a move that does not last shows
  lines_flow || fail "the lines stopped again"
  ping_stop ping
  running iperf || fail "iperf3 ended: $(tail -n 2 "$WORK/iperf.log")"
  same_session || fail "it is not the same session: $(session_field id) after $session, $(inner_address client swb0 4) after $inner4"
  row "$transport" "$how" "$(client_transport)" "$took ms" "$worst ms" "$PING_GAP_MS ms" "$PING_LOST of $PING_SENT"
  step "$transport cut by $how: now $(client_transport), silence of the lines $worst ms, of pings $PING_GAP_MS ms"
  said_since "$told"
}

while ! runs_over "${order[-1]}"; do lose_transport "$(client_transport)"; done

for table in $(on router nft list tables inet | sed -n 's/.* sbcut_//p'); do restore_path "$table"; done
told=$(wc -l < "$WORK/client.log")
if (( back )); then
  started=$(now_ms)
  worst=0
  wait_for "$back" "the session to return to $best" both_run_over "$best"
  lines_flow || fail "the lines stopped"
  row "none" restored "$best" "$(( $(now_ms) - started )) ms" "$worst ms" - -
  step "all restored: back on $best after $(( ($(now_ms) - started) / 1000 )) s, silence of the lines $worst ms"
  said_since "$told"
fi
running iperf || fail "iperf3 ended: $(tail -n 2 "$WORK/iperf.log")"
same_session || fail "it is not the same session"
lines_stop lines
step "$LINES_SENT lines sent, none lost"
show_table
e2e_end "one session over ${order[*]}, cut by $how"
