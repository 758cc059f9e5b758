# strongSwan with ESP in userspace (kernel-libipsec): ESP in UDP, by OpenSSL. The address inside is the headend's on the
# network behind it, which the tunnel protects.
# shellcheck shell=bash disable=SC2034  # read by visit.sh
# shellcheck source=tests/e2e/interop/strongswan.sh
source "$ROOT/tests/e2e/interop/strongswan.sh"

contestant_needs() { strongswan_needed; }

# libipsec has no extended sequence numbers.
libipsec_esp() { printf '%s' "${BENCH_ESP%-esn}"; }

contestant_serve() {
  pki_make "$WORK/pki" ecdsa
  strongswan_start headend
  strongswan_certificates headend "$WORK/pki" headend
  strongswan_responder headend ecdsa aes128gcm16-prfsha256-x25519 "$(libipsec_esp)"
  strongswan_start client
  strongswan_certificates client "$WORK/pki" alice
  strongswan_initiator client ecdsa aes128gcm16-prfsha256-x25519 "$(libipsec_esp)"
  INNER=10.20.0.1
  HEADEND_DAEMONS=(charon-headend)
}

# charon runs already: the time is IKE's.
contestant_connect() {
  strongswan_up client
  CLIENT_DAEMONS=(charon-client)
}
