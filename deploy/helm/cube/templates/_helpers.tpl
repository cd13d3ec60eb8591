{{- define "cube.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "cube.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cube.labels" -}}
{{ include "cube.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* What every container of the pod gives up. */}}
{{- define "cube.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
privileged: false
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* Probes on health.listen: alive is the process, ready is lease and model server. */}}
{{- define "cube.probes" -}}
startupProbe: { httpGet: { path: /livez, port: {{ . }} }, periodSeconds: 2, failureThreshold: 90 }
livenessProbe: { httpGet: { path: /livez, port: {{ . }} }, periodSeconds: 10, failureThreshold: 3 }
readinessProbe: { httpGet: { path: /readyz, port: {{ . }} }, periodSeconds: 5, failureThreshold: 1 }
{{- end }}

{{/* Keys first: in TOML what follows a table belongs to it. */}}
{{- define "cube.common" -}}
measured = "measured.toml"
policy = "policy.toml"
run_dir = "/run/cube/svc"
{{- end }}
