#!/usr/bin/env bash
# Puts Kong with Tollgate into a cluster, in six steps. Safe to run again: what is there already stays as it is.
# Not `set -e`: every step's failure has to come to `fail`, which undoes what can be undone.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

usage() {
  cat <<'END'
usage: scripts/deploy.sh [options]

  1 checks      kubectl, context, permissions, Secrets (Redis' URL), Prometheus' CRDs; touches nothing
  2 database    namespace, network policies, the trial's Redis; PostgreSQL and its migrations (overlay postgres)
  3 kong        Kong, the filter, the store, and the configuration and policy that they read when they start
  4 policy      plugins and policy into the database (overlay postgres)
  5 monitoring  ServiceMonitors, alerts, dashboards; left out where the cluster knows no such kinds
  6 verify      real requests through the proxy: limits' headers, latency p50 and p95

  --overlay NAME   dbless (default), postgres or dev
  --context NAME   of kubectl; the current one if left out
  --only STEP      checks, and then this step alone: its name or number
  --dry-run        shows what would change, and changes nothing
  --yes            does not ask
  --url URL        where step 6 finds the proxy; else its load balancer, else a port-forward
  --path PATH      what step 6 asks for (default /identify); a request there must cost something
  --timeout TIME   how long a rollout may take (default 5m)

An API key for step 6 is taken from TOLLGATE_API_KEY; without one it asks as a stranger.

exit codes
  0    all done, or nothing to do
  1    a step failed; what this run had changed in Deployments and StatefulSets is undone
  2    wrong usage
  3    the checks failed; nothing was touched
  4    not confirmed; nothing was touched
  5    a step failed, and so did undoing it: look at once
  130  interrupted (143: terminated); undone as for 1
END
}

overlay=dbless context='' only='' dry_run='' yes='' url='' path=/identify timeout=5m
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
    --help | -h) usage; exit 0 ;;
    *) wrong "there is no option $1" ;;
  esac
done
case "$overlay" in dbless | postgres | dev) ;; *) wrong "there is no overlay $overlay: dbless, postgres or dev" ;; esac
case "$only" in [1-6]) only=$(cut -d ' ' -f "$only" <<<"$steps") ;; esac
if [ -n "$only" ] && ! grep -qw -- "$only" <<<"$steps"; then wrong "there is no step $only: ${steps// /, }"; fi

# ── the run ──────────────────────────────────────────────────────────────────

overlays=${TOLLGATE_OVERLAYS:-k8s/overlays}
monitoring=${TOLLGATE_MONITORING:-monitoring}
patience=${TOLLGATE_PATIENCE:-60}
work=$(mktemp -d) || exit 2
touched='' changed='' forward='' step='' number=0 began=$SECONDS

say() { printf '   %s\n' "$*"; }
problem() { printf '   ✗ %s\n' "$*" >&2; problems=$((problems + 1)); }
kube() { kubectl ${context:+--context "$context"} "$@"; }
here() { kube --namespace "$namespace" "$@"; }

