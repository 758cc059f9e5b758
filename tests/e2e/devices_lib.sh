# What the scripts about devices in the middle share: a router that is a switchback-middlebox or one of the kernel's own
# devices, a stream of datagrams whose fate is known, and the times of the client's decisions. On top of lib_paths.sh.
# shellcheck shell=bash disable=SC2034  # results are left in variables for the scripts that source this
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#                                 loss, device

# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

readonly STORY=$E2E_SOURCE/tools/story
# The TCP port of the headend whose flows the device looks at.
DEVICE_PORT=10000

# find_middlebox: SB_MIDDLEBOX, or the script is skipped.
find_middlebox() {
  local directory
  for directory in "${SB_BIN:-}" "$E2E_SOURCE/build/release" "$E2E_SOURCE/build/dev"; do
    [[ -n $directory ]] || continue
    if [[ -x $directory/tools/middlebox/switchback-middlebox ]]; then
      SB_MIDDLEBOX=$(realpath "$directory/tools/middlebox/switchback-middlebox")
      return
    fi
    [[ -z ${SB_BIN:-} ]] || break
  done
  skip "switchback-middlebox is not built"
}

# loss_at_router PERCENT: the kernel's router loses that share of what arrives for others, each way, before it looks.
loss_at_router() {
  on router nft "add table inet sbloss; add chain inet sbloss pre { type filter hook prerouting priority -400; }
    add rule inet sbloss pre meta l4proto { tcp, udp, esp } numgen random mod 10000 < $(awk -v p="$1" 'BEGIN { print p * 100 }') counter drop"
}

# device_start NAME LOSS SEED [OPTION…]: what stands between client and headend. NAME is a profile of
# switchback-middlebox for TCP port $DEVICE_PORT, whose decisions go to $WORK/box.jsonl, or kernel-conntrack, kernel-synproxy,
# kernel-haproxy, none. LOSS is in per cent, each way, before the device.
device_start() {
  local name=$1 loss=$2 seed=$3
  shift 3
  DEVICE=$name
  case $name in
    kernel-*)
      on router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      loss_at_router "$loss"
      "device_${name#kernel-}"
      ;;
    *)
      on router sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
      : > "$WORK/box.log"
      local options=(--inner in0 --outer out0 --impair "loss=$loss%" --seed "$seed" --log "$WORK/box.jsonl")
      [[ $name == none ]] || options+=(--profile "$name:tcp/$DEVICE_PORT")
      spawn box router "$SB_MIDDLEBOX" "${options[@]}" "$@"
      wait_log 10 box '^ready'
      ;;
  esac
}

# Strict window tracking: no pick-up of what is under way, and what is invalid is dropped.
device_conntrack() {
  on router sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0 net.netfilter.nf_conntrack_tcp_be_liberal=0
  on router nft "add table inet sbdevice; add chain inet sbdevice forward { type filter hook forward priority 0; }
    add rule inet sbdevice forward tcp dport $DEVICE_PORT ct state invalid counter drop
    add rule inet sbdevice forward tcp sport $DEVICE_PORT ct state invalid counter drop
    add rule inet sbdevice forward tcp dport $DEVICE_PORT ct state new tcp flags & (syn | ack) != syn counter drop"
}

device_synproxy() {
  on router sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0 net.netfilter.nf_conntrack_tcp_be_liberal=0 net.ipv4.tcp_syncookies=1
  on router nft "add table inet sbdevice
    add chain inet sbdevice pre { type filter hook prerouting priority -300; }
    add rule inet sbdevice pre tcp dport $DEVICE_PORT tcp flags & (fin | syn | rst | ack) == syn notrack
    add chain inet sbdevice forward { type filter hook forward priority 0; }
    add rule inet sbdevice forward tcp dport $DEVICE_PORT ct state invalid,untracked counter synproxy mss 1460 wscale 7 timestamp sack-perm
    add rule inet sbdevice forward tcp dport $DEVICE_PORT ct state invalid counter drop
    add rule inet sbdevice forward tcp sport $DEVICE_PORT ct state invalid counter drop" || skip "this kernel has no SYNPROXY"
}

# A proxy that nobody was asked about: both ends of its connections are the kernel's TCP.
device_haproxy() {
  need haproxy
  cat > "$WORK/haproxy.cfg" << END
global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend in
  bind 0.0.0.0:10001 transparent
  default_backend out
backend out
  server headend ${OUTER_ADDRESS[4]}:$DEVICE_PORT
END
  on router ip rule add fwmark 1 lookup 100
  on router ip route add local default dev lo table 100
  on router nft "add table ip sbdevice; add chain ip sbdevice pre { type filter hook prerouting priority -150; }
    add rule ip sbdevice pre iifname in0 tcp dport $DEVICE_PORT counter tproxy to :10001 meta mark set 1 accept" || skip "this kernel has no TPROXY"
  spawn haproxy router haproxy -f "$WORK/haproxy.cfg" -db
  wait_for 5 "haproxy to listen" haproxy_listens
}
haproxy_listens() { on router ss -Hlnt 'sport = :10001' | grep -q .; }

# device_stop: the router is as before; a middlebox prints its summary to $WORK/box.log.
device_stop() {
  case $DEVICE in
    kernel-*)
      on router nft flush ruleset
      on router conntrack -F > /dev/null 2>&1 || true
      if [[ $DEVICE == kernel-haproxy ]]; then
        stop haproxy
        on router ip rule del fwmark 1 lookup 100
        on router ip route flush table 100
      fi
      ;;
    *) stop box ;;
  esac
}

# stream_start NAME [RATE [OCTETS]]: from client and server to each other, UDP through the tunnel.
stream_start() {
  local name=$1
  : > "$WORK/$name-there.log"
  : > "$WORK/$name-here.log"
  spawn "$name-there" server "$STORY/stream.py" listen 7001 "$WORK/$name-there.txt" "${@:2}"
  wait_log 10 "$name-there" ready
  spawn "$name-here" client "$STORY/stream.py" send 10.20.0.2 7001 "$WORK/$name-here.txt" "${@:2}"
  wait_log 10 "$name-here" ready
}
# stream_stop NAME: ends it; FIGURES is the JSON of figures.py.
stream_stop() {
  stop "$1-here"
  stop "$1-there"
  FIGURES=$("$STORY/figures.py" "$WORK/$1-here.txt" "$WORK/$1-there.txt")
}
figure() { jq -r ".$1 // \"-\"" <<< "$FIGURES"; }
