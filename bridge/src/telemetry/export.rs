//! OTLP over HTTP, to the collector that the operator names. The requests are made as all others that leave this server
//! ([`Outgoing`]): with bounds, without redirects, and to that one host.

use crate::config::{Outgoing as Rules, Telemetry};
use crate::outgoing::{Outbound, Outgoing};
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::time::Duration;
use tokio::runtime::Handle;
use warp::http::Uri;

/// Who this is, to a collector.
pub fn resource() -> Resource {
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder_empty().with_service_name("medseal").with_attribute(version).build()
}

/// Sends metrics every so often, where a collector is configured. Call it inside the runtime.
pub fn metrics(settings: &Telemetry) -> Result<Option<PeriodicReader<MetricExporter>>, ExporterBuildError> {
    let Some(url) = &settings.otlp else { return Ok(None) };
    let builder = MetricExporter::builder().with_http().with_http_client(Collector::at(url));
    let exporter = builder.with_endpoint(endpoint(url, "metrics")).build()?;
    let pause = Duration::from_secs(settings.otlp_seconds);
    Ok(Some(PeriodicReader::builder(exporter).with_interval(pause).build()))
}

/// Sends traces, where a collector is configured. Call it inside the runtime.
pub fn traces(settings: &Telemetry) -> Result<Option<SdkTracerProvider>, ExporterBuildError> {
    let Some(url) = &settings.otlp else { return Ok(None) };
    let builder = SpanExporter::builder().with_http().with_http_client(Collector::at(url));
    let exporter = builder.with_endpoint(endpoint(url, "traces")).build()?;
    // Whoever called has decided already, if he says so.
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample)));
    let provider = SdkTracerProvider::builder().with_resource(resource()).with_sampler(sampler);
    Ok(Some(provider.with_batch_exporter(exporter).build()))
}

fn endpoint(url: &str, signal: &str) -> String {
    format!("{}/v1/{signal}", url.trim_end_matches('/'))
}

/// The collector. Exporters run on threads of their own; the requests are made on the runtime.
#[derive(Debug)]
struct Collector {
    outgoing: std::sync::Arc<Outgoing>,
    runtime: Handle,
}

impl Collector {
    fn at(url: &str) -> Self {
        let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        let allow = host.map(|host| host.trim_matches(['[', ']']).to_owned()).into_iter().collect();
        let rules = Rules { allow, allow_http: true, ..Rules::default() };
        Self { outgoing: std::sync::Arc::new(Outgoing::new(rules)), runtime: Handle::current() }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let outbound = Outbound { method: parts.method, url: parts.uri.to_string(), headers: parts.headers, body };
        let outgoing = self.outgoing.clone();
        // Nothing of the exporter's own is traced.
        let sent = self.runtime.spawn(async move { outgoing.send(outbound).await }).await;
        let answer = sent?.inspect_err(|error| tracing::warn!(%error, "telemetry did not reach its collector"))?;
        Ok(Response::builder().status(answer.status).body(answer.body)?)
    }
}
