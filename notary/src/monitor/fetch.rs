//! Reading a log by HTTP, within bounds: nothing longer than it must be, no redirect, several files on their way at once.

use super::{Broken, Part, Walk, Walked, parts};
use crate::checkpoint::{Checkpoint, LogKey, MAX_NOTE_BYTES};
use crate::tree::Root;
use crate::verify::{Cosigners, Policy};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::task::JoinHandle;
use url::Url;

/// How long one file may take: the longest has 10 kB.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How often a file is asked for before the log counts as away, and how long is waited in between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How often the checkpoint is asked for until it is cosigned.
const WITNESS_TRIES: u32 = 5;
/// So many files are on their way at once: enough to hide the distance, few enough for a small server.
const AHEAD: usize = 16;

/// Why a log was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// It contradicts itself or the chain.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Nothing can be said.
    #[error("{0}")]
    Away(String),
}

/// Where a log is published.
#[derive(Debug, Clone)]
pub struct Source {
    client: reqwest::Client,
    base: Url,
}

type Fetched = Result<Option<Vec<u8>>, Stop>;

impl Source {
    /// The log at an address, such as `https://HOST/log`.
    pub fn new(url: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("{url} is no address of a log ({why}): give http://HOST:PORT/log or https://HOST/log");
        let mut base: Url = url.parse().map_err(|_| wrong("not a URL"))?;
        if !matches!(base.scheme(), "http" | "https") || base.query().is_some() {
            return Err(wrong("not a plain http or https address"));
        }
        // The paths are joined below it.
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let client = reqwest::Client::builder().timeout(ANSWER_TIME).redirect(reqwest::redirect::Policy::none());
        Ok(Self { client: client.build().map_err(|error| wrong(&error.to_string()))?, base })
    }

    /// The newest checkpoint, signed by one of these keys: that of its origin. Where the policy asks for witnesses it waits a little
    /// for theirs: a log shows what it has signed before they have.
    pub async fn checkpoint(&self, keys: &[LogKey], policy: &Policy) -> Result<(Checkpoint, Cosigners), Stop> {
        let mut tries = 1;
        loop {
            let (checkpoint, note) = self.newest(keys).await?;
            let cosigners = policy.cosigners(&note);
            if cosigners.are_enough() {
                return Ok((checkpoint, cosigners));
            }
            if tries == WITNESS_TRIES {
                return Err(Broken::NotWitnessed { found: cosigners.signed.len(), wanted: cosigners.wanted }.into());
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn newest(&self, keys: &[LogKey]) -> Result<(Checkpoint, String), Stop> {
        let none =
            || Stop::Away(format!("{}checkpoint is not there: nothing was signed yet, or this is no log", self.base));
        let bytes = self.get("checkpoint", MAX_NOTE_BYTES).await?.ok_or_else(none)?;
        let note = String::from_utf8_lossy(&bytes);
        let origin = note.lines().next().unwrap_or_default();
        let key = keys.iter().find(|key| key.origin() == origin).or(keys.first());
        let key = key.ok_or_else(|| Stop::Away("no log key was given".to_owned()))?;
        let checkpoint = key.open(&note).map_err(Broken::from)?;
        Ok((checkpoint, note.into_owned()))
    }

    /// A part of a log. One that is not whole may be gone once the whole one is there; its beginning is the same.
    async fn part(&self, part: Part) -> Fetched {
        if let Some(bytes) = self.get(&part.path(), part.bytes()).await? {
            return Ok(Some(bytes));
        }
        let whole = part.whole();
        let bytes = if whole == part { None } else { self.get(&whole.path(), whole.bytes()).await? };
        Ok(bytes.map(|mut bytes| {
            bytes.truncate(part.bytes());
            bytes
        }))
    }

    /// A file of at most `limit` bytes; nothing where there is none.
    async fn get(&self, path: &str, limit: usize) -> Fetched {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.once(path, limit).await {
                Ok(answer) => return Ok(answer),
                Err(why) => last = why,
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(Stop::Away(format!("{}{path}: {last}", self.base)))
    }

    async fn once(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, String> {
        let url = self.base.join(path).map_err(|error| error.to_string())?;
        let told = |error: reqwest::Error| error.without_url().to_string();
        let mut answer = self.client.get(url).send().await.map_err(told)?;
        match answer.status().as_u16() {
            200 => {}
            404 | 410 => return Ok(None),
            other => return Err(format!("the server answers with status {other}")),
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(told)? {
            bytes.extend_from_slice(&piece);
            // One byte more than there may be is enough to see that it is too long.
            if bytes.len() > limit {
                bytes.truncate(limit + 1);
                break;
            }
        }
        Ok(Some(bytes))
    }
}

/// Reads the whole log under a checkpoint, past `anchors` in the order of their sizes. `tell` hears how many entries fit.
pub async fn reread(
    source: &Source,
    checkpoint: Checkpoint,
    anchors: Vec<(u64, Root)>,
    tell: &mut dyn FnMut(u64),
) -> Result<Walked, Stop> {
    let mut wanted = parts(checkpoint.size);
    let mut walk = Walk::new(checkpoint, anchors);
    let mut coming: VecDeque<(Part, JoinHandle<Fetched>)> = VecDeque::new();
    loop {
        for part in wanted.by_ref().take(AHEAD - coming.len()) {
            let source = source.clone();
            coming.push_back((part, tokio::spawn(async move { source.part(part).await })));
        }
        let Some((part, answer)) = coming.pop_front() else { break };
        let bytes = answer.await.map_err(|error| Stop::Away(error.to_string()))??;
        walk.take(&part, bytes.as_deref())?;
        tell(walk.size());
    }
    Ok(walk.finish()?)
}
