#!/usr/bin/env bash
# What others see at the port of `tls`: an ordinary TLS 1.3 server with a page, whatever they say. Meanwhile a tunnel
# through the same port goes on undisturbed. Then the headend sits behind a router by server name (SNI) on port 443.
#
#   client eth0 198.51.100.2 ─── 198.51.100.1 in0 router out0 ─── 192.0.2.1 eth0 headend lan0 ─── 10.20.0.2 eth0 server
#                                haproxy :443: by server name       tls :443
#
# usage: tls_decoy.sh [--seconds N] [--idle CONNECTIONS]
#   3 s of garbage; 200 connections that say nothing
# shellcheck source=tests/e2e/lib_paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib_paths.sh"

seconds=3 idle=200
while (( $# )); do
  case $1 in
    --seconds) seconds=$2; shift ;;
    --idle) idle=$2; shift ;;
    *) printf 'tls_decoy.sh: unknown option %s\n' "$1" >&2; exit 2 ;;
  esac
  shift
done

e2e_begin
use_switchback
need openssl curl python3
paths_topology
paths_prepare
headend_start headend "$HEADEND_DIR"

# ---- what a stranger sees
tls() { on client timeout 10 openssl s_client -connect 192.0.2.1:443 -CAfile "$WORK/headend/pki/ca.crt" "$@" < /dev/null > "$WORK/s_client.out" 2>&1; }
tls -alpn h2,http/1.1 || fail "openssl s_client: $(tail -n 1 "$WORK/s_client.out")"
grep -q 'TLSv1.3' "$WORK/s_client.out" || fail "it is not TLS 1.3"
grep -qE 'Verif(y return code: 0|ication: OK)' "$WORK/s_client.out" || fail "the headend's certificate does not verify: $(grep -i verif "$WORK/s_client.out")"
alpn=$(sed -nE 's/^ALPN protocol: (.*)/\1/p' "$WORK/s_client.out")
[[ $alpn == http/1.1 || $alpn == h2 ]] || fail "a browser's ALPN was not answered: $(grep -i alpn "$WORK/s_client.out")"
# Visitors with TLS 1.2 are served as elsewhere; older versions are not, and our own client takes nothing but 1.3.
tls -tls1_2 || fail "a visitor with TLS 1.2 is refused"
grep -q 'TLSv1.2' "$WORK/s_client.out" || fail "a visitor with TLS 1.2 got something else"
if tls -tls1_1 -cipher 'ALL:@SECLEVEL=0'; then fail "TLS 1.1 was accepted"; fi
step "openssl s_client: TLS 1.3, certificate verified, ALPN $alpn; TLS 1.2 for visitors, nothing older"

page() { on client curl -sk --max-time 10 -o "$WORK/page" -w '%{http_code} %{content_type} %{http_version} %{size_download}' "$@"; }
told=$(page https://192.0.2.1/) || fail "curl: status $?"
[[ $told == "200 text/html"* ]] || fail "curl / got: $told"
grep -qi '<html' "$WORK/page" || fail "the page is no HTML: $(head -c 200 "$WORK/page")"
! grep -qiE 'switchback|vpn|ipsec' "$WORK/page" || fail "the page tells what this is"
step "curl /: $told"
told=$(page https://192.0.2.1/no/such/page) || fail "curl: status $?"
[[ $told == 404* ]] || fail "curl of a page that is not there got: $told"
told=$(page -I https://192.0.2.1/) || fail "curl -I: status $?"
[[ $told == 200* ]] || fail "HEAD got: $told"
! grep -qi 'switchback' "$WORK/page" || fail "the headers tell what this is"
told=$(page -X POST -d x=1 https://192.0.2.1/) || fail "curl -X POST: status $?"
step "a page that is not there: 404; HEAD: 200; POST: $told"
told=$(page https://192.0.2.1/ https://192.0.2.1/ -o "$WORK/page2") || fail "curl twice on one connection"
told=$(page http://192.0.2.1:443/) || told="no HTTP answer"
step "HTTP without TLS: $told"
if command -v chromium > /dev/null; then
  on client timeout 30 chromium --headless --no-sandbox --disable-gpu --ignore-certificate-errors --dump-dom https://192.0.2.1/ \
    > "$WORK/dom" 2> "$WORK/browser.log" || fail "chromium: status $?"
  grep -qi '<body' "$WORK/dom" || fail "chromium shows no page"
  step "chromium shows the page"
fi

# ---- a tunnel meanwhile
client_start client client "$WORK/alice4.toml" --transport tls
lines_start lines client server 10.20.0.2 7000
let_pass 1
lines_gap lines
step "a tls tunnel beside: undisturbed, longest silence of the lines $LINES_GAP ms"
spawn strangers router "$PROGRAMS/tls_strangers.py" 192.0.2.1 443 "$seconds" "$idle"
wait_log $(( seconds + 30 )) strangers '^done'
lines_gap lines
step "while $(grep '^done' "$WORK/strangers.log" | sed 's/^done: //'): longest silence of the lines $LINES_GAP ms"
page https://192.0.2.1/ > "$WORK/told" || fail "after all this there is no page any more"
runs_over tls || fail "the session has left tls"
lines_stop lines
step "$LINES_SENT lines, none lost"
stop client
wait_for 5 "the headend to hear that alice has gone" has_sessions alice 0
gone() { [[ -z $(on headend ss -Htn state established sport = :443) ]]; }
wait_for 90 "the headend to close what strangers left open" gone

# ---- behind a router by server name
if command -v haproxy > /dev/null; then
  cat > "$WORK/haproxy.cfg" << END
global
  log stdout format raw local0
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend sni
  bind 198.51.100.1:443
  tcp-request inspect-delay 5s
  tcp-request content accept if { req.ssl_hello_type 1 }
  use_backend vpn if { req.ssl_sni -i vpn.example.org }
  default_backend web
backend vpn
  server headend 192.0.2.1:443
backend web
  server web 127.0.0.1:8443
END
  spawn haproxy router haproxy -db -f "$WORK/haproxy.cfg"
  wait_for 10 "haproxy to listen" on router sh -c "ss -Hltn sport = :443 | grep -q ."
  sed -E 's/^addresses = .*/addresses = ["198.51.100.1"]/' "$WORK/alice.toml" > "$WORK/sni.toml"
  if grep -q '^\[transports\]' "$WORK/sni.toml"; then
    sed -i '/^\[transports\]/a tls_server_name = "vpn.example.org"' "$WORK/sni.toml"
  else
    printf '\n[transports]\ntls_server_name = "vpn.example.org"\n' >> "$WORK/sni.toml"
  fi
  chmod 600 "$WORK/sni.toml"
  client_start client client "$WORK/sni.toml" --transport tls
  ping_ok client 10.20.0.2 || fail "no traffic behind the router by server name"
  ping_ok client fd20::2 || fail "no IPv6 traffic behind the router by server name"
  iperf_server server
  step "behind haproxy by server name: TCP $(iperf_mbits client 10.20.0.2 1) Mbit/s up, $(iperf_mbits client 10.20.0.2 1 --reverse) Mbit/s down"
  both_run_over tls || fail "the session is not on tls"
  stop client
else
  step "haproxy is not installed: the part behind a router by server name was left out"
fi
e2e_end "strangers see a TLS 1.3 server with a page, and disturb no tunnel"
