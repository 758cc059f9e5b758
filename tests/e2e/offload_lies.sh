#!/usr/bin/env bash
# An interface whose receive offload spoils what it joins: the headend finds out, does without it, and says so; the
# session stays and is fast again.
#
#   client eth0 198.51.100.2 ─── in0 router out0 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#                                          single      joins
#
# The lie is told by nftables, which sees packets behind the joining: it changes an octet of those longer than any wire
# takes, and leaves single ones alone.
# usage: offload_lies.sh
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

e2e_begin
use_switchback
need iperf3 python3 jq
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"
iperf_server server

offload_field() { headend_json headend status | jq -r --arg field "$1" '.offloads[] | select(.transport == "udp" and .offload == "receive" and .where == "eth0")[$field]'; }
offload_is() { [[ $(offload_field state) == "$1" ]]; }
forged() { headend_json headend status | jq '.counters.esp_forged'; }
# spoil MATCH…: an octet of ESP in UDP that matches, behind the headers of the first packet if several were joined.
spoil() {
  on headend nft "add table ip sblie; delete table ip sblie; add table ip sblie
    add chain ip sblie arriving { type filter hook prerouting priority raw; }
    add rule ip sblie arriving iifname eth0 udp dport 4500 $* @th,800,8 set 0x5a"
}

# Packets cross the router's second link one by one, and the headend's interface joins them.
on router "$PROGRAMS/offloads.py" out0 tx=off tso=off gso=off || fail 'the router keeps its offloads'
on headend "$PROGRAMS/offloads.py" eth0 gro=on || fail 'the headend has no receive offload'
client_start client client "$WORK/alice4.toml" --transport udp
before=$(iperf_mbits client 10.20.0.2 2)
offload_is 'in use' || fail "the offload is $(offload_field state) without a reason: $(offload_field reason)"
(( $(forged) == 0 )) || fail 'packets were forged before anybody lied'

spoil meta length '>' 2000
spawn lied client iperf3 --client 10.20.0.2 --time 20
wait_for 20 'the quarantine' offload_is quarantined
reason=$(offload_field reason)
wait_log 5 headend 'offload_changed.*quarantined'
stop lied
count=$(forged)
after=$(iperf_mbits client 10.20.0.2 2)
(( $(forged) == count )) || fail "packets fail without the offload: $(( $(forged) - count ))"
on headend "$SB_HEADEND" status --dir "$HEADEND_DIR" | grep -q 'udp receive at eth0: quarantined' || fail 'status has no line about it'
both_run_over udp || fail 'the session left udp'
printf '%s\n' "before $before Mbit/s, quarantined $after Mbit/s: $reason"
e2e_end 'a receive offload that lies is found out and quarantined'
