#!/usr/bin/env bash
# Packets get lost on one link of a chain of routers, in one direction, and `doctor --locate-loss` has to name link,
# direction and share; with no loss it has to name none; and neither a silent router nor one that limits its ICMP errors
# may be blamed.
#
#   client ─0─ r1 ─1─ r2 ─2─ r3 ─3─ r4 ─4─ headend          10.0.LINK.0/24 and 2001:db8:LINK::/64, .1 on the left
#                                                            and .2 on the right
# usage: locate_loss.sh [--seconds N] [--runs N] [CASE…]
#   A case is TRANSPORT:FAMILY:DIRECTION:LINK:PERCENT[:what else], such as udp:4:out:2:2, or udp:4:none for no loss. What
#   else: silent=N, limited=N (routers), all-limited. Without arguments a short set; --table is the one for the record:
#   0, 0.5, 2 and 5 % on every link. The table true loss → estimate is printed.
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

readonly ROUTERS=4
seconds=60 runs=1 cases=()
while (( $# )); do
  case $1 in
    --seconds) seconds=$2; shift ;;
    --runs) runs=$2; shift ;;
    --table)
      cases+=(udp:4:none)
      for percent in 0.5 2 5; do
        for at in 0 1 2 3 4; do
          for direction in out back; do cases+=("udp:4:$direction:$at:$percent"); done
        done
      done
      ;;
    *) cases+=("$1") ;;
  esac
  shift
