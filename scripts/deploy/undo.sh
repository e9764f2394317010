# shellcheck shell=bash
# Part of deploy.sh: the way back.

# Keeps every workload's revision from before the first change, to go back to. A user who cannot see it does not begin.
remember() {
  local kind name revision
  : >"$work/applied"
  [ -z "$dry_run" ] || return 0
  here get deployments.apps,statefulsets.apps -o \
    'jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.annotations.deployment\.kubernetes\.io/revision}{.status.updateRevision}{"\n"}{end}' \
    >"$work/workloads" || return 1
  : >"$work/before"
  while read -r kind name revision; do
    if [ "$kind" = StatefulSet ]; then
      revision=$(here get controllerrevision "$revision" -o 'jsonpath={.revision}') || return 1
    fi
    printf '%s.apps/%s %s\n' "$(tr '[:upper:]' '[:lower:]' <<<"$kind")" "$name" "$revision" >>"$work/before"
  done <"$work/workloads"
}

# Every workload that existed when this run began goes back to its revision of that moment. kubectl says "skipped" if it
# never left it, so nobody has to guess how far a change had come.
go_back() {
  local failed=0 workload revision new
  echo "── undoing" >&2
  while read -r workload revision; do
    grep -qx "$workload" "$work/applied" || continue
    here rollout undo "$workload" --to-revision="$revision" >&2 && { unstick "$workload" >&2 || true; } &&
      here rollout status "$workload" --timeout="$timeout" >&2 || failed=1
  done <"$work/before"
  # `rollout undo` writes by a name of its own. It does not change how many pods there are, which stays ours where a manifest says it.
  sort -u "$work/applied" | while read -r workload; do
    new=${workload/.apps/}
    printf -- '---\napiVersion: apps/v1\nkind: %s\nmetadata:\n  name: %s\n' \
      "$(sed 's,^deployment.*,Deployment,; s,^statefulset.*,StatefulSet,' <<<"$new")" "${new#*/}"
    ! says_replicas "$work/all.yaml" "$new" || printf 'spec:\n  replicas: 1\n'
  done >"$work/undone.yaml"
  own "$work/undone.yaml" >&2 || failed=1
  # A policy on its way into the database is held back, since it would be in force within five minutes.
  if [ -n "${job:-}" ]; then
    here patch cronjob kong-configuration --type=merge --patch='{"spec":{"suspend":true}}' >&2 || failed=1
    here delete job "$job" --ignore-not-found --wait=false >&2 || failed=1
    say "the CronJob kong-configuration is suspended until the next run" >&2
  fi
  new=$(grep -vxF -f <(cut -d ' ' -f 1 "$work/before") "$work/applied" | tr '\n' ' ')
  {
    [ -z "$new" ] || say "not undone: ${new}did not exist before this run (kubectl delete removes them)"
    say "not undone: what steps$changed changed in other kinds (kubectl diff shows it), and migrations of a database"
  } >&2
  return "$failed"
}
