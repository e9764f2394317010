# shellcheck shell=bash
# Of deploy.sh: what is looked at before anything is touched. Each check calls `problem` for what it does not like.

problem() { printf '   ✗ %s\n' "$*" >&2; problems=$((problems + 1)); }

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

# A Job that is there already is deleted before it is made anew.
check_permissions() {
  local kind verb missing=''
  while read -r verb kind; do
    here auth can-i "$verb" "$kind" --quiet 2>/dev/null || missing="$missing $verb/$kind"
  done < <(sed -n 's/^kind: //p' "$work/all.yaml" | sort -u | tr '[:upper:]' '[:lower:]' |
    awk '{ print "create", $1; print "patch", $1 } $1 == "job" { print "delete", $1 }')
  if [ -z "$missing" ]; then say "permissions: all that it takes"; else problem "not allowed in namespace $namespace:$missing"; fi
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

# Kong takes a policy that is wrong by its meaning, and then serves without its limits, or by the last ones that worked: so it is
# refused here. Where Kong reads its file from a Secret, that is what is looked at.
check_policy() {
  local command=${TOLLGATE_COMMAND:-tollgate} from="the overlay"
  [ -n "${TOLLGATE_COMMAND:-}" ] || [ ! -x dist/tollgate ] || command=dist/tollgate
  awk '
    inside && /^(    |$)/ { print substr($0, 5); next }
    { inside = 0 }
    /^  kong.yml: \|/ { inside = 1 }
  ' "$work/all.yaml" >"$work/kong.yml"
  if wanted_secrets | grep -qx kong-declarative; then
    from="Secret kong-declarative"
    here get secret kong-declarative -o 'go-template={{index .data "kong.yml" | base64decode}}' >"$work/kong.yml" 2>/dev/null
  fi
  [ -s "$work/kong.yml" ] || return
  if ! command -v "$command" >/dev/null; then
    problem "policy: the command tollgate, which checks it, is not installed (make build, or name it by TOLLGATE_COMMAND)"
  elif "$command" check "$work/kong.yml" >"$work/why" 2>&1; then
    say "policy: can work"
  else
    problem "policy: Kong's file from $from is refused by tollgate check"
    sed "s|^$work/|     |" "$work/why" >&2
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

# Only said, too: without it there are three pods, and never more.
check_metrics() {
  grep -q '^kind: HorizontalPodAutoscaler' "$work/all.yaml" || return
  kube get --raw /apis/metrics.k8s.io >/dev/null 2>&1 ||
    say "metrics: the cluster has no metrics-server; the autoscaler cannot see the load"
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
