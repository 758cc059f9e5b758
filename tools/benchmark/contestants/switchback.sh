# Switchback over the transport that is the contestant's name.
# shellcheck shell=bash disable=SC2034  # read by visit.sh
contestant_needs() { use_switchback; }

contestant_serve() {
  headend_init headend "$WORK/headend" 192.0.2.1 --pool 10.99.0.0/24 --route 10.99.0.0/24
  user_add headend "$WORK/headend" alice "$WORK/alice.toml"
  printf '\n[crypto]\nesp = ["%s"]\n' "$BENCH_ESP" >> "$WORK/alice.toml"
  headend_start headend "$WORK/headend"
  INNER=$(inner_address headend swb-head0 4)
  HEADEND_DAEMONS=(headend)
}

contestant_connect() {
  client_spawn client client "$WORK/alice.toml" --transport "${CONTESTANT##*-}" --stay
  CLIENT_DAEMONS=(client)
}
contestant_failed() { grep -vE '^(up|path)' "$WORK/client.log" | tail -n 1; }
