#!/usr/bin/env bash
# With the key logs of one end, tshark decrypts the whole session, IKE and ESP, and finds nothing malformed.
#
#   client eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#                                       tcpdump
# usage: keylog.sh [headend|client]      whose key log is used (client)
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

e2e_begin
use_switchback
need jq tcpdump tshark
whose=${1:-client}
topology_direct
pair_prepare
printf '\n[crypto]\nike = ["aes256gcm16-prfsha384-x25519"]\nesp = ["aes128gcm16-esn"]\n' >> "$WORK/alice.toml"
spawn tcpdump headend tcpdump --immediate-mode -Z root -i eth0 -U -w "$WORK/session.pcap" 'udp port 500 or udp port 4500'
wait_log 10 tcpdump 'listening on'
headend_start headend "$HEADEND_DIR" --keylog "$WORK/keys-headend"
client_start client client "$WORK/alice.toml" --keylog "$WORK/keys-client"
ping_ok client 10.20.0.2 20 || fail "no traffic"
ping_ok client fd20::2 20 || fail "no IPv6 traffic"
stop client
# tcpdump writes each packet as it comes; the answer to the client's DELETE is the last.
wait_for 5 "the headend to hear that alice has gone" has_sessions alice 0
stop tcpdump INT

profile=$WORK/keys-$whose
[[ $(stat -c %a "$profile") == 700 ]] || fail "the key log's directory is readable by others"
# tshark reads the tables of its personal configuration directory.
mkdir -p "$WORK/config/wireshark"
cp "$profile"/* "$WORK/config/wireshark/"
decode() {
  XDG_CONFIG_HOME=$WORK/config tshark -r "$WORK/session.pcap" -o esp.enable_encryption_decode:TRUE -o esp.enable_authentication_check:TRUE \
    "$@" 2>> "$WORK/tshark.err"
}
count() { decode -Y "$1" | wc -l; }
icmp=$(count 'esp && icmp')
icmp6=$(count 'esp && icmpv6.type >= 128')
ike_auth=$(count 'isakmp.exchangetype == 35 && (isakmp.id.type || isakmp.auth.method)')
ike_info=$(count 'isakmp.exchangetype == 37 && isakmp.delete.protoid')
malformed=$(count '_ws.malformed')
# What tshark itself calls an error; a closing DELETE or a keepalive is none.
errors=$(count '_ws.expert.severity == "Error"')
esp_total=$(count 'esp')
esp_open=$(count 'esp && (ip.src == 10.0.0.0/8 || ipv6.src == fd00::/8 || esp.protocol == 59)')
step "$ike_auth IKE_AUTH and $ike_info DELETE messages decrypted; $esp_open of $esp_total ESP packets; ICMP $icmp, ICMPv6 $icmp6; malformed $malformed"
(( icmp >= 40 && icmp6 >= 40 )) || fail "the pings were not decrypted"
(( ike_auth >= 2 )) || fail "IKE_AUTH was not decrypted"
(( ike_info >= 1 )) || fail "the DELETE was not decrypted"
(( malformed == 0 )) || fail "malformed: $(decode -Y '_ws.malformed' | head -n 3)"
(( errors == 0 )) || fail "errors: $(decode -Y '_ws.expert.severity == "Error"' -T fields -e frame.number -e _ws.expert.message | head -n 3)"
e2e_end "tshark decrypts the session with the $whose's key log"
