#!/usr/bin/env bash
# The interop harness itself: strongSwan at both ends does what the other scripts expect of it. When this fails, the
# fault is in the harness or in the installed strongSwan, not in Switchback.
#
#   client eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#   (charon)                            (charon)                           fd20::2
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=tests/e2e/interop/strongswan.sh
source "$(dirname "${BASH_SOURCE[0]}")/strongswan.sh"

e2e_begin
strongswan_needed
topology_direct
on headend sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
strongswan_start headend
strongswan_start client

for kind in psk ecdsa ecdsa384 ed25519 rsa; do
  if [[ $kind != psk ]]; then
    pki_make "$WORK/pki-$kind" "$kind"
    strongswan_certificates headend "$WORK/pki-$kind" headend
    strongswan_certificates client "$WORK/pki-$kind" alice
  fi
  for suite in "${SUITES[@]}"; do
    read -r ike esp <<< "$suite"
    strongswan_responder headend "$kind" "$ike" "$esp"
    strongswan_initiator client "$kind" "$ike" "$esp"
    before=$(strongswan_fragments client)
    strongswan_up client
    strongswan_uses client "$esp"
    ping_ok client 10.20.0.2 || fail "$kind $esp: no IPv4 inside"
    ping_ok client fd20::2 || fail "$kind $esp: no IPv6 inside"
    strongswan_fragments_as_expected "$kind" "$before" "$(strongswan_fragments client)"
    printf '%-9s %-40s %-18s IPv4 and IPv6 inside, %s\n' "$kind" "$ike" "$esp" "$FRAGMENTS"
    # Every suite is tried with every kind of proof where Switchback is an end; here one is enough.
    strongswan_down client
    [[ $kind == psk ]] || break
  done
done
strongswan_up client
ping_start ping client 10.20.0.2
for host in client headend; do
  for what in child ike; do strongswan_rekey "$host" "$what"; done
done
expect_no_loss ping "each end rekeyed Child and IKE SA"
e2e_end "the harness works with strongSwan at both ends"
