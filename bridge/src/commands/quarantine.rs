//! `medseal quarantine`: what waits there, one of them with its report, and replaying it by the running service.

use super::Failed;
use crate::app::keep::Keep;
use crate::clock::{SystemClock, instant};
use crate::config::Config;
use crate::control::{Ask, ask};
use crate::ids::ResourceId;
use crate::index::held::Waiting;
use crate::message::open_at;
use crate::quarantine::find;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Rows that are listed at a time.
const PAGE: usize = 100;

/// Prints what waits, the newest first; with `all` also what was replayed. No content: id, when, feed, state, the first issue.
pub async fn list(config: &Config, all: bool) -> Result<(), Failed> {
    let keep = keep(config).await?;
    let mut before = i64::MAX;
    loop {
        let page = keep.store.held(all, before, PAGE).map_err(Failed::from_error)?;
        for waiting in &page {
            say!("{}", line(&keep, waiting).await?);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => before = last.row,
            _ => return Ok(()),
        }
    }
}

async fn line(keep: &Keep, waiting: &Waiting) -> Result<String, Failed> {
    let when = instant(jiff::Timestamp::from_millisecond(waiting.updated).unwrap_or_default());
    if waiting.erased {
        return Ok(format!("{}\t{when}\t-\terased\t-", waiting.id));
    }
    let (_, kept) = open_at(keep, &waiting.place, &waiting.id).await.map_err(Failed::from_error)?;
    let held = kept.head.held.ok_or_else(|| Failed(format!("{}: it is of no known form", waiting.id)))?;
    let (state, what) = match held.replayed {
        Some(replayed) => ("replayed", format!("message {}", replayed.message)),
        None => ("waits", held.issues.first().map(|issue| issue.text.clone()).unwrap_or_default()),
    };
    Ok(format!("{}\t{when}\t{}\t{state}\t{what}", waiting.id, held.feed))
}

/// Prints why one is there, or with `raw` the bytes that came.
pub async fn show(config: &Config, id: &str, raw: bool) -> Result<(), Failed> {
    let keep = keep(config).await?;
    let missing = || Failed(format!("{id}: there is no such message; `medseal quarantine list --all` names all"));
    let id = ResourceId::parse(id).ok_or_else(missing)?;
    let shown = find(&keep, &id).await.map_err(Failed::from_error)?.ok_or_else(missing)?;
    if raw {
        return match std::io::stdout().write_all(&shown.kept.bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failed::from_error(error)),
            _ => Ok(()),
        };
    }
    let mut head = shown.kept.head;
    if let Some(held) = &mut head.held {
        held.replayed = shown.replayed;
    }
    say!("{}", serde_json::to_string_pretty(&head).map_err(Failed::from_error)?);
    Ok(())
}

/// Has the running service replay one, with the text of a file in its place if there is one; also over what came after it, if that
/// is said.
pub async fn replay(config: &Config, id: &str, file: Option<&Path>, over_newer: bool) -> Result<(), Failed> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| Failed(format!("{}: {e}", path.display())));
    let text = file.map(read).transpose()?;
    let replay = Ask::Replay { id: id.to_owned(), text, over_newer };
    let told = ask(&config.data, &replay).await.map_err(|error| Failed(format!("{id}: {error}")))?;
    say!("{told}");
    Ok(())
}

/// Erases one that nobody wants any more: its key is destroyed, and the reason is kept.
pub async fn discard(config: &Config, id: &str, reason: &str) -> Result<(), Failed> {
    let keep = keep(config).await?;
    let missing = || Failed(format!("{id}: no such message waits; `medseal quarantine list` names those that do"));
    let id = ResourceId::parse(id).ok_or_else(missing)?;
    let waiting = keep.store.held_one(&id).map_err(Failed::from_error)?;
    if waiting.is_none_or(|waiting| waiting.closed || waiting.erased) {
        return Err(missing());
    }
    drop(keep);
    super::erase::run(config, &format!("Patient/{id}"), reason).await
}

async fn keep(config: &Config) -> Result<Keep, Failed> {
    Keep::open(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)
}
