#!/usr/bin/env bash
# cTCP where an interface has fewer offloads than usual: none at all, segmentation but no receive offload, receive
# offload on its own. It goes on, in smaller steps: the same traffic, and nothing malformed.
#
#   client eth0 198.51.100.2 ─── in0 router out0 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#        offloads                                        offloads
#
# usage: ctcp_offloads.sh [--seconds N] [resilient|classic]…        1 s of each direction; resilient
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

seconds=1 modes=()
while (( $# )); do
  case $1 in
    --seconds) seconds=$2; shift ;;
    *) modes+=("$1") ;;
  esac
  shift
done
(( ${#modes[@]} )) || modes=(resilient)

e2e_begin
use_switchback
need iperf3 python3
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"
iperf_server server
row mode offloads up down

# offloads FEATURE=STATE…: of both ends; the session that is there keeps running.
offloads() {
  local host
  for host in client headend; do
    on "$host" "$PROGRAMS/offloads.py" eth0 "$@" 2> "$WORK/offloads.err" || fail "$(tail -n 1 "$WORK/offloads.err")"
  done
}
for mode in "${modes[@]}"; do
  client_start client client "$WORK/alice4.toml" --transport ctcp --ctcp-mode "$mode"
  for set in 'tx=on tso=on gso=on gro=off' 'tx=on tso=on gso=on gro=on' 'tx=on tso=off gso=off gro=on' 'tx=on tso=off gso=off gro=off' 'tx=off tso=off gso=off gro=off'; do
    # shellcheck disable=SC2086  # a list
    offloads $set
    ping_ok client 10.20.0.2 20 || fail "$mode with $set: no traffic"
    ping_ok client fd20::2 20 || fail "$mode with $set: no IPv6 traffic"
    up=$(iperf_mbits client 10.20.0.2 "$seconds")
    down=$(iperf_mbits client 10.20.0.2 "$seconds" --reverse)
    (( up > 20 && down > 20 )) || fail "$mode with $set: $up Mbit/s up, $down Mbit/s down"
    both_run_over ctcp || fail "$mode with $set: the session is not on ctcp"
    row "$mode" "$set" "$up Mbit/s" "$down Mbit/s"
  done
  stop client
  offloads tx=on tso=on gso=on gro=off
done
show_table
e2e_end "${modes[*]} cTCP with every set of offloads"
