//! The public face of the log: C2SP tlog-tiles, and readiness.

use super::reply::{Reply, body, failure, unreadable};
use super::routes::not_found;
use crate::anchor::publish::bundle;
use crate::anchor::{Trouble, progress};
use crate::app::App;
use crate::app::probe::Probe;
use crate::audit::trail::Trail;
use crate::error::Issue;
use crate::read::in_background;
use notary::tree::{TILE_HEIGHT, Tile};
use serde_json::json;
use std::sync::Arc;
use warp::http::{HeaderValue, StatusCode, header};

/// Entries of a full tile.
const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// `GET /log/checkpoint`.
pub async fn checkpoint(app: &Arc<App>) -> Reply {
    let store = app.core.store.clone();
    match in_background(move || store.checkpoint(None)).await {
        Ok(Some((_, note))) => body(StatusCode::OK, "text/plain; charset=utf-8", note),
        Ok(None) => failure(StatusCode::NOT_FOUND, Issue::new("not-found", "nothing was signed yet")),
        Err(error) => unreadable(&error),
    }
}

/// `GET /log/key`: what the checkpoints are signed with, as a verifier key of C2SP signed-note. Who pins it compares it with what the
/// custodian says by another way.
pub fn key(app: &App) -> Reply {
    body(StatusCode::OK, "text/plain; charset=utf-8", format!("{}\n", app.core.signer.key()))
}

/// `GET /log/tile/<level>/<index>[.p/<width>]` and `/log/tile/entries/...` (C2SP tlog-tiles).
pub async fn tile(app: &Arc<App>, rest: &[&str]) -> Reply {
    let Some((level, index, width)) = tile_path(rest) else {
        return failure(StatusCode::BAD_REQUEST, Issue::new("value", "not the path of a tile"));
    };
    let store = app.core.store.clone();
    let bytes = in_background(move || {
        let size = store.checkpoint(None)?.map_or(0, |(size, _)| size);
        let full = size >> (u32::from(level.unwrap_or(0)) * u32::from(TILE_HEIGHT)).min(63);
        if index.checked_mul(TILE_WIDTH).and_then(|at| at.checked_add(width)).is_none_or(|end| end > full) {
            return Ok(None);
        }
        match level {
            None => {
                let entries = store.entries(index * TILE_WIDTH, width)?;
                Ok((entries.len() as u64 == width).then(|| bundle(&entries)))
            }
            Some(level) => {
                let tile = Tile::new(TILE_HEIGHT, level, index, width as u32, false);
                store.read_log(|reader| tile.read_data(reader).ok())
            }
        }
    })
    .await;
    match bytes {
        Ok(Some(bytes)) => immutable(body(StatusCode::OK, "application/octet-stream", bytes)),
        Ok(None) => not_found(),
        Err(error) => unreadable(&error),
    }
}

/// Tiles never change and hold no patient data: anyone may cache them.
fn immutable(mut reply: Reply) -> Reply {
    let value = HeaderValue::from_static("public, max-age=31536000, immutable");
    reply.headers_mut().insert(header::CACHE_CONTROL, value);
    reply
}

/// Level (none: entries), index and width of a path such as `0/x001/234.p/17`.
fn tile_path(rest: &[&str]) -> Option<(Option<u8>, u64, u64)> {
    let (level, rest) = rest.split_first()?;
    let level = match *level {
        "entries" => None,
        level => Some(level.parse::<u8>().ok().filter(|l| *l < 8 && l.to_string() == level)?),
    };
    let (rest, width) = match rest {
        [inner @ .., last, width] if last.ends_with(".p") => {
            let width = width.parse::<u64>().ok().filter(|w| (1..TILE_WIDTH).contains(w) && w.to_string() == *width)?;
            ([inner, &[&last[..last.len() - 2]]].concat(), width)
        }
        whole => (whole.to_vec(), TILE_WIDTH),
    };
    let (last, leading) = rest.split_last()?;
    let three = |digits: &str| {
        (digits.len() == 3)
            .then(|| digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit())))?
    };
    if leading.len() > 5 {
        return None;
    }
    let index = leading.iter().try_fold(0, |index, part| Some(index * 1_000 + three(part.strip_prefix('x')?)?))?;
    let index = index * 1_000 + three(last)?;
    // `x000/001` is another spelling of `001`: only one is right.
    let canonical = leading.first().is_none_or(|first| *first != "x000");
    canonical.then_some((level, index, width))
}

