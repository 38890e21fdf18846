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
use crate::commit::{Author, Committed, KeptAs, RawMessage, Transaction, Waiting};
use crate::error::{Fault, IngestError, Issue};
use crate::feeds::{Feed, Feeds, Origin, Outcome};
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, Write};
use crate::limits::{COMMIT_TIMEOUT, MAX_BATCH_MESSAGES, MAX_REPORT_LINES, PACE_PATIENCE};
use crate::quarantine;
use mappings::charset::{self, Charset};
use mappings::engine::{Context, Draft, MapError, Mapped, draft_urn, map};
use mappings::parse::Message;
use mappings::report::Line;
use notary::canonical::Json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Instrument, Span, info_span};

/// A message or batch as it came over MLLP or HTTP.
pub struct Received<'r> {
    pub bytes: Vec<u8>,
    pub origin: Origin<'r>,
}

/// What became of one message: what its acknowledgement needs.
pub struct Answered {
    /// The message's text, for its header; empty where it could not be decoded.
    pub text: String,
    pub outcome: Result<Taken, IngestError>,
}

crate::redacted_debug!(Received<'_>, Answered);

/// A message that was taken.
#[derive(Debug)]
pub struct Taken {
    pub committed: Committed,
    /// The mapping report.
    pub report: Vec<Line>,
    /// Nothing was made of it: it waits in quarantine.
    pub held: bool,
}

/// How a message is to be read: by the maps and the feed that it began with.
#[derive(Clone)]
pub struct Reading {
    pub feeds: Arc<Feeds>,
    pub feed: Arc<Feed>,
    /// Of the text as it was decoded.
    pub charset: Charset,
}

/// Takes in a message, or each message of a batch.
pub async fn receive(app: &Arc<App>, received: Received<'_>) -> Vec<Answered> {
    let Received { bytes, origin } = received;
    let feeds = app.core.feeds();
    let header = charset::header(&bytes);
    let first = header.as_deref().and_then(|header| Message::parse(header).ok());
    let Some(feed) = feeds.choose(origin, first.as_ref()).cloned() else {
        let error = if first.is_some() { nobodys(&feeds, origin) } else { no_message() };
        return vec![refused_unseen(app, origin, header.clone().unwrap_or_default(), error)];
    };
    let decoded = match charset::decode(&bytes, feeds.charset(&feed, first.as_ref())) {
        Ok(decoded) => decoded,
        Err(error) => {
            app.core.metrics.message(Some(&feed), "unparsable", Duration::ZERO);
            return vec![counted(app, &feed, undecodable(&bytes, &error))];
        }
    };
    let messages = mappings::batch::messages(&decoded.text);
    if messages.is_empty() || messages.len() > MAX_BATCH_MESSAGES {
        let text = format!("a batch holds 1 to {MAX_BATCH_MESSAGES} messages");
        let outcome = Err(IngestError::Unparsable(Issue::new("structure", text)));
        return vec![counted(app, &feed, Answered { text: String::new(), outcome })];
    }
    let alone = messages.len() == 1;
    let mut answers = Vec::with_capacity(messages.len());
    for text in messages {
        // A message alone is kept in the very bytes that came; one of a batch in its own part of the text.
        let raw = if alone { bytes.clone() } else { text.as_bytes().to_vec() };
        let own = if alone { Some(feed.clone()) } else { of_part(&feeds, origin, text) };
        let Some(feed) = own else {
            answers.push(refused_unseen(app, origin, text.to_owned(), nobodys(&feeds, origin)));
            continue;
        };
        let reading = Reading { feeds: feeds.clone(), feed: feed.clone(), charset: decoded.charset };
        let outcome = match turn(&feed, origin).await {
            Ok(()) => timed(app, &reading, text, raw, !alone).await,
            Err(busy) => {
                // Asked for by the configuration, and no failure of anybody's.
                app.core.metrics.message(Some(&feed), "paced", Duration::ZERO);
                Err(busy)
            }
        };
        answers.push(counted(app, &feed, Answered { text: text.to_owned(), outcome }));
    }
    answers
}

/// What waits for its feed's turn is not slow: the clock starts after it.
async fn timed(
    app: &Arc<App>,
    reading: &Reading,
    text: &str,
    raw: Vec<u8>,
    decoded: bool,
) -> Result<Taken, IngestError> {
    let began = Instant::now();
    let outcome = message(app, reading, text, raw, decoded).instrument(info_span!("message")).await;
    app.core.metrics.message(Some(&reading.feed), outcome_word(&outcome), began.elapsed());
    outcome
}

/// What is no feed's is seen by no feed's counts: the operator is told by whom it was sent.
fn refused_unseen(app: &App, origin: Origin<'_>, text: String, error: IngestError) -> Answered {
    app.core.metrics.message(None, "unclaimed", Duration::ZERO);
    if let Origin::Mllp(arrival) = origin
        && app.core.strangers.is_news(std::time::Instant::now())
    {
        let certificate = arrival.fingerprint().unwrap_or_else(|| "none".into());
        tracing::warn!(peer = %arrival.peer, certificate, "a message was refused: it is no feed's of its listener or certificate");
    }
    Answered { text, outcome: Err(error) }
}

/// Noise, where a feed is known by the senders of its messages.
fn no_message() -> IngestError {
    IngestError::Unparsable(Issue::new("structure", "a message begins with MSH and its separators"))
}

/// The feed of one message of a batch.
fn of_part(feeds: &Feeds, origin: Origin<'_>, text: &str) -> Option<Arc<Feed>> {
    feeds.choose(origin, Message::parse(text).ok().as_ref()).cloned()
}

/// Nobody who may send here was meant, or it comes over a connection whose certificate does not count any more.
fn nobodys(feeds: &Feeds, origin: Origin<'_>) -> IngestError {
    if matches!(origin, Origin::Mllp(arrival) if feeds.doors.revokes(&arrival.shown)) {
        let text = "the certificate of this connection is revoked, or no list in force speaks of it: connect anew";
        return IngestError::Forbidden(Issue::new("forbidden", text));
    }
    let place = mappings::path::Place { field: 3, ..mappings::path::Place::default() };
    let text = "no feed of this listener, or of the certificate that was shown, has this sender (MSH-3, MSH-4)";
    IngestError::Forbidden(Issue { source: Some(("MSH".into(), 1, place)), ..Issue::new("forbidden", text) })
}

/// Waits for the feed's turn: over MLLP its sender feels it, over HTTP it is told to come back.
async fn turn(feed: &Feed, origin: Origin<'_>) -> Result<(), IngestError> {
    let Some(pace) = &feed.pace else { return Ok(()) };
    let patience = if matches!(origin, Origin::Http) { Duration::ZERO } else { PACE_PATIENCE };
    let wait = pace.turn(Instant::now(), patience).map_err(|_| IngestError::Busy)?;
    tokio::time::sleep(wait).await;
    Ok(())
}

fn counted(app: &App, feed: &Feed, answered: Answered) -> Answered {
    let outcome = match &answered.outcome {
        Ok(taken) if taken.held => Outcome::Quarantined,
        Ok(_) => Outcome::Accepted,
        Err(error) => Outcome::of(error),
    };
    feed.meter.count(outcome, app.core.clock.now().as_millisecond());
    answered
}

async fn message(
    app: &Arc<App>,
    reading: &Reading,
    text: &str,
    raw: Vec<u8>,
    decoded: bool,
) -> Result<Taken, IngestError> {
    let Prepared { transaction, report } = prepared(app, reading, text, raw.clone()).await?;
    let done = match transaction {
        Ok(transaction) => commit(app, transaction).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(committed) => Ok(Taken { committed, report, held: false }),
        Err(error) if reading.feed.keeps(&error) => {
            let message = raw_message(text, raw, report);
            quarantine::hold(app, &reading.feed, message, &error, decoded).await
        }
        Err(error) => Err(error),
    }
}

/// What is to be committed, or why it cannot be, with the mapping report as far as there is one.
pub struct Prepared {
    pub transaction: Result<Transaction, IngestError>,
    pub report: Vec<Line>,
}

/// Maps and validates, beside the network threads: a large message takes a while.
pub async fn prepared(app: &Arc<App>, reading: &Reading, text: &str, raw: Vec<u8>) -> Result<Prepared, IngestError> {
    let (app, reading, text) = (app.clone(), reading.clone(), text.to_owned());
    let here = Span::current();
    let work = move || here.in_scope(|| prepare(&app, &reading, &text, raw));
    tokio::task::spawn_blocking(work).await.map_err(|_| IngestError::Stopping)
}

/// Received -> Message -> Draft -> Validated.
fn prepare(app: &App, reading: &Reading, text: &str, raw: Vec<u8>) -> Prepared {
    let mut report = Vec::new();
    let transaction = transaction(app, reading, text, raw, &mut report);
    Prepared { transaction, report }
}

fn transaction(
    app: &App,
    reading: &Reading,
    text: &str,
    raw: Vec<u8>,
    report: &mut Vec<Line>,
) -> Result<Transaction, IngestError> {
    let parsed = info_span!("parse").in_scope(|| Message::parse(text));
    let message = parsed.map_err(|e| IngestError::Unparsable(Issue::new("structure", e.to_string())))?;
    if message.header(10).trim().is_empty() {
        return Err(IngestError::Invalid(vec![header_issue("required", 10, "a message needs a control id (MSH-10)")]));
    }
    let Reading { feeds, feed, charset } = reading;
    let now = instant(app.core.clock.now());
    let context = Context { charset: *charset, zone: feed.zone.as_ref(), now: &now };
    let set = feeds.maps(feed, &message);
    let mapped = info_span!("map").in_scope(|| map(set, &message, &context)).map_err(unmappable)?;
    *report = mapped.report.lines(MAX_REPORT_LINES);
    let raw = RawMessage {
        map: mapped.map.to_owned(),
        map_set: set.hash().to_owned(),
        ..raw_message(text, raw, report.clone())
    };
    let writes = mapped.drafts.iter().enumerate().map(|(n, draft)| write(&mapped, draft, n, &message));
    let writes = info_span!("validate").in_scope(|| writes.collect::<Result<Vec<_>, _>>())?;
    Ok(Transaction { by: Author::Service, writes, message: Some(raw) })
}

/// A message as it is kept where nothing else is known of it.
fn raw_message(text: &str, bytes: Vec<u8>, report: Vec<Line>) -> RawMessage {
    let message = Message::parse(text).ok();
    let field = |n| message.as_ref().map_or("", |m| m.header(n));
    RawMessage {
        bytes,
        sender: format!("{}|{}", field(3), field(4)),
        control_id: field(10).to_owned(),
        map: String::new(),
        map_set: String::new(),
        report,
        kept_as: KeptAs::Message,
    }
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
        Ok(taken) if taken.held => "quarantined",
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
