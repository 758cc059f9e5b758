#!/usr/bin/env bash
# Devices that follow TCP streams, with loss: resilient cTCP lives behind each, as the other transports do; and a client
# that begins on classic cTCP notices that it dies, moves, and no inner connection is lost. Devices are those of
# switchback-middlebox, and the kernel's own: strict connection tracking, SYNPROXY, and haproxy by TPROXY.
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#        lines, datagrams           loss, device                                              lines, datagrams
#
# usage: devices.sh [--seconds N | --minutes N] [--loss PERCENT] [--seeds N] [--rate N] [--octets N]
#                   [--cells CELL,…] [DEVICE…]
#   4 s in each cell, 3 % each way, one seed, 100 datagrams of 200 octets per second each way, all devices
#   cells: resilient (cTCP), auto (begins on classic), udp, esp, tls, tcp; without the option the first two
# Campaigns: devices.sh --minutes 10 --cells resilient --rate 300 --octets 1000; devices.sh --seconds 8 --seeds 10 --cells auto;
#            devices.sh --seconds 20 --loss 1 --cells udp,esp,resilient,tls,tcp
# shellcheck source=tests/e2e/devices_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/devices_lib.sh"

seconds=4 loss=3 seeds=1 rate=100 octets=200 cells=resilient,auto devices=()
while (( $# )); do
  case $1 in
    --seconds) seconds=$2; shift ;;
    --minutes) seconds=$(( $2 * 60 )); shift ;;
    --loss) loss=$2; shift ;;
    --seeds) seeds=$2; shift ;;
    --rate) rate=$2; shift ;;
    --octets) octets=$2; shift ;;
    --cells) cells=$2; shift ;;
    -*) printf 'devices.sh: unknown option %s\n' "$1" >&2; exit 2 ;;
    *) devices+=("$1") ;;
  esac
  shift
done
IFS=, read -r -a kinds <<< "$cells"
for kind in "${kinds[@]}"; do
  [[ $kind == @(resilient|auto|udp|esp|tls|tcp) ]] || { printf 'devices.sh: no cell %s\n' "$kind" >&2; exit 2; }
