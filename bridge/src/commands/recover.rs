//! `medseal recover`: builds the index anew from packs, wrapped keys, the published log and the root key, and says what proves it.

use super::Failed;
use crate::anchor;
use crate::app;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::upkeep::recover::{Report, recover};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;

/// A bar on standard error, plain where that is no terminal.
pub fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {pos}/{len} {wide_bar} {elapsed}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Shows how far something is.
pub fn show(bar: &ProgressBar, what: &str, done: u64, total: u64) {
    bar.set_message(what.to_owned());
    bar.set_length(total.max(done));
    bar.set_position(done);
}

/// Recovers, and puts into the log what had waited for it.
pub async fn run(config: &Config) -> Result<(), Failed> {
    let bar = bar();
    let tell = |what: &str, done: u64, total: u64| show(&bar, what, done, total);
    let report = recover(config, Arc::new(SystemClock), &tell).await.map_err(Failed::from_error)?;
    bar.finish_and_clear();
    let opened = app::open(config, Arc::new(SystemClock)).await;
    let waiting = opened.as_ref().ok().and_then(|opened| opened.core.store.waiting().ok()).unwrap_or(0);
    if let Ok(opened) = &opened {
        anchor::step_once(&opened.core).await.map_err(Failed::from_error)?;
    }
    print(&report, waiting);
    match (report.faults.len(), opened.err()) {
        (0, None) => Ok(()),
        (0, Some(error)) => Err(Failed::from_error(error)),
        (faults, _) => {
            Err(Failed(format!("{faults} faults: what they name is not recovered; put it back and recover again")))
        }
    }
}

fn print(report: &Report, waiting: u64) {
    let Report { records, messages, never_committed, erased, proved, anchored, faults } = report;
    say!("{} versions and {messages} messages were put into the index", records - messages);
    match proved {
        Some(size) => say!("proved: the {size} entries of the published log, by its signed checkpoint"),
        None => say!("not proved: no log was published beside the packs, so it was begun anew"),
    }
    match anchored {
        Some(size) => say!("proved: the ledger holds the root of the first {size} of them"),
        None => say!("no ledger is here (ledger.journal): no anchor was compared, and a new ledger begins"),
    }
    say!("{waiting} entries were committed after the last checkpoint and follow it now, in the order of their packs");
    say!("{never_committed} packs were never committed and are left out; {erased} patients are erased and stay so");
    faults.iter().for_each(|fault| say!("fault: {fault}"));
}
