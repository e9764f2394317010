# shellcheck shell=bash
# Part of deploy.sh: the checks before anything is touched. Each calls `problem` for what it finds wrong.

problem() { printf '   ✗ %s\n' "$*" >&2; problems=$((problems + 1)); }

# wanted: prints the Secret and key of everything that pods read and the overlay does not contain; only the Secret if it is
# mounted whole.
wanted() {
  local secret key
  names "$work/all.yaml" | sed -n 's/^secret\///p' | sort -u >"$work/held"
  awk '
    /^ *(- )?(secretKeyRef|secretRef):/ { within = 4; key = ""; next }
    within > 0 { within--; if ($1 == "key:") key = $2; if ($1 == "name:") { print $2, key; within = 0 } }
    # In a volume the items come before the name.
    /^ *(- )?secret:$/ { items = ""; volume = 1; next }
    volume && ($1 == "-" && $2 == "key:") { items = items " " $3; next }
    volume && $1 == "secretName:" {
      n = split(items, all, " ")
      for (i = 1; i <= n; i++) print $2, all[i]
      if (n == 0) print $2
      mounted[$2] = n; volume = 0
    }
    # A file of a Secret that is mounted whole shows only in a variable.
    $1 == "value:" && $2 ~ /^\/etc\/tollgate\/tokens\// { sub(/.*\//, "", $2); print "tollgate-store", $2 }
    END { if ("kong-declarative" in mounted) print "kong-declarative", "kong.yml" }
  ' "$work/all.yaml" | sort -u | while read -r secret key; do
    grep -qx "$secret" "$work/held" || echo "$secret${key:+ $key}"
  done
}

# value SECRET KEY: prints what check_secrets has read; returns 1 if there is no such key.
value() { awk -v key="$2" '$1 == key { print $2; found = 1 } END { exit !found }' "$work/secret.$1" | base64 -d; }

check_tools() {
  local tool
  for tool in kubectl curl awk diff base64 sha256sum; do
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
  if ! kubectl kustomize "$monitoring" >"$work/monitoring.yaml" 2>"$work/why"; then
    problem "$monitoring cannot be built: $(tail -n 1 "$work/why")"
    return
  fi
  namespace=$(awk '/^  namespace: / { print $2; exit }' "$work/all.yaml")
  say "overlay $overlay: $(grep -c '^kind: ' "$work/all.yaml") objects, namespace $namespace"
}

# questions FILE: prints verb, group and resource of everything that applying it does.
questions() {
  awk '
    /^apiVersion: / { group = $2; if (!sub(/\/.*/, "", group)) group = "-" }
    /^kind: / && $2 != "Namespace" {
      resource = tolower($2)
      if (!sub(/y$/, "ies", resource)) resource = resource "s"
      print "create", group, resource; print "patch", group, resource
    }
  ' "$1"
}

