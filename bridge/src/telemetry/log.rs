//! The log and the spans of this process, set up once. A level alone speaks of medseal itself; libraries, which promise nothing
//! about what they print, are heard only where `MEDSEAL_LOG` names them.

use super::export;
use crate::config::{Logs, Telemetry};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// What sets the level.
const VARIABLE: &str = "MEDSEAL_LOG";
/// Our own packages.
const OWN: &[&str] = &["bridge", "mappings", "medseal", "notary"];

/// What is to be done before the process ends.
#[must_use]
#[derive(Debug, Default)]
pub struct Logging {
    traces: Option<SdkTracerProvider>,
}

/// Logs to standard error, and sends spans where a collector is configured. Call it once, inside the runtime.
pub fn start(settings: &Telemetry, default: &str) -> Result<Logging, ExporterBuildError> {
    let traces = export::traces(settings)?;
    // That nobody reads them ends nothing.
    let format =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false).with_target(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.logs {
        Logs::Text => format.with_filter(filter(default)).boxed(),
        Logs::Json => format.json().flatten_event(true).with_filter(filter(default)).boxed(),
    };
    let spans = traces.as_ref().map(|provider| {
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("medseal"));
        let layer = layer.with_location(false).with_threads(false).with_target(false);
        layer.with_filter(Targets::new().with_targets(OWN.iter().map(|own| (*own, LevelFilter::INFO))))
    });
    tracing_subscriber::registry().with(lines).with(spans).init();
    Ok(Logging { traces })
}

impl Logging {
    /// Sends what was not sent yet.
    pub async fn end(self) {
        let Some(traces) = self.traces else { return };
        let ended = tokio::task::spawn_blocking(move || traces.shutdown()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last traces were not sent");
        }
    }
}

fn filter(default: &str) -> EnvFilter {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let asked = if asked.trim().is_empty() { default } else { asked.trim() };
    EnvFilter::try_new(directives(asked)).unwrap_or_else(|_| {
        eprintln!("medseal: {VARIABLE} is not understood: an example is `debug`; taking `{default}`");
        EnvFilter::new(directives(default))
    })
}

/// A level alone is that of our own packages; of all others there are warnings.
fn directives(text: &str) -> String {
    let Ok(level) = text.parse::<LevelFilter>() else { return text.to_owned() };
    let own = OWN.iter().map(|own| format!("{own}={level}"));
    std::iter::once(level.min(LevelFilter::WARN).to_string()).chain(own).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_lets_no_library_speak() {
        assert_eq!(directives("trace"), "warn,bridge=trace,mappings=trace,medseal=trace,notary=trace");
        assert_eq!(directives("error"), "error,bridge=error,mappings=error,medseal=error,notary=error");
        assert_eq!(directives("info,hyper=debug"), "info,hyper=debug");
        assert!(EnvFilter::try_new(directives("bridge::anchor=loud")).is_err());
    }
}
