# shellcheck shell=bash
# Part of deploy.sh: deletes what the overlay no longer has.

# rest: prints kind/name of what our own apply has created here and neither the overlay nor monitoring/ contains. ConfigMaps
# that a pod or a ReplicaSet in the history mounts are kept, for a way back; so are Secrets and volumes, whose content
# nothing restores.
rest() {
  local kinds=deployments,statefulsets,cronjobs,services,configmaps,networkpolicies,horizontalpodautoscalers,poddisruptionbudgets,serviceaccounts
  {
    here get replicasets -o 'go-template={{range .items}}{{range .spec.template.spec.volumes}}{{with .configMap}}configmap/{{.name}}{{"\n"}}{{end}}{{end}}{{end}}'
    here get pods -o 'go-template={{range .items}}{{range .spec.volumes}}{{with .configMap}}configmap/{{.name}}{{"\n"}}{{end}}{{end}}{{end}}'
  } >"$work/mounted" 2>/dev/null
  # Selects by the writer's name, which an apply of this script or of README.md leaves, now or in older versions: anybody
  # may copy labels.
  # shellcheck disable=SC2016 # The variables are the template's.
  here get "$kinds" --selector=app.kubernetes.io/part-of=tollgate,app.kubernetes.io/managed-by=kustomize --show-managed-fields -o \
    'go-template={{range .items}}{{$one := .}}{{if not .metadata.ownerReferences}}{{range .metadata.managedFields}}{{if eq .operation "Apply"}}{{$one.kind}}/{{$one.metadata.name}} {{.manager}}{{"\n"}}{{end}}{{end}}{{end}}{{end}}' 2>/dev/null |
    awk '$2 ~ /^(tollgate|tollgate-deploy|kubectl)$/ && $1 ~ /.\/./ { split($1, one, "/"); print tolower(one[1]) "/" one[2] }' | sort -u |
    grep -vxF -f <(names "$work/all.yaml"; names "$work/monitoring.yaml"; cat "$work/mounted"; echo configmap/kube-root-ca.crt)
}

away_with_the_rest() {
  local one
  for one in $(rest); do
    if [ -n "$dry_run" ]; then
      say "would delete $one, which the overlay no longer has"
    else
      touched=yes
      waiting here delete "$one" --ignore-not-found --wait=false || return 1
    fi
  done
}
