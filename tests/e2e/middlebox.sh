#!/usr/bin/env bash
# switchback-middlebox on real interfaces: the kernel's TCP goes through several devices in a row whatever they change,
# the capture tells what came in from what went out, the log is lines of JSON, and --expect is the exit status.
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend
# shellcheck source=tests/e2e/devices_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/devices_lib.sh"

e2e_begin
find_middlebox
need python3 jq tshark iperf3
topology_routed
on router sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0

# box_with OPTION…: the router is a middlebox. box_ends STATUS: it ends so, and its summary is $WORK/summary.json.
box_with() {
  : > "$WORK/box.log"
  spawn box router "$SB_MIDDLEBOX" --inner in0 --outer out0 --log "$WORK/box.jsonl" "$@"
  wait_log 10 box '^ready'
}
box_ends() {
  stop box
  tail -n 1 "$WORK/box.log" > "$WORK/summary.json"
  (( STOP_STATUS == $1 )) || fail "switchback-middlebox ended with status $STOP_STATUS instead of $1: $(cat "$WORK/box.log")"
}
# carried [OPTION…]: 100 kB from the client through the box, or back with --reverse. The server is a new one each time:
# with loss the other may not know yet that its client is done.
carried() {
  : > "$WORK/iperf-headend-5201.log"
  iperf_server headend
  on client iperf3 --client 192.0.2.1 --bytes 100000 --connect-timeout 3000 "$@" > "$WORK/iperf.txt" 2>&1 ||
    fail "iperf3: $(tail -n 1 "$WORK/iperf.txt")"
  stop iperf-headend-5201
}

for device in synproxy proxy proxy-random proxy-coalesce asa-default asa-inspect asa-proxyish snort-inline strict-window; do
  box_with --profile "$device:tcp/5201" --impair loss=2% --expect survive --seed 3
  carried
  carried --reverse
  box_ends 0
  jq -e '.decisions | length > 0' "$WORK/summary.json" > "$WORK/jq.out" || fail "$device has decided nothing"
  step "the kernel's TCP goes through $device"
done

box_with --edit isn,strip=sack/ts/wscale,mss=900 --profile lose-outward=5 --profile inspect-dupack:tcp/5201 --pcap "$WORK/box.pcapng" --expect survive
carried
box_ends 0
jq -es 'all(has("ms") and has("flow") and has("what") and has("why") and has("age_ms"))' "$WORK/box.jsonl" > "$WORK/jq.out" || fail "the log is not what it should be"
jq -es 'any(.what == "drop" and .why == "by its number")' "$WORK/box.jsonl" > "$WORK/jq.out" || fail "segment number 5 was not lost"
# fields FILTER FIELD…: of the packets in the capture.
fields() {
  local filter=$1 options=() field
  shift
  for field in "$@"; do options+=(-e "$field"); done
  tshark -r "$WORK/box.pcapng" -o tcp.relative_sequence_numbers:FALSE -Y "$filter" -T fields "${options[@]}" 2> "$WORK/tshark.err"
}
syn='tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.dstport == 5201'
mapfile -t came < <(fields "$syn && frame.interface_name == \"in0\" && frame.packet_flags_direction == 1" tcp.seq tcp.options.mss_val tcp.options.wscale.shift)
mapfile -t left < <(fields "$syn && frame.interface_name == \"out0\" && frame.packet_flags_direction == 2" tcp.seq tcp.options.mss_val tcp.options.wscale.shift)
(( ${#came[@]} > 0 && ${#came[@]} == ${#left[@]} )) || fail "${#came[@]} SYNs came in, and ${#left[@]} went out"
[[ ${came[0]} != "${left[0]}" && ${left[0]} == *$'\t'900* ]] || fail "the SYN is the same before (${came[0]}) and after (${left[0]})"
in_data=$(fields 'tcp.len > 0 && frame.packet_flags_direction == 1 && frame.interface_name == "in0"' frame.number | wc -l)
out_data=$(fields 'tcp.len > 0 && frame.packet_flags_direction == 2 && frame.interface_name == "out0"' frame.number | wc -l)
(( in_data > out_data && out_data > 10 )) || fail "$in_data segments with data came in, $out_data went out: one was lost, at least"
wrong=$(tshark -r "$WORK/box.pcapng" -o tcp.check_checksum:TRUE -Y 'tcp.checksum.status == 0 && frame.packet_flags_direction == 2' 2> "$WORK/tshark.err" | wc -l)
(( wrong == 0 )) || fail "$wrong packets left with a wrong checksum"
step "edits, a lost segment and inspection in a row; the capture tells what came ($in_data segments) from what went ($out_data)"

box_with --profile rst=20:tcp --expect 'die<=5'
box_ends 3
on router "$SB_MIDDLEBOX" --inner in0 --outer out0 --expect perhaps > "$WORK/wrong.log" 2>&1 && fail "--expect perhaps was taken"
log_has wrong 'survive, die, or die<=SECONDS' || fail "the mistake is not explained: $(cat "$WORK/wrong.log")"
step "--expect is the exit status"

box_with --profile udp-blocked --profile nat-240s-rst
on client ping -n -q -c 1 -W 2 192.0.2.1 > "$WORK/ping.out" || fail "ping does not pass where only UDP is blocked"
carried
box_ends 0
step "networks by name"
e2e_end "switchback-middlebox in the way of the kernel's TCP"