finish() {
  [ -z "$forward" ] || kill "$forward" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
trap 'interrupted 130 INT' INT
trap 'interrupted 143 TERM' TERM

interrupted() {
  echo >&2
  fail "interrupted (SIG$2)" "$1"
}

fail() { # fail WHAT [EXIT-CODE]
  # Undoing is not to be undone by the next Ctrl-C: who insists is told how it stands.
  trap 'echo "deploy: interrupted while undoing; look at the rollouts at once" >&2; exit 5' INT TERM
  echo "deploy: step $number, $step, failed after $((SECONDS - began)) s: $1" >&2
  if [ -z "$touched" ]; then
    echo "deploy: nothing was touched" >&2
    exit "${2:-1}"
  fi
  undo || { echo "deploy: undoing failed: look at once (kubectl --namespace $namespace rollout status …)" >&2; exit 5; }
  exit "${2:-1}"
}

# Every workload that was there when this run began goes back to the revision that it had then. kubectl says
# "skipped" where it never left it, so that nothing has to be guessed about how far a change had come.
undo() {
  local failed=0 workload revision new
  echo "── undoing" >&2
  while read -r workload revision; do
    grep -qx "$workload" "$work/applied" || continue
    here rollout undo "$workload" --to-revision="$revision" >&2 &&
      here rollout status "$workload" --timeout="$timeout" >&2 || failed=1
  done <"$work/before"
  new=$(grep -vxF -f <(cut -d ' ' -f 1 "$work/before") "$work/applied" | tr '\n' ' ')
  {
    [ -z "$new" ] || say "not undone: ${new}did not exist before this run (kubectl delete removes them)"
    say "not undone: what steps$changed changed in other kinds (kubectl diff shows it), and migrations of a database"
  } >&2
  return "$failed"
}

enter() { # enter STEP: whether it is to run
  step=$1 number=$((number + 1)) began=$SECONDS
  if [ -n "$only" ] && [ "$only" != "$step" ] && [ "$step" != checks ]; then return 1; fi
  printf '── %d/6 %s\n' "$number" "$step"
}
leave() { printf '   ok, %d s\n' $((SECONDS - began)); }

# ── applying ─────────────────────────────────────────────────────────────────

# What kustomize printed, by step: a file each. Kong cannot start without its ConfigMaps, so these go with it: a changed one
# has a new name, which nobody reads before Kong does. Secrets, service accounts and network policies come first: no
# pod starts without those, and nothing is to run without these.
split() {
  awk -v out="$work" '
    function file() {
      if (kind == "Job" && name ~ /configuration/) return out "/policy.yaml"
      if (kind ~ /^(Namespace|Secret|ServiceAccount|NetworkPolicy)$/) return out "/database.yaml"
      if (component ~ /^(database|backend|backup|migrations)$/) return out "/database.yaml"
      return out "/kong.yaml"
    }
    function flush() {
      if (kind != "") { printf "---\n%s", text > file() }
      text = kind = component = name = ""
    }
    /^---$/ { flush(); next }
    /^kind: / { kind = $2 }
    /^    app.kubernetes.io\/component: / && component == "" { component = $2 }
    /^  name: / && name == "" { name = $2 }
    { text = text $0 "\n" }
    END { flush() }
  ' "$work/all.yaml"
}

# names FILE: kind/name of its objects, as kubectl writes them.
names() {
  awk '
    /^---$/ { kind = ""; inside = 0 }
    /^kind: / { kind = tolower($2) }
    /^metadata:/ { inside = 1; next }
    /^[a-z]/ { inside = 0 }
    inside && /^  name: / { print kind "/" $2 }
  ' "$1"
}
workloads() { names "$1" | grep -E '^(deployment|statefulset)/' | sed 's/^deployment/deployment.apps/; s/^statefulset/statefulset.apps/'; }
jobs_of() { names "$1" | grep '^job/'; }

# Fields that an undo or an autoscaler wrote last are taken back: this run says what is wanted. `diff` asks under the same name:
# as anybody else it would not see what a manifest no longer has, and so is to go.
serverside=(--server-side --force-conflicts --field-manager=tollgate-deploy)

# apply FILE|FOLDER: what differs from the cluster; nothing if nothing does.
apply() {
  local from=(-f "$1") status job
  [ -d "$1" ] && from=(-k "$1")
  kube diff "${serverside[@]}" "${from[@]}" >"$work/diff" 2>"$work/why"
  status=$?
  if [ "$status" -eq 0 ]; then
    say "nothing to change"
    return 0
  fi
  if [ -n "$dry_run" ]; then
    if [ "$status" -eq 1 ]; then
      cat "$work/diff"
    else
      # What cannot be compared: an object whose namespace does not exist yet, a Job that would be made anew.
      cat "$work/diff"
      say "not compared: $(tail -n 1 "$work/why")"
      kube apply --dry-run=client "${from[@]}" || return 1
    fi
    return 0
  fi
  touched=yes
  if [ -f "$1" ]; then
    workloads "$1" >>"$work/applied"
    # A Job cannot be changed, and these may run as often as you like.
    for job in $(jobs_of "$1"); do
      here delete "$job" --ignore-not-found --wait --timeout="$timeout" || return 1
    done
  fi
  changed="$changed $step"
  kube apply "${serverside[@]}" "${from[@]}"
}

# settle FILE: waits until what it holds is ready.
settle() {
  local one
  [ -z "$dry_run" ] || return 0
  for one in $(workloads "$1"); do
    here rollout status "$one" --timeout="$timeout" || return 1
  done
  for one in $(jobs_of "$1"); do
    here wait "$one" --for=condition=complete --timeout="$timeout" || return 1
  done
}

part() { # part FILE WHAT-IT-IS
  if [ ! -s "$work/$1" ]; then
    say "$2"
    return 0
  fi
  apply "$work/$1" || fail "kubectl apply"
  settle "$work/$1" || fail "not ready within $timeout"
}

# ── 1 checks ─────────────────────────────────────────────────────────────────

# Secrets that pods name and the overlay does not hold.
wanted_secrets() {
  awk '
    /^ *(- )?(secretKeyRef|secretRef):/ { within = 4; next }
    /^ *(- )?secretName: / { print $NF }
    within > 0 { within--; if ($1 == "name:") { print $2; within = 0 } }
  ' "$work/all.yaml" | sort -u >"$work/wanted"
  names "$work/all.yaml" | sed -n 's/^secret\///p' | sort -u >"$work/held"
  comm -23 "$work/wanted" "$work/held"
}

check_tools() {
  local tool
  for tool in kubectl curl awk diff; do
    command -v "$tool" >/dev/null || problem "$tool is not installed"
  done
}

check_context() {
  local server minor
  if [ -z "$context" ]; then
    context=$(kubectl config current-context 2>/dev/null) || { problem "kubectl has no current context: name one by --context"; return; }
  elif ! kubectl config get-contexts "$context" >/dev/null 2>&1; then
    problem "kubectl knows no context $context (kubectl config get-contexts)"
    return
  fi
  server=$(kube version 2>"$work/why" | sed -n 's/^Server Version: //p')
  if [ -z "$server" ]; then
    problem "the cluster of $context does not answer: $(tail -n 1 "$work/why")"
    return
  fi
  say "context $context, Kubernetes $server"
  minor=$(cut -d . -f 2 <<<"$server")
  [ "${minor//[!0-9]/}" -ge 29 ] || problem "Kubernetes $server is too old: the store is a sidecar, which 1.29 and newer know"
}

check_overlay() {
  if ! kubectl kustomize "$overlays/$overlay" >"$work/all.yaml" 2>"$work/why"; then
    problem "$overlays/$overlay cannot be built: $(tail -n 1 "$work/why")"
    return
  fi
  split
  namespace=$(awk '/^  namespace: / { print $2; exit }' "$work/all.yaml")
  say "overlay $overlay: $(grep -c '^kind: ' "$work/all.yaml") objects, namespace $namespace"
}

check_permissions() {
  local kind verb missing=''
  while read -r kind; do
    for verb in create patch; do
      here auth can-i "$verb" "$kind" --quiet 2>/dev/null || missing="$missing $verb/$kind"
    done
  done < <(sed -n 's/^kind: //p' "$work/all.yaml" | sort -u | tr '[:upper:]' '[:lower:]')
  if [ -z "$missing" ]; then say "permissions: create and patch every kind"; else problem "not allowed in namespace $namespace:$missing"; fi
}

check_secrets() {
  local secret missing=''
  for secret in $(wanted_secrets); do
    here get secret "$secret" -o name >/dev/null 2>&1 || missing="$missing $secret"
  done
  if [ -n "$missing" ]; then
    problem "Secrets that pods need are not in namespace $namespace:$missing (k8s/README.md says what each holds)"
  else
    say "Secrets: all there"
  fi
}

# The URL alone can be looked at from here. Whether Redis answers, the store's readiness says in step 3, from where it counts.
check_redis() {
  local secret key address
  if names "$work/all.yaml" | grep -q '^statefulset/.*redis'; then say "Redis: the overlay brings one of a single pod, for trials"; fi
  read -r secret key < <(awk '
    /name: TOLLGATE_BACKEND$/ { within = 6 }
    within > 0 { within--; if ($1 == "key:") key = $2; if ($1 == "name:" && $2 != "TOLLGATE_BACKEND") { print $2, key; exit } }
  ' "$work/all.yaml")
  if [ -z "${secret:-}" ] || grep -qx "$secret" "$work/held"; then return; fi
  address=$(here get secret "$secret" -o "go-template={{index .data \"$key\" | base64decode}}" 2>/dev/null)
  case "$address" in
    *CHANGE-ME*) problem "Redis: $key of Secret $secret still is the example's" ;;
    redis://?* | rediss://?* | redis+sentinel://?* | rediss+sentinel://?* | redis-cluster://?* | rediss-cluster://?*)
      say "Redis: Secret $secret has a URL (${address%%:*}://…)"
      ;;
    '') problem "Redis: Secret $secret has no key $key" ;;
    *) problem "Redis: $key of Secret $secret is no URL of a Redis (docs/redis-keys.md)" ;;
  esac
}

