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

{{/* What whoever works on PostgreSQL and the bucket needs to know: credentials, the configuration and the files that it names. */}}
{{- define "medseal.environment" -}}
env:
  - name: MEDSEAL_LOG
    value: {{ .Values.log.level | quote }}
  - name: MEDSEAL_POSTGRES
    valueFrom: {secretKeyRef: {name: {{ .Values.postgres.secretName }}, key: {{ .Values.postgres.secretKey }}}}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
envFrom:
  - secretRef: {name: {{ .Values.s3.secretName }}}
{{- end }}

{{- define "medseal.mounts" -}}
- {name: config, mountPath: /etc/medseal/medseal.toml, subPath: medseal.toml, readOnly: true}
{{- if .Values.postgres.authorities.secretName }}
- {name: authorities, mountPath: /etc/medseal/authorities, readOnly: true}
{{- end }}
{{- if .Values.tls.secretName }}
- {name: tls, mountPath: /etc/medseal/tls, readOnly: true}
{{- end }}
{{- range .Values.secretMounts }}
- {name: {{ printf "secret-%s" . | replace "." "-" }}, mountPath: /etc/medseal/secrets/{{ . }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "medseal.volumes" -}}
- name: config
  secret: {secretName: {{ include "medseal.name" . }}-config}
{{- with .Values.postgres.authorities.secretName }}
- name: authorities
  secret: {secretName: {{ . }}}
{{- end }}
{{- with .Values.tls.secretName }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- range .Values.secretMounts }}
- name: {{ printf "secret-%s" . | replace "." "-" }}
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
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
conditional_writes = {{ .Values.s3.conditionalWrites }}
{{- with .Values.s3.sse }}
sse = {{ . | toJson }}
{{- end }}
{{- with .Values.s3.sseKmsKey }}
sse_kms_key = {{ . | toJson }}
{{- end }}
cache_memory_mb = {{ int .Values.s3.cacheMemoryMb }}
cache_disk_mb = {{ int .Values.s3.cacheDiskMb }}

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
checkpoint_ms = {{ int .Values.logCheckpointMs }}
anchor_ms = {{ int .Values.logAnchorMs }}
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
otlp_seconds = {{ int .Values.telemetry.otlpSeconds }}
{{- with .Values.telemetry.metricsToken }}
metrics_token = {{ . | toJson }}
{{- end }}
{{- if .Values.tls.secretName }}

[tls]
certificate = "/etc/medseal/tls/tls.crt"
key = "/etc/medseal/tls/tls.key"
{{- with .Values.tls.clients }}
clients = {{ printf "/etc/medseal/tls/%s" . | toJson }}
{{- end }}
{{- with .Values.tls.revoked }}
revoked = {{ printf "/etc/medseal/tls/%s" . | toJson }}
{{- end }}
http = {{ .Values.tls.http }}
mllp = {{ .Values.tls.mllp }}
{{- end }}
{{- end }}

{{/* How the kubelet speaks to the pod. */}}
{{- define "medseal.scheme" -}}
{{- if and .Values.tls.secretName .Values.tls.http }}HTTPS{{ else }}{{ .Values.probes.scheme }}{{ end }}
{{- end }}

{{/* A size in mebibytes. */}}
{{- define "medseal.mebibytes" -}}
{{- $units := dict "M" 0.953674 "Mi" 1.0 "G" 953.674316 "Gi" 1024.0 "T" 953674.316406 "Ti" 1048576.0 }}
{{- mulf (regexFind "^[0-9.]+" .) (get $units (regexFind "[A-Za-z]+$" .)) | int }}
{{- end }}
