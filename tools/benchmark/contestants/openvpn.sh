# OpenVPN over UDP, in userspace (data channel offload is a kernel module that Debian 12 does not have). Server and
# client as its own examples have them, all settings at their defaults but the cipher.
# shellcheck shell=bash disable=SC2034  # read by visit.sh
contestant_needs() { need openvpn openssl; }

openvpn_cipher() { if [[ $BENCH_ESP == aes128* ]]; then printf AES-128-GCM; elif [[ $BENCH_ESP == chacha* ]]; then printf CHACHA20-POLY1305; else printf AES-256-GCM; fi; }

contestant_serve() {
  pki_make "$WORK/pki" ecdsa
  spawn openvpn-headend headend openvpn --dev tun --proto udp --port 1194 --server 10.97.0.0 255.255.255.0 \
    --topology subnet --ca "$WORK/pki/ca.crt" --cert "$WORK/pki/headend.crt" --key "$WORK/pki/headend.key" --dh none \
    --data-ciphers "$(openvpn_cipher)" --disable-dco --keepalive 10 60
  wait_log 10 openvpn-headend 'Initialization Sequence Completed'
  INNER=10.97.0.1
  HEADEND_DAEMONS=(openvpn-headend)
}

contestant_connect() {
  spawn openvpn-client client openvpn --client --dev tun --proto udp --remote 192.0.2.1 1194 --nobind --disable-dco \
    --remote-cert-tls server --ca "$WORK/pki/ca.crt" --cert "$WORK/pki/alice.crt" --key "$WORK/pki/alice.key" \
    --data-ciphers "$(openvpn_cipher)"
  CLIENT_DAEMONS=(openvpn-client)
}
contestant_failed() { tail -n 1 "$WORK/openvpn-client.log"; }
