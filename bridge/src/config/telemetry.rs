//! `[telemetry]`: what the service tells of itself, and whom.

use crate::vault::objects::warn_if_open;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The shortest token: 128 bits in hexadecimal digits.
const MIN_TOKEN: usize = 32;

/// The settings. By default nobody is told anything but what stands in the log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// An address of its own for `/metrics`, which asks nobody who he is: on a network that only the monitoring reaches.
    pub metrics: Option<SocketAddr>,
    /// A file with a token: who bears it may read `/metrics` beside the API.
    pub metrics_token: Option<PathBuf>,
    /// Where traces and metrics are sent by OTLP over HTTP: `https://collector.example:4318`.
    pub otlp: Option<String>,
    /// Seconds between two sendings of metrics.
    pub otlp_seconds: u64,
    /// Which part of the traces is kept, 0 to 1.
    pub sample: f64,
    /// How the log is written.
    pub logs: Logs,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Logs {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { metrics: None, metrics_token: None, otlp: None, otlp_seconds: 60, sample: 1.0, logs: Logs::Text }
    }
}

impl Telemetry {
    pub(super) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err("telemetry.sample: 0 to 1".into());
        }
        if !(1..=3_600).contains(&self.otlp_seconds) {
            return Err("telemetry.otlp_seconds: 1 to 3600".into());
        }
        let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        match self.otlp.as_ref().filter(|url| !is_url(url)) {
            Some(wrong) => Err(format!("telemetry.otlp: `{wrong}` is no URL; an example is `https://collector:4318`")),
            None => Ok(()),
        }
    }

    /// The token that `/metrics` takes, where one is configured.
    pub fn token(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = &self.metrics_token else { return Ok(None) };
        let named = |what: &dyn std::fmt::Display| format!("telemetry.metrics_token: {}: {what}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        warn_if_open(path);
        match text.trim() {
            short if short.len() < MIN_TOKEN => Err(named(&format!("a token has at least {MIN_TOKEN} characters"))),
            token => Ok(Some(token.as_bytes().to_vec())),
        }
    }
}
