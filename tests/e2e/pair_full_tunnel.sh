#!/usr/bin/env bash
# Full tunnel: everything but the way to the headend goes through it; kill -9 of the client, and its next start puts
# right what was left.
#
#   client eth0 198.51.100.2 ─── router ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#   the server also has 203.0.113.7, standing for the internet, which the client reaches through the headend's NAT
#
# usage: pair_full_tunnel.sh [CLIENT OPTION…]
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

e2e_begin
use_switchback
need jq
topology_routed
address server eth0 203.0.113.7/32 2001:db8:7::7/128
route headend 203.0.113.7 via 10.20.0.2
route headend 2001:db8:7::7 via fd20::2
# The server knows no way back to the inner addresses: only NAT lets answers come.
on server ip route del default
on server ip -6 route del default
on client ip route get 203.0.113.7 > "$WORK/route.out"
if ping_ok client 203.0.113.7 1; then fail "the topology lets the client reach the internet without the tunnel"; fi

pair_prepare --route 0.0.0.0/0 --route ::/0 --dns 10.20.0.53
resolv_before=$(on client cat /etc/resolv.conf)
rules_before=$(on client sh -c 'ip rule; ip -6 rule; ip route; ip -6 route')
headend_start headend "$HEADEND_DIR"
client_start client client "$WORK/alice.toml" "$@"
ping_ok client 203.0.113.7 || fail "no IPv4 internet through the tunnel"
ping_ok client 2001:db8:7::7 || fail "no IPv6 internet through the tunnel"
on client ip route get 203.0.113.7 | grep -q 'dev swb0' || fail "the default route does not lead into the tunnel"
on client ping -n -q -c 1 -W 2 198.51.100.1 > "$WORK/local.out" || fail "the local network is cut off"
on client grep -q 10.20.0.53 /etc/resolv.conf || fail "the pushed DNS server is not in resolv.conf"
step "everything through the tunnel, both families, behind the headend's NAT"

stop client KILL
tun_gone client swb0 || fail "the TUN outlived its process"
wait_for 5 "the TUN to go" tun_gone client swb0
client_start client client "$WORK/alice.toml" "$@"
ping_ok client 203.0.113.7 || fail "no traffic after the restart"
stop client
[[ $(on client cat /etc/resolv.conf) == "$resolv_before" ]] || fail "resolv.conf is not as before kill -9"
rules_after=$(on client sh -c 'ip rule; ip -6 rule; ip route; ip -6 route')
[[ $rules_after == "$rules_before" ]] || fail "routes are not as before: $(diff <(printf '%s\n' "$rules_before") <(printf '%s\n' "$rules_after") | tr '\n' ' ')"
step "kill -9 of the client, and its next start and end leave everything as it was"
e2e_end "full tunnel, and nothing left behind after kill -9"
