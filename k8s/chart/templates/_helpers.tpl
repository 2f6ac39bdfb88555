{{- define "weft.labels" -}}
app.kubernetes.io/part-of: weft
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "weft.selected" -}}
app.kubernetes.io/name: control-plane
app.kubernetes.io/part-of: weft
{{- end }}

{{- define "weft.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* A line of JSON for each key: `weft install` writes the same bytes, and the digest of both is the same. */}}
{{- define "weft.settings" -}}
proxyImage: {{ printf "%s/weft-proxy:%s" .Values.image.repository (include "weft.tag" .) | toRawJson }}
proxyImagePullPolicy: {{ .Values.image.pullPolicy | toRawJson }}
trustDomain: {{ .Values.trustDomain | toRawJson }}
redirect: {{ .Values.proxy.redirect | toRawJson }}
nativeSidecars: {{ .Values.proxy.nativeSidecars | toRawJson }}
preStopSeconds: {{ .Values.proxy.preStopSeconds }}
logLevel: {{ .Values.proxy.logLevel | toRawJson }}
accessLog: {{ .Values.proxy.accessLog | toRawJson }}
resources: {{ .Values.proxy.resources | toRawJson }}
skipOutboundAddresses: {{ .Values.proxy.skipOutboundAddresses | toRawJson }}
skipInboundPorts: {{ .Values.proxy.skipInboundPorts | toRawJson }}
skipOutboundPorts: {{ .Values.proxy.skipOutboundPorts | toRawJson }}
failurePolicy: {{ .Values.injector.failurePolicy | toRawJson }}
scrapeAnnotations: {{ .Values.monitoring.scrapeAnnotations }}
{{ end }}

{{- define "weft.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "weft.resources" -}}
{{- if or .limits .requests }}
resources:
  {{- with .limits }}
  limits: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .requests }}
  requests: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "weft.webhook" -}}
admissionReviewVersions: [v1]
clientConfig:
  service:
    name: control-plane
    namespace: weft-system
    path: /inject
    port: 443
failurePolicy: {{ .Values.injector.failurePolicy }}
matchPolicy: Equivalent
# Another webhook may add containers afterwards.
reinvocationPolicy: IfNeeded
rules:
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [CREATE]
    resources: [pods]
    scope: Namespaced
  # They may not run as the sidecar's user, either.
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [UPDATE]
    resources: [pods/ephemeralcontainers]
    scope: Namespaced
sideEffects: None
timeoutSeconds: {{ .Values.injector.timeoutSeconds }}
{{- end }}

{{- define "weft.outside" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: {{- toYaml (concat (list "kube-system" "weft-system") .Values.injector.excludedNamespaces) | nindent 4 }}
{{- end }}
