# strongSwan 5.9.8 with ESP in userspace as a peer in a test host. Sourced after ../lib.sh.
# shellcheck shell=bash disable=SC2034  # results are left in variables for the scripts that source this
#
#   strongswan_start headend
#   pki_make "$WORK/pki" rsa
#   strongswan_responder headend rsa …;  strongswan_initiator client …
#
# Each instance has its own configuration, vici socket and pid file: the host's private /run holds the last two.

# shellcheck source=tests/e2e/pki.sh
source "$(dirname "${BASH_SOURCE[0]}")/../pki.sh"

# kernel-libipsec, which does ESP in the daemon, goes before kernel-netlink; openssl before the slower aes and gcm.
readonly SS_PLUGINS='random drbg nonce pem pkcs1 pkcs8 pubkey x509 revocation constraints openssl gcm chapoly curve25519
  aes sha1 sha2 hmac kdf mgf1 gmp md5 attr kernel-libipsec kernel-netlink socket-default resolve vici counters'

# The connection and its child that strongswan_up and the like are about.
SS_CONNECTION=vpn SS_CHILD=net

# IKE and ESP proposals that belong together in the tests: each algorithm of each kind occurs.
readonly SUITES=(
  'aes128gcm16-prfsha256-x25519 aes128gcm16'
  'aes256gcm16-prfsha384-ecp384 aes256gcm16'
  'chacha20poly1305-prfsha512-ecp256 chacha20poly1305'
)

# Of a profile of our client: it rekeys in good time for a test.
readonly CLIENT_REKEYS_SOON=$'[timers]\nike_rekey = 9\nchild_rekey = 5'

# strongswan_needed: skips the script when the peer is not installed.
strongswan_needed() {
  [[ -x /usr/lib/ipsec/charon ]] || skip "strongSwan's charon is not installed"
  [[ -e /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so ]] || skip "strongSwan's kernel-libipsec is not installed"
  need swanctl openssl
}