done
if (( ${#cases[@]} == 0 )); then
  seconds=15
  cases=(udp:4:out:2:5:limited=1 esp:6:back:1:5:silent=4)
fi

e2e_begin
use_switchback client headend
need jq nft
host_add client
for (( i = 1; i <= ROUTERS; ++i )); do host_add "r$i"; done
host_add headend
host_add server

# node N: the host at that place of the chain.
node() { if (( $1 == 0 )); then echo client; elif (( $1 > ROUTERS )); then echo headend; else echo "r$1"; fi; }

for (( i = 0; i <= ROUTERS; ++i )); do
  left=$(node "$i") right=$(node $(( i + 1 )))
  link "$left" right "$right" left
  address "$left" right "10.0.$i.1/24" "2001:db8:$i::1/64"
  address "$right" left "10.0.$i.2/24" "2001:db8:$i::2/64"
done
for (( i = 0; i <= ROUTERS; ++i )); do
  right=$(node $(( i + 1 ))) left=$(node "$i")
  # All that is further to the right goes right, the rest left.
  for (( far = 0; far <= ROUTERS; ++far )); do
    if (( far > i )); then
      route "$left" "10.0.$far.0/24" via "10.0.$i.2"
      route "$left" "2001:db8:$far::/64" via "2001:db8:$i::2"
    elif (( far < i )); then
      route "$right" "10.0.$far.0/24" via "10.0.$i.1"
      route "$right" "2001:db8:$far::/64" via "2001:db8:$i::1"
    fi
  done
done
for (( i = 1; i <= ROUTERS; ++i )); do
  on "r$i" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
done
topology_lan

PAIR_ADDRESS=10.0.$ROUTERS.2 pair_prepare --address "2001:db8:$ROUTERS::2"
for family in 4 6; do
  address=10.0.$ROUTERS.2
  [[ $family == 4 ]] || address=2001:db8:$ROUTERS::2
  sed -E "s/^addresses = .*/addresses = [\"$address\"]/" "$WORK/alice.toml" > "$WORK/alice$family.toml"
  chmod 600 "$WORK/alice$family.toml"
done
headend_start headend "$HEADEND_DIR"
wait_for 5 "the chain to carry packets" ping_ok client "10.0.$ROUTERS.2"
wait_for 5 "the chain to carry IPv6" ping_ok client "2001:db8:$ROUTERS::2"

# lose_on LINK DIRECTION PERCENT: where the link's packets arrive, before anything looks at their TTL; at the ends, whose
# packet sockets see a packet before any rule does, where the last router sends them.
lose_on() {
  local host interface=left hook=prerouting match=iifname
  if [[ $2 == out ]]; then host=$(node $(( $1 + 1 ))); else host=$(node "$1") interface=right; fi
  case $host in
    client) host=r1 interface=left hook=postrouting match=oifname ;;
    headend) host=r$ROUTERS interface=right hook=postrouting match=oifname ;;
  esac
  LOSER=$host
  on "$host" nft "add table inet sbloss; add chain inet sbloss lose { type filter hook $hook priority -400; }
    add rule inet sbloss lose $match $interface meta l4proto { tcp, udp, esp, icmp } numgen random mod 10000 < $(awk -v p="$3" 'BEGIN { print p * 100 }') counter drop
    add rule inet sbloss lose $match $interface icmpv6 type time-exceeded numgen random mod 10000 < $(awk -v p="$3" 'BEGIN { print p * 100 }') counter drop"
}
silence() {
  on "r$1" nft "add table inet sbsilent; add chain inet sbsilent out { type filter hook output priority 0; }
    add rule inet sbsilent out icmp type time-exceeded drop; add rule inet sbsilent out icmpv6 type time-exceeded drop"
}

failed=0
# judge CASE
judge() {
  local transport family direction at percent rest extra other found certainty share low high name status=0 verdict=yes
  IFS=: read -r transport family direction at percent rest <<< "$1"
  step "$1"
  LOSER=
  [[ $direction == none ]] || lose_on "$at" "$direction" "$percent"
  for extra in ${rest//,/ }; do
    case $extra in
      silent=*) silence "${extra#*=}" ;;
      limited=*) on "r${extra#*=}" sysctl -qw net.ipv4.icmp_ratelimit=1000 net.ipv6.icmp.ratelimit=1000 ;;
      all-limited) for (( i = 1; i <= ROUTERS; ++i )); do on "r$i" sysctl -qw net.ipv4.icmp_ratelimit=1000 net.ipv6.icmp.ratelimit=1000; done ;;
      *) fail "no $extra in a case" ;;
    esac
  done
  on client "$SB_CLIENT" doctor --profile "$WORK/alice$family.toml" --locate-loss --transport "$transport" --seconds "$seconds" --json \
    > "$WORK/found.json" 2> "$WORK/doctor.log" || status=$?
  [[ -z $LOSER ]] || on "$LOSER" nft delete table inet sbloss
  for (( i = 1; i <= ROUTERS; ++i )); do
    on "r$i" sh -c 'nft delete table inet sbsilent 2> /dev/null; sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0'
  done
  jq -e '.out' "$WORK/found.json" > /dev/null || fail "the doctor said no JSON: $(tail -n 3 "$WORK/doctor.log")"
  if [[ $direction == none ]]; then
    [[ $status == 0 && $(jq '.out.lossy or .back.lossy' "$WORK/found.json") == false ]] || verdict=NO
    row "$1" "none" "$(jq -r '"out ≤ \(.out.interval_95[1] * 100 * 1000 | round / 1000) %, back ≤ \(.back.interval_95[1] * 100 * 1000 | round / 1000) %"' "$WORK/found.json")" "-" "-" "$verdict"
  else
    other=back
    [[ $direction == out ]] || other=out
    # Hops are numbered from the sender; a link too. What is named may be wider than the link, never beside it.
    local link=$at
    [[ $direction == out ]] || link=$(( ROUTERS - at ))
    read -r found certainty share low high <<< "$(jq -r --argjson link "$link" ".$direction"' | if (.places | length) == 0 then "none - 0 0 0" else .places[0] |
      "\(.from_hop)-\(.to_hop) \(.certainty) \(.share * 100) \(.interval_95[0] * 100) \(.interval_95[1] * 100)" end' "$WORK/found.json")"
    name=$(jq -r ".$direction.places[0] | \"\(.from) → \(.to)\"" "$WORK/found.json")
    [[ $(jq ".$direction.places | length" "$WORK/found.json") == 1 && $(jq ".$other.lossy" "$WORK/found.json") == false ]] || verdict=NO
    [[ $found == none ]] || (( ${found%-*} <= link && ${found#*-} > link )) || verdict=NO
    [[ $found != none ]] || verdict=NO
    # A 95 % interval misses one time in twenty: as far again as it is wide it must not be.
    awk -v p="$percent" -v l="$low" -v h="$high" 'BEGIN { w = (h - l) / 2; exit !(p >= l - w && p <= h + w) }' || verdict=NO
    [[ $verdict == NO || ( $found == "$link-$(( link + 1 ))" && $certainty != unknown ) || -n $rest ]] || verdict=wide
    row "$1" "$percent %" "$(printf '%.2f %% (%.2f to %.2f)' "$share" "$low" "$high")" "$name" "$certainty" "$verdict"
  fi
  [[ $verdict != NO ]] || { failed=$(( failed + 1 )); jq -c . "$WORK/found.json" >&2; }
}

row "case" "true" "found" "between" "certainty" "right"
for one in "${cases[@]}"; do
  for (( run = 0; run < runs; ++run )); do judge "$one"; done
done
show_table
(( failed == 0 )) || fail "$failed of $(( ${#cases[@]} * runs )) were not found rightly"
e2e_end "$(( ${#cases[@]} * runs )) of $(( ${#cases[@]} * runs )) found rightly"