# Asks in one call for all permissions that are needed below, and writes them to $work/rights.
ask_for_rights() {
  {
    questions "$work/all.yaml"
    questions "$work/monitoring.yaml"
    printf '%s\n' 'create - namespaces' 'patch - namespaces' 'list - pods' 'list apps replicasets' 'create batch jobs' 'create - pods/portforward' 'delete - pods'
  } | sort -u | while read -r verb group resource; do
    [ "$group" != - ] || group=''
    # Permissions on namespaces belong to the cluster.
    printf -- '---\n{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"%s","group":"%s","resource":"%s","subresource":"%s","namespace":"%s"}}}\n' \
      "$verb" "$group" "${resource%/*}" "$(case $resource in */*) echo "${resource#*/}" ;; esac)" "$([ "$resource" = namespaces ] || echo "$namespace")"
  done >"$work/reviews.yaml"
  # This does not ask for the schemas of the kinds, which users with few permissions in the cluster may not read.
  kube create --validate=false -f "$work/reviews.yaml" -o 'go-template={{with .spec.resourceAttributes}}{{.verb}}/{{.resource}}{{with .subresource}}/{{.}}{{end}}{{end}} {{.status.allowed}}{{"\n"}}' \
    >"$work/rights" 2>"$work/why" || problem "the cluster does not say what you may do: $(tail -n 1 "$work/why")"
}

may() { grep -qx "$1 true" "$work/rights"; }

# missing_rights FILE: prints the permissions that it takes and that are missing.
missing_rights() {
  questions "$1" | sort -u | while read -r verb group resource; do
    may "$verb/$resource" || printf ' %s/%s' "$verb" "$resource"
  done
}

# A namespace's admin may neither create nor see namespaces, so a refusal does not mean that there is none.
check_namespace() {
  if kube get namespace "$namespace" -o name >/dev/null 2>"$work/why"; then
    :
  elif grep -qi 'notfound\|not found' "$work/why"; then
    may create/namespaces ||
      problem "there is no namespace $namespace, and you may not make one (kubectl apply -f k8s/base/namespace.yaml, by who may)"
    return
  else
    say "namespace $namespace: you may not look at it; taken as there"
  fi
  if may patch/namespaces; then return; fi
  : >"$work/namespace.yaml"
  say "namespace $namespace: not yours to change; left as it is (k8s/base/namespace.yaml says how it should be)"
}

check_permissions() {
  local missing verb
  missing=$(missing_rights "$work/all.yaml")
  for verb in list/pods delete/pods list/replicasets; do
    may "$verb" || missing="$missing $verb"
  done
  if [ -s "$work/policy.yaml" ]; then may create/jobs || missing="$missing create/jobs"; fi
  if [ -n "$missing" ]; then
    problem "not allowed in namespace $namespace:$missing (k8s/rbac/ has a role that is)"
  else
    say "permissions: all that it takes"
  fi
  [ -n "$url" ] || may create/pods/portforward || say "permissions: no port-forward; without a load balancer step 6 needs --url"
}

# Checks that each Secret exists, with each key that a pod reads, and with values other than the examples.
check_secrets() {
  local secret key problems_before=$problems unread=''
  wanted >"$work/wanted"
  while read -r secret; do
    # shellcheck disable=SC2016 # The variables are the template's.
    if here get secret "$secret" -o 'go-template={{range $key, $value := .data}}{{$key}} {{$value}}{{"\n"}}{{end}}' \
      >"$work/secret.$secret" 2>"$work/why"; then
      continue
    elif grep -qi forbidden "$work/why"; then
      rm -f "$work/secret.$secret"
      unread="$unread $secret"
    else
      rm -f "$work/secret.$secret"
      problem "Secret $secret, which pods need, is not in namespace $namespace (k8s/secrets.example.yaml says what it holds)"
    fi
  done < <(cut -d ' ' -f 1 "$work/wanted" | sort -u)
  while read -r secret key; do
    if [ -z "$key" ] || [ ! -e "$work/secret.$secret" ]; then continue; fi
    case $(value "$secret" "$key" 2>/dev/null) in
      '') problem "Secret $secret has no key $key, or nothing in it" ;;
      *CHANGE-ME*) problem "Secret $secret: $key still is the example's" ;;
      *-of-a-trial*) problem "Secret $secret: $key is the one of overlays/dev, which everybody knows" ;;
    esac
  done <"$work/wanted"
  if [ "$problems" -eq "$problems_before" ]; then check_tokens; check_redis_user; fi
  [ -z "$unread" ] || say "Secrets: you may not read$unread; not checked"
  [ "$problems" -gt "$problems_before" ] || [ -n "$unread" ] || say "Secrets: all there"
}

check_tokens() {
  local gateway admin
  [ -e "$work/secret.tollgate-store" ] || return 0
  gateway=$(value tollgate-store gateway-token) admin=$(value tollgate-store admin-token)
  [ "${#gateway}" -ge 16 ] || problem "Secret tollgate-store: gateway-token is shorter than 16 characters"
  [ "${#admin}" -ge 16 ] || problem "Secret tollgate-store: admin-token is shorter than 16 characters"
  [ "$gateway" != "$admin" ] || problem "Secret tollgate-store: gateway-token and admin-token are the same"
}