# Only said: a class may be named in the claim, or volumes be there already.
check_volumes() {
  grep -q 'storage: ' "$work/all.yaml" || return
  kube get storageclass -o 'jsonpath={.items[*].metadata.annotations.storageclass\.kubernetes\.io/is-default-class}' 2>/dev/null |
    grep -q true || say "volumes: the cluster has no default StorageClass; claims that name none will wait for ever"
}

check_crds() {
  if kube get crd servicemonitors.monitoring.coreos.com prometheusrules.monitoring.coreos.com -o name >/dev/null 2>&1; then
    has_crds=yes
    say "Prometheus' operator: there"
  else
    has_crds=''
    if [ "$only" = monitoring ]; then problem "the cluster knows no ServiceMonitor and PrometheusRule: install Prometheus' operator"; return; fi
    say "Prometheus' operator: not there; step 5 will be left out"
  fi
}

problems=0 namespace='' has_crds=''
enter checks
check_tools
[ "$problems" -gt 0 ] || check_context
[ "$problems" -gt 0 ] || check_overlay
if [ "$problems" -eq 0 ]; then
  check_permissions
  check_secrets
  check_redis
  check_volumes
  check_crds
fi
if [ "$problems" -gt 0 ]; then
  echo "deploy: $problems of the checks failed; nothing was touched" >&2
  exit 3
