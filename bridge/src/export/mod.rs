//! Bulk export (HL7 Bulk Data Access 2.0). An export is a snapshot and a list of row ranges: making it reads the index, and
//! each file is opened, tested and written out while it is fetched. So it needs the same little memory for a million
//! resources as for ten, nothing in the clear touches a disk, and a restart loses nothing.

pub mod request;
mod slice;

use crate::app::Core;
use crate::error::VaultError;
use crate::fhir::membership::supports;
use crate::ids::Name;
use crate::index::jobs::{Job, Part, State};
use crate::index::scan::Scan;
use crate::index::tokens::Token;
use crate::limits::{EXPORT_FILE_ROWS, EXPORT_LIFE, EXPORT_STALL, MAX_EXPORT_STREAMS, MAX_EXPORTS};
use crate::read::in_background;
use crate::secret::{bytes as random_bytes, system_random};
use crate::smart::token::Caller;
use crate::vault::seal::{open_bytes, seal_bytes};
use bytes::Bytes;
use request::{Level, Request};
use slice::{Members, Reader, Slice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// What the requests are sealed for.
const PURPOSE: &[u8] = b"medseal/v1/export";
/// Rows that are counted at a time.
const COUNTED: usize = 1_000;
/// How often it is looked for exports that nobody may fetch any more.
const TIDY: std::time::Duration = std::time::Duration::from_secs(600);

/// What the running exports share.
#[derive(Debug)]
pub struct Exports {
    /// Rung when one waits.
    pub wake: Notify,
    /// Rows of one file.
    pub file_rows: AtomicUsize,
    streams: Arc<Semaphore>,
}

impl Default for Exports {
    fn default() -> Self {
        Self {
            wake: Notify::new(),
            file_rows: AtomicUsize::new(EXPORT_FILE_ROWS),
            streams: Arc::new(Semaphore::new(MAX_EXPORT_STREAMS)),
        }
    }
}

/// An export, for who asked for it.
#[derive(Debug)]
pub struct Export {
    pub request: Request,
    pub state: State,
    /// Milliseconds since 1970: what was made later is not in it.
    pub time: i64,
    /// When it is forgotten.
    pub expires: i64,
    pub parts: Vec<Part>,
}

/// Who may see a job: who asked for it, with the same scopes. Several programs may bear one name, and what one of them asked
/// for, filters and all, is not for another that may see less.
fn owner(core: &Core, caller: &Caller) -> Token {
    let mut scopes: Vec<String> = caller.scopes.iter().map(ToString::to_string).collect();
    scopes.sort();
    scopes.dedup();
    let name = |name: &Option<Name>| name.as_ref().map_or(String::new(), ToString::to_string);
    let (patient, user) = (name(&caller.patient), name(&caller.user));
    core.identity_token(&["job", &caller.subject, &scopes.join(" "), &patient, &user])
}

/// Begins an export; none: the caller has too many. What a decision allowed is in the request.
pub async fn begin(core: &Core, caller: &Caller, request: &Request) -> Result<Option<String>, VaultError> {
    let id = hex::encode(random_bytes::<16>(&system_random)?);
    // Strings and numbers only: serialisation cannot fail.
    let plain = serde_json::to_vec(request).unwrap_or_default();
    let sealed =
        seal_bytes(&core.cursor_key, PURPOSE, &plain, &system_random).map_err(|_| crate::secret::NoRandomness)?;
    let made = core.clock.now().as_millisecond();
    let (store, owner, key) = (core.store.clone(), owner(core, caller), id.clone());
    let added = in_background(move || {
        let (upto, _) = store.snapshot()?;
        let job = Job { id: key, owner, request: sealed, upto, made, state: State::Waiting };
        store.add_export(&job, MAX_EXPORTS)
    })
    .await?;
    core.exports.wake.notify_one();
    Ok(added.then_some(id))
}

/// How far an export is; none: there is none of that name for this caller.
pub async fn look(core: &Core, caller: &Caller, id: &str) -> Result<Option<Export>, VaultError> {
    let (store, owner, id) = (core.store.clone(), owner(core, caller), id.to_owned());
    let found = in_background(move || {
        let Some(job) = store.job(&id, &owner)? else { return Ok(None) };
        let (time, parts) = (store.made(job.upto)?.unwrap_or(job.made), store.parts(&id)?);
        Ok(Some((job, time, parts)))
    })
    .await?;
    let Some((job, time, parts)) = found else { return Ok(None) };
    let expires = job.made + EXPORT_LIFE.as_millis() as i64;
    let live = expires > core.clock.now().as_millisecond();
    let request = opened(core, &job).filter(|_| live);
    Ok(request.map(|request| Export { request, state: job.state, time, expires, parts }))
}

fn opened(core: &Core, job: &Job) -> Option<Request> {
    let plain = open_bytes(&core.cursor_key, PURPOSE, &job.request).ok()?;
    serde_json::from_slice(&plain).ok()
}

/// Forgets an export. Tells whether there was one.
pub async fn cancel(core: &Core, caller: &Caller, id: &str) -> Result<bool, VaultError> {
    let (store, owner, id) = (core.store.clone(), owner(core, caller), id.to_owned());
    in_background(move || store.drop_job(&id, &owner)).await
}

/// Prepares what waits, one after the other, for ever.
pub async fn run(core: Arc<Core>) {
    loop {
        core.lease.wait().await;
        let store = core.store.clone();
        match in_background(move || store.waiting_export()).await {
            Ok(Some(job)) => finish(&core, &job).await,
            Ok(None) => rest(&core).await,
            Err(error) => {
                tracing::error!(%error, "the exports do not go on; they will be tried again");
                tokio::time::sleep(TIDY).await;
            }
        }
    }
}

async fn rest(core: &Core) {
    let (store, now) = (core.store.clone(), core.clock.now().as_millisecond());
    let before = now - EXPORT_LIFE.as_millis() as i64;
    if let Err(error) = in_background(move || store.drop_jobs_before(before)).await {
        tracing::warn!(%error, "old exports could not be forgotten");
    }
    // A ring between the look and this wait is kept by the bell.
    let _ = tokio::time::timeout(TIDY, core.exports.wake.notified()).await;
}

/// A crash before the files are written leaves the export waiting: it is prepared anew.
async fn finish(core: &Core, job: &Job) {
    let parts = prepare(core, job).await;
    if let Err(error) = &parts {
        tracing::error!(%error, "an export could not be prepared");
    }
    let (store, id, parts) = (core.store.clone(), job.id.clone(), parts.ok());
    if let Err(error) = in_background(move || store.finish_job(&id, parts.as_deref())).await {
        tracing::error!(%error, "an export could not be finished; it will be tried again");
        tokio::time::sleep(EXPORT_STALL).await;
    }
}

/// Cuts what was asked for into files.
async fn prepare(core: &Core, job: &Job) -> Result<Vec<Part>, VaultError> {
    let Some(request) = opened(core, job) else {
        return Err(crate::index::store::StoreError::Nonsense("an export").into());
    };
    let members = members(core, &request, job.upto).await?;
    let mut parts = Vec::new();
    for kind in request.kinds() {
        let in_parts = if supports(kind) { 1 } else { members.parts() };
        for part in 0..in_parts {
            let slice = Slice::new(core, &request, job, kind, part, members.clone());
            cut(core, slice, request.after, &mut parts).await?;
        }
        if request.since.is_some() {
            let slice = Slice::new(core, &request, job, kind, 0, members.clone());
            cut_deletions(core, slice, request.after, &mut parts).await?;
        }
    }
    Ok(parts)
}

/// The patients that are named, and the members of the group as the snapshot shows it.
async fn members(core: &Core, request: &Request, upto: i64) -> Result<Arc<Members>, VaultError> {
    let named = request.patients().map(Members::named);
    let Level::Group(id) = &request.level else { return Ok(Arc::new(named.unwrap_or_default())) };
    let Some(group) = Name::parse(&format!("Group/{id}")) else { return Ok(Arc::new(Members::default())) };
    let scan = Scan {
        kind: group.kind,
        clauses: Vec::new(),
        ids: Some(vec![group.id]),
        updated: Vec::new(),
        after: 0,
        upto,
        now: 0,
    };
    let store = core.store.clone();
    let found = in_background(move || store.scan(&scan, 1)).await?;
    match found.first() {
        Some(stored) => {
            let all = Members::of(&core.open(stored).await?.json(), &core.base);
            Ok(Arc::new(named.map_or_else(|| all.clone(), |named| named.among(&all))))
        }
        None => Ok(Arc::new(Members::default())),
    }
}

/// One part for so many rows that the index proposes, unless nothing in it fits.
async fn cut(core: &Core, slice: Slice, after: i64, parts: &mut Vec<Part>) -> Result<(), VaultError> {
    let (mut from, mut at, mut rows) = (after, after, 0);
    let file_rows = core.exports.file_rows.load(Ordering::Relaxed);
    let counted = COUNTED.min(file_rows);
    loop {
        let page = slice.rows(core, at, i64::MAX, counted).await?;
        rows += page.len();
        at = page.last().map_or(at, |s| s.row);
        let ended = page.len() < counted;
        if rows > 0 && (ended || rows >= file_rows) {
            let part = slice.part(false, from, at, Some(rows as u64));
            if slice.exact() || Reader::new(core, slice.clone(), &part).any().await? {
                parts.push(Part { count: part.count.filter(|_| slice.exact()), ..part });
            }
            (from, rows) = (at, 0);
        }
        if ended {
            return Ok(());
        }
    }
}

/// One part for all deletions: they are small.
async fn cut_deletions(core: &Core, slice: Slice, after: i64, parts: &mut Vec<Part>) -> Result<(), VaultError> {
    let part = slice.part(true, after, slice.upto(), None);
    if Reader::new(core, slice, &part).any().await? {
        parts.push(part);
    }
    Ok(())
}

/// A file as it is sent: its pages, or an error that breaks the answer off, so that nobody takes half a file for a whole one.
pub type Pages = mpsc::Receiver<Result<Bytes, std::io::Error>>;

/// Sends a file of an export; none: there is no such file, or too many are being sent.
pub async fn send(core: &Arc<Core>, caller: &Caller, id: &str, part: &Part) -> Result<Option<Pages>, VaultError> {
    let Ok(place) = core.exports.streams.clone().try_acquire_owned() else { return Ok(None) };
    let (store, key, owner) = (core.store.clone(), id.to_owned(), owner(core, caller));
    let Some(job) = in_background(move || store.job(&key, &owner)).await? else { return Ok(None) };
    let Some(request) = opened(core, &job) else { return Ok(None) };
    let members = members(core, &request, job.upto).await?;
    let slice = Slice::new(core, &request, &job, part.kind, part.part, members);
    // One page waits while the next one is opened.
    let (sender, pages) = mpsc::channel(1);
    tokio::spawn(pump(core.clone(), slice, part.clone(), sender, place));
    Ok(Some(pages))
}

async fn pump(
    core: Arc<Core>,
    slice: Slice,
    part: Part,
    sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
    _place: OwnedSemaphorePermit,
) {
    let mut reader = Reader::new(&core, slice, &part);
    loop {
        let page = match reader.next().await {
            Ok(Some(page)) if page.is_empty() => continue,
            Ok(Some(page)) => Ok(Bytes::from(page)),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "a file of an export broke off");
                Err(std::io::Error::other("the export broke off"))
            }
        };
        let broken = page.is_err();
        // A client that takes nothing for so long has gone.
        let sent = tokio::time::timeout(EXPORT_STALL, sender.send(page)).await;
        if broken || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}
