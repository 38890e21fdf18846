//! THE WRITE PATH, in order, whatever the transport:
//!
//! ```text
//! Received -> parse -> Message | Bundle -> map -> Draft -> validate -> Validated
//!   -> resolve -> seal -> Sealed -> pack + index (group commit) -> Committed -> acknowledge
//! later:  outbox -> log -> checkpoint -> anchor -> receipt
//! ```
//!
//! Parsing, mapping and validating happen here, in the caller's task; `commit.rs` resolves, seals and stores; whoever
//! called acknowledges, and only after [`Committed`].

use crate::app::App;
use crate::clock::instant;
use crate::commit::{Author, Committed, RawMessage, Transaction, Waiting};
use crate::error::{Fault, IngestError, Issue};
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, Write};
use crate::limits::{COMMIT_TIMEOUT, MAX_BATCH_MESSAGES, MAX_REPORT_LINES};
use mappings::charset::{self, Charset};
use mappings::engine::{Context, Draft, MapError, Mapped, draft_urn, map};
use mappings::parse::Message;
use mappings::report::Line;
use notary::canonical::Json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::{Instrument, Span, info_span};

/// A message or batch as it came over MLLP or HTTP.
pub struct Received {
    pub bytes: Vec<u8>,
}

/// What became of one message: what its acknowledgement needs.
pub struct Answered {
    /// The message's text, for its header; empty where it could not be decoded.
    pub text: String,
    pub outcome: Result<Taken, IngestError>,
}

crate::redacted_debug!(Received, Answered);

/// A message that was taken.
#[derive(Debug)]
pub struct Taken {
    pub committed: Committed,
    /// The mapping report.
    pub report: Vec<Line>,
}

/// Takes in a message, or each message of a batch.
pub async fn receive(app: &Arc<App>, received: Received) -> Vec<Answered> {
    let default = app.core.maps().charset(&received.bytes).unwrap_or(app.core.charset);
    let decoded = match charset::decode(&received.bytes, default) {
        Ok(decoded) => decoded,
        Err(error) => {
            app.core.metrics.messages.took(Duration::ZERO, &["unparsable"]);
            return vec![undecodable(&received.bytes, &error)];
        }
    };
    let messages = mappings::batch::messages(&decoded.text);
    if messages.is_empty() || messages.len() > MAX_BATCH_MESSAGES {
        let text = format!("a batch holds 1 to {MAX_BATCH_MESSAGES} messages");
        let outcome = Err(IngestError::Unparsable(Issue::new("structure", text)));
        return vec![Answered { text: String::new(), outcome }];
    }
    let alone = messages.len() == 1;
    let mut answers = Vec::with_capacity(messages.len());
    for text in messages {
        // A message alone is kept in the very bytes that came; one of a batch in its own part of the text.
        let raw = if alone { received.bytes.clone() } else { text.as_bytes().to_vec() };
        let began = Instant::now();
        let outcome = message(app, text, raw, decoded.charset).instrument(info_span!("message")).await;
        app.core.metrics.messages.took(began.elapsed(), &[outcome_word(&outcome)]);
        answers.push(Answered { text: text.to_owned(), outcome });
    }
    answers
}

async fn message(app: &Arc<App>, text: &str, raw: Vec<u8>, charset: Charset) -> Result<Taken, IngestError> {
    let (preparing, text) = (app.clone(), text.to_owned());
    // Mapping a large message takes a while: it must not hold up a network thread.
    let here = Span::current();
    let work = move || here.in_scope(|| prepare(&preparing, &text, raw, charset));
    let prepared = tokio::task::spawn_blocking(work).await;
    let (transaction, report) = prepared.unwrap_or(Err(IngestError::Stopping))?;
    let committed = commit(app, transaction).await?;
    Ok(Taken { committed, report })
}

/// Received -> Message -> Draft -> Validated.
fn prepare(app: &App, text: &str, raw: Vec<u8>, charset: Charset) -> Result<(Transaction, Vec<Line>), IngestError> {
    let parsed = info_span!("parse").in_scope(|| Message::parse(text));
    let message = parsed.map_err(|e| IngestError::Unparsable(Issue::new("structure", e.to_string())))?;
    if message.header(10).trim().is_empty() {
        return Err(IngestError::Invalid(vec![header_issue("required", 10, "a message needs a control id (MSH-10)")]));
    }
    let now = instant(app.core.clock.now());
    let context = Context { charset, zone: app.core.zone.as_ref(), now: &now };
    let library = app.core.maps();
    let set = library.choose(&message);
    let mapped = info_span!("map").in_scope(|| map(set, &message, &context)).map_err(unmappable)?;
    let sender = format!("{}|{}", message.header(3), message.header(4));
    let report = mapped.report.lines(MAX_REPORT_LINES);
    let raw = RawMessage {
        bytes: raw,
        sender,
        control_id: message.header(10).to_owned(),
        map: mapped.map.to_owned(),
        map_set: set.hash().to_owned(),
        report: report.clone(),
    };
    let writes = mapped.drafts.iter().enumerate().map(|(n, draft)| write(&mapped, draft, n, &message));
    let writes = info_span!("validate").in_scope(|| writes.collect::<Result<Vec<_>, _>>())?;
    Ok((Transaction { by: Author::Service, writes, message: Some(raw) }, report))
}

