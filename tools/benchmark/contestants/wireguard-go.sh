# WireGuard in userspace, as Debian 12 packages it. Its cipher is always ChaCha20-Poly1305.
# shellcheck shell=bash disable=SC2034  # read by visit.sh
contestant_needs() { need wireguard-go wg; }

# wireguard_up HOST ADDRESS PORT PEER PEER_IP [ENDPOINT]
wireguard_up() {
  local host=$1
  spawn "wireguard-$host" "$host" env WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error wireguard-go wg0
  wait_for 10 "wireguard-go on $host" on "$host" test -S /run/wireguard/wg0.sock
  on "$host" wg set wg0 listen-port "$3" private-key "$WORK/$host.key" peer "$4" allowed-ips "$5/32" ${6:+endpoint "$6"}
  on "$host" ip address add "$2/24" dev wg0
  on "$host" ip link set wg0 mtu 1420 up
}

contestant_serve() {
  local host
  for host in client headend; do
    (umask 077 && wg genkey > "$WORK/$host.key")
    wg pubkey < "$WORK/$host.key" > "$WORK/$host.pub"
  done
  wireguard_up headend 10.96.0.1 51820 "$(< "$WORK/client.pub")" 10.96.0.2
  INNER=10.96.0.1
  HEADEND_DAEMONS=(wireguard-headend)
}

contestant_connect() {
  wireguard_up client 10.96.0.2 51821 "$(< "$WORK/headend.pub")" 10.96.0.1 192.0.2.1:51820
  CLIENT_DAEMONS=(wireguard-client)
}
contestant_failed() { tail -n 1 "$WORK/wireguard-client.log"; }
