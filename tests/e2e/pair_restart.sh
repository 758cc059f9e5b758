#!/usr/bin/env bash
# The headend is killed under traffic and starts again; the network goes away and comes back. Nobody does anything at
# the client: it is back within 10 s with the same inner address.
#
#   client eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#
# usage: pair_restart.sh [CLIENT OPTION…]
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

e2e_begin
use_switchback
need jq
topology_direct
pair_prepare
headend_start headend "$HEADEND_DIR"
client_start client client "$WORK/alice.toml" "$@"
ping_ok client 10.20.0.2 || fail "no traffic"
before4=$(inner_address client swb0 4)
before6=$(inner_address client swb0 6)

ping_start ping client 10.20.0.2 0.1
stop headend KILL
headend_start headend "$HEADEND_DIR"
start=$(now_ms)
wait_for 10 "traffic after the headend's restart" ping_ok client 10.20.0.2 1
took=$(( $(now_ms) - start ))
[[ $(inner_address client swb0 4) == "$before4" && $(inner_address client swb0 6) == "$before6" ]] ||
  fail "the inner addresses changed from $before4 and $before6"
ping_stop ping 100
step "headend killed and restarted under traffic: back $took ms after it was ready, longest gap in traffic $PING_GAP_MS ms, same addresses $before4 $before6"
(( PING_GAP_MS < 10000 )) || fail "back only after $PING_GAP_MS ms"

on client ip link set eth0 down
let_pass 4
on client ip link set eth0 up
start=$(now_ms)
wait_for 15 "traffic after the network came back" ping_ok client 10.20.0.2 1
took=$(( $(now_ms) - start ))
[[ $(inner_address client swb0 4) == "$before4" ]] || fail "the inner address changed from $before4"
step "network away for 4 s: traffic $took ms after it came back"

running client || fail "the client ended"
wait_for 20 "one session for alice" has_sessions alice 1
e2e_end "the client comes back by itself"
