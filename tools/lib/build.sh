# Configuring and building a preset, for tools/demo, tools/check and tools/bench.
# shellcheck shell=bash

# build_preset PRESET [TARGET…]: configures build/PRESET in the repository $ROOT and builds it on all cores. Prints a
# line before and, if it fails, what the compiler said.
build_preset() {
  local preset=$1 log status=0
  shift
  log=$(mktemp)
  printf 'building preset %s (a few minutes the first time)\n' "$preset"
  {
    (cd "$ROOT" && cmake --preset "$preset" && cmake --build "build/$preset" ${1:+--target "$@"})
  } > "$log" 2>&1 || status=$?
  if (( status )); then
    grep -E -A12 'error|FAILED|CMake Error' "$log" | head -n 80 >&2
    printf 'the build of preset %s failed; the errors are above\n' "$preset" >&2
  fi
  rm -f "$log"
  return "$status"
}
