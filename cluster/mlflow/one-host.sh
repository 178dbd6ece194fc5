#!/usr/bin/env bash
# The tracking server with PostgreSQL on this machine, on 127.0.0.1, from Debian's and PyPI's packages. Run it as an ordinary user.
#   apt-get install postgresql python3-venv                      (Debian's own PostgreSQL service is not used and may be disabled)
#   cluster/mlflow/one-host.sh start | stop | backup FOLDER | restore FOLDER | status
# HERBRAY_MLFLOW: its folder (default: ~/.local/share/herbray-mlflow). MLFLOW_PORT, POSTGRES_PORT: 5000, 5433.
# MLFLOW_ARTIFACTS_DESTINATION: s3://bucket/prefix (keys from the usual chain, AWS_ENDPOINT_URL_S3 for a store of your own); default: a folder.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
home="${HERBRAY_MLFLOW:-$HOME/.local/share/herbray-mlflow}"
postgres="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)"
export MLFLOW_HOST=127.0.0.1 MLFLOW_PORT="${MLFLOW_PORT:-5000}" POSTGRES_PORT="${POSTGRES_PORT:-5433}" PGUSER=mlflow PGDATABASE=mlflow
export PGHOST=127.0.0.1 PGPORT="$POSTGRES_PORT" POSTGRES_HOST="127.0.0.1:$POSTGRES_PORT"
export MLFLOW_SERVER_ALLOWED_HOSTS="localhost:$MLFLOW_PORT,127.0.0.1:$MLFLOW_PORT"
export MLFLOW_ARTIFACTS_DESTINATION="${MLFLOW_ARTIFACTS_DESTINATION:-$home/artifacts}"
umask 077

fail() { echo "one-host.sh: $*" >&2; exit 1; }

prepare() {
  [ "$(id -u)" -ne 0 ] || fail "PostgreSQL does not run as root: use another account, such as \`runuser -u postgres -- $0 start\`"
  [ -n "$postgres" ] || fail "PostgreSQL is missing: apt-get install postgresql"
  mkdir -p "$home"
  [ -s "$home/secrets" ] || python3 -c 'import secrets; [print(f"{name}={secrets.token_hex(24)}") for name in ("POSTGRES_PASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")]' >"$home/secrets"
  set -a; . "$home/secrets"; set +a
  export PGPASSWORD="$POSTGRES_PASSWORD"
  if [ ! -x "$home/venv/bin/mlflow" ]; then
    python3 -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --disable-pip-version-check uv
    "$home/venv/bin/uv" pip install --quiet --python "$home/venv/bin/python" -r "$here/requirements.lock"
  fi
  export PATH="$home/venv/bin:$PATH"
}

start_database() {
  if [ ! -s "$home/database/PG_VERSION" ]; then
    "$postgres/initdb" --pgdata "$home/database" --username mlflow --pwfile <(echo "$POSTGRES_PASSWORD") --auth scram-sha-256 --encoding UTF8 --locale C >/dev/null
  fi
  "$postgres/pg_ctl" status --pgdata "$home/database" >/dev/null && return
  "$postgres/pg_ctl" start --wait --silent --pgdata "$home/database" --log "$home/database.log" --options "-p $POSTGRES_PORT -h 127.0.0.1 -k $home" || fail "PostgreSQL did not start: read $home/database.log"
  "$postgres/psql" --dbname postgres --tuples-only --command "SELECT 1 FROM pg_database WHERE datname = 'mlflow'" | grep -q 1 || "$postgres/createdb" mlflow
}

runs() { [ -s "$home/server.pid" ] && kill -0 "$(cat "$home/server.pid")" 2>/dev/null; }

start_server() {
  runs && return
  case "$MLFLOW_ARTIFACTS_DESTINATION" in s3://*) python "$here/objects.py" make "$(bucket)" ;; esac
  setsid "$here/serve.sh" >>"$home/server.log" 2>&1 </dev/null &
  echo $! >"$home/server.pid"
  for _ in $(seq 120); do
    python -c "import urllib.request; urllib.request.build_opener(urllib.request.ProxyHandler({})).open('http://127.0.0.1:$MLFLOW_PORT/health', timeout=2)" 2>/dev/null && return
    runs || break
    sleep 1
  done
  fail "the server did not start: read $home/server.log"
}

stop() {
  if runs; then
    kill -- "-$(cat "$home/server.pid")"
    for _ in $(seq 100); do runs || break; sleep 0.2; done
    ! runs || kill -KILL -- "-$(cat "$home/server.pid")" # a server that is starting does not hear the first signal
  fi
  rm -f "$home/server.pid"
  "$postgres/pg_ctl" status --pgdata "$home/database" >/dev/null 2>&1 && "$postgres/pg_ctl" stop --silent --mode fast --pgdata "$home/database" || true
}

bucket() { local rest="${MLFLOW_ARTIFACTS_DESTINATION#s3://}"; echo "${rest%%/*}"; }

# The database first: every artifact that it names is then in the copy.
backup() {
  local name; name="$(date -u +%Y-%m-%dT%H%M%SZ)"
  mkdir -p "$1/objects"
  "$postgres/pg_dump" --format custom --file "$1/$name.part" && mv "$1/$name.part" "$1/$name.dump"
  case "$MLFLOW_ARTIFACTS_DESTINATION" in
    s3://*) python "$here/objects.py" save "$(bucket)" "$1/objects" ;;
    *) mkdir -p "$MLFLOW_ARTIFACTS_DESTINATION"; cp -a --update "$MLFLOW_ARTIFACTS_DESTINATION/." "$1/objects/" ;;
  esac
  ls -1 "$1"/*.dump | sort | head -n -14 | xargs -r rm -- # two weeks of nights
  cp "$home/secrets" "$1/secrets"
  echo "$1/$name.dump"
}

restore() {
  local dump; dump="$(ls -1 "$1"/*.dump | sort | tail -n 1)"
  "$postgres/pg_restore" --clean --if-exists --no-owner --exit-on-error --single-transaction --dbname mlflow "$dump"
  case "$MLFLOW_ARTIFACTS_DESTINATION" in
    s3://*) python "$here/objects.py" make "$(bucket)"; python "$here/objects.py" restore "$1/objects" "$(bucket)" ;;
    *) mkdir -p "$MLFLOW_ARTIFACTS_DESTINATION"; cp -a --update "$1/objects/." "$MLFLOW_ARTIFACTS_DESTINATION/" ;;
  esac
  echo "restored from $dump"
}

case "${1:-}" in
  start) prepare; start_database; start_server; echo "MLflow runs at http://127.0.0.1:$MLFLOW_PORT; its passwords are in $home/secrets" ;;
  stop) stop ;;
  status) runs && echo "runs at http://127.0.0.1:$MLFLOW_PORT" || fail "does not run" ;;
  backup) [ -n "${2:-}" ] || fail "usage: backup FOLDER"; prepare; backup "$2" ;;
  restore) [ -n "${2:-}" ] || fail "usage: restore FOLDER"; mkdir -p "$home"; [ -s "$home/secrets" ] || cp "$2/secrets" "$home/secrets"; prepare; runs && fail "stop the server first"; start_database; restore "$2"; start_server ;;
  *) fail "usage: start | stop | status | backup FOLDER | restore FOLDER" ;;
esac
