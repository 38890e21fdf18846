//! `medseal drill`: recovers everything in a place of its own and proves it, for people and for cron.

use super::Failed;
use super::recover::{bar, show};
use super::serve::stop_signal;
use super::temporary::Directory;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::upkeep::drill::{Outcome, Upto, drill};
use std::path::PathBuf;
use std::sync::Arc;

/// What is drilled.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// A file that `medseal backup` made. Without one everything is recovered from packs, keys and the published log alone.
    #[arg(long)]
    backup: Option<PathBuf>,
    /// Where to work: room for an index. A directory in it is made and removed; the system's temporary directory by default.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// Drills, and fails unless everything is proved.
pub async fn run(config: &Config, ask: &Asked) -> Result<(), Failed> {
    if config.index.postgres.is_some() && ask.backup.is_some() {
        return Err(Failed(
            "--backup is for an index in SQLite; with index.postgres leave it out: everything is then recovered from the packs, \
             as if the database were lost, and a dump is drilled by pg_restore into a database of its own and `medseal storage check`"
                .into(),
        ));
    }
    let signals = stop_signal()?;
    let parent = ask.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let place = Directory::new(&parent, "medseal-drill")?;
    let bar = bar();
    let tell = |what: &str, done: u64, total: u64| show(&bar, what, done, total);
    let drilled = tokio::select! {
        outcome = drill(config, ask.backup.as_deref(), &place.0, Arc::new(SystemClock), &tell) => outcome.map_err(Failed::from_error),
        () = signals => Err(Failed("stopped before the end: nothing is proved".into())),
    };
    bar.finish_and_clear();
    place.close()?;
    let outcome = drilled?;
    if ask.json {
        say!("{}", serde_json::to_string_pretty(&outcome).map_err(Failed::from_error)?);
    } else {
        print(&outcome);
    }
    match outcome.faults.len() as u64 + outcome.checked.differences.count() {
        0 => Ok(()),
        count => Err(Failed(format!(
            "{count} faults: not everything could be brought back; docs/operating.md says what to do"
        ))),
    }
}

fn print(outcome: &Outcome) {
    let Outcome { backup, recovered, put_in, left_out, waiting, chain, faults, checked } = outcome;
    match backup {
        Some(upto) => {
            let made = upto.made.as_ref().map_or_else(String::new, |made| format!("was made at {made} and "));
            say!("the backup {made}{}", told(upto));
            say!(
                "what the index alone has (accounts, clients, revoked tokens) goes up to there: what came later would be lost"
            );
            let whole = if outcome.is_proved() { ", and nothing acknowledged is missing" } else { "" };
            say!("after it: {put_in} records were put in from the packs{whole}");
        }
        None => {
            say!("no backup of the index: {put_in} records were recovered from the packs");
            say!("what the index alone has (accounts, clients, revoked tokens) would be lost");
        }
    }
    say!("recovered, it {}", told(recovered));
    let (records, erased) = (checked.records.records, checked.erased.records);
    let (copies, loose) = (checked.copies.records, checked.unreferenced.records);
    let opened = records.saturating_sub(erased + copies + loose);
    let proved = if outcome.is_proved() { "proved" } else { "looked at" };
    say!(
        "{proved}: {opened} records open with their keys, and their content opens their log entries; {erased} are erased"
    );
    let Some(published) = checked.published else { return end(faults, outcome) };
    say!("{proved}: {} log entries, their tree and {} signed checkpoints", checked.log, checked.checkpoints);
    say!("{proved}: {published} entries are published beside the packs, under the newest signed checkpoint");
    match (chain, checked.anchored) {
        (Some(size), _) => say!("{proved}: the contract on the chain holds the root of the first {size} of them"),
        (None, Some(size)) => say!("{proved}: the embedded ledger holds the root of the first {size} of them"),
        (None, None) => say!("not compared: there is no ledger (ledger.journal)"),
    }
    say!(
        "{waiting} entries were committed after that checkpoint; {left_out} packs nobody was answered for are left out"
    );
    end(faults, outcome);
}

fn end(faults: &[String], outcome: &Outcome) {
    faults.iter().for_each(|fault| say!("fault: {fault}"));
    let differences = &outcome.checked.differences;
    differences.lines.iter().for_each(|line| say!("differs: {}: {}", line.at, line.what));
    if differences.further > 0 {
        say!("differs: and {} more", differences.further);
    }
}

fn told(upto: &Upto) -> String {
    let Upto { newest, records, log, .. } = upto;
    let newest = newest.as_ref().map_or("nothing", String::as_str);
    format!("goes up to {newest}: {records} records, {log} log entries")
}
