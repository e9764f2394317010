# shellcheck shell=bash
# Part of deploy.sh: waits, and says why it was in vain.

# waiting COMMAND…: runs it so that a signal is handled at once, and not only after it has ended. Here `kube` and `here` run
# kubectl directly: a signal to a function's shell would not reach it.
waiting() {
  local status
  case $1 in
    kube) set -- kubectl ${context:+--context "$context"} "${@:2}" ;;
    here) set -- kubectl ${context:+--context "$context"} --namespace "$namespace" "${@:2}" ;;
  esac
  "$@" &
  child=$!
  wait "$child"
  status=$?
  child=''
  return "$status"
}

seconds() { # seconds TIME
  case $1 in *h) echo $((10#${1%h} * 3600)) ;; *m) echo $((10#${1%m} * 60)) ;; *) echo $((10#${1%s})) ;; esac
}

# A StatefulSet does not delete a pod that never became ready, not even after its template was fixed or rolled back.
unstick() { # unstick WORKLOAD
  local seen='' revision='' pod hash until=$((SECONDS + 10))
  [[ $1 = statefulset* ]] || return 0
  # The revision that its pods should have is known once its controller has seen the change.
  while [ "$SECONDS" -lt "$until" ]; do
    read -r seen hash revision < <(here get "$1" -o 'jsonpath={.metadata.generation} {.status.observedGeneration} {.status.updateRevision}') || true
    [ "$seen" != "$hash" ] || break
    waiting sleep 1
  done
  # shellcheck disable=SC2016 # The variables are the template's.
  here get pods --selector="app.kubernetes.io/name=${1#*/}" -o \
    'go-template={{range .items}}{{$pod := .}}{{$ready := false}}{{range .status.conditions}}{{if and (eq .type "Ready") (eq .status "True")}}{{$ready = true}}{{end}}{{end}}{{if not $ready}}{{range .metadata.ownerReferences}}{{if eq .kind "StatefulSet"}}{{$pod.metadata.name}} {{index $pod.metadata.labels "controller-revision-hash"}}{{"\n"}}{{end}}{{end}}{{end}}{{end}}' |
    while read -r pod hash; do
      [ "$hash" = "$revision" ] || here delete pod "$pod" --ignore-not-found --wait=false
    done
}

# settle FILE [PATTERN]: waits until its workloads (that match) are ready: the rollout is complete, and there are as many
# pods as the autoscaler's minimum. (A new Deployment's rollout is complete with one pod.)
settle() {
  local one least ready until
  [ -z "$dry_run" ] || return 0
  for one in $(workloads "$1" | grep -E "${2:-}"); do
    until=$((SECONDS + $(seconds "$timeout")))
    unstick "$one"
    waiting here rollout status "$one" --timeout="$timeout" || { why_not; return 1; }
    least=$(awk -v name="${one#*/}" '
      /^---$/ { least = ""; inside = 0 }
      /^kind: HorizontalPodAutoscaler$/ { inside = 1 }
      /^  minReplicas: / { least = $2 }
      /^    name: / && inside && $2 == name && least != "" { print least; exit }
    ' "$1")
    while [ -n "$least" ]; do
      ready=$(here get "$one" -o 'jsonpath={.status.readyReplicas}')
      [ "${ready:-0}" -lt "$least" ] || break
      [ "$SECONDS" -lt "$until" ] || { say "${ready:-0} of $least pods of $one are ready" >&2; why_not; return 1; }
      waiting sleep 1
    done
  done
}

# ended JOB: waits until it has succeeded or failed. Its controller says FailureTarget first, and Failed once its last pod has gone.
ended() {
  local how until=$((SECONDS + $(seconds "$timeout")))
  while :; do
    how=$(here get job "$1" -o 'go-template={{range .status.conditions}}{{if eq .status "True"}}{{.type}} {{.reason}} {{.message}}{{"\n"}}{{end}}{{end}}') || return 1
    if grep -q '^Complete ' <<<"$how"; then return 0; fi
    if grep -qE '^(FailureTarget|Failed) ' <<<"$how"; then
      how=${how##*$'\n'}
      say "job $1 has failed: ${how#* }" >&2
      break
    fi
    if [ "$SECONDS" -ge "$until" ]; then
      say "job $1 has not ended within $timeout" >&2
      break
    fi
    waiting sleep 1
  done
  # What one of its pods has said is the cause. Undoing deletes them.
  here logs "job/$1" --all-containers --prefix --tail=10 --request-timeout=10s 2>&1 | sed 's/^/   /' >&2
  why_not
  return 1
}

# Prints what the cluster says about pods that do not start. Of those that are ready it may have said something before.
why_not() {
  # shellcheck disable=SC2016 # The variables are the template's.
  here get pods -o 'go-template={{range .items}}{{$pod := .metadata.name}}{{range .status.conditions}}{{if and (eq .type "Ready") (eq .status "True")}}   Pod {{$pod}}: {{"\n"}}{{end}}{{end}}{{end}}' \
    >"$work/well" 2>/dev/null
  {
    # shellcheck disable=SC2016 # The variables are the template's.
    here get pods -o 'go-template={{range .items}}{{$pod := .metadata.name}}{{range .status.conditions}}{{if and (eq .type "PodScheduled") (eq .status "False")}}   {{$pod}}: {{.reason}}: {{.message}}{{"\n"}}{{end}}{{end}}{{range .status.initContainerStatuses}}{{$name := .name}}{{with .state.waiting}}{{if ne .reason "PodInitializing"}}   {{$pod}}: {{$name}}: {{.reason}} {{.message}}{{"\n"}}{{end}}{{end}}{{end}}{{range .status.containerStatuses}}{{$name := .name}}{{with .state.waiting}}{{if ne .reason "PodInitializing"}}   {{$pod}}: {{$name}}: {{.reason}} {{.message}}{{"\n"}}{{end}}{{end}}{{end}}{{end}}'
    here get events --field-selector=type=Warning,involvedObject.kind!=HorizontalPodAutoscaler,involvedObject.kind!=CronJob --sort-by=.metadata.creationTimestamp \
      -o 'go-template={{range .items}}   {{.involvedObject.kind}} {{.involvedObject.name}}: {{.reason}}: {{.message}}{{"\n"}}{{end}}' | grep -vF -f "$work/well" | tail -n 5
  } >&2
}
