#!/usr/bin/env bash
# Many clients on one headend: they connect, idle, talk, reconnect in a storm beside those who talk, bear a flood of
# IKE_SA_INIT with made-up sources, and come back when the headend was killed and started again. Short by default;
# the long form measures, and prints a table:
#
#   scale.sh --sizes 100,1000,10000 --rate 500 --hold 60 --active 1000 --echo-rate 10 --talk 20 --storm 500
#            --flood 20000 --json scale.json --svg scale.svg
#
#   load eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend (inner address 10.96.0.1)
#        clients 10.64.0.0/16, the flood's sources 10.68.0.0/14: all of them are the load host's
#
# usage: scale.sh [--sizes N,N…] [--rate R] [--hold S] [--active M] [--echo-rate P] [--talk S] [--storm R] [--flood R]
#                 [--liveness S] [--within S] [--add OPTION] [--json FILE] [--svg FILE]
#   --rate       connections begun a second           --active, --echo-rate, --talk  who talks, how much, how long
#   --storm      sessions a second that reconnect     --flood     requests a second; 0: none
#   --liveness   of clients, seconds (short form: 3)  --within    seconds in which all must be back after the restart
#   --add        passed to `user add`, --psk say
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

sizes=300 rate=150 hold=2 active=50 echo_rate=5 talk=4 storm=100 flood=2000 liveness=3 within=60 add='' json='' svg=''
while (( $# )); do
  case $1 in
    --sizes | --rate | --hold | --active | --echo-rate | --talk | --storm | --flood | --liveness | --within | --add | --json | --svg)
      (( $# > 1 )) || { printf '%s needs a value\n' "$1" >&2; exit 2; }
      declare "$(tr - _ <<< "${1#--}")=$2"
      shift 2
      ;;
    *) sed -n '2,/^# shellcheck/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d' >&2; exit 2 ;;
  esac
done
IFS=, read -ra all_sizes <<< "$sizes"
largest=0
for size in "${all_sizes[@]}"; do
  [[ $size =~ ^[1-9][0-9]{0,5}$ ]] || { printf -- '--sizes: "%s" is no number of sessions\n' "$size" >&2; exit 2; }
  (( size <= largest )) || largest=$size
done

e2e_begin
use_switchback load headend
need jq
[[ -z $svg ]] || need python3

host_add load
host_add headend
link load eth0 headend eth0
address load eth0 192.0.2.2/24
address headend eth0 192.0.2.1/24
on load ip route add local 10.64.0.0/16 dev lo
on headend ip route add 10.64.0.0/13 via 192.0.2.2

HEADEND_DIR=$WORK/headend
headend_init headend "$HEADEND_DIR" 192.0.2.1 --pool 10.96.0.0/16 --pool6 none --route 10.20.0.0/24
# Exactly full: who reconnects replaces a session, and must get in all the same.
sed -i "s/^# *sessions = .*/sessions = $largest/" "$HEADEND_DIR/headend.toml"
grep -q "^sessions = $largest" "$HEADEND_DIR/headend.toml" || fail "headend.toml has no limits.sessions to set"
seq 1 "$largest" | sed 's/^/user/' > "$WORK/names"
start=$(now_ms)
# shellcheck disable=SC2086  # an option, or nothing
on headend "$SB_HEADEND" user add --from "$WORK/names" --out "$WORK/users" --dir "$HEADEND_DIR" $add > "$WORK/users.log" 2>&1 ||
  fail "user add --from: $(tail -n 1 "$WORK/users.log")"
step "$largest users added in $(( $(now_ms) - start )) ms"

# start_headend: its process number goes to where switchback-load looks for it.
start_headend() {
  headend_start headend "$HEADEND_DIR" --log-level warning
  printf '%s\n' "${SPAWNED[headend]}" > "$WORK/headend.pid"
}

# load_begin NAME PHASE…: runs the clients in the background, as program NAME; their measurements go to NAME.json.
load_begin() {
  local name=$1
  shift
  spawn "$name" load "$SB_LOAD" run --profiles "$WORK/users" --sources 10.64.0.0/16 --echo 10.96.0.1 \
    --liveness "$liveness" --headend-pid "$WORK/headend.pid" --json "$WORK/$name.json" "$@"
}

# load_end NAME SECONDS: until they have finished, every phase as it should.
load_end() {
  local status=0
  poll "$2" process_gone "${SPAWNED[$1]}" || fail "the clients of $1 have not finished within $2 s"
  wait "${SPAWNED[$1]}" || status=$?
  unset "SPAWNED[$1]"
  sed 's/^/    /' "$WORK/$1.log"
  (( status == 0 )) || fail "the clients of $1 ended with status $status: see above"
}

# figure NAME PHASE FILTER: of the first phase that begins so.
figure() { jq -r --arg phase "$2" "first(.phases[] | select(.phase | startswith(\$phase))) | $3" "$WORK/$1.json"; }

# at_least VALUE LEAST WHAT
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a >= b) }' || fail "$3: $1, at least $2 are wanted"; }

measured=()
for size in "${all_sizes[@]}"; do
  name=load-$size
  measured+=("$WORK/$name.json")
  talkers=$(( active < size ? active : size / 2 ))
  (( talkers > 0 )) || talkers=1
  start_headend
  phases=("ramp=$size@$rate" "hold=$hold" "active=$talkers@$echo_rate,$talk")
  (( size == talkers )) || phases+=("active=$talkers@$echo_rate,$talk+storm=$storm,$(( size / storm + 60 ))")
  (( flood == 0 )) || phases+=("active=$talkers@$echo_rate,$(( talk + 1 ))")
  phases+=("restart=$within")
  load_begin "$name" "${phases[@]}"
  limit=$(( size / rate + size / storm + hold + 4 * talk + 2 * 60 + within ))
  if (( flood )); then
    wait_log "$limit" "$name" "^active=$talkers@$echo_rate,$(( talk + 1 )) begins"
    on load "$SB_LOAD" flood --to 192.0.2.1 --sources 10.68.0.0/14 --rate "$flood" --seconds "$talk" > "$WORK/flood-$size.log" 2>&1 ||
      fail "flood: $(tail -n 1 "$WORK/flood-$size.log")"
  fi
  wait_log "$limit" "$name" '^restart=[0-9]+ begins'
  stop headend KILL
  start_headend
  load_end "$name" "$limit"
  stop headend

  [[ $(figure "$name" hold '.losses | length') == 0 ]] || fail "sessions were lost while nothing happened"
  at_least "$(figure "$name" "active=$talkers@$echo_rate,$talk" .answered_share_median)" 0.99 "echoes answered without a storm"
  if (( size > talkers )); then
    at_least "$(jq -r '.phases[] | select(.phase | contains("storm")) | .answered_share_worst' "$WORK/$name.json")" 0.9 \
      "share of the worst live session's echoes that were answered in a storm"
  fi
  if (( flood )); then
    at_least "$(figure "$name" "active=$talkers@$echo_rate,$(( talk + 1 ))" .answered_share_worst)" 0.9 \
      "share of the worst live session's echoes that were answered in a flood"
  fi
  step "$size sessions: $(figure "$name" ramp '.handshakes_per_second | floor') handshakes/s, $(figure "$name" hold \
    '.headend.bytes_per_session // 0 | . / 102.4 | floor / 10') KiB of the headend's memory each, all back $(figure "$name" \
    restart '.all_back_seconds * 10 | floor / 10') s after the first noticed the restart"
done

jq -s '{sizes: .}' "${measured[@]}" > "$WORK/scale.json"
if command -v python3 > /dev/null; then
  python3 "$E2E_SOURCE/tools/load/growth.py" "$WORK/scale.json" ${svg:+--svg "$svg"}
fi
[[ -z $json ]] || cp "$WORK/scale.json" "$json"
e2e_end "$sizes sessions on one headend"