# decoded TEXT: prints the meaning of a part of a URL.
decoded() {
  local text=${1//\\/\\\\}
  printf '%b' "${text//%/\\x}"
}

# Checks that the trial's Redis has the user of the stores' URL in users.acl. Redis reads a user word by word, and later
# words override earlier ones; so does this.
check_redis_user() {
  local user password hash
  grep -qx 'tollgate-redis users.acl' "$work/wanted" && [ -e "$work/secret.tollgate-redis" ] || return 0
  IFS=: read -r user password < <(value tollgate-redis url | sed -nE 's,^[a-z+-]+://([^@/]*)@.*,\1,p')
  user=$(decoded "${user:-default}") password=$(decoded "${password:-}")
  hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
  # A file passes the password, because everybody on this machine can see an argument.
  (umask 077 && printf '%s\n%s\n%s\n' "$user" "$password" "$hash" >"$work/user")
  value tollgate-redis users.acl | awk '
    NR == FNR { want[FNR] = $0; next }
    $1 == "user" && $2 == want[1] {
      for (i = 3; i <= NF; i++) {
        if ($i == "on") on = 1
        if ($i == "off") on = 0
        if ($i == "nopass") any = 1
        if ($i == "resetpass" || $i == "reset") { any = 0; known = 0 }
        if ($i == "reset") on = 0
        if ($i == ">" want[2] || $i == "#" want[3]) { known = 1; any = 0 }
        if ($i == "<" want[2] || $i == "!" want[3]) known = 0
      }
    }
    END { exit !(on && (known || any)) }
  ' "$work/user" - || problem "Secret tollgate-redis: users.acl has no user $user with the password that url has"
  rm -f "$work/user"
}

# Finds objects of a Helm release here. One of the two has to go, or each takes away what the other has written.
check_releases() {
  local taken
  taken=$(here get deployments,statefulsets,services -o \
    'go-template={{range .items}}{{with .metadata.annotations}}{{if index . "meta.helm.sh/release-name"}}x{{end}}{{end}} {{.kind}}/{{.metadata.name}}{{"\n"}}{{end}}' 2>/dev/null |
    awk '$1 == "x" { split($2, one, "/"); print tolower(one[1]) "/" one[2] }' | grep -xF -f <(names "$work/all.yaml") | tr '\n' ' ')
  [ -z "$taken" ] || problem "of a Helm release in namespace $namespace: ${taken}(helm list --namespace $namespace)"
}

# Kong accepts a policy whose meaning is wrong, and then serves without its limits, or by the last ones that worked: so it
# is refused here. If Kong reads its file from a Secret, that file is checked.
check_policy() {
  local command=${TOLLGATE_COMMAND:-tollgate} from="the overlay"
  [ -n "${TOLLGATE_COMMAND:-}" ] || [ ! -x dist/tollgate ] || command=dist/tollgate
  configuration <"$work/all.yaml" >"$work/kong.yml" 2>"$work/why"
  if grep -q '^kong-declarative ' "$work/wanted"; then
    from="Secret kong-declarative"
    [ -e "$work/secret.kong-declarative" ] && value kong-declarative kong.yml >"$work/kong.yml" || return 0
  fi
  if [ ! -s "$work/kong.yml" ]; then
    problem "policy: $from has no kong.yml"
    return
  fi
  if ! command -v "$command" >/dev/null; then
    problem "policy: the command tollgate, which checks it, is not installed (make build, or name it by TOLLGATE_COMMAND)"
  elif "$command" check "$work/kong.yml" >"$work/why" 2>&1; then
    say "policy: can work"
  else
    problem "policy: Kong's file from $from is refused by tollgate check"
    sed "s|^$work/|     |" "$work/why" >&2
  fi
}

# Only the URL can be checked from here. Whether Redis answers is for the store's readiness in step 3, which asks from the
# right place.
check_redis() {
  local secret key address
  if names "$work/all.yaml" | grep -q '^statefulset/.*redis'; then say "Redis: the overlay brings one of a single pod, for trials"; fi
  read -r secret key < <(awk '
    /name: TOLLGATE_BACKEND$/ { within = 6 }
    within > 0 { within--; if ($1 == "key:") key = $2; if ($1 == "name:" && $2 != "TOLLGATE_BACKEND") { print $2, key; exit } }
  ' "$work/all.yaml")
  [ -n "${secret:-}" ] && [ -e "$work/secret.$secret" ] || return 0
  address=$(value "$secret" "$key") || return 0
  case "$address" in
    redis://?* | rediss://?* | redis+sentinel://?* | rediss+sentinel://?* | redis-cluster://?* | rediss-cluster://?*)
      say "Redis: Secret $secret has a URL (${address%%:*}://…)"
      ;;
    *) problem "Redis: $key of Secret $secret is no URL of a Redis (docs/redis-keys.md)" ;;
  esac
}

# This only informs: a claim may name a class, or the volumes may exist already.
check_volumes() {
  local defaults
  grep -q 'storage: ' "$work/all.yaml" || return 0
  if ! defaults=$(kube get storageclass -o 'jsonpath={.items[*].metadata.annotations.storageclass\.kubernetes\.io/is-default-class}' 2>/dev/null); then
    say "volumes: you may not see StorageClasses; claims that name none need a default one"
  elif ! grep -q true <<<"$defaults"; then
    say "volumes: the cluster has no default StorageClass; claims that name none will wait for ever"
  fi
}

# This only informs, too: without it there are three pods, and never more.
check_metrics() {
  grep -q '^kind: HorizontalPodAutoscaler' "$work/all.yaml" || return
  kube get --raw /apis/metrics.k8s.io >/dev/null 2>&1 ||
    say "metrics: the cluster has no metrics-server; the autoscaler cannot see the load"
}

# Monitoring is never a reason to touch Kong, or not to: if it cannot be created, it is left out. Everybody may ask which
# kinds a cluster knows, but not which CustomResourceDefinitions it has.
check_monitoring() {
  local why='' speaks='' asks=''
  if ! kube api-resources --api-group=monitoring.coreos.com -o name 2>/dev/null | grep -q '^servicemonitors\.'; then
    why="the cluster knows no ServiceMonitor: no operator of Prometheus"
  else
    why=$(missing_rights "$work/monitoring.yaml")
    [ -z "$why" ] || why="not allowed in namespace $namespace:$why (k8s/rbac/)"
  fi
  if [ -z "$why" ]; then
    monitored=yes
    say "monitoring: Prometheus' operator is there"
    ! grep -q 'name: TOLLGATE_TLS_CERT$' "$work/all.yaml" || speaks=tls
    ! grep -q 'scheme: https$' "$work/monitoring.yaml" || asks=tls
    [ "$speaks" = "$asks" ] ||
      say "monitoring: the component store-tls is in one of $overlays/$overlay and $monitoring alone; Prometheus will not get to the store"
  elif [ "$only" = monitoring ]; then
    problem "monitoring: $why"
  else
    say "monitoring: step 5 will be left out: $why"
  fi
}
