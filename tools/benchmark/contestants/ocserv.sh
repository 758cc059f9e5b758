# ocserv and openconnect: TLS alone (ocserv-tls), or data over DTLS (ocserv-dtls). Certificates at both ends; the
# client's address and routes by Debian's own vpnc-script.
# shellcheck shell=bash disable=SC2034  # read by visit.sh
contestant_needs() { need ocserv openconnect openssl; }

ocserv_cipher() { if [[ $BENCH_ESP == aes128* ]]; then printf AES-128-GCM; elif [[ $BENCH_ESP == chacha* ]]; then printf CHACHA20-POLY1305; else printf AES-256-GCM; fi; }

contestant_serve() {
  pki_make "$WORK/pki" ecdsa
  cat > "$WORK/ocserv.conf" <<CONF
auth = "certificate"
tcp-port = 443
$([[ $CONTESTANT != ocserv-dtls ]] || printf 'udp-port = 443')
run-as-user = nobody
run-as-group = nogroup
socket-file = /run/ocserv-socket
server-cert = $WORK/pki/headend.crt
server-key = $WORK/pki/headend.key
ca-cert = $WORK/pki/ca.crt
cert-user-oid = 2.5.4.3
tls-priorities = "NORMAL:-CIPHER-ALL:+$(ocserv_cipher)"
max-clients = 4
max-same-clients = 2
isolate-workers = false
keepalive = 300
dpd = 60
cisco-client-compat = false
device = vpns
predictable-ips = true
ipv4-network = 10.95.0.0/24
route = 10.95.0.0/24
CONF
  # ocserv's private key is only root's, and so is the directory; it is read before privileges are dropped.
  spawn ocserv headend ocserv --foreground --config "$WORK/ocserv.conf" --pid-file /run/ocserv.pid
  wait_for 10 "ocserv to listen" ocserv_listens
  INNER=10.95.0.1
  HEADEND_DAEMONS=(ocserv)
}
ocserv_listens() { on headend ss -Hltn 'sport = 443' | grep -q .; }

contestant_connect() {
  local options=()
  [[ $CONTESTANT == ocserv-dtls ]] || options=(--no-dtls)
  spawn openconnect client openconnect --non-inter --protocol anyconnect --certificate "$WORK/pki/alice.crt" \
    --sslkey "$WORK/pki/alice.key" --cafile "$WORK/pki/ca.crt" "${options[@]}" https://192.0.2.1
  CLIENT_DAEMONS=(openconnect)
}
contestant_failed() { tail -n 1 "$WORK/openconnect.log"; }

# What was asked for has to be what is measured: data goes over TLS until DTLS is up.
contestant_settled() {
  [[ $CONTESTANT != ocserv-dtls ]] || wait_log 15 openconnect 'Established DTLS connection'
}
