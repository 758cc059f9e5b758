# Certificates made by the openssl command, for peers that are not ours. Sourced after lib.sh.
# shellcheck shell=bash

# pki_key KIND FILE: KIND ecdsa (P-256), ecdsa384, ed25519 or rsa (3072 bits, whose certificates need RFC 7383 fragments).
pki_key() {
  case $1 in
    ecdsa) openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2" ;;
    ecdsa384) openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$2" ;;
    ed25519) openssl genpkey -quiet -algorithm ED25519 -out "$2" ;;
    rsa) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out "$2" ;;
    *) fail "no such kind of key: $1" ;;
  esac
}

# pki_leaf DIR KIND NAME SUBJECT SAN EXTENDED_KEY_USAGE
pki_leaf() {
  pki_key "$2" "$1/$3.key"
  openssl req -new -key "$1/$3.key" -subj "$4" -out "$1/$3.csr"
  openssl x509 -req -in "$1/$3.csr" -CA "$1/ca.crt" -CAkey "$1/ca.key" -days 30 -out "$1/$3.crt" -extfile - 2> /dev/null <<EXT
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = $6
subjectAltName = $5
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
EXT
}

# pki_make DIR KIND: ca, headend (vpn.example.org, 192.0.2.1) and alice, all with keys of one kind.
pki_make() {
  local directory=$1 kind=$2
  [[ ! -e $directory/ca.crt ]] || return 0
  mkdir -p "$directory"
  pki_key "$kind" "$directory/ca.key"
  openssl req -x509 -key "$directory/ca.key" -days 30 -subj "/O=Switchback test/CN=CA $kind" -out "$directory/ca.crt" \
    -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' -addext 'keyUsage=critical,keyCertSign,cRLSign'
  pki_leaf "$directory" "$kind" headend "/O=Switchback test/CN=vpn.example.org" \
    "DNS:vpn.example.org,IP:192.0.2.1,IP:2001:db8:1::1" serverAuth
  pki_leaf "$directory" "$kind" alice "/O=Switchback test/CN=alice" "email:alice@example.org,DNS:alice" clientAuth
  chmod 600 "$directory"/*.key
}

