{{- define "medseal.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "medseal.selector" -}}
app.kubernetes.io/name: medseal
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "medseal.labels" -}}
{{ include "medseal.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What each pod is, whatever runs in it. */}}
{{- define "medseal.pod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* And each container. */}}
{{- define "medseal.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* medseal.toml. A JSON string is a TOML string. */}}
{{- define "medseal.toml" -}}
custodian = {{ .Values.custodian | toJson }}
base_url = {{ .Values.baseUrl | toJson }}
http = "0.0.0.0:8080"
mllp = "0.0.0.0:2575"
data = "/data"

{{/* Before the chart's own tables: keys without a table would land in the last of them. */}}
{{ .Values.extraConfig }}

[index]
connections = {{ .Values.postgres.connections }}
{{- if .Values.postgres.authorities.secretName }}
authorities = {{ printf "/etc/medseal/authorities/%s" .Values.postgres.authorities.secretKey | toJson }}
{{- end }}

[s3]
bucket = {{ .Values.s3.bucket | toJson }}
prefix = {{ .Values.s3.prefix | toJson }}
{{- with .Values.s3.endpoint }}
endpoint = {{ . | toJson }}
{{- end }}
region = {{ .Values.s3.region | toJson }}
path_style = {{ .Values.s3.pathStyle }}
checksum = {{ .Values.s3.checksum | toJson }}

[keys]
kms = {{ .Values.kms.key | toJson }}
{{- with .Values.kms.endpoint }}
endpoint = {{ . | toJson }}
{{- end }}
{{- with .Values.kms.region }}
region = {{ . | toJson }}
{{- end }}
cache_seconds = {{ .Values.kms.cacheSeconds }}

[log]
origin = {{ .Values.logOrigin | toJson }}
{{- if .Values.witnesses }}
witnesses = [{{ range $n, $one := .Values.witnesses }}{{ if $n }}, {{ end }}{ url = {{ $one.url | toJson }}, key = {{ $one.key | toJson }} }{{ end }}]
{{- end }}

[telemetry]
metrics = "0.0.0.0:9464"
logs = {{ .Values.log.format | toJson }}
sample = {{ .Values.telemetry.sample | toJson }}
{{- with .Values.telemetry.otlp }}
otlp = {{ . | toJson }}
{{- end }}
{{- end }}
