# shellcheck shell=bash
# Of deploy.sh: what goes with which step, and how it comes into the cluster.

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
