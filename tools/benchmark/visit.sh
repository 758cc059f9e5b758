#!/usr/bin/env bash
# One visit of tools/bench to one contestant: builds the path, starts it, measures, takes all down. Not run by hand.
#
#   client eth0 198.51.100.2 ─── in0 router out0 ─── 192.0.2.1 eth0 headend       each a namespace; veth, MTU 1500
#
# usage: visit.sh CONTESTANT RESULTS
#   Appends a line for each figure to RESULTS: name, tab, number. Ends with 77 and "skipped: why" on standard output
#   where the contestant is not installed, with 1 and "FAILED: why" on standard error where it did not work.
# Environment: SB_BIN, BENCH_ESP, BENCH_SECONDS, BENCH_STEP_MS, BENCH_PINGS, BENCH_OFFLOADS, BENCH_MEASURES (a list)
#
# A contestant's file sets INNER, the headend's address inside, and the names of its programs in CLIENT_DAEMONS and
# HEADEND_DAEMONS, by these functions: contestant_needs; contestant_serve, all but the last step; contestant_connect,
# the step that is timed, until the first echo comes back; and if there is something to say, contestant_settled, after
# it, and contestant_failed, which prints why it did not.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BENCHMARK=$ROOT/tools/benchmark
# shellcheck source=tests/e2e/lib.sh
source "$ROOT/tests/e2e/lib.sh"
# shellcheck source=tests/e2e/pki.sh
source "$ROOT/tests/e2e/pki.sh"

CONTESTANT=$1 RESULTS=$2
INNER='' CLIENT_DAEMONS=() HEADEND_DAEMONS=()
readonly PLAIN_PORT=5301

contestant_settled() { :; }
contestant_failed() { :; }

# built NAME: a program of ours in the build directory.
built() {
  local found
  found=$(find "$SB_BIN" -maxdepth 3 -name "$1" -type f -perm -u+x -print -quit)
  [[ -n $found ]] || skip "$1 is not built in $SB_BIN"
  printf '%s' "$found"
}

result() { printf '%s\t%s\n' "$1" "$2" >> "$RESULTS"; }
wanted() { [[ " $BENCH_MEASURES " == *" $1 "* ]]; }

# ---- the path ------------------------------------------------------------------------------------------------------

# offloads: of both veth pairs. gro: single packets on the wire, put together at the receiver; off: not even that.
offloads() {
  local at settings
  case $BENCH_OFFLOADS in
    on) return ;;
    gro) settings='tso off gso off tx-udp-segmentation off gro on' ;;
    off) settings='tso off gso off tx-udp-segmentation off gro off' ;;
  esac
  need ethtool
  for at in client/eth0 router/in0 router/out0 headend/eth0; do
    # shellcheck disable=SC2086  # a list
    on "${at%/*}" ethtool -K "${at#*/}" $settings > "$WORK/ethtool.out" 2>&1 ||
      fail "ethtool at ${at/\// }: $(tail -n 1 "$WORK/ethtool.out")"
  done
}

# ---- processor time ------------------------------------------------------------------------------------------------

