# What the end-to-end scripts share: hosts made of namespaces, waiting on conditions, cleaning up, starting our programs.
# shellcheck shell=bash disable=SC2034  # results are left in variables for the scripts that source this
#
#   source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
#   e2e_begin
#   topology_direct                     # hosts client and headend on one link
#   headend_init headend /…/dir 192.0.2.1; headend_start headend /…/dir
#   …
#   e2e_end "what was shown"
#
# A host is a network namespace and a mount namespace of its own, with a private /run and /etc: several scripts can run
# at once, and nothing they do to routes, DNS or control sockets reaches the machine they run on.
# Nothing here sleeps to wait for something: wait_for polls a condition until a deadline.
#
# Environment: SB_BIN   build directory whose programs are tested (default: build/release, else build/dev)
#              SB_KEEP  1 keeps the work directory with all logs; it is kept after a failure too
#              SB_WORKERS  packet threads of headends, network.workers; the default is the program's own

set -euo pipefail

E2E_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly E2E_SOURCE
export LC_ALL=C

declare -gA HOST_PID=()      # host → the process that holds its namespaces
declare -gA SPAWNED=()       # name → pid of a program started by spawn
declare -ga HOSTS=()
WORK=

skip() { printf 'skipped: %s\n' "$*"; exit 77; }

step() { printf -- '- %s\n' "$*"; }

# fail TEXT: ends the script; the trap shows the logs.
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}

# e2e_begin: checks what the script needs, and arms the clean-up.
e2e_begin() {
  (( EUID == 0 )) || skip "network namespaces need root"
  [[ -c /dev/net/tun ]] || skip "there is no /dev/net/tun"
  local tool
  for tool in ip nsenter ping; do
    command -v "$tool" > /dev/null || skip "the program $tool is not installed"
  done
  TAG=sb$$
  ip netns add "$TAG-probe" 2> /dev/null || skip "network namespaces are not allowed here"
  ip netns del "$TAG-probe"
  WORK=$(mktemp -d "/tmp/$TAG-XXXXXX")
  trap e2e_cleanup EXIT
  trap 'exit 130' INT TERM
}

# need TOOL…: skips the script unless the programs are there.
need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" > /dev/null || skip "the program $tool is not installed"
  done
}

e2e_end() { printf 'passed: %s\n' "$*"; }

