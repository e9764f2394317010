# shellcheck shell=bash
# Of deploy.sh: one name owns what is written.

# The API server keeps, field by field, who has written it, and `apply` takes away only what the same name wrote before and its
# manifest no longer has. So README.md's commands, this script and its undoing go by one name; and what another has written
# (`kubectl rollout undo`, `kubectl set image`, Flux, an older version of this script) is taken over first: what it left
# behind would stay for good, and no diff would show it.
manager=tollgate
serverside=(--server-side --force-conflicts --field-manager="$manager")

# owned FILE: its objects whose fields may be taken over: what they hold is the manifests', but for how many pods an autoscaler keeps.
owned() { names "$1" | grep -E '^(deployment|statefulset|cronjob|service|horizontalpodautoscaler|poddisruptionbudget|networkpolicy)/'; }

# Whether a manifest of FILE says how many pods ONE has.
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

# foreign FILE: objects of it whose spec somebody else than Kubernetes has written, with the name; and Deployments whose number of pods
# this name has written once, and an autoscaler's is now: given up by an `apply`, it would be one for a moment.
foreign() {
  local one writers
  for one in $(owned "$1"); do
    # shellcheck disable=SC2016 # The template's own variables.
    writers=$(here get "$one" --ignore-not-found --show-managed-fields -o \
      'go-template={{range .metadata.managedFields}}{{if not .subresource}}{{$manager := .manager}}{{range $field, $_ := .fieldsV1}}{{if eq $field "f:spec"}}{{$manager}}{{"\n"}}{{range $inner, $_ := .}}{{if eq $inner "f:replicas"}}{{$manager}}/replicas{{"\n"}}{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}' 2>/dev/null)
    if grep -qx "$manager/replicas" <<<"$writers" && ! says_replicas "$1" "$one"; then echo "$one by $manager (replicas)"; fi
    grep -vxE "(.*/replicas|$manager|kube-controller-manager|)" <<<"$writers" | sort -u | sed "s|^|$one by |"
  done
}

# own FILE: takes over what others have written in its objects, which stay as they are: first all that is there is written down as ours,
# then what others have written is forgotten. In this order an interruption loses nothing: the next run does it again. Two things are
# left out: how many pods there are, where that is the autoscaler's, and when somebody has restarted them last.
own() {
  local one api kind spec labels ours replicas
  while read -r one; do
    say "$one was written by others; taken over"
    api=$(here get "$one" -o 'jsonpath={.apiVersion}') && kind=$(here get "$one" -o 'jsonpath={.kind}') &&
      spec=$(here get "$one" -o 'jsonpath={.spec}') && labels=$(here get "$one" -o 'jsonpath={.metadata.labels}') || return 1
    replicas='s/"replicas":[0-9]+,//'
    ! says_replicas "$1" "$one" || replicas=''
    touched=yes
    printf '{"apiVersion":"%s","kind":"%s","metadata":{"name":"%s","namespace":"%s","labels":%s},"spec":%s}\n' \
      "$api" "$kind" "${one#*/}" "$namespace" "${labels:-{\}}" "$spec" |
      sed -E 's/"kubectl\.kubernetes\.io\/restartedAt":"[^"]*",//; s/,?"kubectl\.kubernetes\.io\/restartedAt":"[^"]*"//; '"$replicas" \
        >"$work/owned.json"
    kube apply "${serverside[@]}" -f "$work/owned.json" >/dev/null || return 1
    ours=$(here get "$one" --show-managed-fields -o "jsonpath={.metadata.managedFields[?(@.manager==\"$manager\")]}") || return 1
    # More than one stand there with blanks between them.
    printf '{"metadata":{"managedFields":[%s]}}\n' "${ours//\} \{/\},\{}" >"$work/owner.json"
    here patch "$one" --type=merge --patch-file="$work/owner.json" >/dev/null || return 1
  done < <(foreign "$1" | cut -d ' ' -f 1 | sort -u)
}
