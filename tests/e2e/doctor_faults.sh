#!/usr/bin/env bash
# Faults are put in the way of the client, and the doctor has to name each; on a clean path it has to name none.
#
#   client eth0 198.51.100.2 ─── in0 router out0 192.0.2.254 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#                                 the fault
#
# usage: doctor_faults.sh [--all] [FAULT…]
#   Without arguments a short set. The table fault → answer is printed; exit status 1 where one was not named, or where
#   something worse than a note was said that is not so.
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

# name | what the doctor has to say (ids; several: any) | ids that may come with it | where the fault is
readonly FAULTS=(
  "clean|clean||kernel router"
  "clean-both|clean||kernel router, both families"
  "clean-box|clean||middlebox that forwards, 20 ms"
  "udp-4500-blocked|blocked-silent||block:udp/4500"
  "udp-blocked|blocked-silent||block:udp"
  "udp-icmp|blocked-icmp||block-icmp:udp"
  "esp-blocked|blocked-silent||block:esp"
  "ctcp-rst|blocked-rst||block-rst:tcp/10000"
  "tls-blocked|blocked-silent||block:tcp/443"
  "tcp-blocked|blocked-silent||block:tcp"
  "nat|nat||nat=192.0.2.77"
  "proxy|tcp-proxy||proxy:tcp"
  "inspect|stream-tracking||inspect:tcp/10000, classic profile"
  "conntrack|stream-tracking||conntrack:tcp/10000, classic profile"
  "ips-rst|stream-tracking||ips-rst:tcp/10000, classic profile"
  "rst-injection|rst-injection||rst=100:tcp/10000"
  "mtu-hole|mtu-hole||mtu=1400 without ICMP"
  "mtu-icmp|mtu-lower||mtu=1400 with ICMP"
  "udp-throttled|udp-throttled|loss|throttle=1M:udp"
  "loss-out|loss||loss=4% outwards"
  "loss-in|loss||loss=4% inwards"
  "wrong-headend|user-refused||profile of another headend"
  "impostor|headend-untrusted||what answers has another identity than the profile names"
  "revoked|user-refused||the user is removed"
  "no-proposal|no-proposal||profile asks for what the headend lacks"
  "clock|clock||this host's clock is five years ahead"
  "portal|captive-portal||all TCP goes to a web server that redirects, the rest nowhere"
  "dns|dns||a name that does not exist"
  "no-route|no-route||no default route"
  "headend-down|headend-down||the headend is stopped"
  "silence|all-silent||block:any"
  "beside-client|clean||a client is connected meanwhile"
)
readonly SHORT=(clean udp-blocked ctcp-rst inspect revoked)

wanted=()
while (( $# )); do
  case $1 in
    --all) for fault in "${FAULTS[@]}"; do wanted+=("${fault%%|*}"); done ;;
    *) wanted+=("$1") ;;
  esac
  shift
