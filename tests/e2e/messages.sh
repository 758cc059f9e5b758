#!/usr/bin/env bash
# What people are told when something is wrong: each mistake ends with its exit status and one sentence that says what
# is wrong, where, and what to do; nothing waits for ever.
#
#   client eth0 192.0.2.2 ─── 192.0.2.1 eth0 headend lan0 10.20.0.1 ─── 10.20.0.2 eth0 server
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# expect STATUS REGEX HOST COMMAND…: the command ends by itself within 40 s with this status; its last line on standard
# error matches, names the program, and is the only one that does so.
expect() {
  local status=$1 regex=$2 host=$3 got=0 last
  shift 3
  on "$host" timeout --kill-after 5 40 "$@" > "$WORK/expect.out" 2> "$WORK/expect.err" || got=$?
  last=$(tail -n 1 "$WORK/expect.err")
  (( got == status )) || fail "status $got in place of $status from: $*: $last"
  [[ $last =~ $regex ]] || fail "no \"$regex\" in: $last"
  [[ $(grep -c '^switchback-' "$WORK/expect.err") == 1 ]] || fail "not one sentence: $(cat "$WORK/expect.err")"
  printf '    %s\n' "$last"
}
# without CAPABILITY… -- COMMAND…: runs a command as root that lacks them.
without() {
  local set=
  while [[ $1 != -- ]]; do set+=,-$1; shift; done
  shift
  printf '%s\n' setpriv "--bounding-set=${set#,}" "--inh-caps=${set#,}" "$@"
}
# hidden DIRECTORY: a shell command that runs its arguments where the directory is empty.
hidden() { printf 'mount -t tmpfs tmpfs %s && exec "$@"' "$1"; }

e2e_begin
use_switchback
need jq python3 openssl setpriv
topology_direct
# shellcheck disable=SC2119  # no options of this script
pair_prepare
user_add headend "$HEADEND_DIR" bob "$WORK/bob.toml"
run=("$SB_HEADEND" run --dir)
connect=("$SB_CLIENT" connect --profile)
# set_in FILE KEY VALUE: replaces a line `key = …` of a TOML file.
set_in() { sed -i -E "s|^#? ?$2 *=.*|$2 = $3|" "$1"; grep -qE "^$2 = " "$1" || fail "no $2 in $1"; }

step "the headend does not start"
expect 1 'nowhere/headend.toml.*--dir' headend "${run[@]}" "$WORK/nowhere"
cp -a "$HEADEND_DIR" "$WORK/locked"
chown -R 65534 "$WORK/locked"; chmod 700 "$WORK/locked"
mapfile -t command < <(without dac_override dac_read_search -- "${run[@]}" "$WORK/locked")
expect 1 'locked/headend.toml: Permission denied.*run as' headend "${command[@]}"
mapfile -t command < <(without net_admin -- "${run[@]}" "$HEADEND_DIR")
expect 1 'root|CAP_NET_ADMIN' headend "${command[@]}"
expect 1 '/dev/net/tun.*modprobe tun' headend unshare -m sh -c "$(hidden /dev/net)" sh "${run[@]}" "$HEADEND_DIR"
cp -a "$HEADEND_DIR" "$WORK/half"
head -c 300 "$HEADEND_DIR/headend.toml" > "$WORK/half/headend.toml"
expect 1 'half/headend.toml:[0-9]+: ' headend "${run[@]}" "$WORK/half"
cp "$HEADEND_DIR/headend.toml" "$WORK/half/headend.toml"
head -c 200 "$HEADEND_DIR/pki/headend.crt" > "$WORK/half/pki/headend.crt"
expect 1 'half/pki/headend.crt' headend "${run[@]}" "$WORK/half"
cp "$HEADEND_DIR/pki/headend.crt" "$WORK/half/pki/headend.crt"
head -c 3000 "$HEADEND_DIR/state.db" > "$WORK/half/state.db"; rm -f "$WORK/half"/state.db-*
expect 1 'half/state.db.*backup' headend "${run[@]}" "$WORK/half"
: > "$WORK/squatter.log"
spawn squatter headend python3 -uc 'import socket, signal
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 500)); print("bound"); signal.pause()'
wait_log 5 squatter bound
expect 1 'port 500|:500.*in use' headend "${run[@]}" "$HEADEND_DIR"
stop squatter