fi
leave
[ "$only" != checks ] || exit 0

if [ -z "$yes$dry_run" ]; then
  printf 'Deploy overlay %s into namespace %s of context %s? [y/N] ' "$overlay" "$namespace" "$context"
  read -r answer || answer=''
  case "$answer" in y | Y | yes) ;; *) echo "deploy: not confirmed; nothing was touched" >&2; exit 4 ;; esac
fi

: >"$work/applied"
# Where every workload stands, to go back to.
here get deployments.apps,statefulsets.apps -o \
  'jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.annotations.deployment\.kubernetes\.io/revision}{.status.updateRevision}{"\n"}{end}' \
  >"$work/workloads" 2>/dev/null || : >"$work/workloads"
while read -r kind name revision; do
  case "$kind" in
    Deployment) echo "deployment.apps/$name $revision" ;;
    StatefulSet) echo "statefulset.apps/$name $(here get controllerrevision "$revision" -o 'jsonpath={.revision}')" ;;
  esac
done <"$work/workloads" >"$work/before"

# ── 2 to 5 ───────────────────────────────────────────────────────────────────

if enter database; then
  part database.yaml "the overlay has none"
  leave
fi
if enter kong; then
  part kong.yaml "the overlay has no Kong"
  leave
fi
if enter policy; then
  part policy.yaml "nothing to do: Kong reads plugins and policy from the ConfigMap that came with step 3"
  leave
