#!/usr/bin/env bash
# Runs a command whose temporary files lie in memory where there is a gigabyte of it: tests sync thousands of small files.
# They lose nothing by it: what a killed process wrote stays, synced or not. The folder goes away unless the command fails.
set -uo pipefail

memory=/dev/shm
free_kilobytes=$(df -Pk "$memory" 2>/dev/null | awk 'NR == 2 {print $4}')
if [ -n "${TMPDIR:-}" ] || [ ! -w "$memory" ] || [ "${free_kilobytes:-0}" -lt 1000000 ]; then
  exec "$@"
fi

TMPDIR=$(mktemp -d "$memory/tuner-tests.XXXXXX")
export TMPDIR
chmod 711 "$TMPDIR" # One test gives up root's power and must still reach its own folder.
"$@"
code=$?
if [ "$code" = 0 ]; then
  rm -rf "$TMPDIR"
else
  echo "in_memory.sh: what the tests wrote is kept in $TMPDIR; remove it when it was looked at" >&2
fi
exit "$code"