done
(( ${#wanted[@]} )) || wanted=("${SHORT[@]}")

e2e_begin
use_switchback client headend
SB_MIDDLEBOX=$(dirname "$SB_HEADEND")/../tools/middlebox/switchback-middlebox
[[ -x $SB_MIDDLEBOX ]] || skip "switchback-middlebox is not built"
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"

# profile_for FAULT: a profile of its own where the fault is in it; the middlebox carries IPv4 here.
profile=$WORK/alice4.toml
variant() {
  local out=$WORK/$1.toml
  shift
  sed -E "$@" "$WORK/alice4.toml" > "$out"
  chmod 600 "$out"
  profile=$out
}
classic_profile() {
  variant classic 's/^#? *ctcp_mode *=.*/ctcp_mode = "classic"/'
  grep -q '^ctcp_mode = "classic"' "$profile" || variant classic 's/^\[transports\]/[transports]\nctcp_mode = "classic"/'
  grep -q '^ctcp_mode = "classic"' "$profile" || fail "the profile has no [transports] for ctcp_mode"
}

# box OPTION…: the router's kernel forwards nothing, a middlebox does.
box() {
  on router sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
  : > "$WORK/box.log"
  spawn box router "$SB_MIDDLEBOX" --inner in0 --outer out0 --log "$WORK/box.jsonl" "$@"
  wait_log 10 box '^ready'
}
box_end() {
  [[ -z ${SPAWNED[box]:-} ]] || stop box
  on router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

# A shared library that shifts the calendar, for one program.
shifted_clock() {
  need cc
  cat > "$WORK/shift.c" <<'END'
#define _GNU_SOURCE
#include <time.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#define SHIFT (5L * 365 * 86400)
int clock_gettime(clockid_t id, struct timespec *t) {
  int r = (int)syscall(SYS_clock_gettime, id, t);
  if (r == 0 && id == CLOCK_REALTIME) t->tv_sec += SHIFT;
  return r;
}
time_t time(time_t *out) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (out) *out = t.tv_sec;
  return t.tv_sec;
}
int gettimeofday(struct timeval *tv, void *z) {
  struct timespec t;
  (void)z;
  clock_gettime(CLOCK_REALTIME, &t);
  tv->tv_sec = t.tv_sec;
  tv->tv_usec = t.tv_nsec / 1000;
  return 0;
}
END
  cc -shared -fPIC -o "$WORK/shift.so" "$WORK/shift.c"
}

portal_start() {
  need python3 nft
  cat > "$WORK/portal.py" <<'END'
import http.server
class Portal(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "http://login.hotel.example/")
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Portal).serve_forever()
END
  spawn portal router python3 "$WORK/portal.py"
  wait_for 10 "the portal" on router sh -c 'ss -Hltn sport = :8080 | grep -q .'
  on router nft 'add table ip sbportal; add chain ip sbportal pre { type nat hook prerouting priority dstnat; }
    add rule ip sbportal pre iifname in0 meta l4proto tcp redirect to :8080
    add chain ip sbportal through { type filter hook forward priority 0; policy drop; }'
}

# inject FAULT; mend FAULT.
environment=()
inject() {
  profile=$WORK/alice4.toml
  environment=()
  case $1 in
    clean) ;;
    clean-both) profile=$WORK/alice.toml ;;
    clean-box) box --impair delay=20ms ;;
    udp-4500-blocked) box --profile block:udp/4500 ;;
    udp-blocked) box --profile block:udp ;;
    udp-icmp) box --profile block-icmp:udp ;;
    esp-blocked) box --profile block:esp ;;
    ctcp-rst) box --profile block-rst:tcp/10000 ;;
    tls-blocked) box --profile block:tcp/443 ;;
    tcp-blocked) box --profile block:tcp ;;
    nat) route headend 192.0.2.77/32 via 192.0.2.254; box --profile nat=192.0.2.77 ;;
    proxy) box --profile proxy:tcp --impair delay=10ms ;;
    inspect) classic_profile; box --profile inspect:tcp/10000 ;;
    conntrack) classic_profile; box --profile conntrack:tcp/10000 ;;
    ips-rst) classic_profile; box --profile ips-rst:tcp/10000 ;;
    rst-injection) box --profile rst=100:tcp/10000 ;;
    mtu-hole) box --impair mtu=1400,no-icmp ;;
    mtu-icmp) box --impair mtu=1400 ;;
    udp-throttled) box --profile throttle=1M:udp ;;
    loss-out) box --outward loss=4% ;;
    loss-in) box --inward loss=4% ;;
    wrong-headend)
      headend_init headend "$WORK/other" 192.0.2.1 --pool 10.98.0.0/24
      local before=$HEADEND_DIR
      user_add headend "$WORK/other" alice "$WORK/other.toml"
      HEADEND_DIR=$before
      profile=$WORK/other.toml
      ;;
    impostor)
      variant impostor '/^\[headend\]/,/^\[auth/ s/^identity = .*/identity = "vpn.other.example"/'
      grep -q other.example "$profile" || fail "the profile has no line for the headend's identity"
      ;;
    revoked)
      user_add headend "$HEADEND_DIR" mallory "$WORK/mallory.toml"
      on headend "$SB_HEADEND" user remove mallory --dir "$HEADEND_DIR" > "$WORK/remove.log" 2>&1
      sed -E 's/^addresses = .*/addresses = ["192.0.2.1"]/' -i "$WORK/mallory.toml"
      profile=$WORK/mallory.toml
      ;;
    no-proposal)
      cp "$HEADEND_DIR/headend.toml" "$WORK/headend.toml"
      sed -E 's/^# ike = .*/ike = ["aes256gcm16-prfsha384-ecp384"]/' -i "$HEADEND_DIR/headend.toml"
      stop headend
      headend_start headend "$HEADEND_DIR"
      variant proposal 's/^#? *ike *=.*//; s/^\[crypto\]//'
      printf '[crypto]\nike = ["aes128gcm16-prfsha256-x25519"]\n' >> "$profile"
      ;;
    clock) shifted_clock; environment=(env "LD_PRELOAD=$WORK/shift.so") ;;
    portal) portal_start ;;
    dns) variant name 's/^addresses = .*/addresses = ["no-such-host.invalid"]/' ;;
    no-route) on client ip route del default ;;
    headend-down) stop headend ;;
    silence) box --profile block:any ;;
    beside-client) client_start client client "$WORK/alice4.toml" ;;
    *) fail "no fault $1" ;;
  esac
}
mend() {
  case $1 in
    portal) stop portal; on router nft delete table ip sbportal ;;
    nat) on headend ip route del 192.0.2.77/32 ;;
    no-route) route client default via 198.51.100.1 ;;
    no-proposal) cp "$WORK/headend.toml" "$HEADEND_DIR/headend.toml"; stop headend; headend_start headend "$HEADEND_DIR" ;;
    headend-down) headend_start headend "$HEADEND_DIR" ;;
    beside-client) ping_ok client 10.20.0.2 || fail "the client beside the doctor has no tunnel any more"; stop client ;;
  esac
  box_end
  on client ip route flush cache
}