step "the client does not start"
expect 2 'nowhere.toml' client "${connect[@]}" "$WORK/nowhere.toml"
head -c 400 "$WORK/alice.toml" > "$WORK/half.toml"; chmod 600 "$WORK/half.toml"
expect 2 'half.toml:[0-9]+: ' client "${connect[@]}" "$WORK/half.toml"
mapfile -t command < <(without net_admin -- "${connect[@]}" "$WORK/alice.toml")
expect 1 'root|CAP_NET_ADMIN' client "${command[@]}"
expect 1 '/dev/net/tun.*modprobe tun' client unshare -m sh -c "$(hidden /dev/net)" sh "${connect[@]}" "$WORK/alice.toml"
expect 1 'no client is running for swb0' client "$SB_CLIENT" status
expect 1 'no client is running for swb0' client "$SB_CLIENT" disconnect

step "nobody is there"
begun=$(now_ms)
expect 1 'no answer from 192.0.2.1:500: ' client "${connect[@]}" "$WORK/alice.toml"
step "given up after $(( $(now_ms) - begun )) ms"
cp -p "$WORK/alice.toml" "$WORK/name.toml"
set_in "$WORK/name.toml" addresses '["headend.invalid"]'
expect 1 'headend.invalid' client "${connect[@]}" "$WORK/name.toml"
set_in "$WORK/name.toml" addresses '["203.0.113.1"]'
expect 1 'no way to 203.0.113.1:500' client "${connect[@]}" "$WORK/name.toml"
client_spawn patient client "$WORK/alice.toml"
wait_log 5 patient 'connecting'
begun=$(now_ms)
stop patient
(( STOP_STATUS == 0 && $(now_ms) - begun < 2000 )) || fail "ended with $STOP_STATUS after $(( $(now_ms) - begun )) ms"

step "the headend runs"
headend_start headend "$HEADEND_DIR"
expect 1 'already' headend "${run[@]}" "$HEADEND_DIR"
cp -a "$HEADEND_DIR" "$WORK/twin"
set_in "$WORK/twin/headend.toml" tun '"swb-head1"'
expect 1 'cannot listen on .*:[0-9]+.*(in use|another program has the port)' headend "${run[@]}" "$WORK/twin"
expect 1 'swb-head0.*in use.*another name' headend "${connect[@]}" "$WORK/alice.toml" --tun swb-head0
# Another headend's CA, under the same name.
headend_init headend "$WORK/other" 192.0.2.1
user_add headend "$WORK/other" alice "$WORK/other.toml"
expect 3 'authentication failed.*clock' client "${connect[@]}" "$WORK/other.toml"
sed -e '/^ca = """/,/^"""/d' "$WORK/alice.toml" > "$WORK/mixed.toml"
sed -n '/^ca = """/,/^"""/p' "$WORK/other.toml" > "$WORK/ca.part"
sed -i "/^\[authentication\]/r $WORK/ca.part" "$WORK/mixed.toml"; chmod 600 "$WORK/mixed.toml"
expect 3 'authentication failed' client "${connect[@]}" "$WORK/mixed.toml"
sed -e 's/^identity = "192.0.2.1"/identity = "vpn.example.org"/' "$WORK/alice.toml" > "$WORK/name.toml"
expect 3 'vpn.example.org' client "${connect[@]}" "$WORK/name.toml"
# Somebody else on the machine: files and sockets are root's. Only where they can reach our programs at all.
other=(setpriv --reuid=65534 --clear-groups)
if on headend "${other[@]}" test -x "$SB_HEADEND" -a -x "$SB_CLIENT"; then
  expect 1 'Permission denied.*run as' headend "${other[@]}" "$SB_HEADEND" status --dir "$HEADEND_DIR"
  expect 1 'no permission.*as root' headend "${other[@]}" "$SB_CLIENT" status --control-socket /run/switchback/headend-swb-head0.sock
