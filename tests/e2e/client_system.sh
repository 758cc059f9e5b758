#!/usr/bin/env bash
# What the client does to its host: routes, leaks, DNS, journal, lock, and how it says no.
#
#   client eth0 198.51.100.2 ─── 198.51.100.1 in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── server
#      2001:db8:2::2          2001:db8:2::1                                                       10.20.0.2, fd20::2
#
# The headend has an IPv4 pool only and pushes everything: a full tunnel that could leak IPv6. It is reached by the
# default route alone, the case in which a strict reverse path filter would drop its answers.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_begin
use_switchback
topology_routed

headend_init headend "$WORK/headend" 192.0.2.1 --pool6 none --dns 10.20.0.53
user_add headend "$WORK/headend" alice "$WORK/alice.toml"
headend_start headend "$WORK/headend"

# The state that must come back: rules, routes, addresses, and everything about resolv.conf but its access time.
snapshot() {
  on client ip -4 rule
  on client ip -6 rule
  on client ip -4 route show table all
  on client ip -6 route show table all | grep -v '^\(ff00::/8\|multicast\)'
  on client ip -o address
  on client stat -c '%n %F %i %a %u %g %h %y' /etc/resolv.conf
  on client cat /etc/resolv.conf
  on client sh -c 'ls -A /etc | grep resolv'
}
unchanged() {
  snapshot > "$WORK/after" 2>&1
  diff -u "$WORK/before" "$WORK/after" || fail "$1 left something behind"
}
refused() {  # STATUS REGEX COMMAND…
  local wanted=$1 regex=$2 status=0
  shift 2
  on client "$@" > "$WORK/refused.out" 2>&1 || status=$?
  [[ $status == "$wanted" ]] || fail "exit status $status instead of $wanted: $(tail -n 1 "$WORK/refused.out")"
  grep -qE -- "$regex" "$WORK/refused.out" || fail "no '$regex' in: $(cat "$WORK/refused.out")"
}
snapshot > "$WORK/before"

step "mistakes are refused with a sentence and a status of their own"
refused 2 'no transport "pigeon"' "$SB_CLIENT" connect --profile "$WORK/alice.toml" --transport pigeon
refused 2 'no transport "pigeon"' "$SB_CLIENT" connect --profile "$WORK/alice.toml" --order udp,pigeon
sed 's/^dns = /dnss = /' "$WORK/alice.toml" > "$WORK/typo.toml"
chmod 600 "$WORK/typo.toml"
refused 2 'typo.toml:[0-9]+: tunnel.dnss: .*did you mean dns' "$SB_CLIENT" connect --profile "$WORK/typo.toml"
cp "$WORK/alice.toml" "$WORK/open.toml"
chmod 644 "$WORK/open.toml"
refused 2 'chmod 600' "$SB_CLIENT" connect --profile "$WORK/open.toml"
refused 1 'no client is running' "$SB_CLIENT" status
sed 's/^identity = "192.0.2.1"/identity = "vpn.example.org"/' "$WORK/alice.toml" > "$WORK/impostor.toml"
chmod 600 "$WORK/impostor.toml"
refused 3 'authentication failed' "$SB_CLIENT" connect --profile "$WORK/impostor.toml"
unchanged "a failed attempt"

step "a full tunnel passes a strict reverse path filter, and IPv6 does not leak"
on client sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1
client_start alice client "$WORK/alice.toml"
ping_ok client 10.20.0.2 || fail "nothing passes with rp_filter=1"
if on client ping -6 -n -c 1 -W 1 fd20::2 > "$WORK/leak.out" 2>&1; then fail "IPv6 went past the tunnel"; fi
on client ip -6 route get fd20::2 > "$WORK/leak.out" 2>&1 && fail "IPv6 has a way past the tunnel: $(cat "$WORK/leak.out")"
on client ping -6 -n -c 1 -W 2 2001:db8:2::1 > /dev/null || fail "the local network is cut off"
client_json client > "$WORK/status"
grep -q '"blocked_families":\["ipv6"\]' "$WORK/status" || fail "the status does not show the blocked family"
on client grep -q '^nameserver 10.20.0.53$' /etc/resolv.conf || fail "resolv.conf has not the tunnel's name server"

step "a second client for the same TUN is refused, and named who holds it"
refused 4 "running already \\(process [0-9]+\\)" "$SB_CLIENT" connect --profile "$WORK/alice.toml"

step "disconnect returns when everything is as before"
on client "$SB_CLIENT" disconnect
wait_for 5 "the client's end" process_gone "${SPAWNED[alice]}"
unset 'SPAWNED[alice]'
tun_gone client swb0 || fail "the TUN is still there"
unchanged "disconnect"

step "a client that dies on kill -9 is cleaned up after by any next one"
client_start alice client "$WORK/alice.toml"
stop alice KILL
on client ip rule > "$WORK/rules"
grep -q 52000 "$WORK/rules" || fail "the rules went by themselves: this shows nothing"
on client test -s /run/switchback/client-swb0.undo || fail "there is no journal"
client_start alice client "$WORK/alice.toml" --tun swb7
on client test ! -e /run/switchback/client-swb0.undo || fail "the abandoned journal was not replayed"
ping_ok client 10.20.0.2 || fail "no traffic after the clean-up"
stop alice
[[ $STOP_STATUS == 0 ]] || fail "exit status $STOP_STATUS"
unchanged "the clean-up"

step "a bind-mounted resolv.conf is written in place and comes back, also after kill -9"
on client sh -c 'cp /etc/resolv.conf /run/mounted; mount --bind /run/mounted /etc/resolv.conf; chmod 640 /etc/resolv.conf'
snapshot > "$WORK/before"
client_start alice client "$WORK/alice.toml"
on client grep -q '^nameserver 10.20.0.53$' /etc/resolv.conf || fail "the mounted resolv.conf was not written"
stop alice KILL
client_start alice client "$WORK/alice.toml"
stop alice
unchanged "the bind mount"

step "systemd-resolved is told where it runs"
on client umount /etc/resolv.conf
on client sh -ec 'mkdir -p /run/systemd/resolve /run/fake
  echo "nameserver 127.0.0.53" > /run/systemd/resolve/stub-resolv.conf
  ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
  printf "#!/bin/sh\necho \"\$@\" >> /run/fake/calls\n" > /run/fake/resolvectl
  chmod 755 /run/fake/resolvectl
  mkdir -p /run/upper /run/work
  cp -as /usr/bin /run/fake/bin
  ln -sf /run/fake/resolvectl /run/fake/bin/resolvectl
  mount --bind /usr/bin /mnt
  for f in /run/fake/bin/*; do t=$(readlink "$f"); case $t in /usr/bin/*) ln -sf "/mnt/${t#/usr/bin/}" "$f";; esac; done
  mount --bind /run/fake/bin /usr/bin'
snapshot > "$WORK/before"
client_start alice client "$WORK/alice.toml"
client_json client > "$WORK/status"
grep -q '"dns_method":"resolved"' "$WORK/status" || fail "resolved was not used"
stop alice
on client cat /run/fake/calls > "$WORK/calls"
diff - "$WORK/calls" << 'END' || fail "resolvectl was called otherwise"
dns swb0 10.20.0.53
domain swb0 ~.
default-route swb0 yes
revert swb0
END
unchanged "resolved"

e2e_end "the client changes its host as it says, and back"
