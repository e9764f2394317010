{{/* Labels of every object. `component` and `name` are the kustomize base's, so that both ways make the same objects. */}}
{{- define "tollgate.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/component: {{ .component }}
{{ include "tollgate.ours" .root }}
{{- end -}}

{{- define "tollgate.ours" -}}
app.kubernetes.io/part-of: tollgate
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "tollgate.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .default }}
{{- end -}}
{{- end -}}

{{- define "tollgate.storeImage" -}}
{{ include "tollgate.image" (dict "image" .Values.images.store "default" .Chart.AppVersion) }}
{{- end -}}

{{/* The name that clients look for in the store's certificate, whichever of the Service's names they call. */}}
{{- define "tollgate.storeName" -}}
tollgate-store.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* The policy as one gateway reads it: `gateway` is its part of the values. */}}
{{- define "tollgate.policy" -}}
{{ mergeOverwrite (deepCopy .root.Values.policy) (deepCopy .gateway.policy) | toYaml }}
{{- end -}}

{{/* Kong's file with the policy in it, as far to the right as the mark stands. */}}
{{- define "tollgate.kong" -}}
{{- $file := .Values.gateway.kong.declarative | default (.Files.Get "files/kong-plugins.yaml") -}}
{{- $policy := include "tollgate.policy" (dict "root" . "gateway" .Values.gateway.kong) -}}
{{- $mark := regexFind "(?m)^ *kustomize: writes the policy here$" $file -}}
{{- if not $mark -}}
{{- fail "gateway.kong.declarative has no line `kustomize: writes the policy here`" -}}
{{- end -}}
{{- $indent := sub (len $mark) (len (trimPrefix " " $mark | trim)) | int -}}
{{ replace $mark (indent $indent $policy) $file }}
{{- end -}}

{{- define "tollgate.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Who is calling has to be said by somebody else than the client. */}}
{{- define "tollgate.callers" -}}
{{- if not (or .gateway.trustHeaders (and .gateway.issuer .gateway.jwksUri)) -}}
{{- fail (printf "gateway.%s: set issuer and jwksUri, or trustHeaders where something of yours writes x-consumer-username and x-consumer-groups: without either, clients would name their own tier" .name) -}}
{{- end -}}
{{- end -}}
