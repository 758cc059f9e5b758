#!/usr/bin/env bash
# IPv6 outside: the headend is known by an IPv6 address only. Both families inside.
#
#   client eth0 2001:db8:2::2 ─── router ─── 2001:db8:1::1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

e2e_begin
use_switchback
need jq iperf3
topology_routed
on client ip -4 address flush dev eth0
PAIR_ADDRESS=2001:db8:1::1 pair_prepare
headend_start headend "$HEADEND_DIR"
client_start client client "$WORK/alice.toml"
ping_ok client 10.20.0.2 || fail "no IPv4 inside"
ping_ok client fd20::2 || fail "no IPv6 inside"
[[ $(session_field remote) == *2001:db8:2::2* ]] || fail "the session runs over $(session_field remote)"
iperf_server server
step "TCP: $(iperf_mbits client 10.20.0.2 1) Mbit/s up, $(iperf_mbits client fd20::2 1 --reverse) Mbit/s down"
stop client
e2e_end "IPv6 outside, both families inside"
