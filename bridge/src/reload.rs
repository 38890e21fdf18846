//! Reads the configuration anew while the service goes on: maps, overlays, feeds and certificates. All is loaded and checked, new
//! listeners are bound; only then it takes the old one's place, in one step. With a fault nothing changes.

use crate::app::App;
use crate::config::Config;
use crate::feeds::Feeds;
use crate::intake::listeners::Listeners;
use notary::commitment::Digest;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Mutex;

/// What can be read anew, and how.
pub struct Reloader {
    app: Arc<App>,
    listeners: Arc<Listeners>,
    /// One at a time, and what was seen of the files behind TLS.
    turn: Mutex<Seen>,
}

/// What the last look at the files behind TLS has found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// What was read.
    #[default]
    Same,
    /// Something else, which may not be whole yet.
    Other(Digest),
    /// Something else, which could not be taken, and was told of.
    Refused(Digest),
}

impl Reloader {
    /// Of a running service.
    pub fn new(app: Arc<App>, listeners: Arc<Listeners>) -> Self {
        Self { app, listeners, turn: Mutex::default() }
    }

    /// Reads the file that the service was started with. Tells what was done, or why nothing was.
    pub async fn reload(&self) -> Result<String, String> {
        let old = &self.app.config;
        let file = old.file.clone();
        let read = tokio::task::spawn_blocking(move || file.map(|file| Config::load(Some(&file))).transpose());
        let read = read.await.map_err(|_| "reading broke off".to_owned())?.map_err(|error| error.to_string())?;
        self.take(read.unwrap_or_else(|| old.clone())).await
    }

    /// Looks whether certificates, keys, authorities or lists of revoked ones were replaced, and takes them once they are the same at two looks:
    /// files are written one after the other. Tells what was done, if anything was; what is not taken is told of once.
    pub async fn look(&self) -> Option<Result<String, String>> {
        let mut seen = self.turn.lock().await;
        let feeds = self.app.core.feeds();
        let found = tokio::task::spawn_blocking(move || feeds.doors.replaced()).await.ok()?;
        let (now, done) = match found {
            None => (Seen::Same, None),
            // What hindered it may have gone.
            Some(found) if *seen == Seen::Refused(found) => match self.renew().await {
                Ok(done) => (Seen::Same, Some(Ok(done))),
                Err(_) => (*seen, None),
            },
            Some(found) if *seen == Seen::Other(found) => {
                let done = self.renew().await;
                (if done.is_ok() { Seen::Same } else { Seen::Refused(found) }, Some(done))
            }
            Some(found) => (Seen::Other(found), None),
        };
        *seen = now;
        done
    }

    async fn renew(&self) -> Result<String, String> {
        let feeds = self.app.core.feeds();
        let loaded = tokio::task::spawn_blocking(move || feeds.renewed());
        let fresh = loaded.await.map_err(|_| "reading broke off".to_owned())?.map_err(|error| error.to_string())?;
        self.app.core.set_feeds(fresh);
        Ok("the files of `tls` were replaced, and read anew".to_owned())
    }

    /// Takes a configuration that was read and checked.
    pub async fn take(&self, fresh: Config) -> Result<String, String> {
        let _turn = self.turn.lock().await;
        let (app, old) = (self.app.clone(), self.app.core.feeds());
        let mut fresh = Config { data: app.config.data.clone(), http: app.config.http, mllp: app.config.mllp, ..fresh };
        fresh.telemetry.metrics = settled(fresh.telemetry.metrics, app.config.telemetry.metrics);
        if speaks_tls(&fresh) != speaks_tls(&app.config) {
            return Err("tls.http: whether HTTP speaks TLS is decided at the start: restart the service".into());
        }
        let other = differs_elsewhere(&fresh, &app.config);
        let known = old.clone();
        let loaded = tokio::task::spawn_blocking(move || Feeds::load(&fresh, Some(&known)));
        let feeds = loaded.await.map_err(|_| "reading broke off".to_owned())?.map_err(|error| error.to_string())?;
        if let Some(less) = feeds.less_than(&old) {
            // A file that was cut short must not open a door.
            return Err(format!("MLLP would go on without {less}: where that is meant, restart the service"));
        }
        let own = feeds.listeners();
        let bound = self.listeners.bind(&own).await?;
        app.core.set_feeds(feeds);
        self.listeners.follow(bound, &own).map_err(|error| error.to_string())?;
        let note = if other { "; other keys were changed too, and count from the next start" } else { "" };
        Ok(format!("maps, overlays, feeds and certificates were read anew{note}"))
    }
}

fn speaks_tls(config: &Config) -> bool {
    config.tls.as_ref().is_some_and(|tls| tls.http)
}

/// Port 0 asks for any: the one that it became at the start is no other.
fn settled(asked: Option<SocketAddr>, bound: Option<SocketAddr>) -> Option<SocketAddr> {
    match (asked, bound) {
        (Some(asked), Some(bound)) if asked.port() == 0 && asked.ip() == bound.ip() => Some(bound),
        (asked, _) => asked,
    }
}

/// Whether anything differs that is not read anew.
fn differs_elsewhere(fresh: &Config, old: &Config) -> bool {
    let rest = |config: &Config| {
        let Config { maps: _, overlays: _, feed: _, feeds: _, tls: _, file: _, .. } = config;
        let same = Config::default();
        let Config { maps, overlays, feed, feeds, tls, file, .. } = same;
        Config { maps, overlays, feed, feeds, tls, file, ..config.clone() }
    };
    rest(fresh) != rest(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_only_from_the_next_start_is_noticed() {
        let config = |text: &str| Config::parse(text).unwrap();
        let old = config("");
        assert!(!differs_elsewhere(&config("[feed]\nzone = \"Europe/Berlin\"\n[[feeds]]\nname = \"lab\""), &old));
        assert!(differs_elsewhere(&config("[storage]\nkeep_hours = 5"), &old));
        let password = |word: &str| config(&format!("[index]\npostgres = \"postgres://u:{word}@h/d\""));
        assert!(!differs_elsewhere(&password("one"), &password("one")));
        assert!(differs_elsewhere(&password("two"), &password("one")), "what does not print is compared all the same");
    }

    #[test]
    fn any_port_is_the_one_that_it_became() {
        let address = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let bound = address("127.0.0.1:9464");
        assert_eq!(settled(address("127.0.0.1:0"), bound), bound);
        for other in [None, address("127.0.0.1:9465"), address("127.0.0.2:0")] {
            assert_eq!(settled(other, bound), other);
        }
        assert_eq!(settled(address("127.0.0.1:0"), None), address("127.0.0.1:0"));
    }
}