# Only ever called by the trap.
e2e_cleanup() {
  local status=$? name log
  set +e
  trap - EXIT INT TERM
  if (( status != 0 && status != 77 )); then
    for log in "$WORK"/*.log; do
      [[ -s $log ]] || continue
      printf -- '---- last lines of %s\n' "${log##*/}" >&2
      tail -n "${SB_LOG_LINES:-25}" "$log" | cut -c1-400 >&2
    done
  fi
  for name in "${!SPAWNED[@]}"; do kill -TERM "${SPAWNED[$name]}" 2> /dev/null; done
  for name in "${!SPAWNED[@]}"; do
    poll 3 process_gone "${SPAWNED[$name]}" || kill -KILL "${SPAWNED[$name]}" 2> /dev/null
    wait "${SPAWNED[$name]}" 2> /dev/null
  done
  # Leaks are reported at the very end of a program, so this is looked at only now.
  if (( status == 0 )) && grep -lE '(Address|Leak|Thread)Sanitizer|runtime error:' "$WORK"/*.log; then
    printf 'FAILED: a sanitizer reported in the logs named above\n' >&2
    status=1
  fi
  # What our programs started themselves (charon's updown scripts) can only live in our own namespaces.
  for name in "${HOSTS[@]}"; do
    ip netns pids "$TAG-$name" 2> /dev/null | xargs -r kill -KILL 2> /dev/null
  done
  for name in "${HOSTS[@]}"; do
    poll 3 process_gone "${HOST_PID[$name]}"
    ip netns del "$TAG-$name" 2> /dev/null
  done
  if [[ -n ${SB_KEEP:-} ]] || (( status != 0 && status != 77 )); then
    printf 'logs are in %s\n' "$WORK" >&2
  else
    rm -rf "$WORK"
  fi
  exit "$status"
}

# ---- waiting -------------------------------------------------------------------------------------------------------

# now_ms: milliseconds of the wall clock, for measuring intervals.
now_ms() { printf '%s' "$(( ${EPOCHREALTIME/./} / 1000 ))"; }

# pause SECONDS: the interval between two looks at a condition, without starting a process.
exec {E2E_NEVER}<> <(:)
pause() { read -r -t "$1" -u "$E2E_NEVER" _ || return 0; }

# let_pass SECONDS: for scenarios that have a length themselves, such as an outage. Never to wait for something.
let_pass() { pause "$1"; }

# poll SECONDS COMMAND…: runs COMMAND until it succeeds; 1 when the time is over.
poll() {
  local deadline=$(( $(now_ms) + $1 * 1000 ))
  shift
  until "$@" > /dev/null 2>&1; do
    (( $(now_ms) < deadline )) || return 1
    pause 0.05
  done
}

# wait_for SECONDS WHAT COMMAND…: as poll, but ends the script with WHAT.
wait_for() {
  local seconds=$1 what=$2
  shift 2
  poll "$seconds" "$@" || fail "waited $seconds s for: $what"
}

process_gone() { ! kill -0 "$1" 2> /dev/null || [[ $(ps -o stat= -p "$1") == Z* ]]; }
log_has() { grep -qE -- "$2" "$WORK/$1.log"; }
log_count() { grep -cE -- "$2" "$WORK/$1.log" || [[ $? == 1 ]]; }

# wait_log SECONDS NAME REGEX: until the log of program NAME has a matching line; ends at once if the program has ended.
wait_log() {
  local deadline=$(( $(now_ms) + $1 * 1000 ))
  until log_has "$2" "$3"; do
    if process_gone "${SPAWNED[$2]}"; then
      log_has "$2" "$3" && return
      fail "$2 ended before its log said: $3"
    fi
    (( $(now_ms) < deadline )) || fail "waited $1 s for $2 to say: $3"
    pause 0.05
  done
}

# ---- hosts and links -----------------------------------------------------------------------------------------------

# host_add NAME: a host with loopback up. Its /etc is a private directory of links to the machine's, but for resolv.conf.
host_add() {
  local name=$1
  ip netns add "$TAG-$name"
  HOSTS+=("$name")
  # shellcheck disable=SC2016  # expanded by the inner shell
  ip netns exec "$TAG-$name" /bin/sh -ec '
    mount --make-rprivate /
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/lock /run/etc
    mount --bind /etc /run/etc
    mount -t tmpfs -o mode=755 tmpfs /etc
    ln -s /run/etc/* /etc
    rm -f /etc/resolv.conf
    printf "# as the machine had it\nnameserver 198.51.100.53\n" > /etc/resolv.conf
    if [ -d /var/lib/switchback ]; then mount -t tmpfs -o mode=700 tmpfs /var/lib/switchback; fi
    # Addresses are usable at once: nobody else is on these links.
    sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip link set lo up
    touch "$1"
    exec sleep infinity' sh "$WORK/$name.ready" &
  HOST_PID[$name]=$!
  disown  # so that bash does not announce its end
  wait_for 5 "host $name" test -e "$WORK/$name.ready"
}

# on HOST COMMAND…: runs a command there. The working directory is /, so paths must be absolute.
on() {
  local host=$1
  shift
  nsenter --net --mount --target "${HOST_PID[$host]}" -- "$@"
}

# link A IFA B IFB [MTU]: a veth pair between two hosts, both ends up.
link() {
  ip link add "$2" netns "$TAG-$1" type veth peer name "$4" netns "$TAG-$3"
  on "$1" ip link set "$2" mtu "${5:-1500}" up
  on "$3" ip link set "$4" mtu "${5:-1500}" up
}

# address HOST IF ADDRESS/LENGTH…
address() {
  local host=$1 interface=$2 one flags
  shift 2
  for one in "$@"; do
    flags=
    [[ $one == *:* ]] && flags=nodad
    on "$host" ip address add "$one" dev "$interface" $flags
  done
}

# route HOST PREFIX via GATEWAY …: ip route with the family of the gateway.
route() {
  local host=$1
  shift
  local family=-4
  [[ $* == *:* ]] && family=-6
  on "$host" ip "$family" route add "$@"
}

# topology_direct: client and headend on one link, and a network behind the headend.
#   client eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#        2001:db8:1::2        2001:db8:1::1      fd20::1               fd20::2
topology_direct() {
  host_add client; host_add headend; host_add server
  link client eth0 headend eth0
  address client eth0 192.0.2.2/24 2001:db8:1::2/64
  address headend eth0 192.0.2.1/24 2001:db8:1::1/64
  topology_lan
}

# topology_routed: a router between them.
#   client eth0 198.51.100.2 ─── 198.51.100.1 in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend (and its network)
#      2001:db8:2::2          2001:db8:2::1      2001:db8:1::fe             2001:db8:1::1
topology_routed() {
  host_add client; host_add router; host_add headend; host_add server
  link client eth0 router in0
  link router out0 headend eth0
  address client eth0 198.51.100.2/24 2001:db8:2::2/64
  address router in0 198.51.100.1/24 2001:db8:2::1/64
  address router out0 192.0.2.254/24 2001:db8:1::fe/64
  address headend eth0 192.0.2.1/24 2001:db8:1::1/64
  on router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  route client default via 198.51.100.1
  route client default via 2001:db8:2::1
  route headend 198.51.100.0/24 via 192.0.2.254
  route headend 2001:db8:2::/64 via 2001:db8:1::fe
  topology_lan
}

# The server has no route back but the headend's network, as a company's server behind its VPN gateway.
topology_lan() {
  link headend lan0 server eth0
  address headend lan0 10.20.0.1/24 fd20::1/64
  address server eth0 10.20.0.2/24 fd20::2/64
  route server default via 10.20.0.1
  route server default via fd20::1
}

# masquerade_on ROUTER OUT: NAT as a home router does it, IPv4.
masquerade_on() {
  on "$1" nft "add table ip sbnat; add chain ip sbnat post { type nat hook postrouting priority srcnat; }
    add rule ip sbnat post oifname $2 masquerade fully-random"
}

# ---- programs ------------------------------------------------------------------------------------------------------

# spawn NAME HOST COMMAND…: runs a program in the background, output in $WORK/NAME.log.
spawn() {
  local name=$1 host=$2
  shift 2
  : >> "$WORK/$name.log"
  nsenter --net --mount --target "${HOST_PID[$host]}" -- "$@" >> "$WORK/$name.log" 2>&1 &
  SPAWNED[$name]=$!
}

# stop NAME [SIGNAL]: ends a program and waits until it is gone; its exit status is left in STOP_STATUS.
stop() {
  local pid=${SPAWNED[$1]}
  kill -"${2:-TERM}" "$pid" 2> /dev/null || [[ ! -e /proc/$pid ]]
  poll 10 process_gone "$pid" || fail "$1 (process $pid) did not end within 10 s of SIG${2:-TERM}"
  STOP_STATUS=0
  { wait "$pid" || STOP_STATUS=$?; } 2> /dev/null  # bash announces a killed program

  unset "SPAWNED[$1]"
}

# running NAME: whether the program is still there.
running() { ! process_gone "${SPAWNED[$1]}"; }

# rss_kib NAME: resident memory.
rss_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/${SPAWNED[$1]}/status"; }

# ping_ok HOST ADDRESS [COUNT]: every one of COUNT (3) echo requests is answered.
ping_ok() { on "$1" ping -n -q -c "${3:-3}" -i 0.02 -W 2 "$2" > "$WORK/ping.out" 2>&1 && grep -q ' 0% packet loss' "$WORK/ping.out"; }

# ping_start NAME HOST ADDRESS [INTERVAL]: continuous ping, every 20 ms.
ping_start() {
  : > "$WORK/$1.log"
  spawn "$1" "$2" ping -n -i "${4:-0.02}" -W 2 "$3"
}
# ping_stop NAME: ends it; leaves PING_SENT, PING_LOST and PING_GAP_MS, the longest time without an answer. A last
# request that was still on its way does not count as lost.
ping_stop() {
  kill -INT "${SPAWNED[$1]}"
  poll 10 process_gone "${SPAWNED[$1]}" || fail "ping $1 did not end"
  wait "${SPAWNED[$1]}" || [[ $? == 1 ]]
  unset "SPAWNED[$1]"
  local result
  result=$(awk -v interval="${2:-20}" '
    /icmp_seq=[0-9]+ ttl=/ {
      match($0, /icmp_seq=[0-9]+/); seq = substr($0, RSTART + 9, RLENGTH - 9) + 0
      if (!(seq in seen)) { seen[seq] = 1; received++; if (seq - last > gap) gap = seq - last; last = seq }
    }
    / packets transmitted, / {
      sent = $1; lost = sent - received
      if (sent - last > gap) gap = sent - last
      if (lost == 1 && !(sent in seen)) lost = 0
      print sent, lost, gap * interval
    }' "$WORK/$1.log")
  [[ -n $result ]] || fail "ping $1 printed no summary"
  read -r PING_SENT PING_LOST PING_GAP_MS <<< "$result"
}

# iperf_server HOST [PORT]: waits until it listens.
iperf_server() {
  need iperf3
  local port=${2:-5201}
  spawn "iperf-$1-$port" "$1" iperf3 --server --port "$port" --forceflush
  wait_log 10 "iperf-$1-$port" 'Server listening'
}

# iperf_mbits HOST ADDRESS SECONDS [OPTION…]: received Mbit/s of one TCP stream; fails the script when iperf3 does.
iperf_mbits() {
  local host=$1 address=$2 seconds=$3
  shift 3
  need jq
  on "$host" iperf3 --client "$address" --time "$seconds" --connect-timeout 3000 --json "$@" > "$WORK/iperf.json" 2> "$WORK/iperf.err" ||
    fail "iperf3 from $host to $address: $(jq -r '.error // "no reason given"' "$WORK/iperf.json")"
  jq -r '.end.sum_received.bits_per_second / 1e6 | floor' "$WORK/iperf.json"
}

# ---- Switchback ----------------------------------------------------------------------------------------------------

# switchback NAME: prints the path of switchback-NAME in SB_BIN.
switchback() {
  local directory candidate
  for directory in "${SB_BIN:-}" "$E2E_SOURCE/build/release" "$E2E_SOURCE/build/dev"; do
    [[ -n $directory ]] || continue
    for candidate in "$directory/switchback-$1" "$directory/$1/switchback-$1" "$directory/tools/$1/switchback-$1"; do
      if [[ -x $candidate ]]; then
        realpath "$candidate"
        return
      fi
    done
    [[ -z ${SB_BIN:-} ]] || break
  done
  printf 'switchback-%s is not built in %s\n' "$1" "${SB_BIN:-build/release or build/dev}" >&2
  return 1
}

# use_switchback [PROGRAM…]: finds client and headend, or only those named, in SB_CLIENT and SB_HEADEND; or skips.
use_switchback() {
  local program
  [[ $# -gt 0 ]] || set -- client headend
  for program in "$@"; do
    declare -g "SB_${program^^}=$(switchback "$program")"
    local -n path=SB_${program^^}
    [[ -n $path ]] || skip "switchback-$program is not built"
  done
}

# headend_init HOST DIR ADDRESS [OPTION…]
headend_init() {
  local host=$1 directory=$2 address=$3
  shift 3
  on "$host" "$SB_HEADEND" init --dir "$directory" --address "$address" "$@" > "$WORK/init.log" 2>&1 ||
    fail "switchback-headend init: $(tail -n 1 "$WORK/init.log")"
  [[ -z ${SB_WORKERS:-} ]] || headend_workers "$directory" "$SB_WORKERS"
}
# headend_workers DIR N
headend_workers() {
  sed -i -E "s/^#? ?workers = .*/workers = $2/" "$1/headend.toml"
  grep -q "^workers = $2$" "$1/headend.toml" || fail "headend.toml has no line for the workers"
}

