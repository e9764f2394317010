# shellcheck shell=bash
# Part of deploy.sh: sends real requests through the proxy.

# offered: paths that Kong's routes name, as far as they are plain text: of a regular expression its anchors are taken off. The file is
# read by kubectl itself, without any cluster, as a patch of an object that nobody has: whichever way of YAML it is written in.
offered() {
  kubectl patch --local -f - --type=merge --patch-file="$work/kong.yml" -o \
    'go-template={{define "paths"}}{{range .}}{{range .paths}}{{.}}{{"\n"}}{{end}}{{end}}{{end}}{{range .services}}{{template "paths" .routes}}{{end}}{{template "paths" .routes}}' \
    <<<'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"read-here"}}' 2>/dev/null |
    awk '
      { sub(/^~/, ""); sub(/\$$/, ""); gsub(/\\\./, ".") }
      /^\// && !/[][()*+?|^{}\\$]/ && !seen[$0]++
    ' | head -n 20
}

# Finds the proxy's address: --url, the load balancer's, or a port of this machine that is forwarded to it.
find_proxy() {
  local service line address=''
  [ -z "$url" ] || return 0
  service=$(names "$work/kong.yaml" | sed -n 's/^service\///p' | grep -m 1 proxy) || return 1
  address=$(here get service "$service" -o 'go-template={{with .status.loadBalancer.ingress}}{{with index . 0}}{{or .ip .hostname}}{{end}}{{end}}')
  case $address in *:*:*) address="[$address]" ;; esac
  if [ -n "$address" ]; then
    url=http://$address
    return 0
  fi
  # The first line names the port; anything before it says why there is none.
  mkfifo "$work/forward" || return 1
  kubectl --context "$context" --namespace "$namespace" port-forward "service/$service" :80 >"$work/forward" 2>&1 &
  forward=$!
  exec 3<"$work/forward"
  while read -r -t 10 line <&3; do
    address=$(sed -n 's/^Forwarding from \(127.0.0.1:[0-9]*\).*/\1/p' <<<"$line")
    [ -z "$address" ] || break
    say "$line" >&2
  done
  [ -n "$address" ] || return 1
  url=http://$address
  say "through a port-forward, whose time counts below: no measure of the gateway itself"
}

# Sends one request and sets `status`, `took` (seconds) and `tier`; if it shows no limits, returns 1 and sets `why`.
ask() {
  read -r status took < <(curl --silent --show-error --max-time 10 ${TOLLGATE_API_KEY:+--header "@$work/key"} \
    --dump-header "$work/headers" --output /dev/null --write-out '%{http_code} %{time_total}\n' "$url$path" 2>"$work/why")
  case "${status:-000}" in
    2?? | 4??) ;;
    000) why="no answer: $(cat "$work/why")"; return 1 ;;
    *) why="status $status; on Kong's own 502 and 503 no filter runs: is your API up, and does it answer its health checks?"; return 1 ;;
  esac
  tier=$(tr -d '\r' <"$work/headers" | awk 'tolower($1) == "x-quota-tier:" { print $2 }')
  why="status $status without X-Quota-Tier: $path is served without limits, or there is no such route (--path names another)"
  [ -n "$tier" ]
}

# Sends 20 requests, fewer than the sample policy allows an anonymous client per minute. Until the first good answer it
# gives a load balancer, routes from a database and health checks some time. It uses the first of the routes' paths that
# shows limits, or only that of --path.
measure() {
  local status took tier why round one paths=$path passed=0 refused=0 until=$((SECONDS + patience))
  [ -n "$paths" ] || paths=$(offered)
  [ -n "$paths" ] || { unverified="no route names a plain path: name one by --path"; return 1; }
  while :; do
    while read -r one; do
      path=$one
      ! ask || break 2
    done <<<"$paths"
    if [ "$SECONDS" -ge "$until" ]; then say "$why" >&2; return 1; fi
    waiting sleep 1
  done
  say "asking for $path"
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

# verify: sets `unverified` to what failed.
verify() {
  unverified="not ready within $timeout"
  # This waits for Kong alone: without Redis the stores are not ready, but Kong serves.
  settle "$work/kong.yaml" '/kong$' || return 1
  unverified="the proxy's address could not be found: name it by --url"
  find_proxy || return 1
  unverified="no limits seen at $url"
  # A file passes the key, because everybody on this machine can see an argument.
  [ -z "${TOLLGATE_API_KEY:-}" ] || (umask 077 && printf 'apikey: %s\n' "$TOLLGATE_API_KEY" >"$work/key")
  measure
}
