# The path itself, without any tunnel: what all others are measured against.
# shellcheck shell=bash disable=SC2034  # read by visit.sh
contestant_needs() { :; }
contestant_serve() { INNER=192.0.2.1; }
contestant_connect() { :; }
