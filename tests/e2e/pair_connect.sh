#!/usr/bin/env bash
# The main job: two clients connect, traffic flows both ways, only what belongs into the tunnel goes there, and the end
# leaves nothing behind.
#
#   client  eth0 192.0.2.2 ─┐
#                           ├─ br0 (no address) ─ eth0 192.0.2.1 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#   client2 eth0 192.0.2.3 ─┘                                                fd20::1         fd20::2
#   inner addresses: 10.99.0.0/24, fd99::/64; split tunnel to 10.20.0.0/24 and fd20::/64
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

e2e_begin
use_switchback
need jq iperf3
for host in client client2 headend server switch; do host_add "$host"; done
on switch ip link add br0 type bridge
on switch ip link set br0 up
for host in client client2 headend; do
  link "$host" eth0 switch "to-$host"
  on switch ip link set "to-$host" master br0
done
address client eth0 192.0.2.2/24
address client2 eth0 192.0.2.3/24
address headend eth0 192.0.2.1/24
topology_lan

# What must be the same after a client has gone.
state_of() {
  on "$1" sh -c 'ip -o link show; ip -4 route show table all; ip -6 route show table all; ip -4 rule; ip -6 rule; cat /etc/resolv.conf' |
    sed -E 's/ (expires|cache) [^ ]+//g' | sort
}

pair_prepare --dns 10.20.0.53
user_add headend "$HEADEND_DIR" bob "$WORK/bob.toml"
[[ $(stat -c %a "$WORK/alice.toml") == 600 ]] || fail "the profile is readable by others"
state_before=$(state_of client)
headend_before=$(state_of headend)
headend_start headend "$HEADEND_DIR"
client_start client client "$WORK/alice.toml"
client_start client2 client2 "$WORK/bob.toml"
step "up: $(grep '^up:' "$WORK/client.log")"

for host in client client2; do
  ping_ok "$host" 10.20.0.2 || fail "$host: no IPv4 through the tunnel"
  ping_ok "$host" fd20::2 || fail "$host: no IPv6 through the tunnel"
done
alice4=$(inner_address client swb0 4)
alice6=$(inner_address client swb0 6)
bob4=$(inner_address client2 swb0 4)
[[ $alice4 == 10.99.0.* && $bob4 == 10.99.0.* && $alice4 != "$bob4" ]] || fail "inner addresses are $alice4 and $bob4"
ping_ok headend "$alice4" || fail "the headend cannot reach the client's IPv4 address"
ping_ok headend "$alice6" || fail "the headend cannot reach the client's IPv6 address"
step "two clients, IPv4 and IPv6, started from either side"

on client ip route get 10.20.0.2 | grep -q 'dev swb0' || fail "the pushed route does not lead into the tunnel"
on client ip route get 192.0.2.1 | grep -q 'dev eth0' || fail "the route to the headend leads into the tunnel"
on client ip route get 192.0.2.3 | grep -q 'dev eth0' || fail "a route that was not pushed leads into the tunnel"
on client grep -q '10.20.0.53' /etc/resolv.conf || fail "the pushed DNS server is not in resolv.conf"
step "split tunnel: pushed routes and DNS only"

iperf_server server
for address in 10.20.0.2 fd20::2; do
  up=$(iperf_mbits client "$address" 1)
  down=$(iperf_mbits client "$address" 1 --reverse)
  (( up > 0 && down > 0 )) || fail "no TCP to $address"
  step "TCP to $address: $up Mbit/s up, $down Mbit/s down"
done
# UDP in both sizes: one packet a datagram, and datagrams that the inner IP layer has to fragment.
for size in 1200 4000; do
  on client iperf3 --client 10.20.0.2 --udp --bitrate 20M --length "$size" --time 1 --json > "$WORK/udp.json" || fail "iperf3 UDP"
  jq -e '.end.sum.lost_percent < 1' "$WORK/udp.json" > "$WORK/udp.out" || fail "UDP of $size octets lost $(jq .end.sum.lost_percent "$WORK/udp.json") %"
done
step "UDP datagrams of 1200 and 4000 octets"
# The largest packet that fits the tunnel gets through with DF; one more is refused with a reason.
mtu=$(on client cat /sys/class/net/swb0/mtu 2> "$WORK/mtu.err" || on client ip -o link show swb0 | sed -E 's/.* mtu ([0-9]+).*/\1/')
on client ping -n -q -c 2 -i 0.05 -M "do" -s $(( mtu - 28 )) 10.20.0.2 > "$WORK/mtu.out" || fail "a packet of the tunnel's MTU $mtu does not get through"

headend_json headend status | jq -e '.established == 2 and .users_online == 2' > "$WORK/status.out" || fail "the headend's status does not count two sessions"
client_json client | jq -e . > "$WORK/client.json" || fail "the client's status is no JSON"
step "status at both ends"

# A second client on the same TUN is refused with the process that holds it.
if on client timeout 10 "$SB_CLIENT" connect --profile "$WORK/alice.toml" > "$WORK/second.log" 2>&1; then fail "two clients on one TUN"; fi
step "second instance refused: $(tail -n 1 "$WORK/second.log")"

stop client
(( STOP_STATUS == 0 )) || fail "the client ended with status $STOP_STATUS"
[[ $(state_of client) == "$state_before" ]] || fail "the client left something behind: $(diff <(printf '%s\n' "$state_before") <(state_of client) | tr '\n' ' ')"
wait_for 5 "the headend to hear that alice has gone" has_sessions alice 0
has_sessions bob 1 || fail "bob's session went with alice's"
stop client2
stop headend
[[ $(state_of headend) == "$headend_before" ]] || fail "the headend left something behind: $(diff <(printf '%s\n' "$headend_before") <(state_of headend) | tr '\n' ' ')"
on headend sh -c 'command -v nft > /dev/null' && [[ -n $(on headend nft list tables) ]] && fail "the headend left an nftables table"
step "everything is as before"
e2e_end "two clients, both families, both directions, clean end"