# user_add HOST DIR NAME OUT [OPTION…]
user_add() {
  local host=$1 directory=$2 name=$3 out=$4
  shift 4
  on "$host" "$SB_HEADEND" user add "$name" --dir "$directory" --out "$out" "$@" > "$WORK/user.log" 2>&1 ||
    fail "switchback-headend user add $name: $(tail -n 1 "$WORK/user.log")"
}

# headend_start HOST DIR [OPTION…]: runs it as program HOST, ready when its control socket answers.
headend_start() {
  local host=$1 directory=$2
  shift 2
  spawn "$host" "$host" "$SB_HEADEND" run --dir "$directory" "$@"
  HEADEND_DIR=$directory
  headend_wait "$host" "$directory"
}
headend_wait() {
  local deadline=$(( $(now_ms) + 15000 ))
  until headend_json "$1" status > /dev/null 2>&1; do
    running "$1" || fail "the headend ended: $(tail -n 1 "$WORK/$1.log")"
    (( $(now_ms) < deadline )) || fail "the headend does not answer on its control socket"
    pause 0.05
  done
}

# headend_json HOST COMMAND: `status` or `sessions` as JSON.
headend_json() { on "$1" "$SB_HEADEND" "$2" --dir "$HEADEND_DIR" --json; }

# client_start NAME HOST PROFILE [OPTION…]: runs `connect`; returns when the tunnel is up.
client_start() {
  client_spawn "$@"
  client_wait_up "$1"
}
client_spawn() {
  local name=$1 host=$2 profile=$3
  shift 3
  : > "$WORK/$name.log"
  spawn "$name" "$host" "$SB_CLIENT" connect --profile "$profile" "$@"
}
client_wait_up() { wait_log "${2:-10}" "$1" '^up:'; }

