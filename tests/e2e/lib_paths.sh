# What the scripts about transports and moves share, on top of lib.sh: a router that cuts, loses and counts; a client
# that is made to use one transport or all; a connection whose gaps are measured; and what a host must not show.
# shellcheck shell=bash disable=SC2034  # results are left in variables for the scripts that source this
#
#   source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"
#   e2e_begin; use_switchback
#   paths_topology                      # client – router – headend – server, both families, the router counts
#   paths_prepare                       # headend's directory; profiles $WORK/alice4.toml, alice6.toml, alice.toml

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=tools/lib/table.sh
source "$E2E_SOURCE/tools/lib/table.sh"

readonly PROGRAMS=$E2E_SOURCE/tests/e2e/programs
readonly -A OUTER_ADDRESS=([4]=192.0.2.1 [6]=2001:db8:1::1)
readonly -A INNER_ADDRESS=([4]=10.20.0.2 [6]=fd20::2)

# paths_topology: topology_routed.
paths_topology() {
  need jq nft
  topology_routed
}

# watch_flow PORT: counts RST of the TCP flow with this port at the client from now on; flow_resets tells how many.
watch_flow() {
  on router nft "add table inet sbflow; delete table inet sbflow; add table inet sbflow; add counter inet sbflow resets
    add chain inet sbflow forward { type filter hook forward priority -290; }
    add rule inet sbflow forward tcp sport $1 tcp flags & rst == rst counter name resets
    add rule inet sbflow forward tcp dport $1 tcp flags & rst == rst counter name resets"
}
flow_resets() { on router nft -j list counter inet sbflow resets | jq '[.nftables[].counter | objects | .packets] | add'; }

# paths_prepare [INIT OPTION…]: the headend has addresses of both families; alice4.toml and alice6.toml have one each.
paths_prepare() {
  local family
  PAIR_ADDRESS=${OUTER_ADDRESS[4]} pair_prepare --address "${OUTER_ADDRESS[6]}" "$@"
  for family in 4 6; do
    sed -E "s/^addresses = .*/addresses = [\"${OUTER_ADDRESS[$family]}\"]/" "$WORK/alice.toml" > "$WORK/alice$family.toml"
    chmod 600 "$WORK/alice$family.toml"
    grep -q "^addresses = \\[\"${OUTER_ADDRESS[$family]}\"\\]" "$WORK/alice$family.toml" || fail "the profile has no line for the headend's addresses"
  done
}

# transport_options NAME: the client's options that force a transport, in OPTIONS. `ctcp-classic` is a name here.
transport_options() {
  case $1 in
    auto) OPTIONS=() ;;
    ctcp-classic) OPTIONS=(--transport ctcp --ctcp-mode classic) ;;
    ctcp) OPTIONS=(--transport ctcp --ctcp-mode resilient) ;;
    *) OPTIONS=(--transport "$1") ;;
  esac
}

# What the ends say that carries the session.
client_transport() { client_json client | jq -r '.transport'; }
headend_transport() { session_field transport; }
runs_over() { [[ $(client_transport) == "$1" ]]; }
both_run_over() { runs_over "$1" && [[ $(headend_transport) == "$1" ]]; }

# forget_networks: what the client remembers of networks where it was before.
forget_networks() { on client sh -c 'rm -f /run/switchback/*history*'; }

# ---- the router --------------------------------------------------------------------------------------------------

# What a transport's packets look like, as nft expressions, one a line.
outer_match() {
  case $1 in
    udp) echo 'meta l4proto udp' ;;
    udp4500) echo 'udp dport 4500'; echo 'udp sport 4500' ;;
    esp) echo 'meta l4proto esp' ;;
    ctcp) echo 'tcp dport 10000'; echo 'tcp sport 10000' ;;
    tls) echo 'tcp dport 443'; echo 'tcp sport 443' ;;
    tcp) echo 'tcp dport 4500'; echo 'tcp sport 4500' ;;
    *) fail "no transport $1 to match" ;;
  esac
}

# cut_path TRANSPORT [drop|reject]: nothing of it goes through the router any more, either way. `reject` says so: TCP by a
# reset, the rest by ICMP.
cut_path() {
  local transport=$1 verdict=${2:-drop} match
  if [[ $verdict == reject ]]; then
    verdict='reject with icmpx admin-prohibited'
    [[ $transport == @(ctcp|tls|tcp) ]] && verdict='reject with tcp reset'
  fi
  {
    printf 'add table inet sbcut_%s\n' "$transport"
    printf 'add chain inet sbcut_%s forward { type filter hook forward priority -10; }\n' "$transport"
    while read -r match; do
      printf 'add rule inet sbcut_%s forward %s counter %s\n' "$transport" "$match" "$verdict"
    done < <(outer_match "$transport")
  } | on router nft -f -
}
restore_path() { on router nft delete table inet "sbcut_$1"; }

# lose PERCENT TRANSPORT: the router loses that share at random, each way.
lose() {
  local percent=$1 transport=$2 match
  {
    printf 'add table inet sbloss\nadd chain inet sbloss forward { type filter hook forward priority -20; }\n'
    while read -r match; do
      printf 'add rule inet sbloss forward %s numgen random mod 10000 < %d counter drop\n' "$match" "$(awk -v p="$percent" 'BEGIN { print p * 100 }')"
    done < <(outer_match "$transport")
  } | on router nft -f -
}
lost_by_router() { on router nft -j list table inet sbloss | jq '[.nftables[].rule.expr | arrays | .[] | .counter | objects | .packets] | add // 0'; }

