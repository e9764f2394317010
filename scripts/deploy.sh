#!/usr/bin/env bash
# Puts Kong with Tollgate into a cluster, in six steps. It is safe to run again: what is there already stays as it is. This
# file goes through the steps; the work is in scripts/deploy/.
# There is no `set -e`: every step's failure has to reach `fail`, which undoes what can be undone.
set -uo pipefail
# Neither may redirect this script: `cd` into another folder, `kubectl diff` to a tool whose exit code says nothing.
unset CDPATH KUBECTL_EXTERNAL_DIFF
cd "$(dirname "$0")/.." || exit 2

usage() {
  cat <<'END'
usage: scripts/deploy.sh [options]

  1 checks      kubectl, context, permissions, Secrets and what is in them, the policy (tollgate check), Prometheus' CRDs; touches nothing
  2 database    namespace, network policies, the trial's Redis; PostgreSQL (overlay postgres)
  3 kong        Kong, the filter, the store, and the configuration and policy that they read when they start
  4 policy      plugins and policy into the database (overlay postgres)
  5 monitoring  ServiceMonitors, alerts, dashboards; left out where the cluster knows no such kinds, or you may not make them
  6 verify      real requests through the proxy: limits' headers, latency p50 and p95; then away with what the overlay no longer has

  --overlay NAME   dbless (default), postgres or dev
  --context NAME   of kubectl; the current one if left out
  --only STEP      checks, and then this step alone: its name or number
  --dry-run        shows what would change, and changes nothing
  --yes            does not ask
  --no-prune       leaves what the overlay no longer has
  --no-undo        leaves a failed step as it is
  --undo-verify    a failed verification is undone, too
  --url URL        where step 6 finds the proxy; else its load balancer, else a port-forward
  --path PATH      what step 6 asks for; else the first of the routes' paths that shows limits
  --timeout TIME   how long a rollout may take (default 5m)

The policy is checked by what TOLLGATE_COMMAND names, else dist/tollgate, else the command tollgate.
An API key for step 6 is taken from TOLLGATE_API_KEY; without one it asks as an anonymous client.

exit codes
  0    all done, or nothing to do
  1    a step failed; what this run had changed in Deployments and StatefulSets is undone
  2    wrong usage
  3    the checks failed; nothing was touched
  4    not confirmed; nothing was touched
  5    a step failed, and so did undoing it: look at once
  6    Kong is deployed, but monitoring, the verification or deleting failed; nothing is undone
  130  interrupted (143: terminated, 129: the terminal is gone); undone as for 1
END
}

overlay=dbless context='' only='' dry_run='' yes='' url='' path='' timeout=5m
prune=yes undo=yes undo_verify=''
steps='checks database kong policy monitoring verify'

wrong() { echo "deploy: $1; --help has the options" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case "$1" in
    --overlay | --context | --only | --url | --path | --timeout)
      [ -n "${2:-}" ] || wrong "$1 needs a value"
      case "$1" in
        --overlay) overlay=$2 ;;
        --context) context=$2 ;;
        --only) only=$2 ;;
        --url) url=${2%/} ;;
        --path) path=$2 ;;
        --timeout) timeout=$2 ;;
      esac
      shift 2
      ;;
    --dry-run) dry_run=yes; shift ;;
    --yes) yes=yes; shift ;;
    --no-prune) prune=''; shift ;;
    --no-undo) undo=''; shift ;;
    --undo-verify) undo_verify=yes; shift ;;
    --help | -h) usage; exit 0 ;;
    *) wrong "there is no option $1" ;;
  esac
done
case "$overlay" in dbless | postgres | dev) ;; *) wrong "there is no overlay $overlay: dbless, postgres or dev" ;; esac
case "$only" in [1-6]) only=$(cut -d ' ' -f "$only" <<<"$steps") ;; esac
[[ "$timeout" =~ ^[1-9][0-9]*[smh]$ ]] || wrong "--timeout takes a number with s, m or h: 5m"
if [ -n "$only" ] && ! grep -qw -- "$only" <<<"$steps"; then wrong "there is no step $only: ${steps// /, }"; fi

# ── the run ──────────────────────────────────────────────────────────────────

# shellcheck source=scripts/deploy/configuration.sh
. scripts/deploy/configuration.sh || exit 2
# shellcheck source=scripts/deploy/checks.sh
. scripts/deploy/checks.sh || exit 2
# shellcheck source=scripts/deploy/apply.sh
. scripts/deploy/apply.sh || exit 2
# shellcheck source=scripts/deploy/own.sh
. scripts/deploy/own.sh || exit 2
# shellcheck source=scripts/deploy/wait.sh
. scripts/deploy/wait.sh || exit 2
# shellcheck source=scripts/deploy/prune.sh
. scripts/deploy/prune.sh || exit 2
# shellcheck source=scripts/deploy/undo.sh
. scripts/deploy/undo.sh || exit 2
# shellcheck source=scripts/deploy/verify.sh
. scripts/deploy/verify.sh || exit 2