/// Draft -> Validated: an error is told at the field that the element came from.
fn write(mapped: &Mapped<'_>, draft: &Draft, n: usize, message: &Message<'_>) -> Result<Write, IngestError> {
    let Draft { identity, deleted, weak, gaps, .. } = draft.clone();
    let json = Json::parse(mapped.json(draft).as_bytes()).map_err(|e| {
        // Ours to mend, but the sender has to be told something.
        IngestError::Invalid(vec![Issue::new("exception", format!("{} came out as no JSON: {e}", draft.type_name))])
    })?;
    let resource = validate(json).map_err(|issues| {
        let origins = mapped.origins(draft);
        let located = issues.into_iter().map(|issue| {
            let path = issue.expression.clone().unwrap_or_default();
            let origin = origins.iter().find(|o| o.path == path).or_else(|| {
                let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
                origins.iter().find(|o| o.path.starts_with(parent))
            });
            let source = origin.and_then(|o| source(message, o.place));
            Issue { source, ..issue }
        });
        IngestError::Invalid(located.collect())
    })?;
    let act = Act::Recognise { resource, identity, deleted, weak, gaps };
    Ok(Write { entry: None, full_url: Some(draft_urn(n)), act })
}

fn source(message: &Message<'_>, place: mappings::path::Place) -> Option<(String, usize, mappings::path::Place)> {
    let index = place.segment as usize;
    let name = message.segment(index)?.name().to_owned();
    let occurrence = message.segments().take(index + 1).filter(|s| s.name() == name).count();
    Some((name, occurrence, place))
}

/// Hands a transaction to the committer and waits until it is durable.
pub async fn commit(app: &Arc<App>, transaction: Transaction) -> Result<Committed, IngestError> {
    let (reply, answer) = oneshot::channel();
    let queue = app.committer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let queue = queue.ok_or(IngestError::Stopping)?;
    queue.try_send(Waiting { transaction, reply, span: Span::current() }).map_err(|_| IngestError::Busy)?;
    match tokio::time::timeout(COMMIT_TIMEOUT, answer).await {
        Ok(Ok(outcome)) => outcome,
        // It may still be committed: the sender sends it again, and it is recognised.
        Ok(Err(_)) => Err(IngestError::Stopping),
        Err(_) => Err(IngestError::Busy),
    }
}

/// What became of a message, for whoever counts.
fn outcome_word(outcome: &Result<Taken, IngestError>) -> &'static str {
    match outcome {
        Ok(taken) if taken.committed.duplicate => "duplicate",
        Ok(_) => "taken",
        Err(IngestError::Unparsable(_)) => "unparsable",
        Err(IngestError::Unsupported(_)) => "unsupported",
        Err(error) => match error.fault() {
            Fault::Sender => "invalid",
            Fault::RetryLater => "try_again",
            Fault::Us => "failed",
        },
    }
}

fn unmappable(error: MapError) -> IngestError {
    let text = error.to_string();
    match error {
        MapError::NoType => IngestError::Unsupported(header_issue("required", 9, text)),
        MapError::NoMap(_) => IngestError::Unsupported(header_issue("not-supported", 9, text)),
        MapError::Missing(segment) | MapError::Itself(segment) => {
            let place = mappings::path::Place::default();
            IngestError::Invalid(vec![Issue { source: Some((segment, 1, place)), ..Issue::new("structure", text) }])
        }
        MapError::Nothing | MapError::TooMany | MapError::Unused(_) => {
            IngestError::Invalid(vec![Issue::new("structure", text)])
        }
    }
}

fn header_issue(code: &'static str, field: u16, text: impl Into<String>) -> Issue {
    let place = mappings::path::Place { field, ..mappings::path::Place::default() };
    Issue { source: Some(("MSH".into(), 1, place)), ..Issue::new(code, text) }
}

/// The header can be read even where the rest cannot: separators and ids are ASCII in nearly every set.
fn undecodable(bytes: &[u8], error: &charset::CharsetError) -> Answered {
    let line = bytes.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
    let text: String = line.iter().take(2_000).map(|b| if b.is_ascii() { char::from(*b) } else { '?' }).collect();
    let issue = header_issue("value", 18, error.to_string());
    Answered { text, outcome: Err(IngestError::Unparsable(issue)) }
}
