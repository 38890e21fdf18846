//! What is counted where it happens. A label is a word of this program, `&'static str`: neither an id nor a name can become one.
//! Messages alone are counted by their feed, too, which the configuration names.
//! Names and units follow OpenTelemetry; `/metrics` gives them as Prometheus has them (`_total`, `_seconds`).

use crate::feeds::Feed;
use crate::tls::Refusal;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::metrics::reader::MetricReader;
use prometheus::{Registry, TextEncoder};
use std::time::Duration;

/// The upper bounds of latencies, in seconds: from a read out of memory to what a sender gives up on.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The upper bounds of how many transactions are committed together.
const GROUPS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Everything that is counted. One a service: several may run in one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    meter: Meter,
    messages: Histogram<f64>,
    pub requests: Timed,
    pub commits: Timed,
    /// Transactions of a group commit.
    pub group: Histogram<u64>,
    /// Committed versions and messages.
    pub records: Count,
    /// What patients' Consents say of what somebody asked for.
    pub consents: Count,
    pub anchors: Count,
    /// Gas of the anchors whose cost is known.
    pub gas: Counter<u64>,
    /// What became of what is told of accesses.
    pub audit: Count,
    pub notifications: Count,
    /// What rules made of what they found.
    pub ruled: Count,
    /// Runs of bytes that are no frame, on MLLP connections.
    pub garbage: Counter<u64>,
    /// Connections that are refused because too many are open.
    pub refused_connections: Count,
    /// TLS that did not begin.
    pub refused_handshakes: Count,
}

/// A counter with a label.
#[derive(Debug)]
pub struct Count {
    counter: Counter<u64>,
    label: &'static str,
}

/// How many there were, and how long they took.
#[derive(Debug)]
pub struct Timed {
    seconds: Histogram<f64>,
    labels: &'static [&'static str],
}

impl Count {
    /// So many more.
    pub fn add(&self, more: u64, word: &'static str) {
        self.counter.add(more, &[KeyValue::new(self.label, word)]);
    }
}

impl Timed {
    /// One more, with a value for each of its labels.
    pub fn took(&self, time: Duration, values: &[&'static str]) {
        let labels: Vec<_> =
            self.labels.iter().zip(values).map(|(label, value)| KeyValue::new(*label, *value)).collect();
        self.seconds.record(time.as_secs_f64(), &labels);
    }
}

/// Makes instruments.
struct Maker<'m>(&'m Meter);

impl Maker<'_> {
    fn counter(&self, name: &'static str, what: &'static str) -> Counter<u64> {
        self.0.u64_counter(name).with_description(what).build()
    }

    /// Begins with 0 for each of its words: what never happened is told, too.
    fn count(&self, name: &'static str, what: &'static str, label: &'static str, words: &[&'static str]) -> Count {
        let count = Count { counter: self.counter(name, what), label };
        words.iter().for_each(|word| count.add(0, word));
        count
    }

    fn timed(&self, name: &'static str, what: &'static str, labels: &'static [&'static str]) -> Timed {
        Timed { seconds: self.seconds(name, what), labels }
    }

    fn seconds(&self, name: &'static str, what: &'static str) -> Histogram<f64> {
        let seconds = self.0.f64_histogram(name).with_unit("s").with_description(what);
        seconds.with_boundaries(SECONDS.to_vec()).build()
    }
}

impl Metrics {
    /// Counts, for `/metrics` and for one more reader.
    pub fn new(other: Option<impl MetricReader>, resource: Resource) -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
        let exporter = exporter.scope_info_enabled(false).without_target_info().build()?;
        let mut builder = SdkMeterProvider::builder().with_resource(resource).with_reader(exporter);
        if let Some(other) = other {
            builder = builder.with_reader(other);
        }
        Ok(Self::on(registry, builder.build()))
    }

    fn on(registry: Registry, provider: SdkMeterProvider) -> Self {
        let meter = provider.meter("medseal");
        let make = Maker(&meter);
        let group = meter.u64_histogram("medseal_commit_transactions");
        let group =
            group.with_description("Transactions that were committed together").with_boundaries(GROUPS.to_vec());
        let gas = make.counter("medseal_anchor_gas", "Gas that anchors used, where it is known");
        gas.add(0, &[]);
        let garbage = make.counter("medseal_mllp_garbage", "Runs of bytes outside a frame, on MLLP connections");
        garbage.add(0, &[]);
        Self {
            messages: make
                .seconds("medseal_message_duration", "HL7 v2 messages by their feed, from its turn to the commit"),
            requests: make.timed("medseal_http_request_duration", "HTTP requests", &["method", "route", "status"]),
            commits: make.timed("medseal_commit_duration", "Group commits: pack and index", &["outcome"]),
            group: group.build(),
            records: make.count("medseal_records", "Sealed and committed", "kind", &["resource", "message"]),
            consents: make.count(
                "medseal_consent_decisions",
                "What patients' Consents said of a resource that was asked for",
                "decision",
                &["permit", "deny"],
            ),
            anchors: make.count(
                "medseal_anchor_rounds",
                "Rounds of anchoring",
                "outcome",
                &["anchored", "nothing", "failed"],
            ),
            gas,
            garbage,
            audit: make.count(
                "medseal_audit_events",
                "AuditEvents of accesses; withheld: answers for which there was no room",
                "outcome",
                &["committed", "failed", "withheld"],
            ),
            notifications: make.count(
                "medseal_notifications",
                "Notifications of Subscriptions",
                "outcome",
                &["taken", "missed"],
            ),
            ruled: make.count(
                "medseal_exchange_ruled",
                "Versions that a rule's criteria found; withheld: by the patient, foreign: from another server",
                "outcome",
                &["queued", "withheld", "foreign"],
            ),
            refused_connections: make.count(
                "medseal_connections_refused",
                "Connections that were one too many",
                "listener",
                &["http", "mllp"],
            ),
            refused_handshakes: make.count(
                "medseal_tls_refused",
                "Connections whose TLS or certificate was refused; unlisted: no list of revoked certificates speaks of the one that was shown",
                "reason",
                &Refusal::WORDS,
            ),
            registry,
            provider,
            meter,
        }
    }

    /// One more message, of a feed or of nobody's. There are as many feeds as are configured; nothing that a sender says becomes a name.
    pub fn message(&self, feed: Option<&Feed>, outcome: &'static str, time: Duration) {
        let feed = feed.map_or_else(String::new, |feed| feed.name.clone());
        self.messages.record(time.as_secs_f64(), &[KeyValue::new("feed", feed), KeyValue::new("outcome", outcome)]);
    }

    /// For what is looked up when somebody asks.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// All of it in Prometheus's text form, 0.0.4. Looks things up in the index: call it where blocking is allowed.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Sends what was not sent yet. Waits for the network: call it where blocking is allowed.
    pub fn end(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last metrics were not sent");
        }
    }
}
