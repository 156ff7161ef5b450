#!/usr/bin/env bash
# Runs a command with TUNER_TEST_POSTGRES naming a PostgreSQL server made for it: on loopback, in a folder that goes away.
set -euo pipefail

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1 || true)
[ -n "$bin" ] || bin=$(dirname "$(command -v initdb)") || { echo "with_postgres.sh: no PostgreSQL server here; install one (Debian, Ubuntu: postgresql)" >&2; exit 2; }

folder=$(mktemp -d)
as_owner=()
if [ "$(id -u)" = 0 ]; then # The server refuses to run as root.
  chown postgres "$folder"
  as_owner=(runuser -u postgres --)
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

stop() {
  (cd "$folder" && "${as_owner[@]}" "$bin/pg_ctl" -D data -m immediate stop >/dev/null 2>&1) || true
  rm -rf "$folder"
}
trap stop EXIT

(
  cd "$folder"
  "${as_owner[@]}" "$bin/initdb" -D data -U tuner --auth=trust --no-sync >/dev/null
  "${as_owner[@]}" "$bin/pg_ctl" -D data -w -l log -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c fsync=off" start >/dev/null
)
TUNER_TEST_POSTGRES="postgresql://tuner@127.0.0.1:$port/postgres" "$@"
