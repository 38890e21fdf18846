//! `medseal storage`: holds against each other what is kept, and compacts it, beside a running service or without one.

use super::Failed;
use super::recover::{bar, show};
use crate::app::keep::Keep;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::upkeep::check::{self, Part, Report, Told};
use crate::upkeep::compact::{self, Ages};
use std::sync::Arc;

/// Checks everything and names what differs; that is a failure.
pub async fn check(config: &Config, json: bool) -> Result<(), Failed> {
    let keep = Keep::look(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
    let bar = bar();
    let tell = |what: &str, done: u64, total: u64| show(&bar, what, done, total);
    let report = check::check(&keep, &config.data, &tell).await;
    bar.finish_and_clear();
    let report = report.map_err(Failed::from_error)?;
    if json {
        say!("{}", serde_json::to_string_pretty(&report).map_err(Failed::from_error)?);
    } else {
        print(&report);
    }
    match report.differences.count() {
        0 => Ok(()),
        count => Err(Failed(format!("{count} differences: docs/operating.md says what to do about each"))),
    }
}

/// Compacts until there is nothing more to do.
pub async fn compact(config: &Config) -> Result<(), Failed> {
    let keep = Keep::open(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
    let bar = bar();
    let tell = |what: &str, done: u64, total: u64| show(&bar, what, done, total);
    loop {
        let done = compact::round(&keep, Ages::of(&config.storage), &tell).await;
        let done = done.map_err(Failed::from_error)?;
        bar.suspend(|| say!("{}", compacted(&done)));
        if !done.more {
            bar.finish_and_clear();
            return Ok(());
        }
    }
}

fn compacted(done: &compact::Report) -> String {
    let compact::Report { joined, written, written_bytes, removed, freed, keys_joined, keys_written, damaged, .. } =
        done;
    let damaged = match damaged {
        0 => String::new(),
        some => format!("; {some} packs are damaged and stay as they are: `medseal storage check` names them"),
    };
    format!(
        "{joined} packs joined into {written} ({written_bytes} bytes), {removed} removed ({freed} bytes), \
         {keys_joined} objects of keys joined into {keys_written}{damaged}"
    )
}

fn print(report: &Report) {
    told("differs", &report.differences);
    told("note", &report.notes);
    let Report { packs, bytes, records, copies, erased, unreferenced, .. } = report;
    say!("{packs} packs, {bytes} bytes");
    say!("{}", part("records", records));
    say!("  {}", part("copies of records that lie in another pack", copies));
    say!("  {}", part("of patients who were erased", erased));
    say!("  {}", part("that no row refers to", unreferenced));
    say!("{} wrapped keys", report.keys);
    let size = |size: Option<u64>| size.map_or_else(|| "none".to_owned(), |size| size.to_string());
    let (published, anchored) = (size(report.published), size(report.anchored));
    say!("{} log entries, {published} published, {anchored} anchored", report.log);
    say!("{} checkpoints", report.checkpoints);
}

fn told(what: &str, told: &Told) {
    told.lines.iter().for_each(|line| say!("{what}: {}: {}", line.at, line.what));
    if told.further > 0 {
        say!("{what}: and {} more", told.further);
    }
}

fn part(what: &str, part: &Part) -> String {
    format!("{} {what}, {} bytes", part.records, part.bytes)
}