/// `GET /readyz`.
pub async fn readiness(app: &Arc<App>) -> Reply {
    let (ready, page) = state(app).await;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    body(status, "application/json", page.to_string())
}

/// Whether work is taken, and how each part stands.
pub async fn state(app: &Arc<App>) -> (bool, serde_json::Value) {
    let core = app.core.clone();
    let progress = tokio::task::spawn_blocking(move || progress(&core)).await;
    let (ready, store, log, chain) = match progress {
        Ok(Ok(p)) if app.takes_work() => {
            let log = json!({"size": p.log, "checkpoint": p.checkpoint, "anchored": p.anchored});
            // A chain that is away is caught up with later; one that contradicts the log is for a person to look at.
            let (fine, chain) = match p.trouble {
                None => (true, "ok"),
                Some(Trouble { is_contradiction: false, .. }) => (true, "behind"),
                Some(_) => (false, "contradiction"),
            };
            (fine, "ok", log, chain)
        }
        _ => (false, "failing", json!({"size": 0, "checkpoint": 0, "anchored": 0}), "unknown"),
    };
    let (told, audit) = audit(&app.core.trail);
    let written = Probe::look(app).await;
    let ready = ready && told && written.is_fine();
    let write = json!({
        "objects": written.objects.word(), "index": written.index.word(), "keys": written.keys.word(),
    });
    (ready, json!({"ready": ready, "store": store, "log": log, "chain": chain, "audit": audit, "write": write}))
}

/// Whether accesses can be told, and how that stands. While the trail is full nothing of a record is shown, so that others should
/// be asked; while it fails, what is told waits.
fn audit(trail: &Trail) -> (bool, &'static str) {
    match (trail.is_full(), trail.is_failing()) {
        (true, _) => (false, "full"),
        (false, true) => (true, "failing"),
        (false, false) => (true, "ok"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::{Access, Detail, Did, Outcome, Who};
    use crate::limits::MAX_AUDIT_WAITING;

    #[test]
    fn a_full_trail_is_not_ready_and_a_failing_one_is_told() {
        let trail = Trail::default();
        assert_eq!(audit(&trail), (true, "ok"));
        trail.note(true);
        assert_eq!(audit(&trail), (true, "failing"));
        let access = |n: usize| Access {
            who: Some(Who { client: n.to_string(), user: None, purpose: None, behalf: None }),
            did: Did("read"),
            outcome: Outcome::Done,
            patient: None,
        };
        let many = (0..MAX_AUDIT_WAITING).map(|n| (access(n), Detail::at(jiff::Timestamp::UNIX_EPOCH)));
        trail.add(many.collect()).unwrap();
        assert_eq!(audit(&trail), (false, "full"));
        trail.note(false);
        trail.take();
        assert_eq!(audit(&trail), (true, "ok"));
    }

    #[test]
    fn tile_paths_have_one_spelling() {
        let path = |text: &str| tile_path(&text.split('/').collect::<Vec<_>>());
        assert_eq!(path("0/000"), Some((Some(0), 0, 256)));
        assert_eq!(path("1/x001/x234/067"), Some((Some(1), 1_234_067, 256)));
        assert_eq!(path("entries/x001/234.p/17"), Some((None, 1_234, 17)));
        for bad in
            ["0", "8/000", "00/000", "0/00", "0/x000/001", "0/000.p/0", "0/000.p/256", "0/000.p/017", "x/000", "0/-01"]
        {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
