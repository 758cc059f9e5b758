#!/usr/bin/env bash
# Our TCP engine against a kernel's TCP socket at the other end, with loss on the way: an RFC 9329 stream arrives complete
# and with every octet, in order where that is asked for, and each frame as soon as it is complete where it is not.
# Either end sends, either end connects.
#
#   client eth0 198.51.100.2 ─── in0 router out0 ─── 192.0.2.1 eth0 headend
#        engine                   loses                  kernel
#
# usage: ctcp_kernel_peer.sh [--bytes N] [--loss PERCENT] [--family 4|6] [ENGINE_DOES:ENGINE_IS:ORDER…]
#   50 MB of frames, 3 % each way, IPv4; {send,receive}:{client,server}:{ordered,unordered}: the sensible six
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

bytes=50000000 loss=3 family=4 parts=()
while (( $# )); do
  case $1 in
    --bytes) bytes=$2; shift ;;
    --loss) loss=$2; shift ;;
    --family) family=$2; shift ;;
    *) parts+=("$1") ;;
  esac
  shift
done
(( ${#parts[@]} )) || parts=({send,receive}:{client,server}:ordered receive:{client,server}:unordered)

e2e_begin
program=
for directory in ${SB_BIN:+"$SB_BIN"} "$E2E_SOURCE/build/release" "$E2E_SOURCE/build/dev"; do
  [[ -z $program && -x $directory/tests/e2e/programs/ctcp_stream ]] && program=$(realpath "$directory/tests/e2e/programs/ctcp_stream")
done
[[ -n $program ]] || skip "ctcp_stream is not built"
need python3
paths_topology
readonly -A CLIENT=([4]=198.51.100.2 [6]='[2001:db8:2::2]') SERVER=([4]=192.0.2.1 [6]='[2001:db8:1::1]')
# Else a loss would be of a super-segment.
for host in client headend; do on "$host" "$PROGRAMS/offloads.py" eth0 tso=off gso=off; done
lose "$loss" ctcp
row engine does order seconds Mbit/s resent 'frames not in turn' 'segments past a hole'

# The engine is always at the client's host; the one that listens is started first.
listening() { on "$1" ss -Hltn 'sport = 10000' | grep -q .; }
field() { sed -nE "s/.*\\b$2=([0-9.]+).*/\\1/p" "$WORK/$1.log"; }
one() {
  local does role order other sender receiver end lost
  IFS=: read -r does role order <<< "$1"
  if [[ $does == send ]]; then other=receive sender=engine receiver=kernel; else other=send sender=kernel receiver=engine; fi
  rm -f "$WORK/engine.log" "$WORK/kernel.log"
  lost=$(lost_by_router)
  if [[ $role == server ]]; then
    spawn engine client "$program" engine "$does" --listen "${CLIENT[$family]}:10000" "--$order" --bytes "$bytes"
    wait_for 5 "the engine's port" listening client
    spawn kernel headend "$program" kernel "$other" --connect "${CLIENT[$family]}:10000" "--$order" --bytes "$bytes"
  else
    spawn kernel headend "$program" kernel "$other" --listen "${SERVER[$family]}:10000" "--$order" --bytes "$bytes"
    wait_for 5 "the kernel's port" listening headend
    spawn engine client "$program" engine "$does" --connect "${SERVER[$family]}:10000" "--$order" --bytes "$bytes"
  fi
  for end in "$receiver" "$sender"; do
    poll $(( 60 + bytes / 1000000 )) process_gone "${SPAWNED[$end]}" || fail "$1: the $end does not end"
    wait "${SPAWNED[$end]}" || fail "$1: the $end says: $(tail -n 1 "$WORK/$end.log")"
    unset "SPAWNED[$end]"
  done
  (( $(field "$receiver" frames) == (bytes + 999) / 1000 )) || fail "$1: too few frames: $(tail -n 1 "$WORK/$receiver.log")"
  # Otherwise nothing was shown.
  (( bytes < 1000000 )) || (( $(lost_by_router) > lost )) || fail "$1: the router lost nothing"
  [[ $order == ordered || $bytes -lt 1000000 ]] || (( $(field "$receiver" misordered) > 0 )) || fail "$1: nothing overtook a loss"
  row "$role" "${does}s" "$order" "$(field "$receiver" seconds)" \
    "$(awk -v b="$bytes" -v s="$(field "$receiver" seconds)" 'BEGIN { print (s > 0 ? int(b * 8 / s / 1e6) : "-") }')" \
    "$(field "$sender" resent)" "$(field "$receiver" misordered)" "$(field "$receiver" out_of_order)"
}

for part in "${parts[@]}"; do one "$part"; done
show_table
e2e_end "$(( bytes / 1000000 )) MB at $loss % loss each way between the engine and a kernel's TCP, over IPv$family, ${#parts[@]} times"
