#!/usr/bin/env bash
# A session that began where one address family leads to the headend goes on where only the other one does.
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#      2001:db8:2::2                2001:db8:2::1                  2001:db8:1::1
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

e2e_begin
use_switchback
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"

# without FAMILY: nothing of it goes through the router any more.
without() {
  on router nft "add table inet sbfamily; delete table inet sbfamily; add table inet sbfamily
    add chain inet sbfamily forward { type filter hook forward priority -30; }
    add rule inet sbfamily forward meta nfproto $1 drop"
}
both() { on router nft delete table inet sbfamily; }

on client ip -6 route del default
client_start client client "$WORK/alice.toml" --order udp,tcp
session=$(session_field id)
ping_ok client 10.20.0.2 || fail "no traffic"

# Another network: it has IPv6 only.
route client default via 2001:db8:2::1
on client ip route del default
wait_for 10 "data over IPv6" ping_ok client 10.20.0.2
[[ $(session_field id) == "$session" ]] || fail "it is another session"
step "from IPv4 to a network that has IPv6 only: the same session goes on"
stop client

# A network whose second family comes while the client is still looking for its first path.
route client default via 198.51.100.1
on client ip -6 route del default
cut_path udp; cut_path tcp
client_spawn client client "$WORK/alice.toml" --order udp,tcp
wait_log 10 client '^info connecting'
route client default via 2001:db8:2::1
let_pass 0.5  # longer than the client lets changes settle
restore_path tcp; restore_path udp
client_wait_up client 20
session=$(session_field id)
ping_ok client 10.20.0.2 || fail "no traffic"
used=$(session_field remote)
if [[ $used == \[* ]]; then without ipv6; else without ipv4; fi
wait_for 10 "data over the other family" ping_ok client 10.20.0.2
[[ $(session_field id) == "$session" ]] || fail "it is another session"
both
step "a family that appeared during the race carries the session when the other one is cut"
stop client
e2e_end "sessions follow from one address family to the other"
