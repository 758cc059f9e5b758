#!/usr/bin/env bash
# Classic cTCP through a router that drops what its connection tracking calls invalid, with loss: without rules it dies;
# with what switchback-firewall prints, pasted into a shell of the router, it lives. Rolled back, it dies again.
#
#   client eth0 198.51.100.2 ─── in0 router out0 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#                               loses, ct state invalid drop
#
# usage: firewall_rules.sh [--loss PERCENT] [--seconds N] [--family 4|6] [syntax|nftables|iptables|tolerant]…
#   3 % each way, 20 s of load, IPv4, all of them; `syntax` only has the vendors' own checkers look at the output
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

loss=3 seconds=20 family=4 parts=()
while (( $# )); do
  case $1 in
    --loss) loss=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --family) family=$2; shift ;;
    *) parts+=("$1") ;;
  esac
  shift
done
(( ${#parts[@]} )) || parts=(syntax nftables iptables tolerant)

e2e_begin
use_switchback client headend firewall
paths_topology
# shellcheck disable=SC2119  # no options of this script
paths_prepare
profile=$WORK/alice$family.toml

# Both families' rules are as a careful admin has them: what is not known is dropped, and so is what is not in the window.
on router sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0 net.netfilter.nf_conntrack_tcp_loose=0
on router nft -f - << 'END'
table inet filter {
  counter invalid { }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid counter name invalid drop
    ct state established,related accept
    ct state new iifname "in0" accept
  }
}
END
trials=0
before=$(on router nft list chain inet filter forward)
invalid_dropped() { on router nft -j list counter inet filter invalid | jq '[.nftables[].counter | objects | .packets] | add'; }

# generate VENDOR MODE PART > FILE
generate() { "$SB_FIREWALL" "$1" --profile "$profile" --mode "$2" --part "$3"; }
# paste FILE: into a shell of the router, all or nothing.
paste_on_router() { on router bash -eu "$1" > "$WORK/paste.out" 2>&1 || fail "the router's shell refused $1: $(tail -n 3 "$WORK/paste.out")"; }

# The programs' own checkers, given the whole output as it is printed, with all comments.
syntax() {
  local vendor mode checked=0
  # The whole, both families, narrowed and not.
  for vendor in nftables iptables; do
    if [[ $vendor == iptables ]] && ! command -v iptables-restore > /dev/null; then
      step "iptables is not installed: not checked"
      continue
    fi
    for mode in permit bypass tolerant; do
      for more in '' '--clients 198.51.100.0/24 --clients 2001:db8:2::/64' '--interface out0 --inside in0' '--port 10000 --port 10001'; do
        {
          # shellcheck disable=SC2016  # expanded by the router's shell
          printf '%s\n' 'nft() { if [[ $1 == -f ]]; then command nft -c "$@"; else command nft "$@"; fi; }' \
            'iptables-restore() { command iptables-restore --test "$@"; }' \
            'ip6tables-restore() { command ip6tables-restore --test "$@"; }' 'sysctl() { command sysctl -n "${2%%=*}" > /dev/null; }'
          # shellcheck disable=SC2086  # words
          "$SB_FIREWALL" "$vendor" --profile "$WORK/alice.toml" --mode "$mode" $more
        } > "$WORK/check.sh"
        paste_on_router "$WORK/check.sh"
        (( checked += 1 ))
      done
    done
  done
  [[ $(on router nft list chain inet filter forward) == "$before" ]] || fail "a check has applied something"
  # That a checker looks at all: a broken address must not pass.
  generate nftables bypass rule | sed 's/daddr [0-9a-f.:]*/daddr 300.1.2.3.4/' > "$WORK/broken.sh"
  if on router bash -eu "$WORK/broken.sh" > "$WORK/paste.out" 2>&1; then fail "nft takes a broken address"; fi
  step "$checked texts for nftables and iptables pass nft -c and iptables-restore --test"
}

# lose_before PERCENT: as `lose`, but before the router's connection tracking has seen the segment, as loss elsewhere is.
lose_before() {
  on router nft -f - << END
add table inet sbloss
delete table inet sbloss
add table inet sbloss
add chain inet sbloss pre { type filter hook prerouting priority -310; }
add rule inet sbloss pre tcp dport 10000 numgen random mod 10000 < $(( $1 * 100 )) drop
add rule inet sbloss pre tcp sport 10000 numgen random mod 10000 < $(( $1 * 100 )) drop
END
}

# load: a download, as of a film, at 24M without retransmission, and a ping each 60 ms. Classic cTCP acknowledges only by
# what it sends anyway, so the pings carry the acknowledgements: one each 200 kB. Connection tracking lets pass twice the
# window behind the last one it saw, 131 kB, and bears a hole as large; behind a late or lost ping the hole is larger, and
# nothing closes it: from then on every segment is invalid. At this rate that happens even without loss ("no rules, no
# loss" shows it); at 16M it took luck to see it at 3 %.
# LIVED: in how many half seconds of the second half an answer came, in percent; LAST: of the last answer, in seconds.
load() {
  local name=$1 port=$2 start
  iperf_server server "$port"
  start=$(now_ms)
  spawn "ping-$port" client ping -n -D -i 0.06 -s 600 -W 2 "${INNER_ADDRESS[4]}"
  spawn "iperf-$port" client iperf3 --client "${INNER_ADDRESS[4]}" --port "$port" --udp --reverse --bitrate 24M --length 1000 --time "$seconds" --connect-timeout 3000
  let_pass "$seconds"
  stop "ping-$port" INT
  stop "iperf-$port" KILL
  stop "iperf-server-$port" KILL
  read -r LIVED LAST < <(awk -F '[][]' -v start="$start" -v seconds="$seconds" '
    /icmp_seq=[0-9]+ ttl=/ {
      t = $2 - start / 1000
      last = t
      if (t >= seconds / 2 && t < seconds) slots[int(t * 2)] = 1
    }
    END { n = 0; for (s in slots) n++; printf "%d %.1f\n", n * 100 / seconds, last }' "$WORK/ping-$port.log")
}

# Segments of an earlier trial's connection, of which conntrack has just been told to forget everything, may still come.
readonly STRAGGLERS=20

# A connection has died where the client finds that nothing comes through any more: it then opens another, over which the
# session goes on, until that dies.
# trial NAME lives|dies|shown: connects on classic cTCP, and looks how long traffic flows; `shown` is without loss, and without a verdict.
trial() {
  local name=$1 wanted=$2 dropped deaths
  (( trials += 1 ))
  forget_networks
  on router conntrack -F > "$WORK/conntrack.out" 2>&1 || true
  dropped=$(invalid_dropped)
  lose_before 0  # not while it connects: that is not what is tried here
  client_start client client "$profile" --transport ctcp --ctcp-mode classic
  lose_before "$([[ $wanted == shown ]] && echo 0 || echo "$loss")"
  load "$name" $(( 5300 + trials ))
  stop client
  dropped=$(( $(invalid_dropped) - dropped ))
  deaths=$(log_count client '^stalled ctcp')
  wait_for 10 "the headend to let go of alice" no_session
  step "$name: $deaths connections died; answers in $LIVED % of the second half, the last after $LAST s; the router dropped $dropped segments as invalid"
  row "$name" "$deaths" "$dropped" "$LIVED %"
  case $wanted in
    lives) (( deaths == 0 && dropped <= STRAGGLERS && LIVED >= 90 )) || fail "$name: classic cTCP died although it is exempt" ;;
    dies) (( deaths > 0 && dropped > 500 )) || return 1 ;;
  esac
}
# A report of the client at the right moment saves a connection: hence up to three trials, of which one has to die.
dies() {
  local again
  for again in '' ', again' ', once more'; do
    if trial "$1$again" dies; then return; fi
  done
  fail "$1: classic cTCP did not die"
}
no_session() { headend_json headend sessions > /dev/null && on headend "$SB_HEADEND" kick --all --dir "$HEADEND_DIR" > /dev/null 2>&1; has_sessions alice 0; }

applied() {
  local vendor=$1 mode=$2
  {
    generate "$vendor" "$mode" permit
    generate "$vendor" "$mode" rule
  } > "$WORK/apply-$vendor-$mode.sh"
  paste_on_router "$WORK/apply-$vendor-$mode.sh"
  trial "$vendor, $mode" lives
  generate "$vendor" "$mode" rollback > "$WORK/undo-$vendor-$mode.sh"
  paste_on_router "$WORK/undo-$vendor-$mode.sh"
}

without_rules() {
  row rules "connections that died" "dropped as invalid" "answers in the 2nd half"
  trial "no rules, no loss" shown
  dies "no rules"
}
nftables() {
  applied nftables bypass
  [[ $(on router nft list chain inet filter forward) == "$before" ]] || fail "rules are left after the rollback"
  ! on router nft list table inet switchback_ctcp > /dev/null 2>&1 || fail "the table is left after the rollback"
  dies "rolled back"
}
iptables() {
  if ! command -v iptables-restore > /dev/null; then
    step "iptables is not installed: not tried"
    return
  fi
  # The same router, with its rules in iptables.
  on router nft delete chain inet filter forward
  on router iptables-restore << 'END'
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A FORWARD -m conntrack --ctstate NEW -i in0 -j ACCEPT
COMMIT
END
  [[ $family == 4 ]] || on router ip6tables-restore << 'END'
*filter
:FORWARD DROP [0:0]
-A FORWARD -p ipv6-icmp -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A FORWARD -m conntrack --ctstate NEW -i in0 -j ACCEPT
COMMIT
END
  local program=iptables
  [[ $family == 4 ]] || program=ip6tables
  # shellcheck disable=SC2317  # called by trial
  invalid_dropped() { on router "$program" -vnxL FORWARD | awk '/INVALID/ { print $1; exit }'; }
  local rules
  rules=$(on router "$program" -S)
  dies "iptables, no rules"
  applied iptables bypass
  [[ $(on router "$program" -S) == "$rules" ]] || fail "iptables rules are left after the rollback"
  ! on router "$program" -t raw -S | grep -qv '^-P' || fail "iptables rules are left in raw after the rollback"
}
tolerant() {
  local liberal
  applied nftables tolerant
  liberal=$(on router sysctl -n net.netfilter.nf_conntrack_tcp_be_liberal)
  [[ $liberal == 0 ]] || fail "be_liberal is $liberal after the rollback"
}

for part in "${parts[@]}"; do
  [[ $part == syntax ]] && syntax
done
if [[ ${parts[*]} != syntax ]]; then
  need conntrack iperf3
  headend_start headend "$HEADEND_DIR"
    without_rules
  # iptables takes the router's nftables rules away, so it comes last.
  for part in nftables tolerant iptables; do
    [[ " ${parts[*]} " != *" $part "* ]] || "$part"
  done
  show_table
fi
e2e_end "${parts[*]}: the rules that switchback-firewall prints are what the router takes, and what keeps classic cTCP alive"
