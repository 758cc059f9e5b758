#!/usr/bin/env bash
# The client's address changes under it, and a NAT in the path forgets it: the session goes on (RFC 4555, RFC 7296 §2.23).
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#                                    masquerading
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

e2e_begin
use_switchback
need jq nft conntrack
topology_routed
masquerade_on router out0
pair_prepare
pair_up
session=$(session_field id)
inner=$(inner_address client swb0 4)
remote=$(session_field remote)
[[ $remote == 192.0.2.254* ]] || fail "the headend sees the client at $remote, not at the NAT's address"

same_session() { [[ $(session_field id) == "$session" && $(inner_address client swb0 4) == "$inner" ]]; }
moved_from() { local now; now=$(session_field remote); [[ $now != "$1" && $now != no* ]]; }

# The router forgets the mapping and picks another port: masquerade is fully random.
ping_start ping client 10.20.0.2
on router conntrack -F > "$WORK/conntrack.out" 2>&1
wait_for 10 "the headend to follow the NAT's new port" moved_from "$remote"
wait_for 10 "traffic after the NAT rebinding" ping_ok client 10.20.0.2
ping_stop ping
same_session || fail "the session did not survive the NAT rebinding"
step "NAT rebinding: $remote to $(session_field remote), $PING_LOST of $PING_SENT pings lost, same session"

# Another address on the same link, the old one goes: as when a laptop is handed a new lease.
remote=$(session_field remote)
ping_start ping client 10.20.0.2
on client sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1
address client eth0 198.51.100.77/24
on client ip address del 198.51.100.2/24 dev eth0
on client ip route replace default via 198.51.100.1
wait_for 15 "traffic from the new address" ping_ok client 10.20.0.2
ping_stop ping
same_session || fail "the session did not survive the new address"
step "address change: $PING_LOST of $PING_SENT pings lost, longest gap $PING_GAP_MS ms, same session"

# Another network altogether.
host_add router2
link client wlan0 router2 in0
link router2 out0 router side0
address router2 in0 100.64.0.1/24
address router2 out0 172.16.0.2/24
address router side0 172.16.0.1/24
on router2 sysctl -qw net.ipv4.ip_forward=1
route router2 default via 172.16.0.1
masquerade_on router2 out0
address client wlan0 100.64.0.2/24
ping_start ping client 10.20.0.2
on client ip link set eth0 down
on client ip route replace default via 100.64.0.1
wait_for 15 "traffic through the other network" ping_ok client 10.20.0.2
ping_stop ping
same_session || fail "the session did not survive the change of network"
step "change of network: $PING_LOST of $PING_SENT pings lost, longest gap $PING_GAP_MS ms, same session"
e2e_end "one session through a NAT rebinding, a new address and another network"
