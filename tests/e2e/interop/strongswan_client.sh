#!/usr/bin/env bash
# strongSwan as client of our headend, with the configuration that `user add --format strongswan` writes.
#
#   client eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
#   (charon)                            (switchback-headend)               fd20::2
#
# usage: strongswan_client.sh [matrix|rekey]     both, unless one is named
# matrix  PSK, ECDSA P-256 and P-384, Ed25519, RSA × AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305; IPv4 and IPv6 inside;
#         RSA certificates make both ends fragment IKE_AUTH (RFC 7383)
# rekey   Child and IKE SA, started by either end, with and without PFS, under ping every 20 ms: none may be lost
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=tests/e2e/interop/strongswan.sh
source "$(dirname "${BASH_SOURCE[0]}")/strongswan.sh"

e2e_begin
use_switchback headend
strongswan_needed
part=${1:-all}
topology_direct
strongswan_start client
SS_CONNECTION=switchback SS_CHILD=switchback

# new_headend KEY_TYPE [SED]: a headend whose authority and certificate have keys of one type, and its user alice, who has a
# key of that type too; with KEY_TYPE psk alice has a pre-shared key. SED edits its configuration.
new_headend() {
  local kind=$1 directory=$WORK/headend-$1 key=(--key-type "$1")
  if [[ ! -e $directory ]]; then
    if [[ $kind == psk ]]; then key=(); fi
    headend_init headend "$directory" 192.0.2.1 --pool 10.98.0.0/24 --pool6 fd98::/64 \
      --route 10.20.0.0/24 --route fd20::/64 "${key[@]}"
    if [[ $kind == psk ]]; then key=(--psk); fi
    user_add headend "$directory" alice "$directory.alice" --format strongswan "${key[@]}"
  fi
  sed -i "${2:-}" "$directory/headend.toml"
  headend_start headend "$directory"
}

# use_export KEY_TYPE IKE ESP: strongSwan takes what the headend wrote for alice. 5.9.8's libipsec has no ESN, and the
# test wants one suite at a time, so the proposals are replaced.
use_export() {
  local swanctl=$WORK/ss-client/swanctl
  rm -rf "$swanctl"
  cp -a "$WORK/headend-$1.alice" "$swanctl"
  sed -i -E "s/^( *)proposals = .*/\1proposals = $2\n\1rekey_time = 0/; s/^( *)esp_proposals = .*/\1esp_proposals = $3\n\1rekey_time = 0/" \
    "$swanctl/swanctl.conf"
  swanctl_reload client
}

if [[ $part != rekey ]]; then
  for kind in psk ecdsa-p256 ecdsa-p384 ed25519 rsa-3072; do
    new_headend "$kind"
    for suite in "${SUITES[@]}"; do
      read -r ike esp <<< "$suite"
      fragments_before=$(strongswan_fragments client)
      use_export "$kind" "$ike" "$esp"
      strongswan_up client
      strongswan_uses client "$esp"
      ping_ok client 10.20.0.2 || fail "$kind $esp: no IPv4 inside"
      ping_ok client fd20::2 || fail "$kind $esp: no IPv6 inside"
      strongswan_down client
      strongswan_fragments_as_expected "$kind" "$fragments_before" "$(strongswan_fragments client)"
      printf '%-12s %-40s %-18s IPv4 and IPv6 inside, %s\n' "$kind" "$ike" "$esp" "$FRAGMENTS"
    done
    stop headend
  done
fi

# The headend's own rekeys come from its timers, so strongSwan has none in this part.
if [[ $part != matrix ]]; then
  for pfs in '' -x25519 -modp2048; do
    new_headend ecdsa-p256 's/^\(# \)\?child_rekey = .*/child_rekey = 3600/; s/^\(# \)\?ike_rekey = .*/ike_rekey = 14400/'
    use_export ecdsa-p256 "${SUITES[0]%% *}" "aes256gcm16$pfs"
    strongswan_up client
    ping_start ping client 10.20.0.2
    for what in child ike child; do strongswan_rekey client "$what"; done
    expect_no_loss ping "strongSwan rekeyed Child, IKE and Child SA${pfs:+ with PFS $pfs}"
    strongswan_down client
    stop headend

    new_headend ecdsa-p256 's/^child_rekey = .*/child_rekey = 5/; s/^ike_rekey = .*/ike_rekey = 9/'
    use_export ecdsa-p256 "${SUITES[0]%% *}" "aes256gcm16$pfs"
    strongswan_up client
    ping_start ping client 10.20.0.2
    strongswan_sees_rekey client child
    strongswan_sees_rekey client ike
    strongswan_sees_rekey client child
    expect_no_loss ping "our headend rekeyed Child, IKE and Child SA${pfs:+ with PFS $pfs}"
    strongswan_down client
    stop headend
  done
fi
e2e_end "strongSwan is a client of our headend"
