#!/usr/bin/env bash
# A Ray head on this machine with token authentication, for `ray job submit`. It listens on the loopback interface only.
#   source cluster/local.sh start     exports RAY_ADDRESS and the token for this shell; returns when jobs can be submitted
#   source cluster/local.sh stop      stops all Ray processes of this user on this machine, including other clusters, as `ray stop` does
# Run one cluster per machine: submitted jobs join the newest one.
# HERBRAY_PORT: port of the dashboard (default: 8265). HERBRAY_CPUS: CPUs that Ray offers (default: the number of cores, but at least 4,
# which two workers and their input tasks need). HERBRAY_WAIT: seconds to wait for the job agent (default: 60).
herbray_local() {
  local port="${HERBRAY_PORT:-8265}" token="${XDG_STATE_HOME:-$HOME/.local/state}/herbray/ray-token" cores said
  cores=$(getconf _NPROCESSORS_ONLN)
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token" RAY_USAGE_STATS_ENABLED=0
  case "${1:-start}" in
    start)
      mkdir -p "$(dirname "$token")"
      [ -s "$token" ] || (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(32), end="")' >"$token")
      chmod 600 "$token"
      # Ray has this switch for systems whose firewall asks about every listening program: servers bind to 127.0.0.1, and processes
      # that join the cluster from this shell connect there. Other machines cannot join.
      export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
      said=$(mktemp)
      # Port 0: any free port. The default port of the agent is taken if another cluster runs on this machine.
      ray start --head --num-cpus "${HERBRAY_CPUS:-$((cores > 4 ? cores : 4))}" --dashboard-host 127.0.0.1 --dashboard-port "$port" --dashboard-agent-listen-port 0 --disable-usage-stats >"$said" 2>&1 || { cat "$said" >&2; rm "$said"; return 1; }
      rm "$said"
      export RAY_ADDRESS="http://127.0.0.1:$port"
      herbray_agent "$RAY_ADDRESS" "$token" "${HERBRAY_WAIT:-60}" && echo "Ray accepts jobs at $RAY_ADDRESS; \`source cluster/local.sh stop\` stops it"
      ;;
    stop) ray stop && unset RAY_ADDRESS RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER ;;
    *) echo "usage: source cluster/local.sh start|stop" >&2; return 2 ;;
  esac
}
# `ray start` returns before the agent of the node, which starts jobs, has registered with the dashboard. Listing the agent's log
# reaches this agent through the dashboard. The token is passed as a file, because every user can read command lines.
herbray_agent() {
  python3 - "$@" <<'PYTHON'
import json
import sys
import time
import urllib.request

address, token, seconds = sys.argv[1], open(sys.argv[2]).read().strip(), float(sys.argv[3])
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(path):
    request = urllib.request.Request(address + path, headers={"Authorization": f"Bearer {token}"})
    with direct.open(request, timeout=5) as answer:
        return json.load(answer)


end, last = time.monotonic() + seconds, "no request sent"
while time.monotonic() < end:
    try:
        nodes = ask("/nodes?view=summary")["data"]["summary"]
        if nodes and all(ask(f"/api/v0/logs?node_id={node['raylet']['nodeId']}&timeout=5")["result"] for node in nodes):
            sys.exit(0)
        last = "no agent yet"
    except (OSError, ValueError, KeyError) as error:
        last = f"{type(error).__name__}: {error}"
    time.sleep(0.5)
sys.exit(
    f"cluster/local.sh: Ray runs at {address}, but after {seconds:g} s its agent accepts no jobs ({last}): wait for `ray job list`, "
    "raise HERBRAY_WAIT, or read dashboard_agent.log in /tmp/ray/session_latest/logs"
)
PYTHON
}
herbray_local "$@"
