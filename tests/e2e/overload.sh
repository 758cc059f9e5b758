#!/usr/bin/env bash
# A user who sends far more small packets than anything carries is no reason to leave a path: what this end drops for
# having no room is not the network's loss. The client may move, and must not.
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#
# usage: overload.sh [--seconds N] [--octets N] [--rate-limit MBIT] [TRANSPORT…]
#   4 s of 64 octets each way over ctcp; --rate-limit: the router's link carries no more than that
# Campaign: overload.sh --seconds 20 udp esp ctcp tls tcp; the same with --octets 1200 --rate-limit 20
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

seconds=4 octets=64 limit='' transports=()
while (( $# )); do
  case $1 in
    --seconds) seconds=$2; shift ;;
    --octets) octets=$2; shift ;;
    --rate-limit) limit=$2; shift ;;
    -*) printf 'overload.sh: unknown option %s\n' "$1" >&2; exit 2 ;;
    *) transports+=("$1") ;;
  esac
  shift
done
(( ${#transports[@]} )) || transports=(ctcp)

e2e_begin
use_switchback
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"
iperf_server server
if [[ $limit ]]; then
  on router tc qdisc add dev in0 root tbf rate "${limit}mbit" burst 32k latency 50ms
  on router tc qdisc add dev out0 root tbf rate "${limit}mbit" burst 32k latency 50ms
fi
row transport direction 'lost inside' suspected moved
readonly FLOOD=${limit:+$(( limit * 5 ))M}

short=()
# flood TRANSPORT DIRECTION [OPTION…]
flood() {
  local transport=$1 direction=$2 suspected moved lost
  shift 2
  : > "$WORK/client.log"
  on client iperf3 --client 10.20.0.2 --udp --bitrate "${FLOOD:-0}" --length "$octets" --time "$seconds" --connect-timeout 3000 --json "$@" \
    > "$WORK/udp.json" 2> "$WORK/udp.err" || printf '%s\n' "iperf3 lost its own connection: $(jq -r '.error // "no reason given"' "$WORK/udp.json")"
  lost=$(jq -r '.end.sum.lost_percent // "-" | if type == "number" then "\(. * 10 | round / 10) %" else . end' "$WORK/udp.json")
  suspected=$(log_count client '^suspected') moved=$(log_count client '^moved')
  row "$transport" "$direction" "$lost" "$suspected" "$moved"
  step "$transport, $direction: $lost lost inside, $suspected suspicions, $moved moves"
  if (( moved > 0 )) || [[ $(client_transport) != "$transport" ]]; then short+=("$transport, $direction: $(grep -m 1 -E '^moved|^suspected' "$WORK/client.log")"); fi
}

for transport in "${transports[@]}"; do
  forget_networks
  order=$transport
  for other in udp esp ctcp tls tcp; do [[ $other == "$transport" ]] || order+=,$other; done
  client_spawn client client "$WORK/alice4.toml" --order "$order"
  client_wait_up client 20
  [[ $(client_transport) == "$transport" ]] || fail "the session began on $(client_transport)"
  flood "$transport" up
  flood "$transport" down --reverse
  stop client INT
done
show_table
(( ${#short[@]} == 0 )) || fail "$(printf '%s; ' "${short[@]}")"
e2e_end "${#transports[@]} transports, $seconds s each way"
