# shellcheck shell=bash
# Part of deploy.sh and kong-declarative.sh: gets Kong's file out of what kustomize prints (standard input), from the
# ConfigMap with it.

# kubectl reads it, without any cluster, because kustomize writes a text in whichever YAML style fits. Without one it prints
# nothing.
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
