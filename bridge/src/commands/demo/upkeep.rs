//! What the administrator of the demo looks after: a message of which nothing could be made, a copy of the index, and a drill that proves
//! what the copy is worth.

use super::super::send::Connection;
use super::super::serve::Running;
use super::super::temporary::Directory;
use super::super::{Failed, backup};
use crate::clock::SystemClock;
use crate::upkeep::drill::drill;
use std::sync::Arc;

/// An admission whose patient came in a segment of the sender's own.
const FAULTY: &str = "MSH|^~\\&|ADT|NORTHQUAY|MED|SEAL|20260302081500||ADT^A01^ADT_A01|DEMO-1|P|2.5.1\r\
    EVN|A01|20260302081500\r\
    ZPI|1||5550199^^^NQ&2.16.840.1.113883.19.5.1.3&ISO^MR||Okoye^Nneka||19910811|F\r\
    PV1|1|I|W^1^2^NQ\r";
/// Beside the index.
const COPY: &str = "index.backup";

/// Fills the administrator's pages.
pub(super) async fn seed(running: &Running) -> Result<(), Failed> {
    hold(running).await?;
    prove(running).await
}

/// Sends what is taken into quarantine.
async fn hold(running: &Running) -> Result<(), Failed> {
    let mut sender = Connection::open(&running.mllp.to_string()).await?;
    let answer = sender.exchange(FAULTY.as_bytes()).await?;
    if answer.contains("MSA|AA") { Ok(()) } else { Err(Failed("what cannot be mapped was not kept".into())) }
}

/// Copies the index, where it is a file, and drills. PostgreSQL is copied by its own means.
async fn prove(running: &Running) -> Result<(), Failed> {
    let config = &running.app.config;
    let copy = config.data.join(COPY);
    let is_file = !running.app.core.store.is_shared();
    if is_file {
        backup::copy(config, &copy)?;
    }
    let place = Directory::new(&std::env::temp_dir(), "medseal-demo-drill")?;
    let from = is_file.then_some(copy.as_path());
    let outcome = drill(config, from, &place.0, Arc::new(SystemClock), &|_, _, _| {}).await;
    place.close()?;
    match outcome.map_err(Failed::from_error)? {
        outcome if outcome.is_proved() => Ok(()),
        _ => Err(Failed("the drill did not bring everything back".into())),
    }
}