overlays=${TOLLGATE_OVERLAYS:-k8s/overlays}
monitoring=${TOLLGATE_MONITORING:-monitoring}
patience=${TOLLGATE_PATIENCE:-60}
work=$(mktemp -d) || exit 2
touched='' changed='' job='' forward='' child='' step='' number=0 began=$SECONDS unwell=''

say() { printf '   %s\n' "$*"; }
kube() { kubectl ${context:+--context "$context"} "$@"; }
here() { kube --namespace "$namespace" "$@"; }

finish() {
  [ -z "$forward" ] || kill "$forward" 2>/dev/null
  [ -z "$child" ] || kill "$child" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
trap 'interrupted 130 INT' INT
trap 'interrupted 143 TERM' TERM
trap 'interrupted 129 HUP' HUP

interrupted() {
  echo >&2
  # The command that this waits for must not go on during the undoing.
  [ -z "$child" ] || kill "$child" 2>/dev/null
  fail "interrupted (SIG$2)" "$1"
}

fail() { # fail WHAT [EXIT-CODE]
  # The next Ctrl-C must not interrupt the undoing; it prints what to look at.
  trap 'echo "deploy: interrupted while undoing; look at the rollouts at once" >&2; exit 5' INT TERM HUP
  echo "deploy: step $number, $step, failed after $((SECONDS - began)) s: $1" >&2
  if [ -z "$touched" ]; then
    echo "deploy: nothing was touched${job:+, but that job $job was made}" >&2
    exit "${2:-1}"
  fi
  if [ -z "$undo" ]; then
    echo "deploy: left as it is (--no-undo)" >&2
    exit "${2:-1}"
  fi
  go_back || { echo "deploy: undoing failed: look at once (kubectl --namespace $namespace rollout status …)" >&2; exit 5; }
  exit "${2:-1}"
}

# Once Kong is deployed and serving, a later failure is no reason to take it away again.
amiss() { # amiss WHAT
  echo "deploy: step $number, $step, failed after $((SECONDS - began)) s: $1; Kong stays as it is" >&2
  unwell="$unwell $step"
}

enter() { # enter STEP: whether this run includes it
  step=$1 number=$((number + 1)) began=$SECONDS
  if [ -n "$only" ] && [ "$only" != "$step" ] && [ "$step" != checks ]; then return 1; fi
  printf '── %d/6 %s\n' "$number" "$step"
}
leave() { printf '   ok, %d s\n' $((SECONDS - began)); }

# ── 1 checks ─────────────────────────────────────────────────────────────────

problems=0 namespace='' monitored=''
enter checks
check_tools
[ "$problems" -gt 0 ] || check_context
[ "$problems" -gt 0 ] || check_overlay
if [ "$problems" -eq 0 ]; then
  ask_for_rights
  check_namespace
  check_permissions
  check_secrets
  check_releases
  check_policy
  check_redis
  check_volumes
  check_metrics
  check_monitoring
fi
if [ "$problems" -gt 0 ]; then
  echo "deploy: $problems of the checks failed; nothing was touched" >&2
  exit 3
fi
leave
[ "$only" != checks ] || exit 0

if [ -z "$yes$dry_run" ]; then
  preview
  printf 'Deploy overlay %s into namespace %s of context %s? [y/N] ' "$overlay" "$namespace" "$context"
  read -r answer || answer=''
  case "$answer" in y | Y | yes) ;; *) echo "deploy: not confirmed; nothing was touched" >&2; exit 4 ;; esac
fi

remember || fail "what runs now cannot be read, so nothing could be undone"

# ── 2 to 5 ───────────────────────────────────────────────────────────────────

if enter database; then
  [ ! -s "$work/namespace.yaml" ] || part namespace.yaml ''
  part database.yaml "the overlay has none"
  leave
fi
if enter kong; then
  part kong.yaml "the overlay has no Kong"
  leave
fi
if enter policy; then
  part policy.yaml "nothing to do: Kong reads plugins and policy from the ConfigMap that came with step 3"
  configure || fail "the configuration did not get into the database"
  leave
fi
if enter monitoring; then
  if [ -z "$monitored" ]; then
    say "left out, as the checks said"
    leave
  elif apply "$work/monitoring.yaml"; then
    leave
  else
    amiss "kubectl apply"
  fi
fi

# ── 6 verify ─────────────────────────────────────────────────────────────────

if enter verify; then
  if [ -n "$dry_run" ]; then
    say "would send 20 requests to ${path:-one of the routes} through the proxy"
    leave
  elif verify; then
    leave
  elif [ -n "$undo_verify" ]; then
    fail "$unverified"
  else
    amiss "$unverified"
  fi
fi

# This comes last, when the new objects are known to serve: nothing restores what it deletes.
if [ -n "$prune" ] && [ -z "$only" ]; then
  if [ -n "$unwell" ]; then
    rest | sed 's/^/   not deleted, since not all is well: /'
  else
    step=deleting
    away_with_the_rest || amiss "kubectl delete"
  fi
fi

if [ -n "$unwell" ]; then
  echo "deploy: deployed, but for$unwell; --only STEP tries again" >&2
  exit 6
fi
printf '── done, %d s%s\n' "$SECONDS" "$([ -n "$dry_run" ] && echo '; a dry run: nothing was changed')"
