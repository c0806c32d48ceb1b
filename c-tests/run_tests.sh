#!/bin/sh
# Runs test programs, two at a time, each under COMMAND; prints what each has said when it is done, and all failures
# at the end.
#
# usage: run_tests.sh "COMMAND" PROGRAM...
set -eu

RUN_UNDER=$1
export RUN_UNDER
shift
failures=$(mktemp)
export failures
trap 'rm -f "$failures"' EXIT

printf '%s\n' "$@" | xargs -P 2 -I '{}' sh -c '
  # shellcheck disable=SC2086 # a command with arguments
  if output=$($RUN_UNDER "$1" 2>&1); then status=; else status=" FAILED with status $?"; echo "$1" >>"$failures"; fi
  printf "== %s%s\n%s\n" "$1" "$status" "$output"
' sh '{}'

if [ -s "$failures" ]; then
  echo "failed: $(tr '\n' ' ' <"$failures")"
  exit 1
fi
