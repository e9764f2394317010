# shellcheck shell=bash
# Of deploy.sh and kong-declarative.sh: Kong's file, out of what kustomize prints (the standard input): of the ConfigMap that has one.

# Read by kubectl itself, without any cluster: kustomize writes a text in whichever way of YAML it fits. Nothing where there is none.
configuration() {
  local found
  found=$(awk '
    function flush() { if (kind == "ConfigMap" && found) printf "---\n%s", text; text = kind = ""; found = 0 }
    /^---$/ { flush(); next }
    /^kind: / { kind = $2 }
    /^  kong\.yml: / { found = 1 }
    { text = text $0 "\n" }
    END { flush() }
  ')
  [ -z "$found" ] || kubectl label --local -f - read=here -o 'go-template={{index .data "kong.yml"}}' <<<"$found"
}