# judge FAULT: right where what has to be said is said, and nothing worse than a note besides what may come with it.
failed=0
judge() {
  local name=$1 entry must may where said expected worse before
  for entry in "${FAULTS[@]}"; do [[ ${entry%%|*} == "$name" ]] && break; done
  IFS='|' read -r _ must may where <<< "$entry"
  step "$name ($where)"
  inject "$name"
  before=$(now_ms)
  on client "${environment[@]}" "$SB_CLIENT" doctor --profile "$profile" --json --timeout 60 > "$WORK/$name.json" 2> "$WORK/doctor-$name.log" || true
  local took=$(( $(now_ms) - before ))
  mend "$name"
  jq -e . "$WORK/$name.json" > /dev/null || fail "the doctor said no JSON: $(tail -n 3 "$WORK/doctor-$name.log")"
  said=$(jq -r '[.findings[].id] | join(" ")' "$WORK/$name.json")
  local right=
  for expected in $must; do [[ " $said " == *" $expected "* ]] && right=1; done
  for worse in $(jq -r '.findings[] | select(.severity == "fatal" or .severity == "problem") | .id' "$WORK/$name.json"); do
    [[ " $must $may " == *" $worse "* ]] || right=
  done
  [[ $must == clean || " $said " != *" clean "* || $(jq -r --arg must "$must" '[.findings[] | select(.id == $must)][0].severity' "$WORK/$name.json") == note ]] || right=
  [[ $right ]] || failed=$(( failed + 1 ))
  row "$name" "$where" "$said" "$([[ $right ]] && echo yes || echo NO)" "$(( took / 1000 )).$(( took % 1000 / 100 )) s" \
    "$(jq -r --arg must "${must%% *}" '([.findings[] | select(.id == $must)] + .findings)[0].sentence' "$WORK/$name.json")"
  [[ $right ]] || jq -c '.findings[]' "$WORK/$name.json" >&2
}

row "fault" "injected as" "said" "right" "took" "sentence"
for fault in "${wanted[@]}"; do judge "$fault"; done
show_table
(( failed == 0 )) || fail "$failed of ${#wanted[@]} were not named rightly"
e2e_end "the doctor named ${#wanted[@]} of ${#wanted[@]}"
