#!/usr/bin/env bash
# `kick` ends a session that may come back; `user remove` ends it for good.
#
#   client eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

e2e_begin
use_switchback
need jq
topology_direct
pair_prepare
pair_up

session=$(session_field id)
new_session() { local now; now=$(session_field id); [[ $now != "$session" && $now != no* ]]; }
on headend "$SB_HEADEND" kick "$session" --dir "$HEADEND_DIR" > "$WORK/kick.log" 2>&1 || fail "kick: $(tail -n 1 "$WORK/kick.log")"
wait_for 15 "the kicked client to come back" new_session
wait_for 10 "traffic after the kick" ping_ok client 10.20.0.2
step "kicked, and back by itself"

on headend "$SB_HEADEND" user remove alice --dir "$HEADEND_DIR" > "$WORK/remove.log" 2>&1 || fail "user remove: $(tail -n 1 "$WORK/remove.log")"
wait_for 5 "alice's session to end" has_sessions alice 0
if ping_ok client 10.20.0.2 1; then fail "traffic still flows after user remove"; fi
step "removed: the session ended"

wait_for 20 "the refused client to give up" process_gone "${SPAWNED[client]}"
wait "${SPAWNED[client]}" && fail "the refused client ended with status 0"
unset 'SPAWNED[client]'
step "refused: $(tail -n 1 "$WORK/client.log")"
if on client timeout 30 "$SB_CLIENT" connect --profile "$WORK/alice.toml" > "$WORK/again.log" 2>&1; then fail "a removed user connected again"; fi
has_sessions alice 0 || fail "a removed user has a session"
step "and again: $(tail -n 1 "$WORK/again.log")"
e2e_end "kick and user remove do what they say"