# client_json HOST [OPTION…]
client_json() {
  local host=$1
  shift
  on "$host" "$SB_CLIENT" status --json "$@"
}

# inner_address HOST TUN FAMILY: the tunnel's address (FAMILY 4 or 6), without its length.
inner_address() {
  on "$1" ip -"$3" -o address show dev "$2" scope global | awk 'NR == 1 { sub("/.*", "", $4); print $4 }'
}

# tun_gone HOST TUN
tun_gone() { ! on "$1" ip link show dev "$2" > /dev/null 2>&1; }

# pair_prepare [INIT OPTION…]: a headend's directory $HEADEND_DIR with pools 10.99.0.0/24 and fd99::/64, and the profile
# of its user alice in $WORK/alice.toml. Routes default to the network behind the headend (split tunnel).
pair_prepare() {
  local options=(--pool 10.99.0.0/24 --pool6 fd99::/64)
  [[ " $* " == *" --route "* ]] || options+=(--route 10.20.0.0/24 --route fd20::/64)
  HEADEND_DIR=$WORK/headend
  headend_init headend "$HEADEND_DIR" "${PAIR_ADDRESS:-192.0.2.1}" "${options[@]}" "$@"
  user_add headend "$HEADEND_DIR" alice "$WORK/alice.toml"
}

# pair_up: after pair_prepare, both ends run and alice reaches the server.
pair_up() {
  headend_start headend "$HEADEND_DIR"
  client_start client client "$WORK/alice.toml"
  ping_ok client 10.20.0.2 || fail "no traffic"
}

# session_field FIELD [USER]: of the only session of a user, as the headend lists it.
session_field() {
  headend_json headend sessions | jq -r --arg user "${2:-alice}" --arg field "$1" \
    '[.sessions[] | select(.user == $user and .state == "established")] | if length == 1 then .[0][$field] | tostring else "no single session" end'
}

# sessions_of USER: how many established sessions the headend lists for a user.
sessions_of() {
  headend_json headend sessions | jq --arg user "$1" '[.sessions[] | select(.user == $user and .state == "established")] | length'
}
has_sessions() { [[ $(sessions_of "$1") == "$2" ]]; }