done
(( ${#devices[@]} )) || devices=(inspect ips ips-hold normalizer proxy conntrack kernel-conntrack kernel-synproxy kernel-haproxy)

e2e_begin
use_switchback
find_middlebox
need python3
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"
row device cell seed 'began on' 'ended on' delivered 'longest silence' p50 p99

# What a cell must reach. Short queues drop what comes behind a hole: the worst cells of the matrix deliver less
# than the loss alone would; a path that is being left loses what is sent until it is noticed.
readonly LEAST_SHARE=75 MOST_SILENCE_MS=2000
silences=() stalls=() broken=()

# cell DEVICE KIND SEED: one run. A cell that falls short is kept with its logs, and the others go on.
cell() {
  local device=$1 kind=$2 seed=$3 options began ended why=''
  DEVICE_PORT=10000
  case $kind in
    resilient) options=(--transport ctcp --ctcp-mode resilient) ;;
    auto) options=(--order "ctcp,udp,esp,tls,tcp" --ctcp-mode classic) ;;
    *) options=(--transport "$kind") ;;
  esac
  case $kind in
    tls) DEVICE_PORT=443 ;;
    tcp) DEVICE_PORT=4500 ;;
  esac
  rm -f "$WORK"/box.* "$WORK"/run-*
  forget_networks
  device_start "$device" "$loss" "$seed"
  client_spawn client client "$WORK/alice4.toml" "${options[@]}"
  client_wait_up client 20
  began=$(sed -nE 's/^up: transport ([a-z]+) .*/\1/p' "$WORK/client.log" | head -n 1)
  stream_start run "$rate" "$octets"  # at once: on classic cTCP there is little time
  : > "$WORK/lines.log"
  : > "$WORK/lines-server.log"
  # Through a stream that a device has as good as stopped no connection may come about; that is no fault of the tunnel's.
  [[ $kind != @(resilient|auto) ]] || lines_start lines client server 10.20.0.2 7000
  let_pass "$seconds"
  stream_stop run
  ended=$(client_transport)
  ! log_has lines '^broken' || why="the inner connection broke: $(grep -m 1 '^broken' "$WORK/lines.log")"
  ! log_has lines-server '^broken' || why="the inner connection broke: $(grep -m 1 '^broken' "$WORK/lines-server.log")"
  [[ $why || $kind != @(resilient|auto) ]] || lines_stop lines
  if [[ $kind != @(tls|tcp) ]]; then
    [[ $(figure died_s) == - ]] || why="died after $(figure died_s) s"
  fi
  if [[ $kind == @(resilient|auto) ]]; then  # the others' figures are those of UDP and of the kernel's TCP
    (( $(figure gap_ms) <= MOST_SILENCE_MS )) || why="silent for $(figure gap_ms) ms"
    (( $(figure 'share | floor') >= LEAST_SHARE )) || why="only $(figure share) % delivered"
  fi
  ! log_has client '^reconnecting' || why="the session was lost: $(grep -m 1 '^reconnecting' "$WORK/client.log")"
  row "$device" "$kind" "$seed" "$began" "$ended" "$(figure share) %" "$(figure gap_ms) ms" "$(figure p50_ms) ms" "$(figure p99_ms) ms"
  step "$device, $kind, seed $seed: $began to $ended, $(figure share) % delivered, longest silence $(figure gap_ms) ms${why:+: FALLS SHORT: $why}"
  if [[ $kind == auto ]]; then
    silences+=("$(figure gap_ms)")
    # What the client says of each move away from a path that failed: since the oldest data that nothing confirmed.
    while read -r stalled; do stalls+=("$stalled"); done < <(sed -nE 's/^moved from .* stalled for ([0-9]+) ms.*/\1/p' "$WORK/client.log")
  fi
  if [[ $why ]]; then
    broken+=("$device, $kind, seed $seed: $why")
    mkdir -p "$WORK/kept/$device-$kind-$seed"
    client_json client > "$WORK/client.json" || printf 'the client does not answer\n' > "$WORK/client.json"
    cp "$WORK"/{client,headend,lines,lines-server}.log "$WORK/client.json" "$WORK"/run-*.txt "$WORK"/box.* "$WORK/kept/$device-$kind-$seed/" 2> "$WORK/kept.err" ||
      printf 'not everything could be kept: %s\n' "$(tail -n 1 "$WORK/kept.err")"
  fi
  stop client INT
  for one in lines lines-server; do [[ -z ${SPAWNED[$one]:-} ]] || stop "$one"; done
  device_stop
}

for device in "${devices[@]}"; do
  for (( seed = 1; seed <= seeds; seed++ )); do
    for kind in "${kinds[@]}"; do cell "$device" "$kind" "$seed"; done
  done
done
show_table
# quantiles WHAT MS…
quantiles() {
  local what=$1 sorted
  shift
  mapfile -t sorted < <(printf '%s\n' "$@" | sort -n)
  printf '%s: median %s ms, 95th percentile %s ms, most %s ms\n' "$what" "${sorted[$(( $# / 2 ))]}" \
    "${sorted[$(( ($# * 95 + 99) / 100 - 1 ))]}" "${sorted[-1]}"
}
(( ${#silences[@]} == 0 )) || quantiles "begun on classic cTCP, ${#silences[@]} runs, longest silence" "${silences[@]}"
(( ${#stalls[@]} == 0 )) || quantiles "${#stalls[@]} moves, from the onset of the stall to moved" "${stalls[@]}"
(( ${#broken[@]} == 0 )) || fail "$(printf '%s; ' "${broken[@]}")the logs are in $WORK/kept"
e2e_end "${#devices[@]} devices at $loss % loss, $seconds s in each cell, $seeds seeds"
