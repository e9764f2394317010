# shellcheck shell=bash
# Part of deploy.sh: one name owns what is written.

# The API server keeps the writer of each field, and `apply` removes only what the same name wrote before and its manifest
# no longer has. So README.md's commands, this script and its undoing use one name. Fields that another has written
# (`kubectl rollout undo`, `kubectl set image`, Flux, an older version of this script) are taken over first: they would stay
# for good, and no diff would show them.
manager=tollgate
serverside=(--server-side --force-conflicts --field-manager="$manager")

# owned FILE: its objects whose fields may be taken over, by their names alone: what they hold is the manifests', but for how many pods an
# autoscaler keeps.
owned() {
  awk '
    function flush() {
      if (kind ~ /^(Deployment|StatefulSet|CronJob|Service|HorizontalPodAutoscaler|PodDisruptionBudget|NetworkPolicy)$/) printf "---\n%s", text
      kind = text = ""; inside = 0
    }
    /^---$/ { flush(); next }
    /^kind: / { kind = $2 }
    /^[a-zA-Z]/ { inside = /^metadata:/ }
    /^(apiVersion|kind|metadata):/ || (inside && /^  (name|namespace): /) { text = text $0 "\n" }
    END { flush() }
  ' "$1"
}

# Whether a manifest in FILE sets the number of pods of ONE.
says_replicas() { # says_replicas FILE ONE
  awk -v one="$2" '
    function flush() { if (tolower(kind) "/" name == one && replicas) found = 1; kind = name = ""; replicas = 0 }
    /^---$/ { flush(); next }
    /^kind: / { kind = $2 }
    /^  name: / && name == "" { name = $2 }
    /^  replicas: / { replicas = 1 }
    END { flush(); exit !found }
  ' "$1"
}

# written FILE: kind/name of its objects that are there, and who has written their spec: NAME, and NAME/replicas for how many pods there
# are. In one call, since each costs the start of a kubectl and the way to the cluster. From the standard input, since of a file that it reads itself
# kubectl says nothing at all once one of the objects may not be looked at.
written() {
  local objects
  objects=$(owned "$1")
  [ -n "$objects" ] || return 0
  # shellcheck disable=SC2016 # The template's own variables.
  here get -f - --ignore-not-found --show-managed-fields -o \
    'go-template={{range .items}}{{$one := .}}{{range .metadata.managedFields}}{{if not .subresource}}{{$manager := .manager}}{{range $field, $_ := .fieldsV1}}{{if eq $field "f:spec"}}{{$one.kind}}/{{$one.metadata.name}} {{$manager}}{{"\n"}}{{range $inner, $_ := .}}{{if eq $inner "f:replicas"}}{{$one.kind}}/{{$one.metadata.name}} {{$manager}}/replicas{{"\n"}}{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}' \
    <<<"$objects" 2>/dev/null | awk '{ $1 = tolower($1); print }'
}

# foreign FILE: objects of it whose spec somebody else than Kubernetes has written, with the name; and Deployments whose number of pods
# this name has written once, and an autoscaler's is now: given up by an `apply`, it would be one for a moment.
foreign() {
  local one writer
  written "$1" | while read -r one writer; do
    case $writer in
      "$manager/replicas") says_replicas "$1" "$one" || echo "$one by $manager (replicas)" ;;
      '' | */replicas | "$manager" | kube-controller-manager) ;;
      *) echo "$one by $writer" ;;
    esac
  done | sort -u
}

# own FILE: takes over what others have written in its objects, which keep their values. First all that is there is written
# as ours, then the other writers are removed: in this order an interruption loses nothing, and the next run repeats it. It
# leaves out the time of somebody's last restart, and the number of pods if an autoscaler keeps it. If that number is ours,
# from an older manifest, it is written once more and only its ownership removed: an `apply` without it would make it one.
own() {
  local one api kind spec labels mine ours said without
  while read -r one; do
    say "$one was written by others; taken over"
    mine="jsonpath={.metadata.managedFields[?(@.manager==\"$manager\")]}"
    api=$(here get "$one" -o 'jsonpath={.apiVersion}') && kind=$(here get "$one" -o 'jsonpath={.kind}') &&
      spec=$(here get "$one" -o 'jsonpath={.spec}') && labels=$(here get "$one" -o 'jsonpath={.metadata.labels}') &&
      ours=$(here get "$one" --show-managed-fields -o "$mine") || return 1
    said='' without=''
    ! says_replicas "$1" "$one" || said=yes
    [ -n "$said" ] || [[ $ours = *'"f:replicas":'* ]] || without='s/"replicas":[0-9]+,//'
    touched=yes
    printf '{"apiVersion":"%s","kind":"%s","metadata":{"name":"%s","namespace":"%s","labels":%s},"spec":%s}\n' \
      "$api" "$kind" "${one#*/}" "$namespace" "${labels:-{\}}" "$spec" |
      sed -E 's/"kubectl\.kubernetes\.io\/restartedAt":"[^"]*",//; s/,?"kubectl\.kubernetes\.io\/restartedAt":"[^"]*"//; '"$without" \
        >"$work/owned.json"
    kube apply "${serverside[@]}" -f "$work/owned.json" >/dev/null || return 1
    ours=$(here get "$one" --show-managed-fields -o "$mine") || return 1
    [ -n "$said" ] || ours=$(sed -E 's/"f:replicas":\{\},//g; s/,?"f:replicas":\{\}//g' <<<"$ours")
    # If there is more than one, blanks separate them.
    printf '{"metadata":{"managedFields":[%s]}}\n' "${ours//\} \{/\},\{}" >"$work/owner.json"
    here patch "$one" --type=merge --patch-file="$work/owner.json" >/dev/null || return 1
  done < <(foreign "$1" | cut -d ' ' -f 1 | uniq)
}
