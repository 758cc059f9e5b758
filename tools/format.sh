#!/usr/bin/env bash
# Checks that every C++ file is as clang-format 14 lays it out; with --fix, lays it out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=(--dry-run --Werror)
if [[ ${1:-} == --fix ]]; then mode=(-i); fi
find common transports client headend tools tests \( -name '*.h' -o -name '*.cpp' \) -print0 |
  xargs -0 clang-format-14 "${mode[@]}"