fi

step "the database is locked, the disk is full"
client_start client client "$WORK/alice.toml"
: > "$WORK/locker.log"
spawn locker headend python3 -uc 'import sqlite3, signal, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute("BEGIN IMMEDIATE"); print("locked"); signal.pause()' "$HEADEND_DIR/state.db"
wait_log 5 locker locked
expect 1 'state.db.*locked.*again' headend "$SB_HEADEND" user add carol --dir "$HEADEND_DIR" --out "$WORK/carol.toml"
[[ ! -e $WORK/carol.toml ]] || fail "a profile of a user who was not added"
ping_ok client 10.20.0.2 20 || fail "a locked database stops traffic"
stop client
client_start client client "$WORK/bob.toml"
ping_ok client 10.20.0.2 || fail "a locked database keeps users out"
stop client
stop locker
mkdir "$WORK/full"
# shellcheck disable=SC2016
expect 1 'full/carol.toml.*No space left' headend unshare -m sh -c 'mount -t tmpfs -o size=4k tmpfs "$1" && echo x > "$1/x" && shift && exec "$@"' \
  sh "$WORK/full" "$SB_HEADEND" user add carol --dir "$HEADEND_DIR" --out "$WORK/full/carol.toml"
on headend "$SB_HEADEND" user list --dir "$HEADEND_DIR" --json | grep -q carol && fail "carol was added without a profile"

step "sessions end"
client_start client client "$WORK/alice.toml"
stop headend
wait_log 5 client '^reconnecting: the headend ended the session'
begun=$(now_ms)
stop client
(( STOP_STATUS == 0 && $(now_ms) - begun < 3000 )) || fail "ended with $STOP_STATUS after $(( $(now_ms) - begun )) ms"
headend_start headend "$HEADEND_DIR"
client_start client client "$WORK/alice.toml"
stop headend KILL
begun=$(now_ms)
stop client
(( STOP_STATUS == 0 )) || fail "the client ended with $STOP_STATUS"
step "the client of a dead headend ends after $(( $(now_ms) - begun )) ms"

step "the pool is used up"
headend_init headend "$WORK/small" 192.0.2.1 --pool 10.98.0.0/30 --pool6 none
for user in alice bob; do user_add headend "$WORK/small" "$user" "$WORK/small-$user.toml"; done
headend_start headend "$WORK/small"
client_start client client "$WORK/small-alice.toml"
expect 1 'no inner address for us: its pool' client "${connect[@]}" "$WORK/small-bob.toml" --tun swb1
log_has headend 'pool_exhausted' || fail "the headend's log does not say that the pool is exhausted"
stop client

step "the headend's certificate has expired"
stop headend
printf 'subjectAltName=IP:192.0.2.1\nextendedKeyUsage=serverAuth\n' > "$WORK/extensions"
openssl req -new -key "$WORK/small/pki/headend.key" -subj /CN=192.0.2.1 -out "$WORK/request.pem" 2> "$WORK/openssl.log"
openssl x509 -req -in "$WORK/request.pem" -CA "$WORK/small/pki/ca.crt" -CAkey "$WORK/small/pki/ca.key" -CAcreateserial -days -1 \
  -extfile "$WORK/extensions" -out "$WORK/small/pki/headend.crt" 2>> "$WORK/openssl.log" || fail "openssl cannot issue a certificate"
headend_start headend "$WORK/small"
log_has headend 'certificate_expired' || fail "the headend does not warn that its certificate has expired"
expect 3 'expired.*clock' client "${connect[@]}" "$WORK/small-alice.toml"
stop headend
e2e_end "every mistake has its sentence and its status"
