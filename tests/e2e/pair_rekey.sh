#!/usr/bin/env bash
# Both ends rekey Child and IKE SAs by the same short timers, so that some rekeys collide, while pings go both ways and a
# TCP stream runs: nothing may be lost.
#
#   client eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#   the link has 20 ms of delay each way where the kernel has netem: rekeys that cross need time on the way
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

e2e_begin
use_switchback
need jq iperf3
topology_direct
delay="no delay on the link: this kernel has no netem"
if on client tc qdisc add dev eth0 root netem delay 20ms limit 20000 2> "$WORK/netem.err" &&
  on headend tc qdisc add dev eth0 root netem delay 20ms limit 20000; then
  delay="20 ms of delay each way"
fi
step "$delay"
pair_prepare
sed -i 's/^# child_rekey = .*/child_rekey = 5/; s/^# ike_rekey = .*/ike_rekey = 7/' "$HEADEND_DIR/headend.toml"
printf '\n[timers]\nchild_rekey = 5\nike_rekey = 7\n' >> "$WORK/alice.toml"
headend_start headend "$HEADEND_DIR"
client_start client client "$WORK/alice.toml"
inner=$(inner_address client swb0 4)
session=$(session_field id)
iperf_server server
ping_start ping-up client 10.20.0.2
ping_start ping-down server "$inner"
iperf=$(iperf_mbits client 10.20.0.2 20 --bitrate 20M)
ping_stop ping-up
lost_up=$PING_LOST sent_up=$PING_SENT
ping_stop ping-down
lost_down=$PING_LOST sent_down=$PING_SENT
children=$(log_count headend 'child_installed')
step "$(( children - 1 )) Child SAs made by rekeys; $lost_up of $sent_up pings lost up, $lost_down of $sent_down down; TCP $iperf Mbit/s of 20 asked for"
(( children >= 4 )) || fail "there were hardly any rekeys"
(( lost_up == 0 && lost_down == 0 )) || fail "rekeys lost packets"
(( iperf >= 18 )) || fail "the TCP stream suffered"
[[ $(session_field id) == "$session" ]] || fail "the session was replaced"
[[ $(session_field children) == [12] ]] || fail "$(session_field children) Child SAs are left, not one"
e2e_end "rekeys from both ends at once lose nothing"
