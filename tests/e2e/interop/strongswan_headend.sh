#!/usr/bin/env bash
# Our client with strongSwan as its headend.
#
#   client eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#   (switchback-client)                 (charon)                           fd20::2
#
# usage: strongswan_headend.sh [matrix|rekey]     both, unless one is named
# matrix  PSK, ECDSA P-256 and P-384, Ed25519, RSA × AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305; IPv4 and IPv6 inside;
#         RSA certificates make both ends fragment IKE_AUTH (RFC 7383)
# rekey   Child and IKE SA, started by either end, with and without PFS, under ping every 20 ms: none may be lost
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=tests/e2e/interop/strongswan.sh
source "$(dirname "${BASH_SOURCE[0]}")/strongswan.sh"

e2e_begin
use_switchback client
strongswan_needed
part=${1:-all}
topology_direct
on headend sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
strongswan_start headend

# profile AUTH IKE ESP [MORE]: writes $WORK/alice.toml for the client, as an administrator of a strongSwan would.
profile() {
  local pki=$WORK/pki-$1
  {
    printf 'version = 1\nname = "alice"\n[headend]\naddresses = ["192.0.2.1"]\nidentity = "vpn.example.org"\n'
    printf '[authentication]\nidentity = "alice@example.org"\n'
    if [[ $1 == psk ]]; then
      printf 'method = "psk"\npsk = "%s"\n' "$SS_PSK"
    else
      printf 'method = "certificate"\ncertificate = """\n%s\n"""\n' "$(openssl x509 -in "$pki/alice.crt")"
      printf 'private_key = """\n%s\n"""\nca = """\n%s\n"""\n' "$(< "$pki/alice.key")" "$(openssl x509 -in "$pki/ca.crt")"
    fi
    printf '[crypto]\nike = ["%s"]\nesp = ["%s"]\n%s\n' "$2" "$3" "${4:-}"
  } > "$WORK/alice.toml"
  chmod 600 "$WORK/alice.toml"
}

certificates() {
  [[ $1 != psk ]] || return 0
  pki_make "$WORK/pki-$1" "$1"
  strongswan_certificates headend "$WORK/pki-$1" headend
}

if [[ $part != rekey ]]; then
  for kind in psk ecdsa ecdsa384 ed25519 rsa; do
    certificates "$kind"
    for suite in "${SUITES[@]}"; do
      read -r ike esp <<< "$suite"
      # libipsec has no ESN; a client that offers both must come through all the same.
      profile "$kind" "$ike" "$esp-esn-noesn"
      strongswan_responder headend "$kind" "$ike" "$esp"
      before=$(strongswan_fragments headend)
      client_start client client "$WORK/alice.toml"
      strongswan_uses headend "$esp"
      ping_ok client 10.20.0.2 || fail "$kind $esp: no IPv4 inside"
      ping_ok client fd20::2 || fail "$kind $esp: no IPv6 inside"
      strongswan_fragments_as_expected "$kind" "$before" "$(strongswan_fragments headend)"
      stop client
      wait_for 5 "strongSwan to hear that the client has gone" strongswan_idle headend
      printf '%-9s %-40s %-18s IPv4 and IPv6 inside, %s\n' "$kind" "$ike" "$esp" "$FRAGMENTS"
    done
  done
fi

if [[ $part != matrix ]]; then
  certificates ecdsa
  for pfs in '' -x25519 -modp2048; do
    ike=${SUITES[1]%% *}
    strongswan_responder headend ecdsa "$ike" "aes256gcm16$pfs"
    profile ecdsa "$ike" "aes256gcm16$pfs"
    client_start client client "$WORK/alice.toml"
    ping_start ping client 10.20.0.2
    for what in child ike child; do strongswan_rekey headend "$what"; done
    expect_no_loss ping "strongSwan rekeyed Child, IKE and Child SA${pfs:+ with PFS $pfs}"
    stop client

    profile ecdsa "$ike" "aes256gcm16$pfs" "$CLIENT_REKEYS_SOON"
    client_start client client "$WORK/alice.toml"
    ping_start ping client 10.20.0.2
    strongswan_sees_rekey headend child
    strongswan_sees_rekey headend ike
    strongswan_sees_rekey headend child
    expect_no_loss ping "our client rekeyed Child, IKE and Child SA${pfs:+ with PFS $pfs}"
    stop client
  done
fi
e2e_end "strongSwan is a headend for our client"
