#!/usr/bin/env bash
# What Wireshark, which nobody here wrote, makes of cTCP. Classic: every segment decodes as ISAKMP or ESP, with the
# trailer's fields as they should be. Resilient, with loss on the router: retransmissions fill the holes, no ACK of unseen
# data, nothing outside the window, and never other octets where some were sent before.
#
#   client eth0 198.51.100.2 ─── in0 router out0 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#        tcpdump                 loses                      tcpdump
#
# usage: ctcp_decode.sh [--loss PERCENT] [--seconds N] [--rate RATE] [classic|resilient]…
#   2 % each way, 4 s of UDP at 8M each way inside, both parts
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

loss=2 seconds=4 rate=8M parts=()
while (( $# )); do
  case $1 in
    --loss) loss=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --rate) rate=$2; shift ;;
    *) parts+=("$1") ;;
  esac
  shift
done
(( ${#parts[@]} )) || parts=(classic resilient)

e2e_begin
use_switchback
need tcpdump tshark iperf3 python3
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"
iperf_server server

capture_start() {
  spawn "tcpdump-$1" "$2" tcpdump --immediate-mode -Z root -B 65536 -i eth0 -U -w "$WORK/$1.pcap" 'tcp port 10000'
  wait_log 10 "tcpdump-$1" 'listening on'
}
capture_stop() {
  stop "tcpdump-$1" INT
  log_has "tcpdump-$1" '^0 packets dropped by kernel' || fail "tcpdump lost packets: $(tail -n 1 "$WORK/tcpdump-$1.log")"
}
# fields PCAP FIELD…: tab-separated, of the TCP segments, without what would put segments together again.
fields() {
  local pcap=$1 field options=()
  shift
  for field; do options+=(-e "$field"); done
  tshark -r "$pcap" -o tcp.desegment_tcp_streams:FALSE -d tcp.port==10000,data -Y tcp -T fields "${options[@]}" 2>> "$WORK/tshark.err"
}

classic() {
  local values
  capture_start classic client
  client_start client client "$WORK/alice4.toml" --transport ctcp --ctcp-mode classic
  ping_ok client 10.20.0.2 20 || fail "no traffic"
  ping_ok client fd20::2 20 || fail "no IPv6 traffic"
  stop client
  wait_for 5 "the headend to hear that alice has gone" has_sessions alice 0
  capture_stop classic
  decoded() { tshark -r "$WORK/classic.pcap" -d tcp.port==10000,tcpencap "$@" 2>> "$WORK/tshark.err"; }
  ike=$(decoded -Y 'tcpencap && isakmp' | wc -l)
  esp=$(decoded -Y 'tcpencap && esp' | wc -l)
  data=$(decoded -Y 'tcp.len > 0' | wc -l)
  malformed=$(decoded -Y '_ws.malformed' | wc -l)
  step "classic: $data segments with data: $ike ISAKMP, $esp ESP, $malformed malformed; exchanges $(decoded -Y isakmp -T fields -e isakmp.exchangetype | sort | uniq -c | tr -s ' \n' ' ')"
  (( ike + esp == data && malformed == 0 )) || fail "not every segment was decoded"
  (( ike >= 6 && esp >= 80 )) || fail "too little was decoded: both exchanges, the DELETE, and 40 pings with answers were expected"
  values=$(decoded -Y tcpencap -T fields -e tcpencap.zero -e tcpencap.magic -e tcpencap.proto -e tcpencap.magic2 | sort | uniq -c)
  step "zero, magic, protocol, magic 2:$(printf '%s' "$values" | tr -s ' \t\n' ' ')"
  ! grep -qvE '00:?00:?00:?00\s+21:?45:?6c:?69:?10\s+(0x11|0x32|17|50)\s+01:?00$' <<< "$values" || fail "a trailer has other constants: $values"
  values=$(decoded -Y 'tcpencap && isakmp' -T fields -e ip.src -e tcpencap.ikedirection | sort | uniq -c)
  step "IKE direction:$(printf '%s' "$values" | tr -s ' \t\n' ' ')"
  ! grep -qvE '198\.51\.100\.2\s+0x4000$|192\.0\.2\.1\s+0x0000$' <<< "$values" || fail "the direction of IKE is not what it should be: $values"
  values=$(decoded -Y 'tcpencap && esp' -T fields -e tcpencap.seq -e tcpencap.espzero | sort -u)
  [[ $values =~ ^(0x)?0+[[:space:]]+(0x)?0+$ ]] || fail "ESP trailers have a sequence or direction: $values"
  # One packet, one segment: no options but none, never sent twice.
  (( $(decoded -Y 'tcp.analysis.retransmission' | wc -l) == 0 )) || fail "classic sent something twice"
}

resilient() {
  local end line flags=(retransmission fast_retransmission spurious_retransmission out_of_order lost_segment ack_lost_segment
    duplicate_ack window_full zero_window keep_alive) counts figures
  capture_start at-client client
  capture_start at-headend headend
  lose "$loss" ctcp
  client_start client client "$WORK/alice4.toml" --transport ctcp --ctcp-mode resilient
  on client iperf3 --client 10.20.0.2 --udp --bidir --bitrate "$rate" --length 1200 --time "$seconds" > "$WORK/iperf-udp.log" || fail "iperf3"
  ping_ok client 10.20.0.2 50 || step "pings: $(grep -o '[0-9.]*% packet loss' "$WORK/ping.out")"
  both_run_over ctcp || fail "the session is not on ctcp"
  let_pass 1.5  # what is under repair at the end is either filled or given up by then
  stop client
  capture_stop at-client
  capture_stop at-headend
  step "the router lost $(lost_by_router) segments"
  for end in at-client at-headend; do
    mapfile -t counts < <(fields "$WORK/$end.pcap" "${flags[@]/#/tcp.analysis.}" |
      awk -F '\t' -v n="${#flags[@]}" '{ for (i = 1; i <= n; i++) if ($i != "") seen[i]++ } END { for (i = 1; i <= n; i++) print seen[i] + 0 }')
    line=
    for i in "${!flags[@]}"; do line+=" ${flags[i]}=${counts[i]}"; done
    step "Wireshark's analysis $end:$line"
    (( counts[0] > 0 )) || fail "nothing was sent again in spite of loss"
    (( counts[5] == 0 )) || fail "data was acknowledged that had not been seen"
  done
  mapfile -t columns < <("$PROGRAMS/tcp_holes.py" columns)
  for end in at-client at-headend; do fields "$WORK/$end.pcap" "${columns[@]}" > "$WORK/$end.tsv"; done
  "$PROGRAMS/tcp_holes.py" 198.51.100.2 192.0.2.1 "$WORK/at-client.tsv" "$WORK/at-headend.tsv" > "$WORK/holes.out" 2> "$WORK/holes.log" ||
    fail "tcp_holes.py: $(tail -n 1 "$WORK/holes.log")"
  while read -r line; do
    step "$line"
    declare -A figures=()
    for pair in $line; do figures[${pair%%=*}]=${pair#*=}; done
    (( figures[segments] > 500 )) || fail "too little traffic to judge by"
    (( figures[holes] > 0 && figures[filled] > 0 )) || fail "no hole was filled"
    (( figures[open] == 0 )) || fail "holes were neither filled nor given up"
    (( figures[filled] * 20 >= figures[holes] * 19 )) || fail "more than a twentieth of the holes were given up"
    (( figures[outside] == 0 )) || fail "segments outside the peer's window"
    (( figures[ack_unseen] == 0 )) || fail "data was acknowledged that had not been seen"
    (( figures[changed] == 0 )) || fail "other octets were sent where some had been sent before"
  done < "$WORK/holes.out"
}

for part in "${parts[@]}"; do "$part"; done
e2e_end "Wireshark agrees with ${parts[*]} cTCP"
