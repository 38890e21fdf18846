//! The index finds without knowing: it holds blind tokens, places in packs, log entries, and no patient data.

pub mod accounts;
pub mod alone;
pub mod anchors;
pub mod backup;
pub mod blind;
pub mod cells;
pub mod clients;
pub mod consents;
pub mod drills;
pub mod emergencies;
mod engine;
pub mod erasures;
pub mod grants;
pub mod guardians;
pub mod held;
pub mod history;
pub mod jobs;
pub mod lease;
pub mod log;
pub mod notices;
pub mod places;
pub mod postgres;
mod posting;
pub mod pushes;
pub mod replicas;
pub mod restore;
pub mod rewrap;
pub mod scan;
mod sql;
pub mod standing;
pub mod store;
pub mod tokens;
mod wal;
pub mod witnessed;
pub mod write;

#[cfg(test)]
#[path = "../../tests/postgres/mod.rs"]
#[expect(dead_code, reason = "the integration tests need more of it")]
mod server;

/// New indexes for a test: one on each engine that is here.
#[cfg(test)]
pub(crate) fn stores() -> Vec<(tempfile::TempDir, store::Store)> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let directory = tempfile::tempdir().unwrap();
    let sqlite = store::Store::open(&directory.path().join("index.sqlite")).unwrap();
    let mut stores = vec![(directory, sqlite)];
    if let Some(server) = server::shared() {
        let text = server.database(&format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let settings = postgres::Settings::parse(&text, 4, None).unwrap();
        stores.push((tempfile::tempdir().unwrap(), store::Store::postgres(settings).unwrap()));
    }
    stores
}
