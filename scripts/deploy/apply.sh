# shellcheck shell=bash
# Part of deploy.sh: which objects belong to which step, and how they get into the cluster.

# Splits what kustomize printed into one file per step. Kong cannot start without its ConfigMaps, so they go with it: a
# changed one has a new name, which nothing reads before Kong does. Secrets, service accounts and network policies come
# first: no pod starts without the first two, and nothing may run without the last.
split() {
  awk -v out="$work" '
    function file() {
      if (kind == "Namespace") return out "/namespace.yaml"
      if (kind == "CronJob" && name ~ /configuration/) return out "/policy.yaml"
      if (kind ~ /^(Secret|ServiceAccount|NetworkPolicy)$/) return out "/database.yaml"
      if (component ~ /^(database|backend|backup)$/) return out "/database.yaml"
      return out "/kong.yaml"
    }
    function flush() {
      if (kind != "") { printf "---\n%s", text > file() }
      # The CronJob reads the new one as well.
      if (kind == "ConfigMap" && name ~ /^kong-declarative/) configuration = text
      if (file() ~ /policy/) is_kept = 1
      text = kind = component = name = ""
    }
    /^---$/ { flush(); next }
    /^kind: / { kind = $2 }
    /^    app.kubernetes.io\/component: / && component == "" { component = $2 }
    /^  name: / && name == "" { name = $2 }
    { text = text $0 "\n" }
    END { flush(); if (is_kept) printf "---\n%s", configuration > (out "/policy.yaml") }
  ' "$work/all.yaml"
}

# names FILE: prints kind/name of its objects, as kubectl writes them.
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

# differs FILE: returns 0 and writes $work/diff if the cluster differs from the file, 1 if it does not, and 2 if they cannot
# be compared, because the namespace of an object does not exist yet.
differs() {
  kube diff "${serverside[@]}" -f "$1" >"$work/diff" 2>"$work/why"
  case $? in 0) return 1 ;; 1) return 0 ;; *) return 2 ;; esac
}

# Shows what the run would change, before it asks.
preview() {
  local file compared
  for file in namespace database kong policy ${monitored:+monitoring}; do
    [ -s "$work/$file.yaml" ] || continue
    foreign "$work/$file.yaml" | sed 's/^/   others have written, and it will be taken back: /'
    differs "$work/$file.yaml"
    compared=$?
    case $compared in
      0) cat "$work/diff" ;;
      2) say "$file: not compared, $(tail -n 1 "$work/why")" ;;
    esac
  done
  rest | sed 's/^/   no longer in the overlay: /'
}

# apply FILE: applies it if the cluster differs from it.
apply() {
  local differs_by
  if [ -z "$dry_run" ]; then
    own "$1" || return 1
  else
    foreign "$1" | sed 's/^/   others have written: /'
  fi
  differs "$1"
  differs_by=$?
  if [ "$differs_by" -eq 1 ]; then
    say "nothing to change"
    return 0
  fi
  if [ -n "$dry_run" ]; then
    cat "$work/diff"
    if [ "$differs_by" -eq 2 ]; then
      say "not compared: $(tail -n 1 "$work/why")"
      # The namespace of an object does not exist yet; anything else is a mistake that a run would make as well.
      grep -q 'namespaces "[^"]*" not found' "$work/why" || return 1
      kube apply --dry-run=client -f "$1" || return 1
    fi
    return 0
  fi
  touched=yes
  workloads "$1" >>"$work/applied"
  case " $changed " in *" $step "*) ;; *) changed="$changed $step" ;; esac
  waiting kube apply "${serverside[@]}" -f "$1"
}

part() { # part FILE WHAT-IT-IS
  if [ ! -s "$work/$1" ]; then
    say "$2"
    return 0
  fi
  apply "$work/$1" || fail "kubectl apply"
  settle "$work/$1" || fail "not ready within $timeout"
}

# Starts a job of the CronJob, whose next run may be minutes away. Kong and its Admin API are there by now.
configure() {
  if [ ! -s "$work/policy.yaml" ] || [ -n "$dry_run" ]; then return 0; fi
  # `job` is not local, so that `go_back` can delete it.
  job=kong-configuration-$(date -u +%Y%m%d%H%M%S)
  here create job "$job" --from=cronjob/kong-configuration || { job=''; return 1; }
  ended "$job"
}
