//! Quarantine: messages that were acknowledged and of which nothing could be made. They are sealed like any other, and wait until
//! the map is mended, or their text; then they go the way of all messages, once.

use crate::app::App;
use crate::app::keep::Keep;
use crate::commit::{Author, KeptAs, NEWER, RawMessage, Transaction};
use crate::error::{IngestError, Issue, VaultError};
use crate::feeds::{Feed, Feeds};
use crate::ids::ResourceId;
use crate::index::held::Waiting;
use crate::ingest::{self, Prepared, Reading, Taken};
use crate::limits::{MAX_FRAME_BYTES, MAX_HELD};
use crate::message::{Held, Kept, Replayed, Said, open_at};
use crate::read::in_background;
use mappings::charset::{self, Charset};
use mappings::parse::Message;
use std::sync::Arc;

/// Why a message is not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("there is no such message in quarantine")]
    Missing,
    #[error("it was replayed before, as message {0}")]
    Done(String),
    #[error("a message is 1 to {MAX_FRAME_BYTES} bytes of text")]
    Text,
    /// Which versions came after it.
    #[error("{0}; replay it over them only if it is right about them")]
    Newer(String),
    /// What is wrong with it still.
    #[error(transparent)]
    Refused(#[from] IngestError),
}

impl ReplayError {
    /// In full, for who may see the message: which fields are at fault.
    pub fn told(&self) -> String {
        let Self::Refused(error) = self else { return self.to_string() };
        let issue = |issue: &Issue| {
            let said = Said::from(issue);
            said.place.map_or_else(|| said.text.clone(), |place| format!("{place}: {}", said.text))
        };
        let issues: Vec<String> = error.issues().iter().map(issue).collect();
        format!("{error}: {}", issues.join("; "))
    }
}

impl From<VaultError> for ReplayError {
    fn from(error: VaultError) -> Self {
        Self::Refused(error.into())
    }
}

/// How a message is to be replayed.
#[derive(Clone)]
pub struct Wish {
    /// Another text in its place.
    pub text: Option<String>,
    /// Also over what came after it.
    pub over_newer: bool,
    /// Who wishes it.
    pub by: String,
}

crate::redacted_debug!(Wish);

/// One in quarantine, opened.
pub struct Shown {
    pub waiting: Waiting,
    /// The message as it came, and why it is here.
    pub kept: Kept,
    /// What became of it.
    pub replayed: Option<Replayed>,
}

crate::redacted_debug!(Shown);

/// Takes a message into quarantine.
pub async fn hold(
    app: &Arc<App>,
    feed: &Feed,
    message: RawMessage,
    error: &IngestError,
    decoded: bool,
) -> Result<Taken, IngestError> {
    if is_full(app, MAX_HELD).await? {
        let text = "the quarantine is full: nothing more is kept there until somebody has emptied it";
        let issues = error.issues().into_iter().chain([Issue::new("throttled", text)]);
        return Err(IngestError::Invalid(issues.collect()));
    }
    let issues = error.issues().iter().map(Said::from).collect();
    let held = Held { feed: feed.name.clone(), issues, decoded, replayed: None };
    let report = message.report.clone();
    let message = RawMessage { kept_as: KeptAs::Held(held), ..message };
    let transaction = Transaction { by: Author::Service, writes: Vec::new(), message: Some(message) };
    let committed = ingest::commit(app, transaction).await?;
    Ok(Taken { committed, report, held: true })
}

/// Whether so many wait.
async fn is_full(app: &App, most: usize) -> Result<bool, VaultError> {
    let store = app.core.store.clone();
    Ok(in_background(move || store.held_count(most)).await? >= most)
}

/// One of them. Nothing: it is not there, or was erased.
pub async fn find(keep: &Keep, id: &ResourceId) -> Result<Option<Shown>, VaultError> {
    let (store, wanted) = (keep.store.clone(), id.clone());
    let found = in_background(move || Ok((store.held_one(&wanted)?, store.message(&wanted)?))).await?;
    let (Some(waiting), Some(first)) = found else { return Ok(None) };
    if waiting.erased {
        return Ok(None);
    }
    let (_, kept) = open_at(keep, &first, id).await?;
    let replayed = if waiting.closed { replayed(keep, &waiting).await? } else { None };
    Ok(Some(Shown { waiting, kept, replayed }))
}

/// What became of one that was replayed.
async fn replayed(keep: &Keep, waiting: &Waiting) -> Result<Option<Replayed>, VaultError> {
    let (_, last) = open_at(keep, &waiting.place, &waiting.id).await?;
    Ok(last.head.held.and_then(|held| held.replayed))
}