# cpu_ticks NAME…: user and system time so far of these programs and what they started, in clock ticks.
cpu_ticks() {
  local name pid total=0 line waiting=()
  for name in "$@"; do waiting+=("${SPAWNED[$name]}"); done
  while (( ${#waiting[@]} )); do
    pid=${waiting[0]}
    waiting=("${waiting[@]:1}")
    { line=$(< "/proc/$pid/stat"); } 2> /dev/null || continue
    # Fields 14 and 15; the name in field 2 may hold blanks.
    read -r -a line <<< "${line##*) }"
    total=$(( total + line[11] + line[12] ))
    read -r -a line < "/proc/$pid/task/$pid/children" || true
    waiting+=("${line[@]}")
  done
  printf '%s' "$total"
}

# ---- measures ------------------------------------------------------------------------------------------------------

# tcp NAME STREAMS [up|down]: Mbit/s received, and each end's processor time for each GB (1e9 octets) of it.
tcp() {
  local options=(--parallel "$2") before after
  [[ $3 == up ]] || options+=(--reverse)
  before="$(cpu_ticks "${CLIENT_DAEMONS[@]}") $(cpu_ticks "${HEADEND_DAEMONS[@]}")"
  iperf_mbits client "$INNER" "$BENCH_SECONDS" "${options[@]}" > /dev/null
  after="$(cpu_ticks "${CLIENT_DAEMONS[@]}") $(cpu_ticks "${HEADEND_DAEMONS[@]}")"
  jq -r --arg name "$1" --arg before "$before" --arg after "$after" --argjson hz "$(getconf CLK_TCK)" \
    --argjson daemons "${#CLIENT_DAEMONS[@]}" '
    .end.sum_received as $r | ($before / " " | map(tonumber)) as $b | ($after / " " | map(tonumber)) as $a
    | [["mbit_per_s", $r.bits_per_second / 1e6], ["retransmits", .end.sum_sent.retransmits]]
      + if $daemons > 0 and $r.bytes > 0 then
          [["client_cpu_s_per_gb", ($a[0] - $b[0]) / $hz / $r.bytes * 1e9], ["headend_cpu_s_per_gb", ($a[1] - $b[1]) / $hz / $r.bytes * 1e9]]
        else [] end
    | .[] | select(.[1] != null) | "\($name)_\(.[0])\t\(.[1] * 1000 | round / 1000)"' "$WORK/iperf.json" >> "$RESULTS"
}

# datagrams NAME SIZE SEGMENTS: highest rate with less than 1 % loss, client to headend.
datagrams() {
  local mtu size=$2
  # A packet larger than the tunnel takes would be two.
  mtu=$(on client ip -o route get "$INNER" | sed -nE 's/.* dev ([^ ]+) .*/\1/p' | { read -r device; on client cat "/sys/class/net/$device/mtu"; })
  (( size <= mtu )) || size=$mtu
  on client "$DATAGRAMS" search "$INNER" --port "$PLAIN_PORT" --size "$size" --segments "$3" --step "$BENCH_STEP_MS" \
    > "$WORK/datagrams-$1.json" 2> "$WORK/datagrams.err" || fail "bench-datagrams: $(tail -n 1 "$WORK/datagrams.err")"
  jq -r --arg name "$1" '"\($name)_mbit_per_s\t\(.mbit_per_s)", "\($name)_packets_per_s\t\(.packets_per_s)",
    "\($name)_packet_bytes\t\(.packet_bytes)"' "$WORK/datagrams-$1.json" >> "$RESULTS"
}

# ping_quantiles NAME COUNT: round trips, every 10 ms.
ping_quantiles() {
  on client ping -n -c "$2" -i 0.01 -W 2 "$INNER" > "$WORK/ping-$1.out" 2>&1 || [[ $? == 1 ]] || fail "ping: $(tail -n 1 "$WORK/ping-$1.out")"
  sed -nE 's/.* time=([0-9.]+) ms/\1/p' "$WORK/ping-$1.out" | sort -g | awk -v name="$1" -v sent="$2" '
    { at[NR] = $1 }
    function quantile(q) { i = int(q * NR + 0.999999); return at[i < 1 ? 1 : i] }
    END {
      if (NR > 0) printf "%s_p50_ms\t%s\n%s_p99_ms\t%s\n", name, quantile(0.5), name, quantile(0.99)
      printf "%s_lost_percent\t%.2f\n", name, 100 * (sent - NR) / sent
    }' >> "$RESULTS"
}

# ping_under_load: while one TCP stream goes up as fast as it can.
ping_under_load() {
  local length=$(( BENCH_PINGS / 100 + 2 ))
  spawn load client iperf3 --client "$INNER" --time "$length" --connect-timeout 3000 --json
  wait_for 5 "the load to run" load_runs
  let_pass 0.5  # past its slow start
  ping_quantiles ping_loaded "$BENCH_PINGS"
  poll 10 process_gone "${SPAWNED[load]}" || fail "the load did not end"
  unset 'SPAWNED[load]'
}
load_runs() { on headend ss -Htn state established 'sport = 5201' | grep -q .; }

# connect: from the client's start to the first echo through the tunnel.
connect() {
  local start deadline
  start=$(now_ms)
  deadline=$(( start + 20000 ))
  contestant_connect
  until on client ping -n -q -c 1 -W 0.05 "$INNER" > /dev/null 2>&1; do
    (( $(now_ms) < deadline )) || fail "$CONTESTANT does not connect within 20 s: $(contestant_failed)"
    pause 0.005
  done
  (( ${#CLIENT_DAEMONS[@]} == 0 )) || result connect_ms $(( $(now_ms) - start ))
  contestant_settled
}

# ---- the visit -----------------------------------------------------------------------------------------------------

case $CONTESTANT in
  udp | esp | ctcp | tcp | tls) file=switchback ;;
  null*) file=null ;;
  ocserv-*) file=ocserv ;;
  *) file=$CONTESTANT ;;
esac
# shellcheck source=/dev/null
source "$BENCHMARK/contestants/$file.sh"
visit() {
  local streams direction
  e2e_begin
  contestant_needs
  need iperf3 jq
  topology_routed
  # What has no tunnel yet goes to the router, which says at once that it knows no way.
  on router sysctl -qw net.ipv4.icmp_ratelimit=0
  offloads
  contestant_serve
  connect
  ping_ok client "$INNER" 10 || fail "$CONTESTANT is up but loses pings"

  if wanted ping; then ping_quantiles ping_idle "$BENCH_PINGS"; fi
  if wanted udp || wanted pps; then
    DATAGRAMS=$(built bench-datagrams)
    spawn counter headend "$DATAGRAMS" serve --port "$PLAIN_PORT"
    wait_log 5 counter listening
    if wanted udp; then datagrams udp 1400 32; fi
    if wanted pps; then datagrams pps 64 1; fi
    stop counter
  fi
  if wanted tcp1 || wanted tcp4 || wanted ping; then iperf_server headend; fi
  for streams in 1 4; do
    if wanted "tcp$streams"; then
      for direction in up down; do tcp "tcp${streams}_$direction" "$streams" "$direction"; done
    fi
  done
  if wanted ping; then ping_under_load; fi
}
# As a function it has been read to its end, should somebody change this file meanwhile.
visit
