#!/usr/bin/env bash
# cTCP is a TCP that the kernel knows nothing of, and nobody notices: no RST on the wire while it runs, no firewall rule,
# no filter; forged segments from off the path do no harm; and after kill -9 of either end the host is as before.
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#      2001:db8:2::2            forges and counts RST             2001:db8:1::1
#
# usage: ctcp_traces.sh [--forged COUNT] [--family 4|6] [resilient|classic]…
#   6000 forged segments to each end, both families, both modes
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

forged=6000 families=(4 6) modes=()
while (( $# )); do
  case $1 in
    --forged) forged=$2; shift ;;
    --family) families=("$2"); shift ;;
    *) modes+=("$1") ;;
  esac
  shift
done
(( ${#modes[@]} )) || modes=(resilient classic)

e2e_begin
use_switchback
need tcpdump iperf3 python3 tc
paths_topology
paths_prepare
route headend 10.128.0.0/9 via 192.0.2.254  # where forged segments seem to come from
headend_start headend "$HEADEND_DIR"
iperf_server server
readonly -A CLIENT_ADDRESS=([4]=198.51.100.2 [6]=2001:db8:2::2)
# The headend's own rules are for NAT (docs/headend.md); cTCP adds none.
rules_at_headend=$(on headend nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//')
! grep -qE 'tcp|10000|rst' <<< "$rules_at_headend" || fail "the headend has a firewall rule for TCP: $rules_at_headend"

# shellcheck disable=SC2016  # expanded by the inner shell
filters_of() { on "$1" sh -c 'for one in $(ip -o link show | sed -E "s/^[0-9]+: ([^:@]+).*/\1/"); do tc qdisc show dev $one clsact 2>&1; tc filter show dev $one; done' | grep -v '^$' || [[ $? == 1 ]]; }

# rst_watch, rst_none WHAT: from the one to the other neither link of the router has seen a segment with RST. Flows of
# clients that were killed do not count: the headend still talks to them, and the kernel answers for a socket that is gone.
killed=()
rst_watch() {
  : > "$WORK/rst.log"
  spawn rst router tcpdump --immediate-mode -Z root -n -l -i any \
    "(tcp[tcpflags] & tcp-rst != 0 or (ip6 and ip6[6] == 6 and ip6[53] & 4 != 0)) and not port 1${killed[*]/#/ and not port }"
  wait_log 10 rst 'listening on'
}
rst_none() {
  stop rst INT
  log_has rst '^0 packets captured' || fail "$1: RST on the wire: $(grep -m 1 Flags "$WORK/rst.log")"
}

one() {
  local mode=$1 family=$2 ours=${CLIENT_ADDRESS[$2]} theirs=${OUTER_ADDRESS[$2]} port session
  rst_watch
  client_start client client "$WORK/alice$family.toml" --transport ctcp --ctcp-mode "$mode"
  ping_ok client 10.20.0.2 50 || fail "no traffic"
  up=$(iperf_mbits client 10.20.0.2 1)
  down=$(iperf_mbits client 10.20.0.2 1 --reverse)
  both_run_over ctcp || fail "the session is not on ctcp"
  rst_none "$mode over IPv$family"
  no_rules client || fail "the client has firewall rules: $(on client nft list ruleset)"
  [[ $(on headend nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//') == "$rules_at_headend" ]] || fail "the headend's firewall rules changed: $(on headend nft list ruleset)"
  for host in client headend; do [[ -z $(filters_of "$host") ]] || fail "$host has traffic filters: $(filters_of "$host")"; done
  step "$mode over IPv$family: $up Mbit/s up, $down Mbit/s down, no RST, no rule, no filter"

  # Who knows both addresses and ports, and guesses the rest.
  session=$(session_field id)
  port=$(session_field remote)
  port=${port##*:}
  lines_start lines client server 10.20.0.2 7000
  lines_gap lines
  on router "$PROGRAMS/tcp_segments.py" "$theirs" 10000 "$ours" "$port" "$forged" > "$WORK/forged.out" || fail "forging towards the client"
  on router "$PROGRAMS/tcp_segments.py" "$ours" "$port" "$theirs" 10000 "$forged" > "$WORK/forged.out" || fail "forging towards the headend"
  on router "$PROGRAMS/tcp_segments.py" "$ours" 0 "$theirs" 10000 "$forged" syn ack data > "$WORK/forged.out" || fail "forging connections"
  if [[ $family == 4 ]]; then
    on router "$PROGRAMS/tcp_segments.py" 10.128.0.0/9 0 "$theirs" 10000 "$forged" syn syn ack data > "$WORK/forged.out" ||
      fail "forging connections from everywhere"
  fi
  ping_ok client 10.20.0.2 20 || fail "no traffic after forged segments"
  both_run_over ctcp || fail "forged segments made the session leave ctcp"
  [[ $(session_field id) == "$session" ]] || fail "forged segments ended the session"
  lines_gap lines
  lines_stop lines
  step "$mode over IPv$family: $forged forged segments to each end and $forged forged connections: longest silence of the lines $LINES_GAP ms, none lost; headend's memory $(rss_kib headend) KiB"

  stop client KILL
  killed+=("$port")
  no_trace client
}

for family in "${families[@]}"; do
  for mode in "${modes[@]}"; do one "$mode" "$family"; done
done
client_start client client "$WORK/alice4.toml" --transport ctcp
stop headend KILL
no_trace headend
# The port is an ordinary one again at once.
spawn plain headend "$PROGRAMS/line_stream.py" serve 10000
wait_log 10 plain listening
spawn plain-client client "$PROGRAMS/line_stream.py" send 192.0.2.1 10000
wait_log 10 plain connected
lines_flow() { kill -USR1 "${SPAWNED[plain]}"; grep -qE '^mark lines [1-9][0-9]' "$WORK/plain.log"; }
wait_for 10 "an ordinary server at the port" lines_flow
step "after kill -9: no rule, no socket, and another server at port 10000 is reached"
e2e_end "cTCP ${modes[*]} over IPv${families[*]} leaves no trace"
