#!/usr/bin/env bash
# Several clients at once against a headend with two workers, and with one: both carry everything in order, every worker
# has its share, and the table at the end says what it costs and brings.
#
#   client1 eth0 192.0.2.11 ─┐
#   …                        ├─ br0 ─ eth0 192.0.2.1 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#   clientN eth0 192.0.2.1N ─┘
#
# usage: workers.sh [--clients N] [--streams N] [--seconds S] [--rounds N] [--workers "1 2"] [TRANSPORT…]
#   4 clients with 1 stream each, 2 s in each direction, 1 round, udp and tls. For figures to rely on: an idle machine
#   with more processors than workers, a release build, --seconds 10 --rounds 5; rounds take turns, medians are shown.
#   Mbit/s is what all clients got together; retransmits are those of the inner TCP connections; CPU is of the headend.
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

clients=4 streams=1 seconds=2 rounds=1 counts=(1 2) transports=()
while (( $# )); do
  case $1 in
    --clients) clients=$2; shift ;;
    --streams) streams=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    --workers) read -r -a counts <<< "$2"; shift ;;
    *) transports+=("$1") ;;
  esac
  shift
done
(( ${#transports[@]} )) || transports=(udp tls)

e2e_begin
use_switchback
need iperf3 jq
for host in headend server switch; do host_add "$host"; done
on switch ip link add br0 type bridge
on switch ip link set br0 up
link headend eth0 switch to-headend
on switch ip link set to-headend master br0
address headend eth0 192.0.2.1/24
topology_lan
pair_prepare
for (( i = 1; i <= clients; i++ )); do
  host_add "client$i"
  link "client$i" eth0 switch "to-client$i"
  on switch ip link set "to-client$i" master br0
  address "client$i" eth0 "192.0.2.1$i/24"
  user_add headend "$HEADEND_DIR" "user$i" "$WORK/user$i.toml"
  iperf_server server "$(( 5200 + i ))"
done

# cpu_ms NAME: what a program has used so far.
cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print int(($12 + $13) * 1000 / hz) }' "/proc/${SPAWNED[$1]}/stat"; }

no_sessions() { headend_json headend status | jq -e ".sessions == 0"; }

# measure DIRECTION: all clients at once; leaves MBITS and RETRANSMITS.
measure() {
  local i options=(--time "$seconds" --parallel "$streams" --connect-timeout 5000 --json)
  [[ $1 == up ]] || options+=(--reverse)
  for (( i = 1; i <= clients; i++ )); do
    : > "$WORK/iperf$i.log"
    spawn "iperf$i" "client$i" iperf3 --client 10.20.0.2 --port "$(( 5200 + i ))" "${options[@]}"
  done
  for (( i = 1; i <= clients; i++ )); do
    wait "${SPAWNED[iperf$i]}" || fail "iperf3 of client $i: $(jq -r '.error // "no reason given"' "$WORK/iperf$i.log")"
    unset "SPAWNED[iperf$i]"
    jq -e '.end.sum_received.bytes > 0' "$WORK/iperf$i.log" > "$WORK/jq.out" || fail "client $i got nothing"
  done
  MBITS=$(jq -s '[.[].end.sum_received.bits_per_second] | add / 1e6 | floor' "$WORK"/iperf[0-9]*.log)
  RETRANSMITS=$(jq -s '[.[].end.sum_sent.retransmits] | add' "$WORK"/iperf[0-9]*.log)
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for (( round = 1; round <= rounds; round++ )); do
  for count in "${counts[@]}"; do
    headend_workers "$HEADEND_DIR" "$count"
    headend_start headend "$HEADEND_DIR"
    headend_json headend status | jq -e ".workers | length == $count" > "$WORK/jq.out" || fail "the headend has not $count workers"
    for transport in "${transports[@]}"; do
      transport_options "$transport"
      for (( i = 1; i <= clients; i++ )); do client_spawn "client$i" "client$i" "$WORK/user$i.toml" "${OPTIONS[@]}"; done
      for (( i = 1; i <= clients; i++ )); do client_wait_up "client$i"; done
      headend_json headend status > "$WORK/before.json"
      jq -e "[.workers[].sessions] | (add == $clients) and (max - min <= 1)" "$WORK/before.json" > "$WORK/jq.out" ||
        fail "the sessions are not spread evenly: $(jq -c '[.workers[].sessions]' "$WORK/before.json")"
      for direction in up down; do
        cpu=$(cpu_ms headend)
        measure "$direction"
        cpu=$(( $(cpu_ms headend) - cpu ))
        key="$transport-$direction-$count"
        printf '%s\n' "$MBITS" >> "$WORK/$key.mbits"
        printf '%s\n' "$RETRANSMITS" >> "$WORK/$key.retransmits"
        awk -v ms="$cpu" -v mbits="$MBITS" -v s="$seconds" 'BEGIN { print mbits ? ms / 1000 / (mbits * s / 8000) : 0 }' >> "$WORK/$key.cpu"
      done
      headend_json headend status > "$WORK/after.json"
      jq -n --slurpfile a "$WORK/before.json" --slurpfile b "$WORK/after.json" '
        def sum(s; k): [s.workers[].counters[k]] | add;
        [range($b[0].workers | length) as $w | $b[0].workers[$w].counters.inner_received - $a[0].workers[$w].counters.inner_received] as $got
        | def grown(k): sum($b[0]; k) - sum($a[0]; k);
        { got: $got, read: grown("tun_read_packets"), inner: grown("handed_inner"), arrived: grown("handed_arrived"),
          sealed: grown("handed_sealed"), full: grown("handover_full") }' > "$WORK/shares.json"
      jq -e '.got | min > 0' "$WORK/shares.json" > "$WORK/jq.out" || fail "a worker opened nothing: $(jq -c . "$WORK/shares.json")"
      (( count > 1 )) || jq -e '.inner + .arrived + .sealed + .full == 0' "$WORK/shares.json" > "$WORK/jq.out" ||
        fail "one worker hands over: $(jq -c . "$WORK/shares.json")"
      if [[ $transport == udp && $count -gt 1 ]]; then
        # The kernel gives each worker what is its own; what it does not is the beginnings of flows.
        jq -e '.arrived == 0 and .sealed == 0' "$WORK/shares.json" > "$WORK/jq.out" || fail "UDP is not steered by SPI: $(jq -c . "$WORK/shares.json")"
        jq -e '.inner * 20 < .read' "$WORK/shares.json" > "$WORK/jq.out" || fail "flows do not come to the queue of their answers: $(jq -c . "$WORK/shares.json")"
      fi
      step "$transport, $count workers, round $round: opened $(jq -c .got "$WORK/shares.json"), TUN reads $(jq .read "$WORK/shares.json"), handed over $(jq '.inner' "$WORK/shares.json") inner, $(jq '.arrived' "$WORK/shares.json") arrived, $(jq '.sealed' "$WORK/shares.json") sealed, $(jq .full "$WORK/shares.json") dropped"
      for (( i = 1; i <= clients; i++ )); do stop "client$i"; done
      wait_for 5 "the headend to hear that all have gone" no_sessions
    done
    stop headend
  done
done

printf '\n%-10s %-5s %8s %10s %12s %20s\n' transport dir workers Mbit/s retransmits 'headend CPU s/GB'
for transport in "${transports[@]}"; do
  for direction in up down; do
    for count in "${counts[@]}"; do
      key="$transport-$direction-$count"
      printf '%-10s %-5s %8s %10s %12s %20.2f\n' "$transport" "$direction" "$count" "$(median < "$WORK/$key.mbits")" \
        "$(median < "$WORK/$key.retransmits")" "$(median < "$WORK/$key.cpu")"
    done
  done
done
printf '%s processors\n' "$(nproc)"
e2e_end "$clients clients over ${transports[*]} with ${counts[*]} workers"
