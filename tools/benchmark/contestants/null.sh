# The ceiling: Switchback's own programs linked with a cipher that does nothing. Over udp, or over what null-… names.
# shellcheck shell=bash disable=SC2034  # read by visit.sh
# shellcheck source=tools/benchmark/contestants/switchback.sh
source "$BENCHMARK/contestants/switchback.sh"

contestant_needs() {
  SB_CLIENT=$(built bench-null-client)
  SB_HEADEND=$(built bench-null-headend)
  [[ $CONTESTANT == null-* ]] || CONTESTANT=null-udp
}