/// A message that is to be read again, and how.
struct Again {
    reading: Reading,
    text: String,
    raw: Vec<u8>,
    edited: bool,
}

/// By the maps of today, and by its feed if that is still there.
fn again(app: &App, kept: &Kept, edited: Option<String>) -> Result<Again, IngestError> {
    let feeds = app.core.feeds();
    let name = kept.head.held.as_ref().map_or("", |held| held.feed.as_str());
    let feed = feeds.find(name).unwrap_or_else(|| feeds.unnamed()).clone();
    let (text, charset) = decoded(&feeds, &feed, kept)?;
    let other = |new: &String| new.trim_end() != carriage_returns(&text).trim_end();
    let again = match edited.map(|text| carriage_returns(&text)).filter(other) {
        Some(text) => {
            Again { raw: text.clone().into_bytes(), text, edited: true, reading: reading(feeds, feed, Charset::Utf8) }
        }
        None => Again { raw: kept.bytes.clone(), text, edited: false, reading: reading(feeds, feed, charset) },
    };
    Ok(again)
}

fn reading(feeds: Arc<Feeds>, feed: Arc<Feed>, charset: Charset) -> Reading {
    Reading { feeds, feed, charset }
}

/// The text of a message that came alone, in its own character set; or of a part of a batch.
fn decoded(feeds: &Feeds, feed: &Feed, kept: &Kept) -> Result<(String, Charset), IngestError> {
    if kept.head.held.as_ref().is_some_and(|held| held.decoded) {
        return Ok((String::from_utf8_lossy(&kept.bytes).into_owned(), Charset::Utf8));
    }
    let header = charset::header(&kept.bytes);
    let header = header.as_deref().and_then(|header| Message::parse(header).ok());
    let read = charset::decode(&kept.bytes, feeds.charset(feed, header.as_ref()));
    let read = read.map_err(|e| IngestError::Unparsable(Issue::new("value", e.to_string())))?;
    Ok((read.text.into_owned(), read.charset))
}

/// The text of a message in quarantine, for people.
pub fn text(app: &App, kept: &Kept) -> String {
    again(app, kept, None).map_or_else(|_| String::from_utf8_lossy(&kept.bytes).into_owned(), |again| again.text)
}

/// What the maps of today make of it. Nothing is stored.
pub async fn trial(app: &Arc<App>, kept: &Kept, edited: Option<String>) -> Result<Prepared, IngestError> {
    let Again { reading, text, raw, .. } = again(app, kept, edited)?;
    ingest::prepared(app, &reading, &text, raw).await
}

/// Sends it the way of all messages, as it is or with another text, and closes it with the same commit. If it is refused again it
/// stays. The message that came is kept whatever happens.
pub async fn replay(app: &Arc<App>, id: &ResourceId, wish: Wish) -> Result<Taken, ReplayError> {
    let Wish { text: edited, over_newer, by } = wish;
    if edited.as_ref().is_some_and(|text| text.trim().is_empty() || text.len() > MAX_FRAME_BYTES) {
        return Err(ReplayError::Text);
    }
    let shown = find(&app.core.keep(), id).await?.ok_or(ReplayError::Missing)?;
    if let Some(replayed) = shown.replayed {
        return Err(ReplayError::Done(replayed.message));
    }
    let Again { reading, text, raw, edited } = again(app, &shown.kept, edited)?;
    let Prepared { transaction, report } = ingest::prepared(app, &reading, &text, raw).await?;
    let mut transaction = transaction?;
    let replayed = Replayed { message: String::new(), by, edited, over_newer };
    let told = told(&shown.kept, replayed);
    if let Some(message) = &mut transaction.message {
        let since = (!over_newer).then_some(shown.waiting.updated);
        message.kept_as = KeptAs::Replay { of: id.clone(), told, since };
    }
    let committed = ingest::commit(app, transaction).await.map_err(refused)?;
    if committed.duplicate {
        return Err(ReplayError::Done(committed.message.map(|id| id.to_string()).unwrap_or_default()));
    }
    Ok(Taken { committed, report, held: false })
}

fn refused(error: IngestError) -> ReplayError {
    match error {
        IngestError::Precondition(issue) if issue.code == NEWER => ReplayError::Newer(issue.text),
        error => error.into(),
    }
}

/// The committer puts the message's id in.
fn told(kept: &Kept, replayed: Replayed) -> Held {
    let feed = kept.head.held.as_ref().map(|held| held.feed.clone()).unwrap_or_default();
    Held { feed, issues: Vec::new(), decoded: false, replayed: Some(replayed) }
}

/// Segments end in CR; a form of a browser sends CR LF.
fn carriage_returns(text: &str) -> String {
    text.replace("\r\n", "\r").replace('\n', "\r")
}
