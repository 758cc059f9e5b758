#!/usr/bin/env bash
# The story that tools/demo --story tells, in a short form: it is still true. cTCP classic dies behind a device that
# follows TCP, and lives where that is exempted; the other transports and cTCP resilient live; a client that begins on
# classic and may move ends where the connection inside lives on.
#
# usage: story.sh [--seconds N] [--svg FILE]
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=6 svg=''
while (( $# )); do
  case $1 in
    --seconds) seconds=$2; shift ;;
    --svg) svg=$2; shift ;;
    *) printf 'story.sh: unknown option %s\n' "$1" >&2; exit 2 ;;
  esac
  shift
done

e2e_begin
need jq nft python3
SB_BIN=${SB_BIN:-$E2E_SOURCE/build/dev}
[[ -x $SB_BIN/tools/middlebox/switchback-middlebox ]] || skip "switchback-middlebox is not built"
SB_BIN=$(realpath "$SB_BIN")
export SB_BIN
use_switchback
"$E2E_SOURCE/tools/story/run" --seconds "$seconds" --svg "${svg:-$WORK/story.svg}" --results "$WORK/runs.jsonl" > "$WORK/story.log" 2>&1 ||
  fail "the story was not told to its end: $(grep -m 1 '^FAILED' "$WORK/story.log")"

# holds NAME JQ-CONDITION WHAT
holds() {
  jq -es "map(select(.name == \"$1\"))[0] | $2" "$WORK/runs.jsonl" > /dev/null ||
    fail "$1: $3; it is $(jq -c "select(.name == \"$1\") | {share, gap_ms, died_s, transport, inner}" "$WORK/runs.jsonl")"
}
holds classic '.died_s != null and .inner == "dead"' "it should be dead"
for run in bypass udp esp tls resilient auto; do
  holds "$run" '.died_s == null and .inner == "lives"' "it should live, and the connection inside too"
done
for run in bypass udp esp; do holds "$run" '.share > 95' "of 1 % lost, more than 95 % should arrive"; done
for run in tls resilient; do holds "$run" '.share > 97' "what is lost is sent again"; done
holds resilient '.transport == "ctcp"' "it was told to use ctcp"
holds auto '.gap_ms <= 2000' "no silence should be longer than 2 s"
grep -q 'duplicate ACKs. Nobody answers' "$WORK/story.log" || fail "the story does not show the duplicate ACKs"
[[ $(grep -c '<path' "${svg:-$WORK/story.svg}") == 14 ]] || fail "the plot does not have two areas for each of seven runs"
jq -r '"- \(.title): \(.share) % delivered, longest silence \(.gap_ms) ms, \(if .died_s then "dead after \(.died_s) s" else "lives" end), on \(.transport)"' "$WORK/runs.jsonl"
e2e_end "the story is true"
