#!/usr/bin/env bash
# A Ray head on this machine with token authentication, for `ray job submit`.
#   source cluster/local.sh start     exports RAY_ADDRESS and the token for this shell
#   source cluster/local.sh stop
# HERBRAY_PORT is the dashboard's (default: 8265). HERBRAY_CPUS says how many CPUs Ray may give out (default: at least 4, as two workers and their feed need).
herbray_local() {
  local port="${HERBRAY_PORT:-8265}" token="${XDG_STATE_HOME:-$HOME/.local/state}/herbray/ray-token" cores
  cores=$(getconf _NPROCESSORS_ONLN)
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token" RAY_USAGE_STATS_ENABLED=0
  case "${1:-start}" in
    start)
      mkdir -p "$(dirname "$token")"
      [ -s "$token" ] || (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(32), end="")' >"$token")
      chmod 600 "$token"
      ray start --head --num-cpus "${HERBRAY_CPUS:-$((cores > 4 ? cores : 4))}" --dashboard-host 127.0.0.1 --dashboard-port "$port" --disable-usage-stats || return
      export RAY_ADDRESS="http://127.0.0.1:$port"
      ;;
    stop) ray stop && unset RAY_ADDRESS ;;
    *) echo "usage: source cluster/local.sh start|stop" >&2; return 2 ;;
  esac
}
herbray_local "$@"
