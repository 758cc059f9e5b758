#!/usr/bin/env bash
# Mutated copies of a session's own IKE and ESP datagrams arrive at both ends, with each other's addresses, while the
# session carries traffic. Nothing may happen: same session, no restart, no sanitizer report, memory flat.
#
#   client eth0 198.51.100.2 ─── in0 router out0 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#                                   tools/mutate
# usage: hostile.sh [COUNT [SEED [RATE]]]     200000 mutants, seed 1, 8000 a second
# Meant for SB_BIN=build/asan.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

e2e_begin
use_switchback
need jq tcpdump python3
count=${1:-${SB_HOSTILE_COUNT:-200000}} seed=${2:-1} rate=${3:-8000}
# Freed memory that AddressSanitizer holds back would look like growth.
export ASAN_OPTIONS=quarantine_size_mb=4:malloc_context_size=5:exitcode=99:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1
topology_routed
pair_prepare
spawn tcpdump router tcpdump --immediate-mode -Z root -i out0 -U -w "$WORK/session.pcap" 'udp port 500 or udp port 4500'
wait_log 10 tcpdump 'listening on'
headend_start headend "$HEADEND_DIR"
client_start client client "$WORK/alice.toml"
ping_ok client 10.20.0.2 50 || fail "no traffic"
ping_ok client fd20::2 50 || fail "no IPv6 traffic"
# A second connection adds its DELETE and another IKE_SA_INIT and IKE_AUTH to the recording.
stop client
client_start client client "$WORK/alice.toml"
ping_ok client 10.20.0.2 50 || fail "no traffic"
stop tcpdump INT
session=$(session_field id)

drops() { on "$1" cat /proc/net/udp /proc/net/udp6 | awk '$NF ~ /^[0-9]+$/ { sum += $NF } END { print sum + 0 }'; }
mutate() {
  on router python3 "$E2E_SOURCE/tools/mutate/mutate.py" --pcap "$WORK/session.pcap" --ports 500,4500 --count "$1" --seed "$2" \
    --rate "$rate" > "$WORK/mutate-$2.log" 2>&1 || fail "tools/mutate: $(tail -n 1 "$WORK/mutate-$2.log")"
}
check_alive() {
  running headend || fail "the headend ended: $(grep -m 1 -E 'ERROR|runtime error' "$WORK/headend.log")"
  running client || fail "the client ended: $(grep -m 1 -E 'ERROR|runtime error' "$WORK/client.log")"
  [[ $(session_field id) == "$session" ]] || fail "the session was lost"
}

ping_start ping client 10.20.0.2 0.05
# The first quarter fills tables and caches up to their bounds; from there on memory must not grow.
mutate $(( count / 4 )) "$seed"
check_alive
headend_rss=$(rss_kib headend) client_rss=$(rss_kib client)
mutate $(( count - count / 4 )) $(( seed + 1 ))
check_alive
headend_growth=$(( $(rss_kib headend) - headend_rss )) client_growth=$(( $(rss_kib client) - client_rss ))
ping_stop ping 50
cat "$WORK"/mutate-*.log
step "not read, because the sockets were full: $(drops headend) at the headend, $(drops client) at the client"
step "pings: $PING_LOST of $PING_SENT lost, longest gap $PING_GAP_MS ms"
step "memory after the first quarter and its growth: headend $headend_rss KiB + $headend_growth, client $client_rss KiB + $client_growth"
(( headend_growth < 8192 && client_growth < 8192 )) || fail "memory grew"
(( PING_LOST * 50 <= PING_SENT )) || fail "traffic suffered: $PING_LOST of $PING_SENT pings lost"
ping_ok client 10.20.0.2 20 || fail "no traffic afterwards"
ping_ok client fd20::2 20 || fail "no IPv6 traffic afterwards"

stop client
(( STOP_STATUS == 0 )) || fail "the client ended with status $STOP_STATUS"
stop headend
(( STOP_STATUS == 0 )) || fail "the headend ended with status $STOP_STATUS"
if grep -E 'AddressSanitizer|runtime error|LeakSanitizer' "$WORK"/headend.log "$WORK"/client.log; then fail "a sanitizer reported"; fi
e2e_end "$count mutants changed nothing"
