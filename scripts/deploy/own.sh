# shellcheck shell=bash
# Of deploy.sh: one name owns what is written.

# The API server keeps, field by field, who has written it, and `apply` takes away only what the same name wrote before and its
# manifest no longer has. So README.md's commands, this script and its undoing go by one name; and where another has written a workload
# (`kubectl rollout undo`, `kubectl set image`, an older version of this script), that is taken over first: what it left
# behind would stay for good, and no diff would show it.
manager=tollgate
serverside=(--server-side --force-conflicts --field-manager="$manager")

# foreign FILE: workloads of it that somebody else than a controller has written, with the name.
foreign() {
  local one
  for one in $(workloads "$1"); do
    here get "$one" --ignore-not-found --show-managed-fields -o \
      'go-template={{range .metadata.managedFields}}{{if not .subresource}}{{.manager}}{{"\n"}}{{end}}{{end}}' 2>/dev/null |
      grep -vxE "$manager|kube-controller-manager|.*-controller" | sort -u | sed "s|^|$one by |"
  done
}

# own FILE: takes over what others have written in its workloads. The workloads stay as they are: the first call forgets who wrote
# what, the second writes down all that is there as ours. Two things are not: how many pods there are is the autoscaler's, and when
# somebody has restarted them last is no part of any manifest.
own() {
  local one kind spec labels
  for one in $(foreign "$1" | cut -d ' ' -f 1 | sort -u); do
    say "$one was written by others; taken over"
    case $one in deployment*) kind=Deployment ;; *) kind=StatefulSet ;; esac
    spec=$(here get "$one" -o 'jsonpath={.spec}') && labels=$(here get "$one" -o 'jsonpath={.metadata.labels}') || return 1
    touched=yes
    printf '{"metadata":{"managedFields":[{"manager":"%s","operation":"Apply","apiVersion":"apps/v1","time":"%s","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{}}}]}}' \
      "$manager" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$work/owner.json"
    here patch "$one" --type=merge --patch-file="$work/owner.json" >/dev/null || return 1
    printf '{"apiVersion":"apps/v1","kind":"%s","metadata":{"name":"%s","namespace":"%s","labels":%s},"spec":%s}\n' \
      "$kind" "${one#*/}" "$namespace" "${labels:-{\}}" "$spec" |
      sed -E 's/"kubectl\.kubernetes\.io\/restartedAt":"[^"]*",//; s/,?"kubectl\.kubernetes\.io\/restartedAt":"[^"]*"//; s/"replicas":[0-9]+,//' \
        >"$work/owned.json"
    kube apply "${serverside[@]}" -f "$work/owned.json" >/dev/null || return 1
  done
}