# strongswan_start HOST: runs charon as program charon-HOST.
strongswan_start() {
  local host=$1 directory=$WORK/ss-$1
  mkdir -p "$directory"/swanctl/{x509,x509ca,private}
  # Copies are not confined by Debian's AppArmor profiles, which would keep them from reading below /tmp.
  [[ -e $WORK/charon ]] || cp /usr/lib/ipsec/charon "$(command -v swanctl)" "$WORK/"
  # Marked sockets stay out of a tunnel that covers the peer's own address. Fragments fit any path.
  cat > "$directory/strongswan.conf" <<CONF
charon {
  load = ${SS_PLUGINS//$'\n'/ }
  threads = 16
  retransmit_tries = 4
  retransmit_timeout = 1
  delete_rekeyed_delay = 2
  plugins {
    vici { socket = unix:///run/charon.vici }
    socket-default { fwmark = 0x42 }
    kernel-netlink { fwmark = !0x42 }
    kernel-libipsec { allow_peer_ts = yes }
  }
  filelog { stderr { default = 1
    ike = 2
    enc = 1
    time_format = %H:%M:%S
  } }
}
swanctl { load = pem pkcs1 pkcs8 pubkey x509 openssl random }
CONF
  spawn "charon-$host" "$host" env STRONGSWAN_CONF="$directory/strongswan.conf" "$WORK/charon"
  wait_for 15 "charon on $host" swanctl_on "$host" --stats
}

# swanctl_on HOST COMMAND…
swanctl_on() {
  local host=$1
  shift
  timeout 30 nsenter --net --mount --target "${HOST_PID[$host]}" -- env SWANCTL_DIR="$WORK/ss-$host/swanctl" STRONGSWAN_CONF="$WORK/ss-$host/strongswan.conf" \
    "$WORK/swanctl" "$@" --uri unix:///run/charon.vici
}

# swanctl_load HOST: loads swanctl.conf from standard input, replacing what was loaded.
swanctl_load() {
  cat > "$WORK/ss-$1/swanctl/swanctl.conf"
  swanctl_reload "$1"
}
swanctl_reload() {
  swanctl_on "$1" --load-all --noprompt > "$WORK/swanctl-$1.log" 2>&1 || fail "swanctl on $1: $(tail -n 3 "$WORK/swanctl-$1.log")"
}

# ---- connections ---------------------------------------------------------------------------------------------------

# strongswan_certificates HOST PKI NAME: puts the CA and NAME's certificate and key where swanctl looks for them.
strongswan_certificates() {
  local directory=$WORK/ss-$1/swanctl
  rm -f "$directory"/{x509,x509ca,private}/*
  cp "$2/ca.crt" "$directory/x509ca/"
  cp "$2/$3.crt" "$directory/x509/"
  cp "$2/$3.key" "$directory/private/"
}

# Both take HOST AUTH (psk or a kind of key) IKE ESP [LINES], where LINES are further settings of the child.
# Certificates must have been put in place. Proposals are in strongSwan's own syntax.

strongswan_local_auth() {
  if [[ $1 == psk ]]; then printf 'auth = psk\n id = %s\n' "$2"; else printf 'auth = pubkey\n id = %s\n certs = %s.crt\n' "$2" "$3"; fi
}
strongswan_remote_auth() {
  if [[ $1 == psk ]]; then printf 'auth = psk\n'; else printf 'auth = pubkey\n cacerts = ca.crt\n'; fi
  [[ -z ${2:-} ]] || printf ' id = %s\n' "$2"
}

readonly SS_PSK='a secret of the test, 32 characters or more'

# strongswan_responder HOST AUTH IKE ESP [LINES]: gives out 10.98.0.0/24 and fd98::/64 and protects 10.20.0.0/24 and
# fd20::/64, the network behind the headend.
strongswan_responder() {
  swanctl_load "$1" <<CONF
connections { vpn {
  version = 2
  proposals = $3
  local_addrs = 192.0.2.1,2001:db8:1::1
  pools = pool4,pool6
  mobike = yes
  fragmentation = yes
  rekey_time = 0
  dpd_delay = 0
  local { $(strongswan_local_auth "$2" vpn.example.org headend)
  }
  remote { $(strongswan_remote_auth "$2")
  }
  children { net {
    local_ts = 10.20.0.0/24,fd20::/64
    esp_proposals = $4
    rekey_time = 0
    ${5:-}
  } }
} }
pools {
  pool4 { addrs = 10.98.0.10-10.98.0.200
    dns = 10.20.0.53 }
  pool6 { addrs = fd98::10-fd98::200 }
}
secrets { ike-all { secret = "$SS_PSK" } }
CONF
}

# strongswan_initiator HOST AUTH IKE ESP [LINES]
strongswan_initiator() {
  swanctl_load "$1" <<CONF
connections { vpn {
  version = 2
  proposals = $3
  remote_addrs = ${SS_REMOTE:-192.0.2.1}
  vips = 0.0.0.0,::
  mobike = yes
  fragmentation = yes
  rekey_time = 0
  dpd_delay = 0
  local { $(strongswan_local_auth "$2" "${SS_IDENTITY:-alice@example.org}" "${SS_CERTIFICATE:-alice}")
  }
  remote { $(strongswan_remote_auth "$2" vpn.example.org)
  }
  children { net {
    remote_ts = 10.20.0.0/24,fd20::/64
    esp_proposals = $4
    rekey_time = 0
    ${5:-}
  } }
} }
secrets { ike-all { secret = "${SS_SECRET:-$SS_PSK}" } }
CONF
}

# strongswan_up HOST: initiates; ends the script with charon's own words if it cannot.
strongswan_up() {
  swanctl_on "$1" --initiate --child "$SS_CHILD" --timeout 15 > "$WORK/initiate-$1.log" 2>&1 ||
    fail "strongSwan could not connect: $(grep -vE '^\[(NET|ENC)\]' "$WORK/initiate-$1.log" | tail -n 3 | tr '\n' ' ')"
}
strongswan_down() {
  swanctl_on "$1" --terminate --ike "$SS_CONNECTION" --timeout 10 > "$WORK/terminate-$1.log" 2>&1 || fail "strongSwan on $1 did not close its IKE SA"
}

# strongswan_rekey HOST ike|child: starts a rekey and waits until it is done: a new SPI has replaced the old one.
strongswan_rekey() {
  local before which=(--ike "$SS_CONNECTION")
  [[ $2 == ike ]] || which=(--child "$SS_CHILD")
  before=$(strongswan_spis "$1" "$2")
  swanctl_on "$1" --rekey "${which[@]}" > "$WORK/rekey-$1.log" 2>&1 || fail "strongSwan on $1 refused to rekey its $2 SA"
  wait_for 10 "strongSwan on $1 to finish its $2 rekey" strongswan_spis_replaced "$1" "$2" "$before"
}

# strongswan_sees_rekey HOST ike|child: waits until the peer has rekeyed.
strongswan_sees_rekey() {
  wait_for 25 "the peer of strongSwan on $1 to rekey the $2 SA" strongswan_spis_replaced "$1" "$2" "$(strongswan_spis "$1" "$2")"
}

# expect_no_loss PING WHAT: ends a continuous ping of which no request may be lost, and prints a line.
expect_no_loss() {
  ping_stop "$1"
  (( PING_LOST == 0 )) || fail "$2: $PING_LOST of $PING_SENT pings lost"
  printf '%s: 0 of %d pings lost\n' "$2" "$PING_SENT"
}

# strongswan_spis HOST ike|child: the SPIs of what is established now, one per line.
strongswan_spis() {
  swanctl_on "$1" --list-sas --raw | tr ' ' '\n' |
    if [[ $2 == ike ]]; then sed -nE 's/^(initiator|responder)-spi=([0-9a-f]+)$/\2/p'; else sed -nE 's/^spi-in=([0-9a-f]+)$/\1/p'; fi | sort
}
strongswan_spis_replaced() {
  local after
  after=$(strongswan_spis "$1" "$2")
  [[ -n $after && -z $(comm -12 <(printf '%s\n' "$3") <(printf '%s\n' "$after")) ]]
}

# strongswan_uses HOST ESP: the Child SA has the algorithm that the proposal (aes128gcm16…) names.
strongswan_uses() {
  local wanted
  case $2 in
    aes128gcm16*) wanted='encr-alg=AES_GCM_16 encr-keysize=128' ;;
    aes256gcm16*) wanted='encr-alg=AES_GCM_16 encr-keysize=256' ;;
    chacha20poly1305*) wanted='encr-alg=CHACHA20_POLY1305' ;;
    *) fail "strongswan_uses does not know $2" ;;
  esac
  swanctl_on "$1" --list-sas --raw | sed 's/.*child-sas//' | grep -qF "$wanted" || fail "the Child SA does not use $2"
}

# strongswan_fragments HOST: "SENT RECEIVED", IKE messages so far that it split, and fragments that it received.
strongswan_fragments() {
  printf '%s %s' "$(log_count "charon-$1" 'splitting IKE message')" "$(log_count "charon-$1" 'received fragment #')"
}

# strongswan_fragments_as_expected AUTH BEFORE AFTER: with RSA both ends must have used fragments; describes it in FRAGMENTS.
strongswan_fragments_as_expected() {
  local sent_before received_before sent received
  read -r sent_before received_before <<< "$2"
  read -r sent received <<< "$3"
  sent=$(( sent - sent_before )) received=$(( received - received_before ))
  FRAGMENTS="no IKE fragments"
  (( sent + received == 0 )) || FRAGMENTS="$sent messages sent in fragments, $received fragments received"
  [[ $1 != rsa* ]] || (( sent > 0 && received > 1 )) || fail "$1: expected IKE fragments both ways, had: $FRAGMENTS"
}

# strongswan_idle HOST: no IKE SA is left.
strongswan_idle() { [[ -z $(strongswan_spis "$1" ike) ]]; }