# ---- a connection that is watched ------------------------------------------------------------------------------------

# lines_start NAME CLIENT SERVER ADDRESS PORT: a numbered line each 10 ms from CLIENT to SERVER, echoed.
lines_start() {
  local name=$1 from=$2 to=$3 address=$4 port=$5
  need python3
  : > "$WORK/$name-server.log"
  : > "$WORK/$name.log"
  spawn "$name-server" "$to" "$PROGRAMS/line_stream.py" serve "$port"
  wait_log 10 "$name-server" listening
  spawn "$name" "$from" "$PROGRAMS/line_stream.py" send "$address" "$port"
  wait_log 10 "$name-server" connected
}

# lines_gap NAME: the longest silence since the last time this was asked, in ms, whichever end noticed it: LINES_GAP.
# The numbers of lines that both ends have: LINES_THERE, LINES_BACK.
lines_gap() {
  local name=$1 end marks lines gap
  LINES_GAP=0
  for end in "$name-server" "$name"; do
    running "$end" || fail "the inner connection is broken: $(tail -n 1 "$WORK/$end.log")"
    ! log_has "$end" '^broken' || fail "the inner connection is broken: $(grep '^broken' "$WORK/$end.log")"
    marks=$(log_count "$end" '^mark')
    kill -USR1 "${SPAWNED[$end]}"
    wait_for 5 "$end to say how long it was silent" more_marks "$end" "$marks"
    read -r _ _ lines _ gap <<< "$(grep '^mark' "$WORK/$end.log" | tail -n 1)"
    (( gap > LINES_GAP )) && LINES_GAP=$gap
    if [[ $end == "$name" ]]; then LINES_BACK=$lines; else LINES_THERE=$lines; fi
  done
}
more_marks() { (( $(log_count "$1" '^mark') > $2 )); }

# lines_stop NAME: ends it and fails the script where a line is missing; LINES_SENT is how many there were.
lines_stop() {
  local name=$1
  kill -TERM "${SPAWNED[$name]}"
  poll 30 process_gone "${SPAWNED[$name]}" || fail "the sender of lines did not end"
  wait "${SPAWNED[$name]}" || fail "lines were lost: $(tail -n 1 "$WORK/$name.log")"
  unset "SPAWNED[$name]"
  LINES_SENT=$(sed -nE 's/^end sent ([0-9]+) .*/\1/p' "$WORK/$name.log")
  wait_log 5 "$name-server" '^end lines'
  grep -q "^end lines $LINES_SENT " "$WORK/$name-server.log" || fail "lines were lost: $LINES_SENT sent, $(tail -n 1 "$WORK/$name-server.log")"
  stop "$name-server"
}

# ---- figures ---------------------------------------------------------------------------------------------------------

# iperf_udp HOST ADDRESS SECONDS RATE [OPTION…]: "Mbit/s, lost %" of datagrams of 1200 octets, as received.
iperf_udp() {
  local host=$1 address=$2 seconds=$3 rate=$4
  shift 4
  on "$host" iperf3 --client "$address" --udp --bitrate "$rate" --length 1200 --time "$seconds" --connect-timeout 3000 --json "$@" \
    > "$WORK/udp.json" 2> "$WORK/udp.err" || fail "iperf3 --udp from $host to $address: $(jq -r '.error // "no reason given"' "$WORK/udp.json")"
  UDP_LOST=$(jq '.end.sum.lost_percent * 100 | round / 100' "$WORK/udp.json")
  UDP_MBITS=$(jq '.end.sum | .bits_per_second * (1 - .lost_percent / 100) / 1e6 | round' "$WORK/udp.json")
}

# ping_ms HOST ADDRESS [COUNT]: mean round trip; fails the script where one is lost.
ping_ms() {
  ping_ok "$1" "$2" "${3:-10}" || fail "$1: no answer from $2: $(tail -n 2 "$WORK/ping.out" | tr '\n' ' ')"
  sed -nE 's|^rtt [^=]*= [^/]*/([^/]*)/.*|\1|p' "$WORK/ping.out"
}

# row TEXT…: a line of the table that show_table prints.
row() { local IFS=$'\t'; printf '%s\n' "$*" >> "$WORK/table.tsv"; }
show_table() { printf '\n'; table < "$WORK/table.tsv"; printf '\n'; }

# ---- traces ----------------------------------------------------------------------------------------------------------

# sockets_of HOST: what listens, is connected, or reads raw packets there.
sockets_of() { on "$1" sh -c 'ss -Hantuw state all exclude time-wait; ss -H0an'; }

# routes_of HOST: links, routes, rules, name servers, without what changes by itself.
routes_of() {
  on "$1" sh -c 'ip -o link show; ip -4 route show table all; ip -6 route show table all; ip -4 rule; ip -6 rule; cat /etc/resolv.conf' |
    sed -E 's/ (expires|cache) [^ ]+//g' | sort
}

no_sockets() { [[ -z $(sockets_of "$1") ]]; }
no_rules() { [[ -z $(on "$1" nft list ruleset) ]]; }

# no_trace HOST: no firewall rule and no socket is left there.
no_trace() {
  poll 5 no_rules "$1" || fail "$1: firewall rules are left: $(on "$1" nft list ruleset | tr -s '\n\t ' ' ')"
  poll 5 no_sockets "$1" || fail "$1: sockets are left: $(sockets_of "$1" | tr -s '\n ' ' ')"
}
