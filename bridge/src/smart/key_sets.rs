//! Key sets that clients publish at an address. They are fetched through the guard that all requests of this server go through
//! (`outgoing`), kept for a while and never longer than their server says, and fetched again for a key that is not among them, but
//! not as often as somebody asks.

use super::assertion::Claimed;
use super::keys::{PublicKey, parse};
use crate::limits::{KEY_SET_FRESH, KEY_SET_PAUSE, MAX_CLIENTS};
use crate::outgoing::{Outbound, Outgoing};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// The key sets that were fetched, by their addresses.
#[derive(Debug, Default)]
pub struct KeySets(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Fetched>>>>);

#[derive(Debug, Default)]
struct Fetched {
    keys: Vec<PublicKey>,
    /// How long they count.
    fresh: Duration,
    /// When they were fetched, and when that was last tried; milliseconds since 1970.
    at: Option<i64>,
    tried: Option<i64>,
}

impl KeySets {
    /// The keys at an address, with the one that an assertion names if it is there; `now` in milliseconds since 1970. One fetch at a
    /// time: who comes meanwhile waits for it.
    pub async fn at(&self, url: &str, claimed: &Claimed<'_>, outgoing: &Outgoing, now: i64) -> Vec<PublicKey> {
        let place = self.place(url);
        let mut fetched = place.lock().await;
        let is_old = |since: Option<i64>, bound: Duration| {
            since.is_none_or(|since| !(0..bound.as_millis() as i64).contains(&(now - since)))
        };
        let ended = is_old(fetched.at, fetched.fresh);
        let wanted = ended || !claimed.is_among(&fetched.keys);
        // A set that its server gives and lets nobody keep is fetched each time.
        let given = ended && fetched.at.is_some() && fetched.at == fetched.tried;
        if wanted && (given || is_old(fetched.tried, KEY_SET_PAUSE)) {
            fetched.tried = Some(now);
            if let Some((keys, fresh)) = fetch(url, outgoing).await {
                (fetched.keys, fetched.fresh, fetched.at) = (keys, fresh, Some(now));
                return fetched.keys.clone();
            }
        }
        if ended { Vec::new() } else { fetched.keys.clone() }
    }

    fn place(&self, url: &str) -> Arc<tokio::sync::Mutex<Fetched>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Addresses of clients that were removed stay until then.
        if all.len() >= MAX_CLIENTS {
            all.clear();
        }
        all.entry(url.to_owned()).or_default().clone()
    }
}

async fn fetch(url: &str, outgoing: &Outgoing) -> Option<(Vec<PublicKey>, Duration)> {
    let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
    let asked = Outbound { method: Method::GET, url: url.to_owned(), headers, body: Bytes::new() };
    let answer = match outgoing.send(asked).await {
        Ok(answer) if answer.status == StatusCode::OK => answer,
        Ok(answer) => {
            tracing::warn!(status = answer.status.as_u16(), "a client's key set was not given");
            return None;
        }
        Err(error) => {
            tracing::warn!(%error, "a client's key set could not be fetched");
            return None;
        }
    };
    let keys = parse(&answer.body);
    let keys = keys.inspect_err(|error| tracing::warn!(%error, "a client's key set cannot be used")).ok()?;
    Some((keys, fresh(&answer.headers)))
}

/// How long an answer may be kept: no longer than its server says (RFC 9111, section 5.2.2), nor than this server likes to.
fn fresh(headers: &HeaderMap) -> Duration {
    let said = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let bounds = said.flat_map(|value| value.split(',')).filter_map(|one| bound(one.trim()));
    bounds.min().unwrap_or(KEY_SET_FRESH).min(KEY_SET_FRESH)
}

fn bound(directive: &str) -> Option<Duration> {
    let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
    match name.to_ascii_lowercase().as_str() {
        "no-store" | "no-cache" => Some(Duration::ZERO),
        // One that cannot be read has passed.
        "max-age" => Some(Duration::from_secs(value.trim_matches('"').parse().unwrap_or(0))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_is_kept_no_longer_than_its_server_says() {
        for (said, seconds) in [
            (&[][..], 300),
            (&["public"], 300),
            (&["max-age=60"], 60),
            (&["public, Max-Age=\"60\""], 60),
            (&["max-age=86400"], 300),
            (&["max-age=60", "no-store"], 0),
            (&["no-cache"], 0),
            (&["max-age=soon"], 0),
        ] {
            let headers = said.iter().map(|value| (header::CACHE_CONTROL, HeaderValue::from_static(value)));
            assert_eq!(fresh(&headers.collect()), Duration::from_secs(seconds), "{said:?}");
        }
    }
}
