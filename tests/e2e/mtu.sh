#!/usr/bin/env bash
# Path MTU: a link in the middle takes less than the ends' own, or more than usual; with ICMP and with ICMP filtered, so
# that only probes tell; and it changes during a session. The tunnel's MTU follows, and large transfers go through.
#
#   client eth0 ─── in0 router out0 ─── left0 router2 right0 ─── eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#      198.51.100.2          172.16.0.1  MTU  172.16.0.2           192.0.2.1
#
# usage: mtu.sh [--icmp yes|no] [--mtu N]… [--family 4|6] [--change] [TRANSPORT…]
#   1280, 1400 and 9000 octets with ICMP; udp esp ctcp. With 9000 all links have it. --change: from 1500 to 1300 and back
#   during the session.
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

icmp=yes mtus=() family=4 change='' transports=()
while (( $# )); do
  case $1 in
    --icmp) icmp=$2; shift ;;
    --mtu) mtus+=("$2"); shift ;;
    --family) family=$2; shift ;;
    --change) change=1 ;;
    *) transports+=("$1") ;;
  esac
  shift
done
(( ${#mtus[@]} )) || [[ $change ]] || mtus=(1280 1400 9000)
(( ${#transports[@]} )) || transports=(udp esp ctcp)

e2e_begin
use_switchback
need iperf3 nft jq
host_add client; host_add router; host_add router2; host_add headend; host_add server
link client eth0 router in0 9000
link router out0 router2 left0 9000
link router2 right0 headend eth0 9000
address client eth0 198.51.100.2/24 2001:db8:2::2/64
address router in0 198.51.100.1/24 2001:db8:2::1/64
address router out0 172.16.0.1/24 2001:db8:3::1/64
address router2 left0 172.16.0.2/24 2001:db8:3::2/64
address router2 right0 192.0.2.254/24 2001:db8:1::fe/64
address headend eth0 192.0.2.1/24 2001:db8:1::1/64
for host in router router2; do on "$host" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; done
route client default via 198.51.100.1
route client default via 2001:db8:2::1
route router 192.0.2.0/24 via 172.16.0.2
route router 2001:db8:1::/64 via 2001:db8:3::2
route router2 198.51.100.0/24 via 172.16.0.1
route router2 2001:db8:2::/64 via 2001:db8:3::1
route headend default via 192.0.2.254
route headend default via 2001:db8:1::fe
topology_lan
on headend ip link set lan0 mtu 9000
on server ip link set eth0 mtu 9000
if [[ $icmp == no ]]; then
  for host in router router2; do
    on "$host" nft 'add table inet sbquiet; add chain inet sbquiet output { type filter hook output priority 0; }
      add rule inet sbquiet output icmp type destination-unreachable icmp code frag-needed counter drop
      add rule inet sbquiet output icmpv6 type packet-too-big counter drop'
  done
fi

# middle MTU: of the link between the routers; the ends' links have 1500, or as much if that is more.
middle() {
  local mtu=$1 ends=1500
  (( mtu > ends )) && ends=$mtu
  on client ip link set eth0 mtu "$ends"
  on router ip link set in0 mtu "$ends"
  on router2 ip link set right0 mtu "$ends"
  on headend ip link set eth0 mtu "$ends"
  on router ip link set out0 mtu "$mtu"
  on router2 ip link set left0 mtu "$mtu"
}
# forget_paths: what the kernels remember of path MTUs, for minutes otherwise.
forget_paths() { for host in client headend server; do on "$host" sh -c 'ip -4 route flush cache; ip -6 route flush cache'; done; }

tun_mtu() { client_json client | jq '.mtu'; }
# fits MTU: a packet of the tunnel's MTU gets through, whole.
fits() { (( $1 <= 1280 )) || on client ping -n -q -c 1 -W 1 -M "do" -s $(( $1 - 28 )) 10.20.0.2; }
# follows MTU: the tunnel's MTU fits into the path, and leaves no more unused than the largest overhead there is. With an
# IPv6 address inside it cannot be less than 1280; where the path takes less, packets that are too big are told so.
follows() {
  local now
  now=$(tun_mtu)
  (( (now < $1 || now == 1280) && now >= $1 - 160 )) && fits "$now" && [[ $(on client cat /proc/sys/net/ipv4/conf/swb0/mtu 2> /dev/null || on client ip -o link show swb0 | sed -E 's/.* mtu ([0-9]+).*/\1/') == "$now" ]]
}

# transfers: large inner transfers both ways, both families, and the largest packet that the tunnel takes.
transfers() {
  UP=$(iperf_mbits client 10.20.0.2 1)
  DOWN=$(iperf_mbits client 10.20.0.2 1 --reverse)
  (( UP > 0 && DOWN > 0 )) || fail "$1: large transfers do not get through: $UP Mbit/s up, $DOWN Mbit/s down"
}

paths_prepare
# The headend's interface takes what the largest path does.
sed -i -E 's/^#? ?mtu = [0-9]+/mtu = 9000/' "$HEADEND_DIR/headend.toml"
grep -q '^mtu = 9000' "$HEADEND_DIR/headend.toml" || fail "headend.toml has no line for the MTU"
headend_start headend "$HEADEND_DIR"
iperf_server server
row transport 'path MTU' ICMP 'MTU of the tunnel' 'after' 'TCP up' 'TCP down'
for transport in "${transports[@]}"; do
  transport_options "$transport"
  for mtu in "${mtus[@]}"; do
    middle "$mtu"
    forget_paths
    started=$(now_ms)
    client_start client client "$WORK/alice$family.toml" "${OPTIONS[@]}"
    wait_for 5 "$transport, path MTU $mtu: small packets" ping_ok client 10.20.0.2
    wait_for 60 "$transport, path MTU $mtu: the tunnel's MTU to follow" follows "$mtu"
    took=$(( $(now_ms) - started ))
    transfers "$transport, path MTU $mtu"
    row "$transport" "$mtu" "$icmp" "$(tun_mtu)" "$took ms" "$UP Mbit/s" "$DOWN Mbit/s"
    step "$transport, path MTU $mtu, ICMP $icmp: tunnel $(tun_mtu) after $took ms, $UP Mbit/s up, $DOWN Mbit/s down"
    stop client
    wait_for 5 "the headend to hear that alice has gone" has_sessions alice 0
  done
  [[ $change ]] || continue
  middle 1500
  forget_paths
  client_start client client "$WORK/alice$family.toml" "${OPTIONS[@]}"
  wait_for 60 "$transport: the tunnel's MTU to fit 1500" follows 1500
  spawn load client iperf3 --client 10.20.0.2 --time 3600 --bitrate 20M --forceflush --interval 1
  wait_for 5 "iperf3 to send" log_has load ' sec .*bits/sec'
  for mtu in 1300 1500; do
    started=$(now_ms)
    middle "$mtu"
    if (( mtu == 1300 )); then wait_for 90 "$transport: the tunnel's MTU to follow the path to $mtu" follows "$mtu"; fi
    took=$(( $(now_ms) - started ))
    running load || fail "$transport: the inner connection did not live through the change to $mtu"
    wait_for 10 "$transport: large packets after the change to $mtu" on client ping -n -q -c 1 -W 1 -s 4000 10.20.0.2
    both_run_over "${transport%%-*}" || fail "$transport: the session left its transport"
    row "$transport" "to $mtu" "$icmp" "$(tun_mtu)" "$took ms" - -
    step "$transport, path MTU becomes $mtu during the session: tunnel $(tun_mtu) after $took ms"
  done
  stop load
  stop client
  wait_for 5 "the headend to hear that alice has gone" has_sessions alice 0
done
show_table
e2e_end "path MTU ${mtus[*]}${change:+ and its change} over ${transports[*]}, ICMP $icmp"