fi
if enter monitoring; then
  if [ -n "$has_crds" ]; then
    apply "$monitoring" || fail "kubectl apply"
  else
    say "left out: the cluster knows no ServiceMonitor"
  fi
  leave
fi

# ── 6 verify ─────────────────────────────────────────────────────────────────

# The proxy's address: --url, the load balancer's, or a port of this machine that is forwarded to it.
find_proxy() {
  local service address='' tries=0
  [ -z "$url" ] || return 0
  service=$(names "$work/kong.yaml" | sed -n 's/^service\///p' | grep -m 1 proxy) || return 1
  address=$(here get service "$service" -o 'go-template={{with .status.loadBalancer.ingress}}{{with index . 0}}{{or .ip .hostname}}{{end}}{{end}}')
  if [ -n "$address" ]; then
    url=http://$address
    return 0
  fi
  kubectl --context "$context" --namespace "$namespace" port-forward "service/$service" :80 >"$work/forward" 2>&1 &
  forward=$!
  until [ -n "$address" ]; do
    address=$(sed -n 's/^Forwarding from \(127.0.0.1:[0-9]*\).*/\1/p' "$work/forward")
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! kill -0 "$forward" 2>/dev/null; then cat "$work/forward" >&2; return 1; fi
    sleep 0.1
  done
  url=http://$address
  say "through a port-forward, whose time counts below: no measure of the gateway itself"
}

# One request: `status`, `took` (seconds), `tier`; 1 if it shows no limits, and `why` it is so.
ask() {
  read -r status took < <(curl --silent --show-error --max-time 10 ${TOLLGATE_API_KEY:+--header "apikey: $TOLLGATE_API_KEY"} \
    --dump-header "$work/headers" --output /dev/null --write-out '%{http_code} %{time_total}\n' "$url$path" 2>"$work/why")
  case "${status:-000}" in
    2?? | 4??) ;;
    000) why="no answer: $(cat "$work/why")"; return 1 ;;
    *) why="status $status; on Kong's own 502 and 503 no filter runs: is your API up, and does it answer its health checks?"; return 1 ;;
  esac
  tier=$(tr -d '\r' <"$work/headers" | awk 'tolower($1) == "x-quota-tier:" { print $2 }')
  why="status $status without X-Quota-Tier: $path is served without limits, or there is no such route"
  [ -n "$tier" ]
}

# 20 requests: fewer than a stranger may send in a minute by the sample policy. Before the first answer that is as it should
# be, a load balancer, routes from a database and health checks have a moment to come about.
measure() {
  local status took tier why round passed=0 refused=0 until=$((SECONDS + patience))
  until ask; do
    if [ "$SECONDS" -ge "$until" ]; then say "$why" >&2; return 1; fi
    sleep 1
  done
  : >"$work/times"
  for round in $(seq 20); do
    ask || { say "request $round: $why" >&2; return 1; }
    if [ "$status" = 429 ]; then refused=$((refused + 1)); else passed=$((passed + 1)); fi
    echo "$took" >>"$work/times"
  done
  tr -d '\r' <"$work/headers" | grep -iE '^(x-ratelimit-|x-quota-|ratelimit)' | sed 's/^/   /'
  say "$passed passed, $refused refused (429), tier $tier"
  sort -n "$work/times" | awk '{ t[NR] = $1 * 1000 } END { printf "   latency p50 %.1f ms, p95 %.1f ms (%d requests, one connection each)\n", t[int((NR + 1) / 2)], t[int(NR * 0.95 + 0.5)], NR }'
}

if enter verify; then
  if [ -n "$dry_run" ]; then
    say "would send 20 requests to $path through the proxy"
  else
    settle "$work/kong.yaml" || fail "not ready within $timeout"
    find_proxy || fail "the proxy's address could not be found: name it by --url"
    measure || fail "no limits seen at $url$path"
  fi
  leave
fi

printf '── done, %d s%s\n' "$SECONDS" "$([ -n "$dry_run" ] && echo '; a dry run: nothing was changed')"
