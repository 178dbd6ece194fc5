#!/usr/bin/env bash
# Starts the tracking server from its environment; the manifests, the Compose file and one-host.sh all run it.
#   POSTGRES_HOST (host:port), POSTGRES_PASSWORD of the role `mlflow`, which owns the database `mlflow` (hexadecimal: it goes into addresses)
#   MLFLOW_ARTIFACTS_DESTINATION          s3://bucket/prefix or a folder; clients never see it, the server passes artifacts on
#   MLFLOW_SERVER_ALLOWED_HOSTS           names under which clients may call the server, with ports
#   MLFLOW_AUTH_ADMIN_PASSWORD            of the account `admin`, at the first start
#   MLFLOW_UPGRADE_DATABASE               1: after an update of MLflow, and a backup, bring the tables to its version first
#   MLFLOW_FLASK_SERVER_SECRET_KEY        signs forms of the web pages
set -euo pipefail
for name in POSTGRES_HOST POSTGRES_PASSWORD MLFLOW_ARTIFACTS_DESTINATION MLFLOW_SERVER_ALLOWED_HOSTS MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY; do
  [ -n "${!name:-}" ] || { echo "serve.sh: $name is not set; the first lines of this file explain it" >&2; exit 1; }
done
umask 077
database="postgresql+psycopg2://mlflow:$POSTGRES_PASSWORD@$POSTGRES_HOST/mlflow"
MLFLOW_AUTH_CONFIG_PATH="$(mktemp)"
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $database
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
INI
# Through the environment: other users of the machine can read command lines.
export MLFLOW_AUTH_CONFIG_PATH MLFLOW_BACKEND_STORE_URI="$database" MLFLOW_SERVE_ARTIFACTS=true MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_HOST="${MLFLOW_HOST:-0.0.0.0}" MLFLOW_PORT="${MLFLOW_PORT:-5000}" MLFLOW_WORKERS="${MLFLOW_WORKERS:-2}"
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # of use for language models only
export MLFLOW_UVICORN_OPTS="${MLFLOW_UVICORN_OPTS:---timeout-worker-healthcheck 120}" # on a busy machine, a worker needs more than 5 s to start
if [ -n "${MLFLOW_UPGRADE_DATABASE:-}" ]; then
  python -c 'import os; from mlflow.db import commands; commands(["upgrade", os.environ["MLFLOW_BACKEND_STORE_URI"]], standalone_mode=False)'
fi
exec mlflow server --app-name basic-auth
